//! RSTs: whose they are.

use sstpulse_common::DirectionRecord;

use super::{Facts, Finding, Thresholds, milliseconds};
use crate::{
    diagnosis::Reset,
    event::{CloseBy, CloseHow, Confidence, Evidence, ForgerySign, Party},
};

/// A RST in the client's name that the client can't have sent. Each sign alone may be chance.
pub(super) fn injected(facts: &Facts<'_>, thresholds: &Thresholds) -> Option<Finding> {
    // After a FIN, a RST is what a closed socket answers; and one that answers our own
    // segment bears our number, and no ACK flag (RFC 9293, section 3.5.2). The client itself
    // sends that one, with its own TTL.
    let answers = |reset: &Reset| reset.ack.is_none() && !differs(facts, thresholds, reset);
    let suspects: Vec<&Reset> = facts
        .resets
        .iter()
        .filter(|reset| !reset.after_fin && !answers(reset))
        .collect();
    let first = suspects.first()?;
    let signs = signs(facts, thresholds, &suspects);
    if signs.is_empty() {
        return None;
    }
    // New data after it is as good as proof; the others are by twos.
    let proof = signs.len() > 1 || signs.contains(&ForgerySign::DataAfterReset);
    let ttl = suspects
        .iter()
        .find(|reset| differs(facts, thresholds, reset))
        .map_or(first.ttl, |reset| reset.ttl);
    Some(Finding {
        confidence: if proof {
            Confidence::High
        } else {
            Confidence::Medium
        },
        by: Party::Network,
        evidence: Evidence {
            age_ms: Some(milliseconds(facts.age_ns())),
            signs: Some(signs),
            ttl_of_reset: Some(ttl),
            ttl_usual: Some(facts.record.from_client.ttl_usual),
            ..Evidence::default()
        },
    })
}

fn signs(facts: &Facts<'_>, thresholds: &Thresholds, resets: &[&Reset]) -> Vec<ForgerySign> {
    let data_after = facts.record.from_client.has(DirectionRecord::AFTERWARDS);
    let different = resets
        .iter()
        .any(|reset| (reset.seq, reset.ack) != (resets[0].seq, resets[0].ack));
    let candidates = [
        (ForgerySign::DataAfterReset, data_after),
        (
            ForgerySign::NumberBelowData,
            resets.iter().any(|reset| reset.below_data),
        ),
        (ForgerySign::DifferentNumbers, different),
        (
            ForgerySign::TtlDiffers,
            resets.iter().any(|reset| differs(facts, thresholds, reset)),
        ),
    ];
    candidates
        .into_iter()
        .filter_map(|(sign, there)| there.then_some(sign))
        .collect()
}

fn differs(facts: &Facts<'_>, thresholds: &Thresholds, reset: &Reset) -> bool {
    let usual = facts.record.from_client.ttl_usual;
    usual != 0 && reset.ttl.abs_diff(usual) >= thresholds.ttl_difference
}

pub(super) fn by_client(facts: &Facts<'_>, _: &Thresholds) -> Option<Finding> {
    // If a FIN came first, the RST is of no account.
    let first =
        facts.end.by == CloseBy::Client && !facts.resets.iter().any(|reset| reset.after_fin);
    (facts.end.how == CloseHow::Reset && first).then(|| left(facts, Party::Client))
}

pub(super) fn by_server(facts: &Facts<'_>, _: &Thresholds) -> Option<Finding> {
    let reset = facts.end.how == CloseHow::Reset && facts.end.by == CloseBy::Server;
    let with_fin = facts.record.from_server.has(DirectionRecord::FIN_SENT);
    // A daemon that ends with something left to read resets as well, once or after its FIN.
    (reset && !with_fin).then(|| left(facts, Party::Server))
}

fn left(facts: &Facts<'_>, by: Party) -> Finding {
    Finding {
        confidence: Confidence::High,
        by,
        evidence: Evidence {
            age_ms: Some(milliseconds(facts.age_ns())),
            ttl_of_reset: facts.resets.first().map(|reset| reset.ttl),
            ttl_usual: Some(facts.record.from_client.ttl_usual),
            ..Evidence::default()
        },
    }
}
