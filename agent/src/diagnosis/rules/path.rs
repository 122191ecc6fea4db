//! What lies between: packets that vanish, wait, or are forgotten.

use sstpulse_common::Side;

use super::{Facts, Finding, Thresholds, milliseconds, nanoseconds, protocol::was_up};
use crate::{
    diagnosis::Timeouts,
    event::{CloseHow, Confidence, Evidence, Party},
};

/// Timeouts in a row that show a dead path.
const DEAD: u32 = 4;

/// Those that show that a segment is too large.
const TOO_LARGE: u32 = 3;

/// A segment with no more payload than this is too large for no path (RFC 9293, section
/// 3.7.1), in bytes.
const SMALL_ENOUGH: u32 = 536;

/// Default timeouts of well-known devices, in seconds.
const KNOWN_TIMEOUTS: [(u64, &str); 9] = [
    (240, "Azure Load Balancer"),
    (300, "F5 BIG-IP"),
    (350, "AWS NLB, Network Firewall or NAT gateway"),
    (600, "Google Cloud firewall"),
    (1_200, "Huawei USG or Google Cloud NAT"),
    (1_800, "Juniper SRX"),
    (3_600, "FortiGate, FortiADC, Palo Alto or Cisco ASA"),
    (7_440, "the least that RFC 5382 allows"),
    (432_000, "Linux conntrack"),
];

/// The timeouts the session ended with: the client has acknowledged nothing since.
fn last_timeouts<'a>(facts: &'a Facts<'_>) -> Option<&'a Timeouts> {
    let timeouts = facts.timeouts.as_ref()?;
    (facts.record.from_client.ack == timeouts.acknowledged).then_some(timeouts)
}

/// A segment that may be too large is sent again and again, while the client lives: it has
/// received what came after, or goes on to send. How large it is against the MSS says little:
/// a tunnel's packets end where the tunnel's MTU does.
pub(super) fn blackhole_from_server(facts: &Facts<'_>, _: &Thresholds) -> Option<Finding> {
    let timeouts = last_timeouts(facts)?;
    let large = timeouts.smallest > SMALL_ENOUGH;
    let lives = timeouts.hole_reported || facts.client_spoke_ns > timeouts.first_ns;
    (timeouts.count >= TOO_LARGE && large && lives).then(|| Finding {
        confidence: if timeouts.hole_reported {
            Confidence::High
        } else {
            Confidence::Medium
        },
        by: Party::Network,
        evidence: Evidence {
            timeouts: Some(timeouts.count),
            timeouts_ms: Some(milliseconds(timeouts.lasted_ns())),
            largest_lost: Some(timeouts.largest),
            mss: Some(facts.mss(Side::Server)),
            later_bytes_arrived: Some(timeouts.hole_reported),
            ..Evidence::default()
        },
    })
}

/// Bytes of the client that are missing, while later ones arrived.
struct Hole {
    bytes: u32,
    lasted_ns: u64,
}

fn hole(facts: &Facts<'_>) -> Option<Hole> {
    use sstpulse_common::sequence::after;

    let (client, server) = (&facts.record.from_client, &facts.record.from_server);
    let hole = client.mark;
    if hole.since_ns == 0 {
        return None;
    }
    // Bytes below the server's acknowledgment have come.
    let start = if after(server.ack, hole.start) > 0 {
        server.ack
    } else {
        hole.start
    };
    let bytes = u32::try_from(after(hole.end, start)).ok()?;
    (bytes > 0).then(|| Hole {
        bytes,
        lasted_ns: facts.end_ns.saturating_sub(hole.since_ns),
    })
}

/// Whether bytes of the client are missing at the end: it may have said what was not delivered.
pub(super) fn has_hole(facts: &Facts<'_>) -> bool {
    hole(facts).is_some()
}

/// Whether one direction did not get on at the end: a goodbye then is a side's giving up.
pub(super) fn is_stuck(facts: &Facts<'_>, thresholds: &Thresholds) -> bool {
    let server = last_timeouts(facts).is_some_and(|timeouts| timeouts.count >= TOO_LARGE);
    let client = hole(facts).is_some_and(|hole| hole.lasted_ns >= nanoseconds(thresholds.hole));
    server || client
}

