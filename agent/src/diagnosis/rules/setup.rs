//! What ends a session before its tunnel is up.

use sstpulse_common::{DirectionRecord, Side};

use super::{
    Facts, Finding, Thresholds, milliseconds, nanoseconds, party,
    protocol::{before_close_ms, first_goodbye},
};
use crate::{
    diagnosis::Parting,
    event::{CloseBy, CloseHow, Confidence, Evidence, Party},
    tls::{Milestone, Phase},
};

const SECOND_NS: u64 = 1_000_000_000;

/// Alerts by which a client refuses a certificate (RFC 8446, section 6.2): bad, unsupported,
/// revoked, expired and unknown certificate, unknown CA, bad status response.
const CERTIFICATE_ALERTS: [u8; 7] = [42, 43, 44, 45, 46, 48, 113];

/// Alerts that say that no handshake is possible: handshake failure, protocol version,
/// insufficient security, internal error, inappropriate fallback, unrecognized name.
const NEGOTIATION_ALERTS: [u8; 6] = [40, 70, 71, 80, 86, 112];

/// The session came no further than this.
fn stopped_in(facts: &Facts<'_>, phases: &[Phase]) -> bool {
    facts.phase().is_some_and(|phase| phases.contains(&phase))
}

/// An alert in clear, and who sent it.
fn clear_alert(facts: &Facts<'_>) -> Option<(Side, u8)> {
    let alert = facts.tls?.alert?;
    Some((alert.by, alert.content?.description))
}

pub(super) fn negotiation_failed(facts: &Facts<'_>, _: &Thresholds) -> Option<Finding> {
    let (side, alert) = clear_alert(facts)?;
    NEGOTIATION_ALERTS.contains(&alert).then(|| Finding {
        confidence: Confidence::High,
        by: party(side),
        evidence: Evidence {
            alert: Some(alert),
            ..Evidence::default()
        },
    })
}

pub(super) fn certificate_rejected(facts: &Facts<'_>, _: &Thresholds) -> Option<Finding> {
    let finding = |confidence, alert| Finding {
        confidence,
        by: Party::Client,
        evidence: Evidence {
            age_ms: Some(milliseconds(facts.age_ns())),
            alert,
            ..Evidence::default()
        },
    };
    if let Some((Side::Client, alert)) = clear_alert(facts)
        && CERTIFICATE_ALERTS.contains(&alert)
    {
        return Some(finding(Confidence::High, Some(alert)));
    }
    let by_client = facts.end.by == CloseBy::Client;
    let tls = facts.tls?;
    let alerted = tls.alert.is_some_and(|alert| alert.by == Side::Client);
    // A client that is content sends its Finished, and says goodbye after that.
    if alerted && stopped_in(facts, &[Phase::Tls]) {
        return Some(finding(Confidence::Medium, None));
    }
    // sstpc looks at the certificate only after the server's answer, and sends no alert.
    let left_after_answer = by_client
        && !alerted
        && stopped_in(facts, &[Phase::Http])
        && tls.client_records_before_connect == 1
        && tls.http_like_sstp == 3;
    left_after_answer.then(|| finding(Confidence::Low, None))
}

pub(super) fn not_sstp(facts: &Facts<'_>, _: &Thresholds) -> Option<Finding> {
    let asked = facts.tls?.sstp != Some(false);
    (!asked).then(|| no_tunnel(facts, Confidence::High))
}

/// More was said than any set-up takes, and no tunnel was asked for.
pub(super) fn said_too_much(facts: &Facts<'_>, _: &Thresholds) -> Option<Finding> {
    let tls = facts.tls?;
    let readable = !tls.incomplete && tls.record_size().is_some();
    (is_much(facts) && readable && stopped_in(facts, &[Phase::Http]))
        .then(|| no_tunnel(facts, Confidence::Medium))
}

/// Whether more was said than both sides say until a tunnel is asked for.
fn is_much(facts: &Facts<'_>) -> bool {
    const MUCH: u64 = 64 << 10;

    facts.record.from_client.bytes + facts.record.from_server.bytes > MUCH
}

/// By the client, which asked for none; unless it was the server that spoke no TLS.
fn no_tunnel(facts: &Facts<'_>, confidence: Confidence) -> Finding {
    let foreign = facts.tls.and_then(|tls| tls.foreign);
    Finding {
        confidence,
        by: foreign.map_or(Party::Client, party),
        evidence: Evidence {
            age_ms: Some(milliseconds(facts.age_ns())),
            client_records: facts.tls.map(|tls| tls.client_records_before_connect),
            ..Evidence::default()
        },
    }
}

