//! How sessions end.

use sstpulse_common::DirectionRecord;

use super::{ACK, FIN, RST, Row, rows};
use crate::conversation::{c, s};

#[rustfmt::skip]
pub(super) fn endings() -> Vec<Row> {
    rows! {
        "both FINs acknowledged end the session; the first one tells by whom": |t| {
            t.handshake().send(c(0, 0, 0).flags(FIN | ACK)).send(s(0, 1, 0).flags(FIN | ACK)).send(c(1, 1, 0));
        } => |left| {
            assert!(left.session().ended());
            assert!(left.client().has(DirectionRecord::FIRST_TO_CLOSE));
            assert!(!left.server().has(DirectionRecord::RESET_ENDED));
        }
        "half a close is no end": |t| {
            t.handshake().send(c(0, 0, 0).flags(FIN | ACK)).send(s(0, 1, 0)).send(s(0, 1, 700));
        } => |left| {
            assert!(!left.session().ended());
            assert_eq!(left.server().bytes, 700);
        }
        "a simultaneous close ends when both are acknowledged": |t| {
            t.handshake().send(c(0, 0, 0).flags(FIN | ACK)).send(s(0, 0, 0).flags(FIN | ACK));
            t.send(c(1, 1, 0)).send(s(1, 1, 0));
        } => |left| {
            assert!(left.session().ended());
            assert!(left.client().has(DirectionRecord::FIRST_TO_CLOSE));
        }
        "a RST with the expected number ends the session": |t| {
            t.handshake().send(c(0, 0, 100)).send(c(100, 0, 0).flags(RST | ACK));
        } => |left| {
            assert!(left.client().has(DirectionRecord::RESET_ENDED));
            assert!(left.client().has(DirectionRecord::FIRST_TO_CLOSE));
        }
        "a RST with a number the server does not expect is counted, and ends nothing (RFC 5961)": |t| {
            t.handshake().send(c(0, 0, 100)).send(c(5_000, 0, 0).flags(RST)).send(c(100, 0, 50));
        } => |left| {
            assert!(!left.session().ended());
            assert_eq!((left.client().resets, left.client().bytes), (1, 150));
        }
        "a RST after both FINs changes nothing": |t| {
            t.handshake().send(s(0, 0, 0).flags(FIN | ACK)).send(c(0, 1, 0).flags(FIN | ACK)).send(s(1, 1, 0));
            t.send(c(1, 1, 0).flags(RST));
        } => |left| {
            assert!(left.server().has(DirectionRecord::FIRST_TO_CLOSE));
            assert!(!left.client().has(DirectionRecord::RESET_ENDED));
            assert_eq!(left.client().resets, 1);
        }
        "a RST of the server with a forger's numbers ends nothing": |t| {
            t.handshake().send(c(0, 0, 100)).send(s(70_000, 100, 0).flags(RST));
        } => |left| {
            assert!(!left.session().ended());
            assert_eq!(left.server().resets, 1);
        }
        "a RST within a window that a forged segment has stretched ends nothing": |t| {
            t.handshake().send(c(0, 0, 100)).send(s(0, 100, 0));
            t.send(c(50_000, 0, 100)).send(c(20_000, 0, 0).flags(RST)).send(c(100, 0, 50));
        } => |left| {
            assert!(!left.session().ended());
        }
        "a RST of the server ends the session": |t| {
            t.handshake().send(c(0, 0, 100)).send(s(0, 100, 0).flags(RST | ACK));
        } => |left| {
            assert!(left.server().has(DirectionRecord::RESET_ENDED));
        }
        "a TTL that differs shows, and does not become the usual one by a RST": |t| {
            t.handshake().send(c(0, 0, 100)).send(c(100, 0, 0).flags(RST).ttl(59));
        } => |left| {
            assert_eq!((left.client().ttl_usual, left.client().ttl_last), (64, 59));
        }
        "a RST with the number of the client's FIN (macOS) ends the session": |t| {
            t.handshake().send(c(0, 0, 100)).send(c(100, 0, 0).flags(FIN | ACK)).send(s(0, 101, 0));
            t.send(s(0, 101, 500)).send(c(100, 0, 0).flags(RST));
        } => |left| {
            assert!(left.session().ended());
            assert!(left.client().has(DirectionRecord::RESET_ENDED));
        }
    }
}
