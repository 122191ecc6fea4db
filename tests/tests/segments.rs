//! What segments mean: a table of conversations, each with what it must leave behind.
//!
//! Every row goes through the native tracker and, packet by packet, through the programs
//! in the kernel; both must leave the same record, the same attempt, the same counters.

use std::{collections::BTreeSet, num::NonZeroU32};

use lab::{
    conversation::{Conversation, ISN_CLIENT, ISN_SERVER, Link, Network, PORT, c, s},
    require_root,
};
use sstpulse::{
    kernel::{Kernel, Limits, PacketContext},
    report::Flows as _,
};
use sstpulse_common::{
    Counters, DirectionRecord, HalfOpen, SessionRecord, TcpFlags, counters::Counter,
    record::SeenFrom,
};

const FIN: u8 = TcpFlags::FIN;
const ACK: u8 = TcpFlags::ACK;
const RST: u8 = TcpFlags::RST;

/// What a conversation must leave behind.
struct Left<'a> {
    session: Option<&'a SessionRecord>,
    attempt: Option<&'a HalfOpen>,
    counters: Counters,
}

impl Left<'_> {
    fn session(&self) -> &SessionRecord {
        self.session.expect("there is a session")
    }

    fn client(&self) -> &DirectionRecord {
        &self.session().from_client
    }

    fn server(&self) -> &DirectionRecord {
        &self.session().from_server
    }
}

