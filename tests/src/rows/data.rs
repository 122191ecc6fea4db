//! Data, and data that comes again.

use super::{ACK, FIN, RST, Row, rows};
use crate::conversation::{ISN_CLIENT, ISN_SERVER, c, s};

#[rustfmt::skip]
#[expect(clippy::too_many_lines, reason = "it is a table")]
pub(super) fn data() -> Vec<Row> {
    rows! {
        "bytes and segments count both ways": |t| {
            t.handshake().send(c(0, 0, 100)).send(s(0, 100, 700)).send(c(100, 700, 0));
        } => |left| {
            assert_eq!((left.client().bytes, left.client().segments), (100, 4));
            assert_eq!((left.server().bytes, left.server().segments), (700, 2));
            assert_eq!(left.client().largest_segment, 100);
        }
        "a super-packet counts as the segments it becomes": |t| {
            t.handshake().send(s(0, 0, 2_100).gso(700)).send(s(2_100, 0, 1_500).gso(700));
        } => |left| {
            assert_eq!((left.server().bytes, left.server().segments), (3_600, 7));
            assert_eq!(left.server().largest_segment, 700);
        }
        "a retransmission of the server counts segments and bytes": |t| {
            t.handshake().send(s(0, 0, 1_400)).wait_ms(300).send(s(0, 0, 1_400));
        } => |left| {
            assert_eq!(left.server().retransmits, 1);
            assert_eq!(left.server().retransmitted_bytes, 1_400);
            assert_eq!(left.server().spurious_retransmits, 0);
        }
        "a retransmitted super-packet that overlaps old data in part counts that part": |t| {
            t.handshake().send(s(0, 0, 1_400).gso(700)).send(s(700, 0, 2_100).gso(700));
        } => |left| {
            assert_eq!(left.server().retransmits, 1);
            assert_eq!(left.server().retransmitted_bytes, 700);
            assert_eq!(left.server().seq_next, ISN_SERVER + 1 + 2_800);
        }
        "a retransmission of what was acknowledged is spurious": |t| {
            t.handshake().send(s(0, 0, 1_000)).send(c(0, 1_000, 0)).send(s(0, 0, 1_000));
        } => |left| {
            assert_eq!(left.server().retransmits, 1);
            assert_eq!(left.server().spurious_retransmits, 1);
        }
        "a hole that is filled within half a round trip was overtaken": |t| {
            t.handshake().send(c(1_000, 0, 1_000)).wait_ms(9).send(c(0, 0, 1_000));
        } => |left| {
            assert_eq!(left.client().out_of_order, 1);
            assert_eq!(left.client().retransmits, 0);
        }
        "a hole that is filled a round trip later is a retransmission, though the handshake took longer": |t| {
            t.handshake().send(c(1_000, 0, 1_000)).send(s(0, 0, 0)).wait_ms(15).send(c(0, 0, 1_000));
        } => |left| {
            assert_eq!(left.session().head.rtt.min_us, 20_000);
            assert_eq!(left.client().out_of_order, 0);
            assert_eq!(left.client().retransmits, 1);
        }
        "several segments overtaken at once are all out of order": |t| {
            t.handshake().send(c(1_000, 0, 1_000)).send(c(3_000, 0, 1_000));
            t.wait_ms(2).send(c(0, 0, 1_000)).send(c(2_000, 0, 1_000));
        } => |left| {
            assert_eq!(left.client().out_of_order, 2);
            assert_eq!(left.client().retransmits, 0);
        }
        "several lost segments are retransmissions, each": |t| {
            t.handshake().send(c(1_000, 0, 1_000)).send(s(0, 0, 0)).send(c(3_000, 0, 1_000)).send(s(0, 0, 0));
            t.wait_ms(30).send(c(0, 0, 1_000)).send(s(0, 2_000, 0)).send(c(2_000, 0, 1_000)).send(s(0, 4_000, 0));
        } => |left| {
            assert_eq!(left.client().out_of_order, 0);
            assert_eq!((left.client().retransmits, left.client().retransmitted_bytes), (2, 2_000));
            assert_eq!(left.client().spurious_retransmits, 0);
        }
        "a merged buffer counts each of its segments by what that one repeats": |t| {
            t.handshake().send(c(700, 0, 700).gso(700));
            t.wait_ms(2).send(c(0, 0, 2_100).gso(700));
        } => |left| {
            assert_eq!((left.client().out_of_order, left.client().retransmits), (1, 1));
            assert_eq!(left.client().retransmitted_bytes, 700);
            assert_eq!(left.client().seq_next, ISN_CLIENT + 1 + 2_100);
        }
        "a D-SACK reports what came twice, in segments": |t| {
            t.handshake().send(s(0, 0, 1_400)).send(s(1_400, 0, 1_400)).wait_ms(300);
            t.send(s(0, 0, 1_400)).send(s(1_400, 0, 1_400)).wait_ms(20);
            t.send(c(0, 2_800, 0).sack(&[(0, 2_800)])).send(c(0, 2_800, 0).sack(&[(3_000, 4_000)]));
        } => |left| {
            assert_eq!(left.server().retransmits, 2);
            assert_eq!((left.client().dsack_dups, left.server().dsack_dups), (2, 0));
        }
        "the byte of a keepalive, reported as received twice, was no copy": |t| {
            t.handshake().send(c(0, 0, 100)).send(s(0, 100, 0)).wait_ms(60_000).send(c(99, 0, 1));
            t.send(s(0, 100, 0).sack(&[(99, 100)]));
        } => |left| {
            assert_eq!((left.client().keepalives, left.server().dsack_dups), (1, 0));
        }
        "a client that reports more as received twice than there is room to count": |t| {
            t.handshake().send(s(0, 0, 1)).send(c(0, 1, 0).window(u16::MAX));
            for _ in 0..300 {
                t.send(c(0, 1, 0).window(u16::MAX).sack(&[(3_000_000_000, 3_016_000_000)]));
            }
        } => |left| {
            assert_eq!((left.server().bytes, left.client().dsack_dups), (1, u32::MAX));
        }
        "a gap that was filled does not come back when the numbers have gone round": |t| {
            t.handshake().send(c(1_000, 0, 500)).send(c(500, 0, 500)).send(c(0, 0, 500)).send(s(0, 1_500, 0));
            for turn in 1..=5 {
                let end = turn << 29;
                t.send(s(0, end, 0)).send(c(end, 0, 1_000)).send(s(0, end + 1_000, 0));
            }
            t.send(c((5 << 29) + 2_000, 0, 0).flags(RST));
        } => |left| {
            assert!(!left.session().ended());
            assert_eq!(left.client().resets, 1);
        }
        "a hole that is filled later is a retransmission": |t| {
            t.handshake().send(c(1_000, 0, 1_000)).wait_ms(200).send(c(0, 0, 1_000));
        } => |left| {
            assert_eq!(left.client().out_of_order, 0);
            assert_eq!(left.client().retransmits, 1);
        }
        "a needless copy from the client is spurious": |t| {
            t.handshake().send(c(0, 0, 1_000)).send(s(0, 1_000, 0)).wait_ms(1).send(c(0, 0, 1_000));
        } => |left| {
            assert_eq!(left.client().retransmits, 1);
            assert_eq!(left.client().spurious_retransmits, 1);
        }
        "a retransmitted FIN is a retransmission of one segment": |t| {
            t.handshake().send(s(0, 0, 0).flags(FIN | ACK)).wait_ms(300).send(s(0, 0, 0).flags(FIN | ACK));
        } => |left| {
            assert_eq!((left.server().fins, left.server().retransmits), (2, 1));
            assert_eq!(left.server().retransmitted_bytes, 0);
        }
        "sequence numbers go round": |t| {
            t.start_at(u32::MAX - 500, u32::MAX - 700);
            t.handshake().send(c(0, 0, 1_000)).send(s(0, 1_000, 1_400)).send(c(1_000, 1_400, 10));
        } => |left| {
            assert_eq!((left.client().bytes, left.server().bytes), (1_010, 1_400));
            assert_eq!((left.client().retransmits, left.server().retransmits), (0, 0));
            assert_eq!(left.server().seq_next, (u32::MAX - 700).wrapping_add(1_401));
        }
        "the round trip is sampled from the server's data to the client's ACK": |t| {
            t.handshake().send(s(0, 0, 1_000)).wait_ms(80).send(c(0, 1_000, 0));
        } => |left| {
            let rtt = left.session().head.rtt;
            assert_eq!((rtt.min_us, rtt.max_us), (20_000, 80_000));
            assert_eq!(rtt.smoothed_us, 20_000 - 20_000 / 8 + 80_000 / 8);
        }
        "no round trip is sampled over a retransmission (Karn)": |t| {
            t.handshake().send(s(0, 0, 1_000)).wait_ms(300).send(s(0, 0, 1_000)).wait_ms(50).send(c(0, 1_000, 0));
        } => |left| {
            assert_eq!(left.session().head.rtt.max_us, 20_000);
        }
        "duplicate ACKs count while data is outstanding": |t| {
            t.handshake().send(s(0, 0, 1_000)).send(s(1_000, 0, 1_000));
            t.send(c(0, 0, 0)).send(c(0, 0, 0)).send(c(0, 2_000, 0)).send(c(0, 2_000, 0));
        } => |left| {
            assert_eq!(left.client().duplicate_acks, 2);
        }
        "a window update is no duplicate ACK": |t| {
            t.handshake().send(s(0, 0, 1_000)).send(c(0, 0, 0).window(2_000));
        } => |left| {
            assert_eq!(left.client().duplicate_acks, 0);
        }
    }
}