/// Bytes of the client are missing for long, while what it sent after them arrived.
pub(super) fn blackhole_from_client(facts: &Facts<'_>, thresholds: &Thresholds) -> Option<Finding> {
    let Hole { bytes, lasted_ns } = hole(facts)?;
    let long = lasted_ns >= nanoseconds(thresholds.hole);
    (long && bytes > SMALL_ENOUGH).then(|| Finding {
        confidence: Confidence::High,
        by: Party::Network,
        evidence: Evidence {
            hole_ms: Some(milliseconds(lasted_ns)),
            hole_bytes: Some(bytes),
            mss: Some(facts.mss(Side::Client)),
            ..Evidence::default()
        },
    })
}

/// Nothing comes through: the server sends again and again, the client is silent.
pub(super) fn dead(facts: &Facts<'_>, thresholds: &Thresholds) -> Option<Finding> {
    let timeouts = last_timeouts(facts)?;
    let silent_ns = facts.client_silent_ns();
    let long = silent_ns >= nanoseconds(thresholds.path_silence);
    (timeouts.count >= DEAD && long).then(|| Finding {
        confidence: Confidence::High,
        by: Party::Network,
        evidence: Evidence {
            age_ms: Some(milliseconds(facts.age_ns())),
            client_silent_ms: Some(milliseconds(silent_ns)),
            timeouts: Some(timeouts.count),
            timeouts_ms: Some(milliseconds(timeouts.lasted_ns())),
            largest_lost: Some(timeouts.largest),
            icmp_unreachable: Some(timeouts.is_constant()),
            ..Evidence::default()
        },
    })
}

/// The path died, or the client opened a new connection on the same ports, and it is back.
pub(super) fn roamed(facts: &Facts<'_>, thresholds: &Thresholds) -> Option<Finding> {
    if facts.end.how == CloseHow::Superseded {
        return Some(Finding {
            confidence: Confidence::Medium,
            by: Party::Client,
            evidence: Evidence {
                age_ms: Some(milliseconds(facts.age_ns())),
                ..Evidence::default()
            },
        });
    }
    let found = dead(facts, thresholds)?;
    let last_heard_ns = facts.record.from_client.last_seen_ns;
    let back_ns = facts.neighbours.back_ns?.saturating_sub(last_heard_ns);
    (back_ns <= nanoseconds(thresholds.roaming)).then(|| Finding {
        confidence: Confidence::Medium,
        by: Party::Client,
        evidence: Evidence {
            back_after_ms: Some(milliseconds(back_ns)),
            ..found.evidence
        },
    })
}

/// Nothing came through after an idleness that a working hello would not have allowed, or
/// that others shared.
pub(super) fn idle_timeout(facts: &Facts<'_>, thresholds: &Thresholds) -> Option<Finding> {
    let found = idle_before_trouble(facts, thresholds)?;
    // A hello ends any idleness: whatever a path dies of, the first to notice is the next hello.
    let up_to_hello = found.idle_ns.abs_diff(nanoseconds(thresholds.hello)) <= OF_HELLO_NS;
    let shared = facts.neighbours.same_idle >= thresholds.alike && !up_to_hello;
    let beyond = found.idle_ns > 2 * nanoseconds(thresholds.hello);
    (beyond || shared).then(|| found.finding(facts, shared))
}

/// A RST was what came after an idleness.
pub(super) fn idle_before_reset(facts: &Facts<'_>, thresholds: &Thresholds) -> Option<Finding> {
    let found = idle_before_trouble(facts, thresholds)?;
    (facts.end.how == CloseHow::Reset).then(|| found.finding(facts, false))
}

/// How far the time between two hellos may be off.
const OF_HELLO_NS: u64 = 3_000_000_000;

/// An idleness right before the first segment that was lost, or before the RST.
struct Idle {
    idle_ns: u64,
}

fn idle_before_trouble(facts: &Facts<'_>, thresholds: &Thresholds) -> Option<Idle> {
    /// From the segment that ended the idleness to the first timeout or the RST.
    const SOON_NS: u64 = 5_000_000_000;

    let quiet = facts.quiet?;
    let trouble_ns = match last_timeouts(facts) {
        Some(timeouts) if timeouts.count >= DEAD => timeouts.first_ns,
        _ if facts.end.how == CloseHow::Reset => facts.closed_ns(),
        _ => return None,
    };
    let lossy = facts
        .retransmitted_percent(Side::Server)
        .is_some_and(|percent| percent >= 1.0);
    let soon = quiet.until_ns <= trouble_ns && trouble_ns - quiet.until_ns <= SOON_NS;
    let long = quiet.lasted_ns() >= nanoseconds(thresholds.idle);
    (was_up(facts) && soon && long && !lossy).then_some(Idle {
        idle_ns: quiet.lasted_ns(),
    })
}

