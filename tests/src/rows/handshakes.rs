//! How connections begin.

use sstpulse_common::{DirectionRecord, HalfOpen, counters::Counter};

use super::{ACK, RST, Row, rows};
use crate::conversation::{ISN_CLIENT, ISN_SERVER, c, s};

#[rustfmt::skip]
#[expect(clippy::too_many_lines, reason = "it is a table")]
pub(super) fn handshakes() -> Vec<Row> {
    rows! {
        "a SYN alone is an attempt, and no session": |t| {
            t.syn();
        } => |left| {
            assert!(left.session.is_none());
            assert_eq!(left.attempt.unwrap().syns, 1);
            assert_eq!(left.counters.get(Counter::HalfOpenInserted), 1);
        }
        "a handshake is a session, with what both sides announced": |t| {
            t.handshake();
        } => |left| {
            let session = left.session();
            assert!(!session.is_midstream());
            assert_eq!((left.client().mss, left.server().mss), (1460, 1400));
            assert_eq!((left.client().window_scale, left.server().window_scale), (8, 7));
            assert_eq!((left.client().segments, left.server().segments), (2, 1));
            assert_eq!(session.head.rtt.handshake_us, 20_000);
            assert!(left.attempt.is_none());
            assert_eq!(left.counters.get(Counter::SessionsFromHandshake), 1);
        }
        "a repeated SYN is counted once the handshake is done": |t| {
            t.syn().wait_ms(1000).syn();
            t.syn_ack().wait_ms(20).send(c(0, 0, 0));
        } => |left| {
            assert_eq!(left.client().syn_retransmits, 1);
            assert_eq!(left.client().segments, 3);
            assert_eq!(left.session().head.rtt.handshake_us, 20_000);
        }
        "a repeated SYN-ACK is counted, and makes the round trip unknown (Karn)": |t| {
            t.syn().syn_ack().wait_ms(1000).syn_ack().wait_ms(20).send(c(0, 0, 0));
        } => |left| {
            assert_eq!(left.server().syn_retransmits, 1);
            assert_eq!(left.session().head.rtt.handshake_us, 0);
        }
        "the server's own segment that completes a handshake tells no round trip": |t| {
            t.syn().syn_ack().wait_ms(5).send(s(0, 0, 300));
        } => |left| {
            assert!(!left.session().is_midstream());
            assert_eq!(left.session().head.rtt.handshake_us, 0);
        }
        "a SYN-ACK repeated after the client's ACK is counted in the session": |t| {
            t.handshake().wait_ms(1000).syn_ack();
        } => |left| {
            assert_eq!(left.server().syn_retransmits, 1);
            assert_eq!(left.server().segments, 2);
            assert!(left.attempt.is_none());
        }
        "an ACK with a wrong number proves nothing": |t| {
            t.syn().syn_ack().send(c(0, 100_000, 0));
        } => |left| {
            assert!(left.session.is_none());
            assert_eq!(left.attempt.unwrap().syn_acks, 1);
        }
        "an ACK or data without a handshake makes no session": |t| {
            t.send(c(0, 0, 0)).send(c(0, 0, 100));
        } => |left| {
            assert!(left.session.is_none());
            assert!(left.attempt.is_none());
        }
        "the server's RST to a stray segment makes no session": |t| {
            t.send(c(0, 0, 100)).send(s(0, 0, 0).flags(RST));
        } => |left| {
            assert!(left.session.is_none());
        }
        "data of the server makes a session in midstream": |t| {
            t.send(s(0, 0, 500)).send(c(0, 500, 0));
        } => |left| {
            assert!(left.session().is_midstream());
            assert_eq!(left.server().bytes, 500);
            assert_eq!(left.server().window_scale, DirectionRecord::SCALE_UNKNOWN);
            assert_eq!(left.counters.get(Counter::SessionsMidstream), 1);
        }
        "data that the host only forwards makes no session": |t| {
            t.send(s(0, 0, 500).forwarded());
        } => |left| {
            assert!(left.session.is_none());
        }
        "the client's first data completes a handshake whose ACK was lost": |t| {
            t.syn().syn_ack().wait_ms(30).send(c(0, 0, 200));
        } => |left| {
            assert!(!left.session().is_midstream());
            assert_eq!(left.client().bytes, 200);
            assert_eq!(left.session().head.rtt.handshake_us, 30_000);
        }
        "a handshake whose data has passed unseen makes no session that would say it saw all": |t| {
            t.syn().syn_ack().send(c(200, 700, 0));
        } => |left| {
            assert!(left.session.is_none());
        }
        "the server refuses with a RST": |t| {
            t.syn().send(s(0, 0, 0).flags(RST | ACK));
        } => |left| {
            assert!(left.session.is_none());
            assert_eq!(left.attempt.unwrap().reset_by, HalfOpen::RESET_BY_SERVER);
        }
        "a scanner takes its attempt back with a RST": |t| {
            t.syn().syn_ack().send(c(0, 0, 0).flags(RST));
        } => |left| {
            assert!(left.session.is_none());
            assert_eq!(left.attempt.unwrap().reset_by, HalfOpen::RESET_BY_CLIENT);
        }
        "a forged RST with a wrong number ends no attempt": |t| {
            t.syn().send(c(500, 0, 0).flags(RST));
        } => |left| {
            assert_eq!(left.attempt.unwrap().reset_by, HalfOpen::NOT_RESET);
        }
        "a new SYN-ACK on the ports of a session supersedes it": |t| {
            t.handshake().send(c(0, 0, 100)).wait_ms(5_000);
            t.syn_with(ISN_CLIENT + 500_000).syn_ack_with(ISN_SERVER + 900_000, ISN_CLIENT + 500_000);
            t.send(c(500_000, 900_000, 10));
        } => |left| {
            assert_eq!(left.client().bytes, 10);
            assert_eq!(left.counters.get(Counter::SessionsFromHandshake), 2);
        }
        "a forged SYN on the ports of a session changes nothing": |t| {
            t.handshake().send(c(0, 0, 100)).syn_with(ISN_CLIENT + 77).send(c(100, 0, 100));
        } => |left| {
            assert_eq!(left.client().bytes, 200);
            assert_eq!(left.attempt.unwrap().over_session, 1);
        }
        "a SYN on the ports of a session that has ended is an attempt like others": |t| {
            t.handshake().send(c(0, 0, 0).flags(RST)).syn_with(ISN_CLIENT + 77);
        } => |left| {
            assert_eq!(left.attempt.unwrap().over_session, 0);
        }
        "what comes after the client's RST begins no session": |t| {
            t.syn().syn_ack().send(c(0, 0, 0).flags(RST)).send(c(0, 0, 100));
        } => |left| {
            assert!(left.session.is_none());
            assert_eq!(left.counters.get(Counter::NoSession), 1);
        }
        "a window scale that only one side announced is not used": |t| {
            t.syn().syn_ack_bare().send(c(0, 0, 0).window(5_000));
        } => |left| {
            assert_eq!(left.client().window_scale, 0);
            assert_eq!(left.client().largest_window(), 5_000);
        }
    }
}
