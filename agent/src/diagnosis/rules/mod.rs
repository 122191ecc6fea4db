//! The rules, in order of precedence: what the protocol says, forgery, path MTU, path,
//! idleness, and what is left.

mod attempt;
mod path;
mod peer;
mod protocol;
mod reset;
mod setup;
#[cfg(test)]
mod tests;

pub use attempt::judge_attempt;
pub use protocol::{Word, ended_by_server};

use sstpulse_common::Side;

use super::{Facts, Thresholds, advice::advice};
use crate::event::{Code, Confidence, Evidence, Party, Verdict};

/// One rule.
pub struct Rule {
    /// What it finds.
    pub code: Code,
    kind: Kind,
    test: Test,
}

/// What a rule is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// It explains an end.
    Ending,
    /// It also tells why a session is as good as lost that has not ended.
    Ongoing,
    /// It explains what nothing else does, and is never told beside something else.
    Residual,
}

/// What a rule found.
#[derive(Clone, Debug)]
struct Finding {
    confidence: Confidence,
    by: Party,
    evidence: Evidence,
}

type Test = fn(&Facts<'_>, &Thresholds) -> Option<Finding>;

const fn rule(code: Code, test: Test) -> Rule {
    let kind = Kind::Ending;
    Rule { code, kind, test }
}

const fn ongoing(code: Code, test: Test) -> Rule {
    let kind = Kind::Ongoing;
    Rule { code, kind, test }
}

const fn residual(code: Code, test: Test) -> Rule {
    let kind = Kind::Residual;
    Rule { code, kind, test }
}

/// All rules. The first that fits is the verdict, the others are told with it.
pub const RULES: &[Rule] = &[
    // What the protocol says, on the way to a tunnel.
    rule(Code::TlsNegotiationFailed, setup::negotiation_failed),
    rule(Code::TlsCertificateRejected, setup::certificate_rejected),
    rule(Code::NotSstp, setup::not_sstp),
    rule(Code::CryptoBindingRejected, setup::crypto_binding_rejected),
    rule(Code::NegotiationTimeout, setup::negotiation_timeout),
    rule(Code::AuthBackendSlow, setup::backend_failing),
    rule(Code::AuthFailed, setup::auth_failed),
    // What it says of a tunnel.
    rule(Code::PeerHung, peer::hung),
    rule(Code::PolicyDisconnect, protocol::policy),
    rule(Code::CleanClient, protocol::clean_client),
    rule(Code::CleanServer, protocol::clean_server),
    // Forgery.
    rule(Code::ResetInjectedSuspect, reset::injected),
    // Path MTU.
    ongoing(Code::PmtuBlackholeFromServer, path::blackhole_from_server),
    ongoing(Code::PmtuBlackholeFromClient, path::blackhole_from_client),
    // The path, and who is at its ends.
    rule(Code::AcceptQueueOverflow, setup::accept_queue_overflow),
    ongoing(Code::ResetOnClientHello, setup::cut_off),
    ongoing(Code::IdleTimeoutSuspect, path::idle_timeout),
    ongoing(Code::ClientRoamed, path::roamed),
    ongoing(Code::PathDead, path::dead),
    rule(Code::TlsCertificateCheckStall, setup::certificate_check),
    residual(Code::ServerRestart, protocol::server_restart_of_tunnels),
    rule(Code::ClientZeroWindow, peer::client_zero_window),
    rule(Code::ServerZeroWindow, peer::server_zero_window),
    rule(Code::TcpMeltdown, path::meltdown),
    rule(Code::LossDegraded, path::lossy),
    rule(Code::Bufferbloat, path::bufferbloat),
    rule(Code::AuthBackendSlow, setup::backend_slow),
    // Idleness.
    rule(Code::IdleTimeoutSuspect, path::idle_before_reset),
    rule(Code::KeepaliveAbsent, path::keepalive_absent),
    // What is left.
    residual(Code::ServerRejectedBeforeTls, setup::rejected_before_tls),
    residual(Code::Probe, setup::probe),
    residual(Code::ServerRestart, protocol::server_restart),
    residual(Code::ClientReset, reset::by_client),
    residual(Code::ServerReset, reset::by_server),
    residual(Code::ServerProcessDied, protocol::server_died),
    residual(Code::ClientProcessDied, protocol::client_died),
    residual(Code::NotSstp, setup::said_too_much),
];

/// Why a session ended.
pub fn judge(facts: &Facts<'_>, thresholds: &Thresholds) -> Verdict {
    fit(RULES.iter(), facts, thresholds)
        .unwrap_or_else(|| verdict(Code::Unknown, unknown(facts), Vec::new()))
}

/// Why a session that has not ended is as good as lost; `None` if it is not.
pub fn judge_ongoing(facts: &Facts<'_>, thresholds: &Thresholds) -> Option<Verdict> {
    let rules = RULES.iter().filter(|rule| rule.kind == Kind::Ongoing);
    fit(rules, facts, thresholds)
}

fn fit<'a>(
    rules: impl Iterator<Item = &'a Rule>,
    facts: &Facts<'_>,
    thresholds: &Thresholds,
) -> Option<Verdict> {
    let mut fitting = rules.filter_map(|rule| Some((rule, (rule.test)(facts, thresholds)?)));
    let (rule, finding) = fitting.next()?;
    let mut also = Vec::new();
    for (other, _) in fitting.filter(|(other, _)| other.kind != Kind::Residual) {
        if other.code != rule.code && !also.contains(&other.code) {
            also.push(other.code);
        }
    }
    Some(verdict(rule.code, finding, also))
}

fn verdict(code: Code, finding: Finding, also: Vec<Code>) -> Verdict {
    let Finding {
        confidence,
        by,
        evidence,
    } = finding;
    Verdict {
        code,
        confidence,
        by,
        evidence,
        also,
        advice: advice(code),
    }
}

fn unknown(facts: &Facts<'_>) -> Finding {
    Finding {
        confidence: Confidence::Low,
        by: Party::Unknown,
        evidence: Evidence {
            age_ms: Some(milliseconds(facts.age_ns())),
            client_silent_ms: Some(milliseconds(facts.client_silent_ns())),
            timeouts: facts.timeouts.map(|timeouts| timeouts.count),
            ..Evidence::default()
        },
    }
}

/// A side as the one whose doing something was.
const fn party(side: Side) -> Party {
    match side {
        Side::Client => Party::Client,
        Side::Server => Party::Server,
    }
}

const fn milliseconds(ns: u64) -> u64 {
    ns / 1_000_000
}

fn nanoseconds(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