struct Row {
    what: &'static str,
    talk: fn(&mut Conversation),
    expect: fn(&Left<'_>),
}

macro_rules! rows {
    ($($what:literal: |$talk:ident| $conversation:block => |$left:ident| $expect:block)*) => {
        vec![$(Row { what: $what, talk: |$talk| $conversation, expect: |$left| $expect }),*]
    };
}

/// All rows.
fn table() -> Vec<Row> {
    [
        handshakes(),
        data(),
        probes(),
        endings(),
        hostile(),
        wires(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[rustfmt::skip]
#[expect(clippy::too_many_lines, reason = "it is a table")]
fn handshakes() -> Vec<Row> {
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
            assert_eq!(session.head.seen_from, SeenFrom::HANDSHAKE);
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
            assert_eq!(left.session().head.seen_from, SeenFrom::HANDSHAKE);
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
            assert_eq!(left.session().head.seen_from, SeenFrom::MIDSTREAM);
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
            assert_eq!(left.session().head.seen_from, SeenFrom::HANDSHAKE);
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
        "a window scale that only one side announced is not used": |t| {
            t.syn().syn_ack_bare().send(c(0, 0, 0).window(5_000));
        } => |left| {
            assert_eq!(left.client().window_scale, 0);
            assert_eq!(left.client().max_window, 64_000);
        }
    }
}

#[rustfmt::skip]
fn data() -> Vec<Row> {
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
        "a hole that is filled within a round trip was overtaken": |t| {
            t.handshake().send(c(1_000, 0, 1_000)).wait_ms(2).send(c(0, 0, 1_000));
        } => |left| {
            assert_eq!(left.client().out_of_order, 1);
            assert_eq!(left.client().retransmits, 0);
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

#[rustfmt::skip]
fn probes() -> Vec<Row> {
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
    }
}

#[rustfmt::skip]
fn endings() -> Vec<Row> {
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
    }
}

#[rustfmt::skip]
fn hostile() -> Vec<Row> {
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

#[rustfmt::skip]
fn wires() -> Vec<Row> {
    rows! {
        "IPv6": |t| {
            t.network(Network::Ipv6).handshake().send(c(0, 0, 100)).send(s(0, 100, 300));
        } => |left| {
            assert_eq!((left.client().bytes, left.server().bytes), (100, 300));
            assert!(!left.session().head.key.is_ipv4());
        }
        "IPv6 with extension headers": |t| {
            t.network(Network::Ipv6Extensions).handshake().send(c(0, 0, 100)).send(s(0, 100, 300));
        } => |left| {
            assert_eq!((left.client().bytes, left.server().bytes), (100, 300));
            assert_eq!(left.client().mss, 1460);
        }
        "IPv4 with options": |t| {
            t.network(Network::Ipv4Options).handshake().send(c(0, 0, 100)).send(s(0, 100, 300));
        } => |left| {
            assert_eq!((left.client().bytes, left.server().bytes), (100, 300));
            assert_eq!(left.server().mss, 1400);
        }
        "802.1Q": |t| {
            t.link(Link::Vlan).handshake().send(c(0, 0, 100)).send(s(0, 100, 300));
        } => |left| {
            assert_eq!((left.client().bytes, left.server().bytes), (100, 300));
        }
        "802.1ad over 802.1Q (QinQ), with IPv6": |t| {
            t.network(Network::Ipv6).link(Link::QinQ).handshake().send(c(0, 0, 100)).send(s(0, 100, 300));
        } => |left| {
            assert_eq!((left.client().bytes, left.server().bytes), (100, 300));
        }
        "PPPoE": |t| {
            t.link(Link::Pppoe).handshake().send(c(0, 0, 100)).send(s(0, 100, 300));
        } => |left| {
            assert_eq!((left.client().bytes, left.server().bytes), (100, 300));
        }
        "a device without Ethernet headers": |t| {
            t.link(Link::None).handshake().send(c(0, 0, 100)).send(s(0, 100, 300));
        } => |left| {
            assert_eq!((left.client().bytes, left.server().bytes), (100, 300));
        }
        "a device without Ethernet headers, with IPv6": |t| {
            t.link(Link::None).network(Network::Ipv6).handshake().send(c(0, 0, 100)).send(s(0, 100, 300));
        } => |left| {
            assert_eq!((left.client().bytes, left.server().bytes), (100, 300));
        }
    }
}

#[test]
fn the_native_tracker_leaves_what_it_must() {
    for row in table() {
        println!("{}", row.what);
        let mut conversation = Conversation::new(40_000);
        (row.talk)(&mut conversation);
        let native = conversation.replay();
        (row.expect)(&Left {
            session: native.session(&conversation.key()),
            attempt: native.attempt(&conversation.key()).as_ref(),
            counters: native.counters().unwrap(),
        });
    }
}

#[tokio::test]
async fn the_kernel_leaves_the_same_as_the_native_tracker() {
    if !require_root() {
        return;
    }
    let limits = Limits {
        sessions: NonZeroU32::new(1_024).unwrap(),
        half_open: NonZeroU32::new(1_024).unwrap(),
    };
    let ports = BTreeSet::from([PORT]);
    let mut kernel = Kernel::load_for_test_runs(&ports, limits).unwrap();
    for (row, port) in table().into_iter().zip(40_000..) {
        println!("{}", row.what);
        let mut conversation = Conversation::new(port);
        (row.talk)(&mut conversation);
        let native = conversation.replay();
        let before = kernel.counters().unwrap();
        run(&mut kernel, &conversation);

        let key = conversation.key();
        let session = kernel.slots.find(&key).map(|slot| kernel.table.read(slot));
        let attempt = kernel.attempts().find(|(flow, _)| *flow == key);
        assert_eq!(session.as_ref(), native.session(&key), "{}", row.what);
        assert_eq!(
            attempt.map(|(_, found)| found),
            native.attempt(&key),
            "{}",
            row.what
        );
        let mut counted = kernel.counters().unwrap();
        for (now, before) in counted.0.iter_mut().zip(before.0) {
            *now -= before;
        }
        assert_eq!(counted, native.counters().unwrap(), "{}", row.what);
    }
}

/// Runs each packet of a conversation through the program that would see it.
fn run(kernel: &mut Kernel, conversation: &Conversation) {
    const LEAVE_IT_TO_OTHERS: i32 = -1;
    for packet in conversation.packets() {
        let context = PacketContext {
            time_ns: packet.buffer.time_ns,
            gso_segs: packet.buffer.gso.map_or(0, |(segments, _)| segments),
            gso_size: packet.buffer.gso.map_or(0, |(_, size)| size),
            ingress_ifindex: u32::from(packet.buffer.forwarded),
        };
        let verdict = kernel
            .run(conversation.framing(), packet.side, &packet.bytes, context)
            .unwrap();
        assert_eq!(verdict, LEAVE_IT_TO_OTHERS);
    }
}
