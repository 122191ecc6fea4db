//! What the agent is told at once, and what a record keeps for verdicts.

use sstpulse_common::{
    DirectionRecord, Side, Told,
    counters::Counter,
    track::{PAUSE_NS, REPETITIONS},
};

use super::{ACK, FIN, RST, Row, rows};
use crate::conversation::{ISN_CLIENT, ISN_SERVER, c, s};

const PAUSE_MS: u64 = PAUSE_NS / 1_000_000;

#[rustfmt::skip]
#[expect(clippy::too_many_lines, reason = "it is a table")]
pub(super) fn notices() -> Vec<Row> {
    rows! {
        "beginning, first FIN and end are told, each once and of the side that brought it": |t| {
            t.handshake().send(s(0, 0, 0).flags(FIN | ACK)).send(c(0, 1, 0).flags(FIN | ACK)).send(s(1, 1, 0));
        } => |left| {
            let told: Vec<_> = left.notices().map(|notice| (notice.side(), u32::from(notice.told))).collect();
            assert_eq!(told, [
                (Side::Client, Told::SESSION_START.0),
                (Side::Server, Told::CLOSING.0),
                (Side::Server, Told::SESSION_END.0),
            ]);
        }
        "a notice has what the segment had": |t| {
            t.handshake().send(c(0, 0, 200)).wait_ms(7).send(c(200, 0, 0).flags(RST | ACK).ttl(49).window(77));
        } => |left| {
            let notice = left.notices().last().unwrap();
            assert_eq!((notice.seq, notice.ack), (ISN_CLIENT + 201, ISN_SERVER + 1));
            assert_eq!((notice.ttl, notice.flags, notice.window, notice.payload), (49, RST | ACK, 77, 0));
            assert_eq!(notice.start_ns, left.session().head.start_ns);
            assert_eq!(notice.time_ns, left.client().last_seen_ns);
            assert!([Told::RESET, Told::CLOSING, Told::SESSION_END].iter().all(|told| notice.tells(*told)));
        }
        "a new connection on the same ports ends the old one": |t| {
            t.handshake().send(s(0, 0, 100)).wait_ms(10);
            t.syn_with(ISN_CLIENT + 90_000_000).syn_ack_with(ISN_SERVER + 90_000_000, ISN_CLIENT + 90_000_000);
        } => |left| {
            assert_eq!(left.told(Side::Server, Told::SESSION_END), 1);
        }
        "of each side's RSTs the first eight are told, whether they have an effect or not": |t| {
            t.handshake();
            for _ in 0..6 {
                t.send(c(5_000, 0, 0).flags(RST)).send(c(20_000_000, 0, 0).flags(RST)).send(s(5_000, 0, 0).flags(RST));
            }
        } => |left| {
            assert!(!left.session().ended());
            assert_eq!((left.client().resets, left.server().resets), (12, 6));
            assert_eq!(left.counters.get(Counter::OutOfWindow), 6);
            assert_eq!(left.told(Side::Client, Told::RESET), 8);
            assert_eq!(left.told(Side::Server, Told::RESET), 6);
        }
        "what the server sends again after a pause was a timeout, sooner it answers the client": |t| {
            t.handshake().send(s(0, 0, 1_000)).wait_ms(60).send(s(0, 0, 1_000));
            t.wait_ms(PAUSE_MS + 70).send(s(0, 0, 1_000));
        } => |left| {
            assert_eq!(left.server().retransmits, 2);
            assert_eq!(left.told(Side::Server, Told::TIMEOUT), 1);
        }
        "new data after a pause is no timeout, nor is a keepalive": |t| {
            t.handshake().send(s(0, 0, 1_000)).send(c(0, 1_000, 0)).wait_ms(5_000).send(s(1_000, 0, 1_000));
            t.send(c(0, 2_000, 0)).wait_ms(60_000).send(s(1_999, 0, 0));
        } => |left| {
            assert_eq!(left.server().keepalives, 1);
            assert_eq!(left.told(Side::Server, Told::TIMEOUT), 0);
        }
        "what a client sends again is no timeout of the server": |t| {
            t.handshake().send(c(0, 0, 1_000)).send(s(0, 1_000, 0)).wait_ms(1_000).send(c(0, 0, 1_000));
        } => |left| {
            assert_eq!(left.client().retransmits, 1);
            assert_eq!(left.told(Side::Client, Told::TIMEOUT) + left.told(Side::Server, Told::TIMEOUT), 0);
        }
        "of segments sent again every sixteenth is told, of each side": |t| {
            t.handshake().send(c(0, 0, 100)).send(s(0, 100, 1_000));
            for _ in 0..=REPETITIONS {
                t.wait_ms(1).send(s(0, 100, 1_000)).send(c(0, 0, 100));
            }
            for _ in 0..REPETITIONS {
                t.wait_ms(1).send(s(0, 100, 1_000));
            }
        } => |left| {
            assert_eq!((left.client().retransmits, left.server().retransmits), (17, 33));
            assert_eq!(left.told(Side::Client, Told::REPETITIONS), 1);
            assert_eq!(left.told(Side::Server, Told::REPETITIONS), 2);
        }
        "a window that closes is told once, and once more when it closes again": |t| {
            t.handshake().send(s(0, 0, 1_000)).send(c(0, 1_000, 0).window(0)).wait_ms(200).send(c(0, 1_000, 0).window(0));
            t.send(c(0, 1_000, 0).window(900)).send(c(0, 1_000, 0).window(0)).send(s(1_000, 0, 0).window(0));
        } => |left| {
            assert_eq!(left.told(Side::Client, Told::WINDOW_CLOSED), 2);
            assert_eq!(left.told(Side::Server, Told::WINDOW_CLOSED), 1);
        }
        "a round trip of four times the shortest is inflated if it takes 200 ms more": |t| {
            t.handshake().send(s(0, 0, 1_000)).wait_ms(219).send(c(0, 1_000, 0));
            t.send(s(1_000, 0, 1_000)).wait_ms(220).send(c(0, 2_000, 0));
        } => |left| {
            assert_eq!((left.session().head.rtt.min_us, left.session().head.rtt.max_us), (20_000, 220_000));
            assert_eq!(left.told(Side::Client, Told::RTT_INFLATED), 1);
        }
        "a round trip that takes 200 ms more, of a path that long, is not": |t| {
            t.syn().syn_ack().wait_ms(100).send(c(0, 0, 0));
            t.send(s(0, 0, 1_000)).wait_ms(399).send(c(0, 1_000, 0));
        } => |left| {
            assert_eq!(left.session().head.rtt.max_us, 399_000);
            assert_eq!(left.told(Side::Client, Told::RTT_INFLATED), 0);
        }
        "new data after the RST that ended the session: somebody else had sent that": |t| {
            t.handshake().send(c(0, 0, 100)).send(c(100, 0, 0).flags(RST | ACK)).send(c(100, 0, 50));
        } => |left| {
            assert!(left.client().has(DirectionRecord::RESET_ENDED));
            assert!(left.client().has(DirectionRecord::AFTERWARDS));
        }
        "a copy of old data after the RST is no sign of that": |t| {
            t.handshake().send(c(0, 0, 100)).send(c(100, 0, 0).flags(RST | ACK)).wait_ms(1).send(c(0, 0, 100));
        } => |left| {
            assert!(left.client().has(DirectionRecord::RESET_ENDED));
            assert!(!left.client().has(DirectionRecord::AFTERWARDS));
        }
        "new data after a RST without effect is none either": |t| {
            t.handshake().send(c(0, 0, 100)).send(c(5_000, 0, 0).flags(RST | ACK)).send(c(100, 0, 50));
        } => |left| {
            assert!(!left.session().ended());
            assert!(!left.client().has(DirectionRecord::AFTERWARDS));
        }
        "a SYN-ACK that comes again after the ACK shows that there was no room to accept": |t| {
            t.handshake().wait_ms(1_000).syn_ack();
        } => |left| {
            assert!(left.server().has(DirectionRecord::AFTERWARDS));
            assert_eq!(left.server().syn_retransmits, 1);
        }
        "one that came again before the ACK does not": |t| {
            t.syn().syn_ack().wait_ms(1_000).syn_ack().send(c(0, 0, 0));
        } => |left| {
            assert!(!left.server().has(DirectionRecord::AFTERWARDS));
            assert_eq!(left.server().syn_retransmits, 1);
        }
        "a client that reports bytes beyond its ACK has a hole": |t| {
            t.handshake().send(s(0, 0, 1_000)).send(s(1_000, 0, 1_000)).send(c(0, 0, 0).sack(&[(1_000, 2_000)]));
        } => |left| {
            assert!(left.client().has(DirectionRecord::HOLE_REPORTED));
        }
        "which is filled once it acknowledges more, and reports none beyond that": |t| {
            t.handshake().send(s(0, 0, 1_000)).send(s(1_000, 0, 1_000)).send(c(0, 0, 0).sack(&[(1_000, 2_000)]));
            t.send(s(0, 0, 1_000)).send(c(0, 2_000, 0));
        } => |left| {
            assert!(!left.client().has(DirectionRecord::HOLE_REPORTED));
        }
        "an ACK that fills one hole, and reports the next, has one": |t| {
            t.handshake().send(s(0, 0, 2_000)).send(s(2_000, 0, 2_000)).send(c(0, 0, 0).sack(&[(3_000, 4_000), (1_000, 2_000)]));
            t.send(s(0, 0, 1_000)).send(c(0, 2_000, 0).sack(&[(3_000, 4_000)]));
        } => |left| {
            assert!(left.client().has(DirectionRecord::HOLE_REPORTED));
        }
        "a D-SACK below the ACK reports no hole": |t| {
            t.handshake().send(s(0, 0, 1_000)).send(c(0, 1_000, 0)).send(s(0, 0, 1_000)).send(c(0, 1_000, 0).sack(&[(0, 1_000)]));
        } => |left| {
            assert_eq!(left.client().dsack_dups, 1);
            assert!(!left.client().has(DirectionRecord::HOLE_REPORTED));
        }
    }
}
