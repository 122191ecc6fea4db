//! Keepalives, stalls and probes.

use sstpulse_common::counters::Counter;

use super::{ACK, FIN, RST, Row, rows};
use crate::conversation::{ISN_SERVER, c, s};

#[rustfmt::skip]
pub(super) fn probes() -> Vec<Row> {
    rows! {
        "a keepalive of 0 bytes (Linux) is a keepalive": |t| {
            t.handshake().send(c(0, 0, 100)).send(s(0, 100, 0)).wait_ms(60_000).send(c(99, 0, 0));
        } => |left| {
            assert_eq!((left.client().keepalives, left.client().retransmits), (1, 0));
        }
        "a keepalive of 1 byte (Windows) is a keepalive": |t| {
            t.handshake().send(c(0, 0, 100)).send(s(0, 100, 0)).wait_ms(60_000).send(c(99, 0, 1));
        } => |left| {
            assert_eq!((left.client().keepalives, left.client().retransmits), (1, 0));
        }
        "one byte that was never acknowledged is a retransmission": |t| {
            t.handshake().send(s(0, 0, 1)).wait_ms(300).send(s(0, 0, 1));
        } => |left| {
            assert_eq!((left.server().keepalives, left.server().retransmits), (0, 1));
        }
        "a stalled window is one stall, with its time": |t| {
            t.handshake().send(s(0, 0, 1_000)).send(c(0, 1_000, 0).window(0));
            t.wait_ms(1_500).send(c(0, 1_000, 0).window(0)).wait_ms(1_500).send(c(0, 1_000, 0).window(900));
        } => |left| {
            let client = left.client();
            assert_eq!((client.zero_window_segments, client.zero_window_stalls), (2, 1));
            assert_eq!((client.stalled_ms, client.longest_stall_ms), (3_000, 3_000));
            assert_eq!(client.stall_since_ms, 0);
        }
        "a probe of 0 bytes (Linux) while the window is closed is a probe": |t| {
            t.handshake().send(s(0, 0, 1_000)).send(c(0, 1_000, 0).window(0)).wait_ms(200).send(s(999, 0, 0));
        } => |left| {
            assert_eq!((left.server().window_probes, left.server().keepalives), (1, 0));
            assert_eq!(left.server().retransmits, 0);
        }
        "a probe of 1 byte at SND.NXT while the window is closed is a probe": |t| {
            t.handshake().send(s(0, 0, 1_000)).send(c(0, 1_000, 0).window(0));
            t.wait_ms(200).send(s(1_000, 0, 1)).wait_ms(400).send(s(1_000, 0, 1));
        } => |left| {
            assert_eq!((left.server().window_probes, left.server().retransmits), (2, 0));
        }
        "a RST with window 0 closes no window": |t| {
            t.handshake().send(c(0, 0, 0).flags(RST | ACK).window(0));
        } => |left| {
            assert_eq!((left.client().zero_window_segments, left.client().zero_window_stalls), (0, 0));
            assert_eq!(left.client().resets, 1);
        }
        "a FIN with window 0 closes no window": |t| {
            t.handshake().send(c(0, 0, 0).flags(FIN | ACK).window(0));
        } => |left| {
            assert_eq!((left.client().zero_window_segments, left.client().fins), (0, 1));
        }
        "of a buffer that ends with a FIN, the other segments do offer their window": |t| {
            t.handshake().send(s(0, 0, 2_801).flags(FIN | ACK).gso(1_400).window(0));
        } => |left| {
            let server = left.server();
            assert_eq!((server.zero_window_segments, server.zero_window_stalls, server.fins), (2, 1, 1));
        }
        "a probe of 1 byte that the client takes is data that it may acknowledge": |t| {
            t.handshake().send(s(0, 0, 1_000)).send(c(0, 1_000, 0).window(0)).wait_ms(200).send(s(1_000, 0, 1));
            t.send(c(0, 1_001, 0)).send(c(0, 1_001, 200)).send(s(1_001, 200, 500));
        } => |left| {
            assert_eq!((left.server().window_probes, left.server().retransmits), (1, 0));
            assert_eq!((left.client().bytes, left.client().ack), (200, ISN_SERVER + 1 + 1_001));
            assert_eq!(left.client().stalled_ms, 200);
            assert_eq!(left.counters.get(Counter::OutOfWindow), 0);
        }
        "an ACK that was overtaken closes no window": |t| {
            t.handshake().send(s(0, 0, 2_000)).send(c(0, 2_000, 0)).send(c(0, 1_000, 0).window(0));
        } => |left| {
            let client = left.client();
            assert_eq!((client.zero_window_segments, client.zero_window_stalls, client.window), (1, 0, 1_000));
        }
        "an ACK that was overtaken by the FIN is no keepalive": |t| {
            t.handshake().send(s(0, 0, 100)).send(c(0, 100, 0).flags(FIN | ACK)).send(c(0, 100, 0));
        } => |left| {
            assert_eq!((left.client().keepalives, left.client().retransmits, left.client().fins), (0, 0, 1));
        }
    }
}
