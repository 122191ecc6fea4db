//! Ends of sessions, one after the other, and what is told of them together.

use std::net::SocketAddr;

use sstpulse_common::FlowKey;

use super::{Across, End, Finding};
use crate::{
    diagnosis::{ClusterLimits, Thresholds},
    event::{
        AttemptOutcome, Code, Confidence, Counters, Evidence, Party, ScopeKind, SessionId, Verdict,
    },
};

const SECOND: u64 = 1_000_000_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Sessions open at some time, at a server of the default configuration.
struct Server {
    across: Across,
    numbered: u64,
}

impl Server {
    fn new() -> Self {
        Self::with(&ClusterLimits::default())
    }

    /// One that accepts any share of drops.
    fn tolerant() -> Self {
        Self::with(&ClusterLimits {
            drops_percent: 100.0,
            ..ClusterLimits::default()
        })
    }

    fn with(limits: &ClusterLimits) -> Self {
        Self {
            across: Across::new(&Thresholds::default(), limits),
            numbered: 0,
        }
    }

    /// So many sessions are open from a prefix.
    fn open(&mut self, prefix: &str, sessions: usize) {
        for _ in 0..sessions {
            self.across.opened(&key(prefix));
        }
    }

    fn end(&mut self, prefix: &str, code: Code, at: u64) {
        self.end_after(prefix, code, at, None);
    }

    fn end_after(&mut self, prefix: &str, code: Code, at: u64, idle_ms: Option<u64>) {
        self.end_of(None, prefix, code, at, idle_ms);
    }

    fn end_of(
        &mut self,
        server_name: Option<&str>,
        prefix: &str,
        code: Code,
        at: u64,
        idle_ms: Option<u64>,
    ) {
        self.numbered += 1;
        let verdict = verdict(code, idle_ms);
        self.across.ended(&End {
            id: SessionId {
                run: 1,
                number: self.numbered,
            },
            key: &key(prefix),
            verdict: &verdict,
            closed_ns: at,
            heard_ns: at,
            was_up: code != Code::AuthFailed,
            server_name,
        });
    }

    /// What is told at a time, in short.
    fn tells(&mut self, now: u64) -> Vec<String> {
        let found = self.across.look(now, false);
        found.iter().map(short).collect()
    }
}

fn key(prefix: &str) -> FlowKey {
    let client: SocketAddr = format!("{prefix}.7:50000").parse().unwrap();
    FlowKey::new(client, "192.0.2.1:443".parse().unwrap())
}

fn verdict(code: Code, idle_ms: Option<u64>) -> Verdict {
    Verdict {
        code,
        confidence: Confidence::High,
        by: Party::Unknown,
        evidence: Evidence {
            idle_ms,
            ..Evidence::default()
        },
        also: Vec::new(),
        advice: "",
    }
}

fn short(finding: &Finding) -> String {
    let whose = match finding.scope.kind {
        ScopeKind::Server => "the server",
        ScopeKind::ServerName | ScopeKind::ClientPrefix => {
            finding.scope.value.as_deref().unwrap_or("nobody")
        }
        ScopeKind::All => "all",
    };
    let (code, change) = (finding.code, &finding.change);
    format!("{code:?} {:?} of {whose}: {}", change.state, change.count)
}

