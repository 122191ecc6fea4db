//! Ends that live, and do not do their part.

use sstpulse_common::Side;

use super::{
    Facts, Finding, Thresholds, milliseconds, nanoseconds,
    path::{has_hole, is_stuck},
    protocol::was_up,
};
use crate::event::{CloseBy, CloseHow, Confidence, Counters, Evidence, Party};

/// Hellos without an answer that show a hung peer, however short their interval is.
const MANY_ECHOES: u32 = 3;

/// When the client last spoke is known no better.
const EXACT_NS: u64 = 67_108_864;

/// The server's hello was delivered, and nobody answered, until the server gave up.
pub(super) fn hung(facts: &Facts<'_>, thresholds: &Thresholds) -> Option<Finding> {
    // What the server says last is its abort, which nobody is to answer.
    let echoes = facts
        .sayings
        .unanswered_echoes(facts.client_spoke_ns.saturating_sub(EXACT_NS))
        .min(u32::from(u8::MAX));
    let silent_ns = facts.closed_ns().saturating_sub(facts.client_spoke_ns);
    // TCP acknowledged everything: the path is well.
    let delivered = facts.timeouts.is_none_or(|timeouts| {
        timeouts.last_ns < facts.client_spoke_ns
            || facts.record.from_client.ack != timeouts.acknowledged
    }) && facts.record.from_client.last_seen_ns > facts.client_spoke_ns + EXACT_NS;
    let gave_up = facts.end.by == CloseBy::Server || facts.end.how == CloseHow::Dead;
    let long = silent_ns >= nanoseconds(thresholds.hello) || echoes >= MANY_ECHOES;
    let hangs = delivered && !has_hole(facts) && !is_stuck(facts, thresholds);
    (was_up(facts) && echoes > 0 && hangs && gave_up && long).then(|| Finding {
        confidence: Confidence::High,
        by: Party::Client,
        evidence: Evidence {
            age_ms: Some(milliseconds(facts.age_ns())),
            unanswered_echoes: Some(echoes),
            client_took_ms: Some(milliseconds(silent_ns)),
            ..Evidence::default()
        },
    })
}

pub(super) fn client_zero_window(facts: &Facts<'_>, thresholds: &Thresholds) -> Option<Finding> {
    zero_window(facts, thresholds, Side::Client)
}

pub(super) fn server_zero_window(facts: &Facts<'_>, thresholds: &Thresholds) -> Option<Finding> {
    zero_window(facts, thresholds, Side::Server)
}

/// A side did not read: its window was closed for long, or again and again.
fn zero_window(facts: &Facts<'_>, thresholds: &Thresholds, side: Side) -> Option<Finding> {
    const MANY_STALLS: u32 = 3;

    let (counters, by): (&Counters, _) = match side {
        Side::Client => (&facts.from_client, Party::Client),
        Side::Server => (&facts.from_server, Party::Server),
    };
    let window = counters.zero_window;
    let minutes = facts.age_ns().div_ceil(60_000_000_000).max(1);
    let allowed_ms = milliseconds(nanoseconds(thresholds.stalled_per_minute)) * minutes;
    let long = u64::from(window.stalled_ms) >= allowed_ms;
    // A window that closes for a moment is how a fast sender is slowed down.
    let stall_ms = milliseconds(nanoseconds(thresholds.stall));
    let each = u64::from(window.stalled_ms) >= u64::from(window.stalls) * stall_ms;
    (long || (window.stalls >= MANY_STALLS && each)).then(|| Finding {
        confidence: Confidence::High,
        by,
        evidence: Evidence {
            age_ms: Some(milliseconds(facts.age_ns())),
            stalls: Some(window.stalls),
            stalled_ms: Some(window.stalled_ms),
            ..Evidence::default()
        },
    })
}
