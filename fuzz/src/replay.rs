//! Any bytes as a capture, through the whole replay.

use std::{collections::BTreeSet, io::Read, num::NonZeroUsize, ops::ControlFlow, time::Duration};

use sstpulse::{
    diagnosis::{ClusterLimits, Thresholds},
    event::{CaptureStats, PassedOverStats, ReplayStopReason, SessionStats},
    output::Output,
    replay::{CaptureEvent, Config, Limits, Summary, Timeline, read},
};

/// Replays a capture, and checks what it is said to hold.
pub fn check(input: &[u8]) {
    let pieces = in_pieces(input);
    let mut timeline = Timeline::new(config(), None, Output::discard(), false);
    let result = timeline.read(input, || false);
    let error = result.err().map(|error| error.to_string());
    let unreadable = timeline.unreadable().is_some();
    let reason = match error {
        None => ReplayStopReason::EndOfCapture,
        Some(_) => ReplayStopReason::Failure,
    };
    let summary = timeline
        .finish(reason, error.as_deref())
        .expect("the output takes everything");

    let capture = &summary.capture;
    assert_eq!(pieces.error, error);
    assert_eq!(
        (pieces.packets, pieces.bytes),
        (capture.packets, capture.bytes)
    );
    assert!(!unreadable || capture.unknown_link_type == capture.packets);
    packets(&summary);
    sessions(&summary);
}

/// Small tables, so that they fill.
fn config() -> Config {
    Config {
        ports: BTreeSet::from([443]),
        servers: Vec::new(),
        interval: Duration::from_secs(10),
        dead_after: Duration::from_mins(15),
        limits: Limits {
            sessions: 64,
            half_open: NonZeroUsize::new(64).expect("it is not zero"),
        },
        thresholds: Thresholds::default(),
        cluster_limits: ClusterLimits::default(),
    }
}

/// What a capture holds, counted without a replay.
#[derive(Default)]
struct Held {
    packets: u64,
    bytes: u64,
    error: Option<String>,
}

/// Reads a capture as a pipe brings it. It must not matter where a piece ends.
fn in_pieces(input: &[u8]) -> Held {
    let mut held = Held::default();
    let pieces = Pieces {
        rest: input,
        most: 1 + input.len() % 997,
    };
    let result = read(pieces, |event| {
        if let CaptureEvent::Packet(packet) = event {
            held.packets += 1;
            held.bytes += u64::from(packet.length);
        }
        ControlFlow::Continue(())
    });
    held.error = result.err().map(|error| error.to_string());
    held
}

/// Bytes that come a few at a time.
struct Pieces<'a> {
    rest: &'a [u8],
    most: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = buffer.len().min(self.most);
        self.rest.read(&mut buffer[..length])
    }
}

/// Each packet is in at most one of the counts of what is not followed.
fn packets(summary: &Summary) {
    let CaptureStats {
        packets,
        bytes,
        first,
        last,
        other,
        truncated,
        payload_cut,
        unknown_link_type,
        time_corrected,
    } = summary.capture;
    let PassedOverStats {
        fragments,
        malformed,
        out_of_window,
        other_interface,
        no_session,
    } = summary.totals.passed_over;
    let passed_over = fragments + malformed + out_of_window + other_interface + no_session;
    let attempts = &summary.totals.attempts;
    let not_followed = other + truncated + unknown_link_type + passed_over;
    assert!(not_followed <= packets);
    // Those were parsed, whatever they turned out to be.
    assert!(payload_cut + other + truncated + unknown_link_type <= packets);
    assert!(time_corrected <= packets);
    assert!(bytes <= packets * u64::from(u32::MAX));
    assert_eq!(
        (first.is_some(), last.is_some()),
        (packets > 0, packets > 0)
    );
    assert!(first.map(|time| time.0) <= last.map(|time| time.0));
    // Each begins with a packet that is in no other count.
    let attempted = attempts.half_open + attempts.failed + attempts.displaced;
    assert!(attempted + not_followed <= packets);
}

/// Sessions and lines add up.
fn sessions(summary: &Summary) {
    let SessionStats {
        live,
        capacity,
        started,
        started_midstream,
        ended,
        ended_fin,
        ended_reset,
        ended_dead,
        ended_superseded,
    } = summary.totals.sessions;
    assert_eq!(started, live + ended);
    assert_eq!(
        ended,
        ended_fin + ended_reset + ended_dead + ended_superseded
    );
    assert!(started_midstream <= started);
    assert!(started <= summary.capture.packets);
    assert!(live <= u64::from(capacity));
    let attempts = &summary.totals.attempts;
    let told = attempts.failed - attempts.unreported;
    // A beginning and an end of each session, each failed attempt, and the beginning of the
    // replay.
    assert!(2 * started + told < summary.totals.lines);
}