impl Idle {
    fn finding(&self, facts: &Facts<'_>, shared: bool) -> Finding {
        Finding {
            confidence: if shared {
                Confidence::High
            } else {
                Confidence::Medium
            },
            by: Party::Network,
            evidence: Evidence {
                age_ms: Some(milliseconds(facts.age_ns())),
                idle_ms: Some(milliseconds(self.idle_ns)),
                timeout_of: timeout_of(self.idle_ns),
                timeouts: facts.timeouts.map(|timeouts| timeouts.count),
                sessions_alike: shared.then_some(facts.neighbours.same_idle),
                ..Evidence::default()
            },
        }
    }
}

/// Whose default timeout this is, within 5 %.
fn timeout_of(idle_ns: u64) -> Option<&'static str> {
    KNOWN_TIMEOUTS
        .into_iter()
        .find(|(seconds, _)| {
            let known_ns = seconds * 1_000_000_000;
            idle_ns.abs_diff(known_ns) <= known_ns / 20
        })
        .map(|(_, whose)| whose)
}

/// Neither side said anything for longer than a hello and its repetition.
pub(super) fn keepalive_absent(facts: &Facts<'_>, thresholds: &Thresholds) -> Option<Finding> {
    let allowed_ns = 2 * nanoseconds(thresholds.hello) + nanoseconds(thresholds.hello) / 6;
    let until_end_ns = match facts.end.how {
        CloseHow::Dead => u64::MAX,
        _ => 0,
    };
    let quiet_ns = facts
        .quiet
        .map_or(0, |quiet| quiet.lasted_ns())
        .max(until_end_ns);
    let unanswered = facts.timeouts.is_some_and(|timeouts| {
        facts.record.from_client.ack == timeouts.acknowledged && timeouts.count >= DEAD
    });
    (was_up(facts) && quiet_ns > allowed_ns && !unanswered).then(|| Finding {
        confidence: Confidence::High,
        by: Party::Server,
        evidence: Evidence {
            age_ms: Some(milliseconds(facts.age_ns())),
            idle_ms: facts.quiet.map(|quiet| milliseconds(quiet.lasted_ns())),
            ..Evidence::default()
        },
    })
}

pub(super) fn lossy(facts: &Facts<'_>, thresholds: &Thresholds) -> Option<Finding> {
    let server = facts.retransmitted_percent(Side::Server);
    let client = facts.retransmitted_percent(Side::Client);
    let worst = server.unwrap_or(0.0).max(client.unwrap_or(0.0));
    (worst > thresholds.loss_percent).then(|| Finding {
        confidence: Confidence::High,
        by: Party::Network,
        evidence: Evidence {
            retransmitted_percent_from_server: server,
            retransmitted_percent_from_client: client,
            stalls: Some(facts.stalls),
            ..Evidence::default()
        },
    })
}

/// Losses, and stalls of seconds after which everything moves at once.
pub(super) fn meltdown(facts: &Facts<'_>, thresholds: &Thresholds) -> Option<Finding> {
    const STALLS: u32 = 3;

    let found = lossy(facts, thresholds)?;
    (facts.stalls >= STALLS).then_some(Finding {
        confidence: Confidence::Low,
        ..found
    })
}

/// Packets wait in a queue that is too long, but are not lost.
pub(super) fn bufferbloat(facts: &Facts<'_>, _: &Thresholds) -> Option<Finding> {
    /// More is loss, and no mere waiting.
    const RETRANSMITTED_PERCENT: f32 = 0.5;
    /// What is beyond the 95th percentile.
    const INFLATED_PERCENT: f32 = 5.0;

    let lossy = facts
        .retransmitted_percent(Side::Server)
        .is_some_and(|percent| percent >= RETRANSMITTED_PERCENT);
    let rtt = facts.record.head.rtt;
    (facts.rtt_inflated_percent >= INFLATED_PERCENT && !lossy).then(|| Finding {
        confidence: Confidence::Medium,
        by: Party::Network,
        evidence: Evidence {
            rtt_min_us: Some(rtt.min_us),
            rtt_smoothed_us: Some(rtt.smoothed_us),
            rtt_inflated_percent: Some(facts.rtt_inflated_percent),
            retransmitted_percent_from_server: facts.retransmitted_percent(Side::Server),
            ..Evidence::default()
        },
    })
}
