//! Sessions of SSTP software that others wrote end in replay as they did when they were
//! recorded, for the reason they had; what happened in each, `tests/captures/README.md` tells.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use lab::{
    accuracy::{captures, captures_folder},
    events::{Evidence, Line},
};

use crate::{parse, replay};

/// Capture, how it ended and by whom, retransmits of the client and of the server.
const ENDS: [(&str, &str, &str, u32, u32); 18] = [
    ("sstp-clean", "reset", "client", 0, 0),
    ("sstp-loss", "reset", "client", 2, 3),
    ("sstp-client-killed", "fin", "client", 0, 0),
    ("sstp-server-killed", "reset", "server", 0, 0),
    ("sstp-path-cut", "still_open", "unknown", 0, 9),
    ("sstp-path-cut-icmp", "still_open", "unknown", 0, 56),
    ("sstp-mtu-black-hole", "still_open", "client", 0, 9),
    ("sstp-wrong-password", "reset", "server", 0, 0),
    ("sstp-certificate-refused", "fin", "client", 0, 0),
    ("sstp-client-suspended", "reset", "client", 0, 0),
    ("accel-ppp-tls13", "reset", "server", 0, 2),
    ("softether-tls12-client-rejects-cert", "fin", "client", 0, 0),
    ("softether-tls12gcm-clean", "fin", "server", 0, 0),
    ("softether-tls13-clean", "fin", "server", 0, 0),
    (
        "softether-tls13-client-closes-socket",
        "reset",
        "client",
        0,
        0,
    ),
    (
        "softether-tls13-path-down-icmp",
        "still_open",
        "unknown",
        0,
        23,
    ),
    ("softether-tls13-server-killed", "fin", "server", 0, 0),
    ("softether-tls13-wrong-password", "fin", "server", 0, 0),
];

#[test]
fn sessions_of_real_peers_end_as_they_did() -> Result<()> {
    for (name, how, by, from_client, from_server) in ENDS {
        let capture = captures_folder().join(format!("{name}.pcap"));
        let lines = parse(&replay(&capture, &[])?.stdout)?;
        let end = lines.iter().find_map(Line::session_end).context(name)?;
        let told = (&*end.end.how, &*end.end.by);
        assert_eq!(told, (how, by), "{name}");
        let retransmits = (end.from_client.retransmits, end.from_server.retransmits);
        assert_eq!(retransmits, (from_client, from_server), "{name}");
    }
    Ok(())
}

/// Why a session ended: capture, code, confidence, by whom, and what must be among the evidence.
struct Why {
    capture: &'static str,
    code: &'static str,
    confidence: &'static str,
    by: &'static str,
    evidence: fn(&Evidence) -> bool,
}

const fn why(
    capture: &'static str,
    code: &'static str,
    confidence: &'static str,
    by: &'static str,
    evidence: fn(&Evidence) -> bool,
) -> Why {
    Why {
        capture,
        code,
        confidence,
        by,
        evidence,
    }
}

#[rustfmt::skip]
const WHY: [Why; 18] = [
    // Who ends pppd ends the tunnel with it, and says so.
    why("sstp-clean", "clean_client", "high", "client", said_goodbye),
    why("sstp-loss", "clean_client", "high", "client", said_goodbye),
    why("sstp-client-suspended", "clean_client", "high", "client", said_goodbye),
    why("softether-tls12gcm-clean", "clean_client", "high", "client", disconnected),
    why("softether-tls13-clean", "clean_client", "high", "client", disconnected),
    why("accel-ppp-tls13", "clean_client", "high", "client", said_goodbye),
    // Killed, or gone without a word: that shows by what is missing.
    why("sstp-client-killed", "client_process_died", "medium", "client", without_a_word),
    why("softether-tls13-client-closes-socket", "client_process_died", "medium", "client", without_a_word),
    why("sstp-server-killed", "server_process_died", "medium", "server", without_a_word),
    why("softether-tls13-server-killed", "server_process_died", "medium", "server", without_a_word),
    // Silence against a router that answers.
    why("sstp-path-cut", "path_dead", "high", "network", |found| found.icmp_unreachable == Some(false)),
    why("sstp-path-cut-icmp", "path_dead", "high", "network", |found| found.icmp_unreachable == Some(true)),
    why("softether-tls13-path-down-icmp", "path_dead", "high", "network", |found| found.icmp_unreachable == Some(true)),
    // What vanished had more than 1,300 bytes with its 52 bytes of headers; what came after it passed.
    why("sstp-mtu-black-hole", "pmtu_blackhole_from_server", "high", "network",
        |found| found.largest_lost.is_some_and(|bytes| bytes + 52 > 1_300) && found.later_bytes_arrived == Some(true)),
    why("sstp-wrong-password", "auth_failed", "medium", "server", |found| found.goodbye.is_some()),
    why("softether-tls13-wrong-password", "auth_failed", "medium", "server", |found| found.goodbye.is_some()),
    // Alert 48 is "unknown CA"; sstpc sends none, so that others could be meant.
    why("softether-tls12-client-rejects-cert", "tls_certificate_rejected", "high", "client", |found| found.alert == Some(48)),
    why("sstp-certificate-refused", "tls_certificate_rejected", "low", "client", |found| found.alert.is_none()),
];

/// The goodbye came in the moment before the end, or at most as long before it as a server
/// takes to answer.
fn said_goodbye(found: &Evidence) -> bool {
    found.goodbye.is_some() && found.goodbye_ms.is_some_and(|ms| ms < 6_000)
}

fn disconnected(found: &Evidence) -> bool {
    found.goodbye.as_deref() == Some("disconnect_or_abort") && said_goodbye(found)
}

fn without_a_word(found: &Evidence) -> bool {
    found.goodbye.is_none() && found.age_ms.is_some()
}

#[test]
fn verdicts_on_sessions_of_real_peers_are_what_happened_to_them() -> Result<()> {
    for expected in &WHY {
        let name = expected.capture;
        let capture = captures_folder().join(format!("{name}.pcap"));
        let lines = parse(&replay(&capture, &[])?.stdout)?;
        let end = lines.iter().find_map(Line::session_end).context(name)?;
        let verdict = end.verdict.as_ref().context(name)?;
        assert_eq!(
            (&*verdict.code, &*verdict.confidence, &*verdict.by),
            (expected.code, expected.confidence, expected.by),
            "{name}: {verdict:?}"
        );
        assert!(
            (expected.evidence)(&verdict.evidence),
            "{name}: {verdict:?}"
        );
        assert!(verdict.advice.ends_with('.'), "{name}: {verdict:?}");
    }
    Ok(())
}

#[test]
fn every_capture_of_a_real_peer_is_in_both_tables() -> Result<()> {
    let recorded: BTreeSet<String> = captures()?
        .iter()
        .filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned()))
        .filter(|name| !name.starts_with("lab-") && name != "segments")
        .collect();
    let ends = ENDS.iter().map(|(name, ..)| String::from(*name)).collect();
    let whys = WHY.iter().map(|why| String::from(why.capture)).collect();
    assert_eq!(recorded, ends);
    assert_eq!(recorded, whys);
    Ok(())
}