/// The server refused right after the client's Call Connected, which carries the binding.
pub(super) fn crypto_binding_rejected(
    facts: &Facts<'_>,
    thresholds: &Thresholds,
) -> Option<Finding> {
    /// What the server says first, as far as it says anything else: a header may be a record
    /// of its own, and SoftEther says hello at once.
    const FIRST: usize = 3;
    /// Times of records are exact to 65.5 microseconds.
    const EXACT_NS: u64 = 131_072;

    let connected_ns = facts.at(Milestone::Connected)?;
    let goodbye = first_goodbye(facts, thresholds)?;
    if goodbye.side != Side::Server {
        return None;
    }
    let at_once = facts
        .tls?
        .after_connected()
        .take(FIRST)
        .any(|record| record.time_ns.abs_diff(goodbye.time_ns) <= EXACT_NS);
    let took_ns = goodbye.time_ns.saturating_sub(connected_ns);
    let closed_ns = facts.closed_ns().saturating_sub(connected_ns);
    let soon = took_ns <= SECOND_NS && closed_ns <= nanoseconds(thresholds.goodbye) + SECOND_NS;
    (soon && at_once).then(|| Finding {
        confidence: Confidence::High,
        by: Party::Network,
        evidence: Evidence {
            server_took_ms: Some(milliseconds(took_ns)),
            ..Evidence::default()
        },
    })
}

/// How long the server kept the client waiting in the PPP phase at most, in a session that
/// did not come up.
fn kept_waiting_ns(facts: &Facts<'_>) -> Option<u64> {
    let tls = facts.tls.filter(|tls| tls.phase() == Phase::Ppp)?;
    let at_last = tls.owed_since().map(|since_ns| {
        // What the server owes when the session ends, it won't say.
        facts.closed_ns().saturating_sub(since_ns)
    });
    let answered = tls.longest_owed().map(|owed| owed.lasted_ns);
    at_last.max(answered)
}

pub(super) fn backend_failing(facts: &Facts<'_>, thresholds: &Thresholds) -> Option<Finding> {
    slow(facts, nanoseconds(thresholds.backend_failing))
}

pub(super) fn backend_slow(facts: &Facts<'_>, thresholds: &Thresholds) -> Option<Finding> {
    slow(facts, nanoseconds(thresholds.backend_slow))
}

fn slow(facts: &Facts<'_>, allowed_ns: u64) -> Option<Finding> {
    let waited_ns = kept_waiting_ns(facts)?;
    let delivered = facts.timeouts.is_none();
    (waited_ns >= allowed_ns && delivered).then(|| Finding {
        confidence: Confidence::Medium,
        by: Party::Server,
        evidence: Evidence {
            server_took_ms: Some(milliseconds(waited_ns)),
            ..Evidence::default()
        },
    })
}

/// PPP came to an end at once, and no tunnel came of it.
pub(super) fn auth_failed(facts: &Facts<'_>, _: &Thresholds) -> Option<Finding> {
    let tls = facts.tls.filter(|tls| tls.phase() == Phase::Ppp)?;
    let of = |side| facts.sayings.goodbye(side);
    let parting = Parting::first(of(Side::Client), of(Side::Server))?;
    let closed = facts.closing_ns.is_some();
    let talked = tls.ppp.from_client > 0 && tls.ppp.from_server > 0;
    (closed && talked && facts.timeouts.is_none()).then(|| Finding {
        confidence: Confidence::Medium,
        by: Party::Server,
        evidence: Evidence {
            age_ms: Some(milliseconds(facts.age_ns())),
            goodbye: Some(parting.goodbye),
            goodbye_ms: Some(before_close_ms(facts, &parting)),
            ..Evidence::default()
        },
    })
}

/// The server ended a set-up that took as long as it allows.
pub(super) fn negotiation_timeout(facts: &Facts<'_>, thresholds: &Thresholds) -> Option<Finding> {
    let request_ns = facts.at(Milestone::HttpRequest)?;
    let took_ns = facts.closed_ns().saturating_sub(request_ns);
    let allowed_ns = nanoseconds(thresholds.negotiation);
    let on_time = took_ns.abs_diff(allowed_ns) <= allowed_ns / 20;
    let not_up = stopped_in(facts, &[Phase::Http, Phase::SstpSetup, Phase::Ppp]);
    let told = first_goodbye(facts, thresholds).map(|parting| parting.side);
    let by_server = facts.end.by == CloseBy::Server || told == Some(Side::Server);
    (on_time && not_up && by_server).then(|| Finding {
        confidence: Confidence::High,
        by: Party::Server,
        evidence: Evidence {
            server_took_ms: Some(milliseconds(took_ns)),
            ..Evidence::default()
        },
    })
}

/// The server's TCP repeated its SYN-ACK though the client had acknowledged it, and no byte of
/// the server came: it had no room for the connection.
pub(super) fn accept_queue_overflow(facts: &Facts<'_>, _: &Thresholds) -> Option<Finding> {
    let server = &facts.record.from_server;
    let overflows = facts.host.listen_overflows;
    let found = server.has(DirectionRecord::AFTERWARDS) && server.bytes == 0;
    found.then(|| Finding {
        confidence: if overflows.is_some_and(|overflows| overflows > 0) {
            Confidence::High
        } else {
            Confidence::Medium
        },
        by: Party::Server,
        evidence: Evidence {
            syn_acks: Some(u16::from(server.syn_retransmits)),
            listen_overflows: overflows,
            ..Evidence::default()
        },
    })
}

