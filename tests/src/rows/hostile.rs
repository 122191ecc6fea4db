//! What no peer of good will sends.

use sstpulse_common::{Counters, counters::Counter};

use super::{Row, rows};
use crate::conversation::{ISN_SERVER, c, s};

#[rustfmt::skip]
pub(super) fn hostile() -> Vec<Row> {
    rows! {
        "data beyond the server's window is forged, and passed over": |t| {
            t.handshake().send(c(0, 0, 100)).send(c(20_000_000, 0, 100)).send(c(100, 0, 100));
        } => |left| {
            assert_eq!((left.client().bytes, left.client().retransmits), (200, 0));
            assert_eq!(left.counters.get(Counter::OutOfWindow), 1);
        }
        "an ACK of what was never sent is forged, and passed over": |t| {
            t.handshake().send(s(0, 0, 100)).send(c(0, 90_000_000, 0)).send(c(0, 100, 0));
        } => |left| {
            assert_eq!(left.client().ack, ISN_SERVER + 1 + 100);
            assert_eq!(left.counters.get(Counter::OutOfWindow), 1);
        }
        "an ACK a little beyond what was sent is forged, while the server is heard": |t| {
            t.handshake().send(s(0, 0, 100)).send(c(0, 20_000, 0)).send(s(100, 0, 900)).send(c(0, 1_000, 0));
        } => |left| {
            assert_eq!((left.server().retransmits, left.server().bytes), (0, 1_000));
            assert_eq!(left.counters.get(Counter::OutOfWindow), 1);
        }
        "an ACK of what the server sent through another interface counts": |t| {
            t.handshake().send(s(0, 0, 100)).wait_ms(2_000).send(c(0, 20_000, 0));
        } => |left| {
            assert_eq!(left.client().ack, ISN_SERVER + 1 + 20_000);
        }
        "a packet shorter than it says is malformed": |t| {
            t.handshake().send(c(0, 0, 100).cut(100));
        } => |left| {
            assert_eq!(left.client().bytes, 0);
            assert_eq!(left.counters.get(Counter::Malformed), 1);
        }
        "a segment without ACK, SYN or RST is nobody's": |t| {
            t.handshake().send(c(0, 0, 100).flags(0));
        } => |left| {
            assert_eq!(left.client().bytes, 0);
            assert_eq!(left.counters.get(Counter::OutOfWindow), 1);
        }
        "a TCP header that is too short is malformed": |t| {
            t.handshake().send(c(0, 0, 100).patch(46, 0x40));
        } => |left| {
            assert_eq!(left.client().bytes, 0);
            assert_eq!(left.counters.get(Counter::Malformed), 1);
        }
        "an IP length shorter than its headers is malformed": |t| {
            t.handshake().send(c(0, 0, 100).patch(16, 0).patch(17, 21));
        } => |left| {
            assert_eq!(left.counters.get(Counter::Malformed), 1);
        }
        "an IP header of 16 bytes is malformed": |t| {
            t.handshake().send(c(0, 0, 100).patch(14, 0x44));
        } => |left| {
            assert_eq!(left.counters.get(Counter::Malformed), 1);
        }
        "a packet that ends within its TCP header is malformed": |t| {
            t.handshake().send(c(0, 0, 100).cut(50));
        } => |left| {
            assert_eq!(left.counters.get(Counter::Malformed), 1);
        }
        "a fragment is counted apart": |t| {
            t.handshake().send(c(0, 0, 100).patch(20, 0x20));
        } => |left| {
            assert_eq!(left.client().bytes, 0);
            assert_eq!(left.counters.get(Counter::Fragments), 1);
        }
        "padding of a short frame is no payload": |t| {
            t.handshake().send(c(0, 0, 0).padded(6));
        } => |left| {
            assert_eq!(left.client().bytes, 0);
        }
        "another port is none of ours": |t| {
            t.server_port(80).handshake().send(c(0, 0, 100));
        } => |left| {
            assert!(left.session.is_none());
            assert_eq!(left.counters, Counters::default());
        }
    }
}
