//! How well a session did in an interval.

use super::{Thresholds, percent};
use crate::event::{Counters, Grade, Health, HealthReason};

/// What an interval brought.
#[derive(Clone, Copy, Debug)]
pub struct Interval<'a> {
    /// What the client sent.
    pub from_client: &'a Counters,
    /// What the server sent.
    pub from_server: &'a Counters,
    /// The round-trip time is inflated at its end.
    pub rtt_inflated: bool,
    /// The server's segments are not acknowledged at its end.
    pub path_stalled: bool,
}

/// Fewer segments than this say nothing about a path.
const LEAST_SEGMENTS: u64 = 20;

/// Time with a closed window that one would complain of, in milliseconds.
const LONG_STALL_MS: u32 = 1_000;

/// How well a session did in an interval.
pub fn health(interval: &Interval<'_>, thresholds: &Thresholds) -> Health {
    use HealthReason::{
        ClientWindowStalled, LossFromClient, LossFromServer, PathStalled, RttInflated,
        ServerWindowStalled,
    };

    let Interval {
        from_client,
        from_server,
        rtt_inflated,
        path_stalled,
    } = *interval;
    let when = |there: bool, grade: Grade| if there { grade } else { Grade::Good };
    let found = [
        (LossFromClient, loss(from_client, thresholds)),
        (LossFromServer, loss(from_server, thresholds)),
        (ClientWindowStalled, stall(from_client)),
        (ServerWindowStalled, stall(from_server)),
        (RttInflated, when(rtt_inflated, Grade::Fair)),
        (PathStalled, when(path_stalled, Grade::Poor)),
    ];
    let bad = || found.iter().filter(|(_, grade)| *grade != Grade::Good);
    Health {
        grade: bad().map(|(_, grade)| *grade).max().unwrap_or(Grade::Good),
        reasons: bad().map(|(reason, _)| *reason).collect(),
    }
}

fn loss(counters: &Counters, thresholds: &Thresholds) -> Grade {
    if counters.segments < LEAST_SEGMENTS {
        return Grade::Good;
    }
    let lost = percent(u64::from(counters.lost()), counters.segments);
    if lost > thresholds.loss_critical_percent {
        Grade::Poor
    } else if lost > thresholds.loss_percent {
        Grade::Fair
    } else {
        Grade::Good
    }
}

fn stall(counters: &Counters) -> Grade {
    let window = counters.zero_window;
    if window.stalled_ms >= LONG_STALL_MS {
        Grade::Poor
    } else if window.stalls > 0 {
        Grade::Fair
    } else {
        Grade::Good
    }
}