/// The connection was cut off once the client had shown where it wants to go: by a RST, or
/// by silence.
pub(super) fn cut_off(facts: &Facts<'_>, thresholds: &Thresholds) -> Option<Finding> {
    let hello_ns = facts.at(Milestone::ClientHello)?;
    if !stopped_in(facts, &[Phase::Tls]) || facts.tls?.alert.is_some() {
        return None;
    }
    let (client, server) = (&facts.record.from_client, &facts.record.from_server);
    let answered_ns = facts.at(Milestone::ServerHello).unwrap_or(hello_ns);
    let round_trip_ns = u64::from(facts.record.head.rtt.smoothed_us) * 1_000;
    let after_ns = facts.closed_ns().saturating_sub(answered_ns);
    let reset = facts.end.how == CloseHow::Reset
        && facts.end.by == CloseBy::Client
        && after_ns <= 2 * round_trip_ns + SECOND_NS / 10;
    let heard = client.ack != facts.record.server_trail.first_seq;
    let silent = !heard
        && server.bytes > 0
        && facts.timeouts.is_some()
        && facts.client_silent_ns() >= nanoseconds(thresholds.client_hello_silence);
    (reset || silent).then(|| Finding {
        confidence: if facts.neighbours.cut_off_together >= thresholds.alike {
            Confidence::High
        } else {
            Confidence::Medium
        },
        by: Party::Network,
        evidence: Evidence {
            client_silent_ms: Some(milliseconds(facts.client_silent_ns())),
            timeouts: facts.timeouts.map(|timeouts| timeouts.count),
            ttl_of_reset: facts.resets.first().map(|reset| reset.ttl),
            ttl_usual: reset.then_some(client.ttl_usual),
            sessions_alike: Some(facts.neighbours.cut_off_together),
            ..Evidence::default()
        },
    })
}

/// The client had the server's certificate, and took its time: it waited for a revocation
/// list.
pub(super) fn certificate_check(facts: &Facts<'_>, thresholds: &Thresholds) -> Option<Finding> {
    let flight_ns = facts.at(Milestone::ServerFlightEnd)?;
    // What comes once the server has given up is too late.
    let replied_ns = facts.at(Milestone::ClientReply).unwrap_or(u64::MAX);
    let took_ns = replied_ns.min(facts.closed_ns()).saturating_sub(flight_ns);
    let stopped = stopped_in(facts, &[Phase::Tls, Phase::Http]);
    let delivered = facts.timeouts.is_none();
    let long = took_ns >= nanoseconds(thresholds.certificate_check);
    (stopped && delivered && long).then(|| Finding {
        confidence: Confidence::Medium,
        by: Party::Client,
        evidence: Evidence {
            client_took_ms: Some(milliseconds(took_ns)),
            ..Evidence::default()
        },
    })
}

/// The server closed, and had not said a byte.
pub(super) fn rejected_before_tls(facts: &Facts<'_>, _: &Thresholds) -> Option<Finding> {
    let silent = facts.record.from_server.bytes == 0 && facts.end.by == CloseBy::Server;
    let age_ns = facts.closed_ns().saturating_sub(facts.record.head.start_ns);
    (silent && facts.tls.is_some() && age_ns <= SECOND_NS).then(|| Finding {
        confidence: Confidence::High,
        by: Party::Server,
        evidence: Evidence {
            age_ms: Some(milliseconds(age_ns)),
            ..Evidence::default()
        },
    })
}

/// The client left before it could have asked for a tunnel, or never said anything.
pub(super) fn probe(facts: &Facts<'_>, thresholds: &Thresholds) -> Option<Finding> {
    let early = stopped_in(facts, &[Phase::Tcp, Phase::Tls, Phase::Http]);
    let said_nothing = stopped_in(facts, &[Phase::Tcp]);
    // One that waits in vain for the server to say anything wanted something.
    let waited = facts.record.from_server.bytes == 0
        && facts.age_ns() >= nanoseconds(thresholds.client_hello_silence);
    let left = facts.end.by == CloseBy::Client && !waited;
    let content = first_goodbye(facts, thresholds).is_some();
    // Where bytes are missing, there may have been more to it.
    let read = facts.tls.is_none_or(|tls| !tls.incomplete);
    (early && read && !is_much(facts) && (said_nothing || left || content)).then(|| Finding {
        confidence: Confidence::Medium,
        by: Party::Client,
        evidence: Evidence {
            age_ms: Some(milliseconds(facts.age_ns())),
            client_records: facts.tls.map(|tls| tls.client_records_before_connect),
            ..Evidence::default()
        },
    })
}
