//! Attempts: connections whose handshake did not complete.

use sstpulse_common::HalfOpen;

use super::{Finding, verdict};
use crate::{
    diagnosis::HostFacts,
    event::{AttemptOutcome, Code, Confidence, Evidence, Party, Verdict},
};

/// SYNs without an answer that show that none will come: a client sends the third after
/// three seconds.
const UNANSWERED: u16 = 3;

/// Why an attempt came to nothing.
pub fn judge_attempt(half_open: &HalfOpen, host: HostFacts) -> Verdict {
    let outcome = AttemptOutcome::of(half_open);
    let (code, confidence, by) = match outcome {
        AttemptOutcome::SynUnanswered if half_open.syns >= UNANSWERED => {
            (Code::SynUnanswered, Confidence::High, Party::Server)
        }
        // A flood, or a scan, sends no second one.
        AttemptOutcome::SynUnanswered => (Code::SynUnanswered, Confidence::Low, Party::Unknown),
        // A client that repeats its SYN does not get the answer.
        AttemptOutcome::SynAckUnanswered if half_open.syns > 1 => {
            (Code::PathDead, Confidence::Medium, Party::Network)
        }
        AttemptOutcome::SynAckUnanswered | AttemptOutcome::ResetByClient => {
            (Code::Probe, Confidence::Medium, Party::Client)
        }
        AttemptOutcome::ResetByServer => (Code::ServerReset, Confidence::High, Party::Server),
    };
    let evidence = Evidence {
        syns: Some(half_open.syns),
        syn_acks: Some(half_open.syn_acks),
        listen_overflows: host
            .listen_overflows
            .filter(|_| outcome == AttemptOutcome::SynUnanswered),
        ..Evidence::default()
    };
    let finding = Finding {
        confidence,
        by,
        evidence,
    };
    verdict(code, finding, Vec::new())
}
