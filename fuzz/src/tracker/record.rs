//! What holds for a record at all times, and what it grows by.

use sstpulse_common::{DirectionRecord, SessionRecord, record::Rtt};

/// How much the counters of one direction have grown.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Growth {
    pub(super) bytes: u64,
    pub(super) segments: u64,
    pub(super) retransmitted_bytes: u64,
    pub(super) retransmits: u64,
    pub(super) spurious: u64,
    pub(super) out_of_order: u64,
    pub(super) duplicate_acks: u64,
    pub(super) zero_window_segments: u64,
    pub(super) stalls: u64,
    pub(super) stalled_ms: u64,
    pub(super) window_probes: u64,
    pub(super) keepalives: u64,
    pub(super) dsack_dups: u64,
    pub(super) resets: u64,
    pub(super) fins: u64,
}

impl Growth {
    /// Panics if a counter has gone back.
    pub(super) fn of(before: DirectionRecord, after: DirectionRecord) -> Self {
        let grown = |before: u32, after: u32| grown(before.into(), after.into());
        Self {
            bytes: self::grown(before.bytes, after.bytes),
            segments: self::grown(before.segments, after.segments),
            retransmitted_bytes: self::grown(before.retransmitted_bytes, after.retransmitted_bytes),
            retransmits: grown(before.retransmits, after.retransmits),
            spurious: grown(before.spurious_retransmits, after.spurious_retransmits),
            out_of_order: grown(before.out_of_order, after.out_of_order),
            duplicate_acks: grown(before.duplicate_acks, after.duplicate_acks),
            zero_window_segments: grown(before.zero_window_segments, after.zero_window_segments),
            stalls: grown(before.zero_window_stalls, after.zero_window_stalls),
            stalled_ms: grown(before.stalled_ms, after.stalled_ms),
            window_probes: grown(before.window_probes, after.window_probes),
            keepalives: grown(before.keepalives, after.keepalives),
            dsack_dups: grown(before.dsack_dups, after.dsack_dups),
            resets: grown(before.resets.into(), after.resets.into()),
            fins: grown(before.fins.into(), after.fins.into()),
        }
    }
}

fn grown(before: u64, after: u64) -> u64 {
    after.checked_sub(before).expect("a counter went back")
}

/// What holds for every session.
pub(super) fn sound(record: &SessionRecord, now: u64) {
    let SessionRecord {
        head,
        from_client,
        from_server,
        // Nothing is in the segments that one could see.
        client_trail: _,
        server_trail: _,
    } = record;
    assert!(head.start_ns <= now);
    round_trips(&head.rtt);
    for side in [from_client, from_server] {
        direction(side, head.start_ns, now);
    }
    ends(from_client, from_server);
    // New data shows who had sent the RST that ended the session.
    let after_reset = from_client.has(DirectionRecord::AFTERWARDS);
    assert!(!after_reset || from_client.has(DirectionRecord::RESET_ENDED));
}

/// The smallest, the smoothed and the largest are known together, and lie in this order.
fn round_trips(rtt: &Rtt) {
    let Rtt {
        handshake_us,
        min_us,
        smoothed_us,
        max_us,
    } = *rtt;
    assert!(min_us <= smoothed_us && smoothed_us <= max_us);
    assert_eq!(min_us == 0, max_us == 0);
    assert!(handshake_us == 0 || (min_us..=max_us).contains(&handshake_us));
}

fn direction(side: &DirectionRecord, start_ns: u64, now: u64) {
    assert!(side.last_seen_ns <= now);
    assert!(side.spurious_retransmits <= side.retransmits);
    assert!(side.retransmitted_bytes <= side.bytes);
    assert!(u64::from(side.largest_segment) <= side.bytes);
    // Each segment is one of these at most.
    let apart = [
        side.retransmits,
        side.out_of_order,
        side.duplicate_acks,
        side.window_probes,
        side.keepalives,
    ];
    assert!(apart.map(u64::from).iter().sum::<u64>() <= side.segments);
    assert!(u64::from(side.zero_window_segments) <= side.segments);
    // RSTs count outside of the windows, too.
    assert!(u64::from(side.fins) <= side.segments);
    stalls(side, start_ns, now);
    let flags = [
        (DirectionRecord::FIN_SENT, side.fins > 0),
        (DirectionRecord::RESET_ENDED, side.resets > 0),
        (DirectionRecord::RESET, side.resets > 0),
    ];
    for (flag, seen) in flags {
        assert!(!side.has(flag) || seen);
    }
    assert!(!side.has(DirectionRecord::RESET_ENDED) || side.has(DirectionRecord::RESET));
    assert!(!side.has(DirectionRecord::RESET_ENDED) || side.has(DirectionRecord::ENDED));
}

/// Stalls begin with a segment, one after the other, and last no longer than the session.
fn stalls(side: &DirectionRecord, start_ns: u64, now: u64) {
    assert!(side.zero_window_stalls <= side.zero_window_segments);
    assert!(side.longest_stall_ms <= side.stalled_ms);
    assert!(side.stalled_ms == 0 || side.zero_window_stalls > 0);
    if side.stall_since_ms != 0 {
        assert_eq!(side.window, 0);
        assert!(side.zero_window_stalls > 0);
    }
    let stalled_ms = u64::from(side.stalled_ms) + u64::from(side.stalling_ms(now));
    assert!(stalled_ms <= now / 1_000_000 - start_ns / 1_000_000);
}

/// One side closes first, and a segment of one side ends the session.
fn ends(client: &DirectionRecord, server: &DirectionRecord) {
    let both = |flag: u8| [client, server].map(|side| side.has(flag));
    let closed = [DirectionRecord::FIN_SENT, DirectionRecord::RESET]
        .iter()
        .any(|flag| both(*flag) != [false; 2]);
    let first = both(DirectionRecord::FIRST_TO_CLOSE);
    assert_eq!(first[0] || first[1], closed);
    assert_ne!(first, [true; 2], "both were first");
    let ended = both(DirectionRecord::ENDED);
    assert_ne!(ended, [true; 2], "it ended twice");
    let finished = both(DirectionRecord::FIN_SENT) == [true; 2];
    let reset = both(DirectionRecord::RESET) != [false; 2];
    assert!(ended == [false; 2] || finished || reset);
}
