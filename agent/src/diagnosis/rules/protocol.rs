//! What the sides said at the end of a tunnel, and what they did not say.

use sstpulse_common::Side;

use super::{Facts, Finding, Thresholds, milliseconds, nanoseconds, party, path::is_stuck};
use crate::{
    diagnosis::Parting,
    event::{CloseBy, Confidence, Evidence, Goodbye, Party},
    tls::{Milestone, Phase},
};

/// Whether a tunnel was up: what the sides say before is for the rules of the set-up.
pub(super) fn was_up(facts: &Facts<'_>) -> bool {
    facts.phase().is_none_or(|phase| phase >= Phase::Up)
}

/// The goodbye that came first, if it can be what ended the session: it came shortly before
/// the first FIN or RST, or its side has said nothing since.
pub(super) fn first_goodbye(facts: &Facts<'_>, thresholds: &Thresholds) -> Option<Parting> {
    let counts = |parting: &Parting| {
        // An alert once the other has closed is an answer to that.
        if parting.goodbye == Goodbye::Alert && parting.after_close() {
            return false;
        }
        let before_ns = facts.closed_ns().saturating_sub(parting.time_ns);
        let soon = before_ns <= nanoseconds(thresholds.goodbye);
        // Some servers take half a minute to close after they were told. Only what can be
        // nothing else counts then.
        let certain = parting.goodbye != Goodbye::DisconnectAck && parting.side == Side::Client;
        soon || certain
    };
    let of = |side| facts.sayings.goodbye(side).filter(counts);
    Parting::first(of(Side::Client), of(Side::Server))
}

/// How long before the first FIN or RST it was said, in milliseconds.
pub(super) fn before_close_ms(facts: &Facts<'_>, parting: &Parting) -> u64 {
    milliseconds(facts.closed_ns().saturating_sub(parting.time_ns))
}

pub(super) fn clean_client(facts: &Facts<'_>, thresholds: &Thresholds) -> Option<Finding> {
    clean(facts, thresholds, Side::Client)
}

pub(super) fn clean_server(facts: &Facts<'_>, thresholds: &Thresholds) -> Option<Finding> {
    clean(facts, thresholds, Side::Server)
}

fn clean(facts: &Facts<'_>, thresholds: &Thresholds, side: Side) -> Option<Finding> {
    let parting = first_goodbye(facts, thresholds)?;
    let closed = facts.closing_ns.is_some();
    (was_up(facts) && parting.side == side && closed && !is_stuck(facts, thresholds)).then(|| {
        Finding {
            confidence: Confidence::High,
            by: party(side),
            evidence: Evidence {
                age_ms: Some(milliseconds(facts.age_ns())),
                goodbye: Some(parting.goodbye),
                goodbye_ms: Some(before_close_ms(facts, &parting)),
                ..Evidence::default()
            },
        }
    })
}

/// The server said goodbye first, at an age or after an idleness that others shared.
pub(super) fn policy(facts: &Facts<'_>, thresholds: &Thresholds) -> Option<Finding> {
    let parting = first_goodbye(facts, thresholds)?;
    let alike = facts.neighbours.dismissed_alike >= thresholds.alike;
    (was_up(facts) && parting.side == Side::Server && alike).then(|| Finding {
        confidence: Confidence::Low,
        by: Party::Server,
        evidence: Evidence {
            age_ms: Some(milliseconds(facts.age_ns())),
            goodbye: Some(parting.goodbye),
            goodbye_ms: Some(before_close_ms(facts, &parting)),
            idle_ms: idle_before(facts, thresholds, &parting).map(milliseconds),
            sessions_alike: Some(facts.neighbours.dismissed_alike),
            ..Evidence::default()
        },
    })
}

/// How long nothing had been said when it was, if that was longer than a hello allows: below
/// that, many are idle for as long by chance.
fn idle_before(facts: &Facts<'_>, thresholds: &Thresholds, parting: &Parting) -> Option<u64> {
    /// How exactly the end of an idleness is known, if a segment shortly after told of it.
    const EXACT_NS: u64 = 1_000_000_000;

    let quiet = facts.quiet?;
    let ended_it = quiet.until_ns.saturating_add(EXACT_NS) >= parting.time_ns;
    let idle_ns = parting.time_ns.saturating_sub(quiet.since_ns);
    (ended_it && idle_ns > nanoseconds(thresholds.hello)).then_some(idle_ns)
}

/// What was said before a server ended a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// Nothing: the daemon was killed. Its kernel sends a FIN, or a RST if there was something
    /// left to read.
    None,
    /// The server said goodbye.
    Goodbye {
        /// How long nothing had been said, in nanoseconds, if that was longer than a hello
        /// allows.
        idle_ns: Option<u64>,
    },
}

/// What was said before the server ended a session; `None` if it did not, or closed no more
/// than a connection that had not come far.
pub fn ended_by_server(facts: &Facts<'_>, thresholds: &Thresholds) -> Option<Word> {
    // What the client says later, it says to nobody.
    let in_time = |done_ns: u64| done_ns <= facts.closed_ns();
    let began = facts.tls.is_none() || facts.at(Milestone::HandshakeDone).is_some_and(in_time);
    match first_goodbye(facts, thresholds) {
        None => (began && facts.end.by == CloseBy::Server).then_some(Word::None),
        // Whose FIN comes first then is a matter of microseconds.
        Some(parting) if parting.side == Side::Server && began => Some(Word::Goodbye {
            idle_ns: idle_before(facts, thresholds, &parting),
        }),
        Some(_) => None,
    }
}

fn server_closed_without_a_word(facts: &Facts<'_>, thresholds: &Thresholds) -> bool {
    ended_by_server(facts, thresholds) == Some(Word::None)
}

pub(super) fn server_restart(facts: &Facts<'_>, thresholds: &Thresholds) -> Option<Finding> {
    let together = facts.neighbours.died_together;
    (server_closed_without_a_word(facts, thresholds) && together >= thresholds.alike).then(|| {
        Finding {
            confidence: Confidence::High,
            by: Party::Server,
            evidence: Evidence {
                age_ms: Some(milliseconds(facts.age_ns())),
                sessions_alike: Some(together),
                ..Evidence::default()
            },
        }
    })
}

/// The same of a tunnel that was up: however it fared on its path, that has not ended several of
/// them at once.
pub(super) fn server_restart_of_tunnels(
    facts: &Facts<'_>,
    thresholds: &Thresholds,
) -> Option<Finding> {
    server_restart(facts, thresholds).filter(|_| was_up(facts))
}

pub(super) fn server_died(facts: &Facts<'_>, thresholds: &Thresholds) -> Option<Finding> {
    server_closed_without_a_word(facts, thresholds).then(|| Finding {
        confidence: Confidence::Medium,
        by: Party::Server,
        evidence: Evidence {
            age_ms: Some(milliseconds(facts.age_ns())),
            ..Evidence::default()
        },
    })
}

pub(super) fn client_died(facts: &Facts<'_>, _: &Thresholds) -> Option<Finding> {
    (facts.end.by == CloseBy::Client && was_up(facts)).then(|| Finding {
        confidence: Confidence::Medium,
        by: Party::Client,
        evidence: Evidence {
            age_ms: Some(milliseconds(facts.age_ns())),
            ..Evidence::default()
        },
    })
}