#[expect(clippy::too_many_lines, reason = "a table")]
#[test]
fn a_few_that_fail_alike_are_a_cluster() {
    use Code::{
        ClientReset, ClientRoamed, PathDead, PeerHung, ResetInjectedSuspect, ResetOnClientHello,
        ServerProcessDied, ServerReset, ServerRestart,
    };

    type Ends<'a> = &'a [(&'a str, Code, u64)];
    let (a, b, c) = ("203.0.113", "198.51.100", "192.168.1");
    let cases: [(&str, Ends<'_>, &[&str]); 13] = [
        (
            "a server that restarts takes clients from everywhere",
            &[
                (a, ServerProcessDied, 0),
                (b, ServerReset, 1),
                (c, ServerRestart, 1),
            ],
            &["ServerRestart Onset of the server: 3"],
        ),
        (
            "two are none",
            &[(a, ServerRestart, 0), (b, ServerRestart, 1)],
            &[],
        ),
        (
            "one now and then is none",
            &[
                (a, ServerProcessDied, 0),
                (b, ServerProcessDied, 10),
                (c, ServerProcessDied, 20),
            ],
            &[],
        ),
        (
            "those before have no part in it",
            &[
                (a, ServerProcessDied, 0),
                (b, ServerProcessDied, 10),
                (b, ServerProcessDied, 11),
                (c, ServerProcessDied, 11),
            ],
            &["ServerRestart Onset of the server: 3"],
        ),
        (
            "a middlebox cuts off one prefix",
            &[
                (a, ResetOnClientHello, 0),
                (b, ResetOnClientHello, 1),
                (a, ResetInjectedSuspect, 200),
                (a, ResetOnClientHello, 500),
            ],
            &["ClientsCutOff Onset of 203.0.113.0/24: 3"],
        ),
        (
            "clients of three prefixes are no prefix",
            &[
                (a, ResetInjectedSuspect, 0),
                (b, ResetInjectedSuspect, 1),
                (c, ResetInjectedSuspect, 2),
            ],
            &[],
        ),
        (
            "all of a prefix reset at once",
            &[
                (a, ClientReset, 0),
                (a, ClientReset, 1),
                (a, ClientReset, 1),
            ],
            &["ClientsReset Onset of 203.0.113.0/24: 3"],
        ),
        (
            "a client that resets whenever it ends is none",
            &[
                (a, ClientReset, 0),
                (a, ClientReset, 5),
                (a, ClientReset, 10),
            ],
            &[],
        ),
        (
            "the path to a prefix dies within two hellos",
            &[(b, PathDead, 0), (b, ClientRoamed, 60), (b, PathDead, 100)],
            &["PathsDead Onset of 198.51.100.0/24: 3"],
        ),
        (
            "paths that die in the course of an hour are none",
            &[(b, PathDead, 0), (b, PathDead, 700), (b, PathDead, 1_400)],
            &[],
        ),
        (
            "two clusters at once are two",
            &[
                (a, PathDead, 0),
                (a, PathDead, 1),
                (a, PathDead, 2),
                (b, ClientReset, 2),
                (b, ClientReset, 2),
                (b, ClientReset, 3),
            ],
            &[
                "PathsDead Onset of 203.0.113.0/24: 3",
                "ClientsReset Onset of 198.51.100.0/24: 3",
            ],
        ),
        (
            "an outage of the server's network takes all prefixes",
            &[
                (a, PathDead, 0),
                (a, PathDead, 1),
                (a, PathDead, 2),
                (b, PathDead, 1),
                (b, PathDead, 2),
                (b, PathDead, 3),
                (c, PathDead, 3),
            ],
            &["PathsDead Onset of the server: 7"],
        ),
        (
            "what has no kind is none",
            &[(a, PeerHung, 0), (a, PeerHung, 0), (a, PeerHung, 0)],
            &[],
        ),
    ];
    for (what, ends, expected) in cases {
        let mut server = Server::new();
        let mut last = 0;
        for (prefix, code, second) in ends {
            last = DAY + second * SECOND;
            server.end(prefix, *code, last);
        }
        assert_eq!(server.tells(last + 3 * SECOND), expected, "{what}");
        assert!(server.tells(last + 4 * SECOND).is_empty(), "{what}: once");
    }
}

#[test]
fn a_cluster_is_told_once_all_of_it_is_there() {
    let mut server = Server::tolerant();
    for second in 0..6 {
        server.end("203.0.113", Code::ServerRestart, DAY + second * SECOND);
        assert!(server.tells(DAY + second * SECOND).is_empty());
    }
    let told = ["ServerRestart Onset of the server: 6"];
    assert_eq!(server.tells(DAY + 7 * SECOND), told);

    // For ten seconds at most.
    let mut server = Server::tolerant();
    let mut told = Vec::new();
    for second in 0..=12 {
        server.end("203.0.113", Code::ServerRestart, DAY + second * SECOND);
        told.extend(server.tells(DAY + second * SECOND));
    }
    assert_eq!(told, ["ServerRestart Onset of the server: 11"]);

    // And not at all at the end.
    let mut server = Server::tolerant();
    for _ in 0..3 {
        server.end("203.0.113", Code::ServerRestart, DAY);
    }
    assert_eq!(server.across.look(DAY, true).len(), 1);
}

#[test]
fn a_bad_day_is_a_few_lines() {
    let mut server = Server::tolerant();
    let mut told = Vec::new();
    for minute in 0..24 * 60 {
        let now = DAY + minute * MINUTE;
        // Every twenty minutes.
        if minute % 20 == 0 {
            for _ in 0..5 {
                server.end("203.0.113", Code::ResetInjectedSuspect, now);
            }
        }
        told.extend(server.tells(now + 30 * SECOND));
    }
    let expected = [
        "ClientsCutOff Onset of 203.0.113.0/24: 5",
        "ClientsCutOff Cleared of 203.0.113.0/24: 5",
        "ClientsCutOff Onset of 203.0.113.0/24: 5",
        // It has to be away for twenty minutes now, and is not.
    ];
    assert_eq!(told, expected);
}

#[test]
fn what_a_few_of_many_do_is_no_cluster() {
    for (open, told) in [(3, true), (57, true), (61, false), (5_000, false)] {
        let mut server = Server::new();
        server.open("203.0.113", open);
        for _ in 0..3 {
            server.end("203.0.113", Code::PathDead, DAY);
        }
        assert_eq!(
            !server.tells(DAY + 5 * SECOND).is_empty(),
            told,
            "of {open}"
        );
    }
}

#[test]
fn an_idleness_is_shared_within_two_seconds_and_a_day() {
    // Minute, and idleness in milliseconds.
    type Ends<'a> = &'a [(u64, u64)];
    let cases: [(&str, Ends<'_>, usize); 6] = [
        ("the same", &[(0, 350_000), (5, 350_900), (20, 349_000)], 1),
        (
            "over a unit's edge",
            &[(0, 349_999), (1, 350_001), (2, 350_000)],
            1,
        ),
        (
            "too different",
            &[(0, 350_000), (1, 353_000), (2, 356_000)],
            0,
        ),
        (
            "a day in between",
            &[(0, 350_000), (2, 350_000), (3_000, 350_000)],
            0,
        ),
        // The path died at any time between two hellos.
        (
            "a hello's pace",
            &[(0, 60_100), (10, 60_000), (20, 61_000)],
            0,
        ),
        (
            "two kinds",
            &[(0, 240_000), (1, 350_000), (2, 240_500), (3, 350_500)],
            0,
        ),
    ];
    for (what, ends, clusters) in cases {
        let mut server = Server::new();
        let mut last = 0;
        for (minute, idle_ms) in ends {
            last = DAY + minute * MINUTE;
            let code = Code::IdleTimeoutSuspect;
            server.end_after("203.0.113", code, last, Some(*idle_ms));
        }
        let told = server.tells(last + 5 * SECOND);
        assert_eq!(told.len(), clusters, "{what}: {told:?}");
        if clusters > 0 {
            assert_eq!(told, ["SharedIdleTimeout Onset of the server: 3"], "{what}");
        }
    }
}

#[test]
fn attempts_without_an_answer_are_the_servers() {
    use AttemptOutcome::{ResetByServer, SynAckUnanswered, SynUnanswered};

    let high = Confidence::High;
    let cases = [
        (
            "unanswered",
            SynUnanswered,
            Code::SynUnanswered,
            high,
            10,
            1,
        ),
        ("refused", ResetByServer, Code::ServerReset, high, 10, 1),
        ("too few", SynUnanswered, Code::SynUnanswered, high, 9, 0),
        (
            "a flood",
            SynUnanswered,
            Code::SynUnanswered,
            Confidence::Low,
            500,
            0,
        ),
        (
            "a scan",
            SynAckUnanswered,
            Code::Probe,
            Confidence::Medium,
            500,
            0,
        ),
    ];
    for (what, outcome, code, confidence, count, clusters) in cases {
        let mut server = Server::new();
        let verdict = Verdict {
            confidence,
            ..verdict(code, None)
        };
        for second in 0..count {
            let at = DAY + second * SECOND;
            server
                .across
                .attempt_failed(&key("203.0.113"), at, outcome, &verdict);
        }
        let found = server.across.look(DAY + HOUR, false);
        assert_eq!(found.len(), clusters, "{what}: {found:?}");
        for finding in found {
            assert_eq!(
                short(&finding),
                "ServerUnreachable Onset of the server: 10",
                "{what}"
            );
            let evidence = finding.change.evidence;
            let told = (evidence.unanswered, evidence.refused);
            let unanswered = if outcome == SynUnanswered { 10 } else { 0 };
            assert_eq!(told, (Some(unanswered), Some(10 - unanswered)), "{what}");
            assert_eq!(evidence.client_prefix.as_deref(), Some("203.0.113.0/24"));
        }
    }
}

#[test]
fn a_share_of_drops_over_its_limit_is_told_of_whom_it_is() {
    // Name, dropped, ended well.
    type Ends<'a> = &'a [(Option<&'a str>, usize, usize)];
    let (good, bad) = (Code::CleanClient, Code::ClientProcessDied);
    let cases: [(&str, Ends<'_>, &[&str]); 6] = [
        (
            "of the only name",
            &[(Some("one.example"), 12, 8)],
            &["DropsHigh Onset of one.example: 12"],
        ),
        (
            "of all",
            &[(Some("one.example"), 8, 2), (Some("two.example"), 8, 2)],
            &["DropsHigh Onset of all: 16"],
        ),
        (
            "of one name of two, and not of all",
            &[(Some("one.example"), 12, 3), (Some("two.example"), 1, 30)],
            &["DropsHigh Onset of one.example: 12"],
        ),
        ("of too few", &[(Some("one.example"), 9, 0)], &[]),
        ("accepted", &[(Some("one.example"), 10, 10)], &[]),
        (
            "without a name",
            &[(None, 12, 2)],
            &["DropsHigh Onset of all: 12"],
        ),
    ];
    for (what, ends, expected) in cases {
        let mut server = Server::new();
        for (name, dropped, well) in ends {
            server.across.came_up(*name);
            for _ in 0..*dropped {
                server.end_of(*name, "203.0.113", bad, DAY, None);
            }
            for _ in 0..*well {
                server.end_of(*name, "203.0.113", good, DAY, None);
            }
        }
        assert_eq!(server.tells(DAY), expected, "{what}");
        let names: usize = ends.iter().filter(|(name, ..)| name.is_some()).count();
        let rates = server.across.rates();
        assert_eq!(rates.servers.len(), names, "{what}");
        let ended: u64 = rates.servers.iter().map(|server| server.rate.ended).sum();
        assert_eq!(ended + rates.others.ended, rates.total.ended, "{what}");
        // Two hours later, nothing has ended for an hour.
        let mut over = Vec::new();
        for minute in 1..=120 {
            over.extend(server.tells(DAY + minute * MINUTE));
        }
        let cleared: Vec<_> = expected
            .iter()
            .map(|it| it.replace("Onset", "Cleared"))
            .collect();
        assert_eq!(over, cleared, "{what}");
    }
}

#[test]
fn what_is_far_from_usual_is_told_below_the_limit() {
    // Hours in which one in fifty is dropped, and then one with so many of a hundred.
    for (dropped, told) in [(5, false), (8, false), (12, true)] {
        let mut server = Server::new();
        let mut numbers = Vec::new();
        for minute in 0..5 * 60 {
            for session in 0..5 {
                let code = if minute % 10 == 0 && session == 0 {
                    Code::PeerHung
                } else {
                    Code::CleanClient
                };
                server.end("203.0.113", code, DAY);
            }
            numbers.extend(server.tells(DAY + minute * MINUTE));
        }
        assert!(numbers.is_empty(), "{numbers:?}");
        // A quiet hour, so that the next one stands for itself.
        let now = DAY + 7 * HOUR;
        numbers.extend(server.tells(now));
        for session in 0..100 {
            let code = if session < dropped {
                Code::PeerHung
            } else {
                Code::CleanClient
            };
            server.end("203.0.113", code, now);
        }
        let found = server.across.look(now, false);
        assert_eq!(!found.is_empty(), told, "{dropped}: {found:?}");
        if let Some(finding) = found.first() {
            let evidence = &finding.change.evidence;
            let usual = evidence.baseline_percent.expect("it is known");
            assert!((usual - 2.0).abs() < 0.01, "{usual}");
            assert_eq!(evidence.percent, Some(12.0));
        }
    }
}

#[test]
fn failures_are_held_against_what_is_usual_alone() {
    let mut server = Server::new();
    for hour in 0..10 {
        for _ in 0..20 {
            server.across.came_up(None);
        }
        server.end("203.0.113", Code::AuthFailed, DAY);
        let told = server.tells(DAY + hour * HOUR);
        assert!(told.is_empty(), "{told:?}");
    }
    for _ in 0..20 {
        server.end("203.0.113", Code::AuthFailed, DAY);
    }
    let told = server.tells(DAY + 9 * HOUR + 30 * MINUTE);
    assert_eq!(told, ["FailuresHigh Onset of all: 20"]);
}

#[test]
fn names_are_few_and_short() {
    let mut server = Server::new();
    let long = "ä".repeat(1_000);
    server.tells(DAY);
    server.across.came_up(Some(&long));
    server.across.came_up(Some("VPN.Example"));
    server.across.came_up(Some("vpn.example"));
    for number in 0..10_000 {
        server.across.came_up(Some(&format!("{number}.example")));
    }
    // Nobody came up under it.
    server.end_of(
        Some("scan.example"),
        "203.0.113",
        Code::AuthFailed,
        DAY,
        None,
    );
    let rates = server.across.rates();
    let names: Vec<_> = rates
        .servers
        .iter()
        .map(|server| server.name.as_str())
        .collect();
    assert_eq!(names.len(), 16);
    assert_eq!(
        (names[0], rates.servers[0].rate.established),
        ("VPN.Example", 2)
    );
    assert_eq!(names[1], "ä".repeat(32));
    assert_eq!(rates.others.established, 10_000 - 14);
    assert_eq!(rates.others.failed, 1);
    // After a day in which nobody asked for them, they give way.
    server.across.came_up(Some("vpn.example"));
    server.tells(DAY + 25 * HOUR);
    server.across.came_up(Some("new.example"));
    let rates = server.across.rates();
    assert!(
        rates
            .servers
            .iter()
            .any(|server| server.name == "new.example")
    );
}

#[test]
fn nobody_fills_it() {
    let mut server = Server::tolerant();
    for number in 0..3_000_u32 {
        let prefix = format!("10.{}.{}", number / 256, number % 256);
        server.end(&prefix, Code::PathDead, DAY);
    }
    // Those of each prefix, and those of all.
    assert_eq!(server.across.displaced(), 3_000 + 1 - 1_024);
    // One that was told is not forgotten without a word.
    let mut server = Server::tolerant();
    for _ in 0..3 {
        server.end("203.0.113", Code::PathDead, DAY);
    }
    assert_eq!(server.tells(DAY + 5 * SECOND).len(), 1);
    // Most of the server's sessions go on.
    server.open("192.168.1", 5_000);
    for number in 0..1_023_u32 {
        let prefix = format!("10.{}.{}", number / 256, number % 256);
        server.end(&prefix, Code::PathDead, DAY);
    }
    let told = server.tells(DAY + 6 * SECOND);
    assert_eq!(told, ["PathsDead Cleared of 203.0.113.0/24: 3"]);
    assert_eq!(server.across.displaced(), 0);
}

#[test]
fn members_are_named_up_to_twenty() {
    let mut server = Server::tolerant();
    for _ in 0..500 {
        server.end("203.0.113", Code::ServerRestart, DAY);
    }
    let found = server.across.look(DAY + 3 * SECOND, false);
    let [finding] = &found[..] else {
        panic!("one cluster: {found:?}");
    };
    let names: Vec<_> = finding
        .change
        .members
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(finding.change.count, 500);
    assert_eq!(names.len(), 20);
    assert_eq!(names[19], "0000000100000014");
}

#[test]
fn what_all_send_is_held_against_its_limits() {
    let sent = |segments: u64, retransmits: u32| Counters {
        segments,
        retransmits,
        ..Counters::default()
    };
    // Sessions, segments that each of them sends again of hundred, round trips in milliseconds.
    let cases: [(&str, u32, u32, u32, &[&str]); 6] = [
        ("well", 50, 1, 40, &[]),
        ("lossy", 50, 6, 40, &["RetransmitsHigh Onset of all: 50"]),
        ("slow", 50, 1, 501, &["RttHigh Onset of all: 50"]),
        (
            "both",
            10,
            6,
            501,
            &[
                "RetransmitsHigh Onset of all: 10",
                "RttHigh Onset of all: 10",
            ],
        ),
        ("at the limit", 50, 5, 500, &[]),
        ("few", 9, 60, 5_000, &[]),
    ];
    for (what, sessions, retransmits, rtt_ms, expected) in cases {
        let mut server = Server::new();
        for _ in 0..sessions {
            let across = &mut server.across;
            across.sent(&sent(50, 0), &sent(100, retransmits), rtt_ms * 1_000);
        }
        assert_eq!(server.tells(DAY), expected, "{what}");
        // Five minutes later, that is forgotten; five more, and it is over.
        let mut over = Vec::new();
        for minute in 1..=12 {
            over.extend(server.tells(DAY + minute * MINUTE));
        }
        assert_eq!(over.len(), expected.len(), "{what}: {over:?}");
        assert!(
            over.iter().all(|it| it.contains("Cleared")),
            "{what}: {over:?}"
        );
    }
}
