//! Rules whose facts are easier written down than played: a row says what was counted, and
//! which codes must come of it, the verdict first.

use sstpulse_common::{DirectionRecord, SessionRecord, Side, payload, tls::ContentType};

use super::{Word, ended_by_server, judge};
use crate::{
    diagnosis::{Facts, HostFacts, Neighbours, Quiet, Sayings, Thresholds},
    event::{CloseBy, CloseHow, Code, Counters, Ending},
    tls::RecordSize,
};

const SECOND_NS: u64 = 1_000_000_000;

/// Lengths of an alert and of a disconnect under TLS 1.3.
const ALERT: u8 = 19;
const DISCONNECT: u8 = 37;

/// When each session is closed.
const CLOSED_NS: u64 = 100 * SECOND_NS;

/// When it began, a minute before.
const START_NS: u64 = 40 * SECOND_NS;

/// A tunnel that was up, whose beginning was not seen.
struct Case {
    record: SessionRecord,
    quiet: Option<Quiet>,
    neighbours: Neighbours,
}

impl Case {
    fn new(change: impl FnOnce(&mut Self)) -> Self {
        let mut case = Self {
            record: SessionRecord::FREE,
            quiet: None,
            neighbours: Neighbours::default(),
        };
        case.record.head.start_ns = START_NS;
        case.record.from_client.last_seen_ns = CLOSED_NS;
        case.record.from_server.last_seen_ns = CLOSED_NS;
        change(&mut case);
        case
    }

    /// A side says something of this length, so long before the first FIN or RST.
    fn say(&mut self, side: Side, length: u8, before_ns: u64) {
        let mut bytes = vec![ContentType::APPLICATION_DATA, 3, 3, 0, length];
        bytes.resize(bytes.len() + usize::from(length), 0xee);
        let now = CLOSED_NS - before_ns;
        payload::note(&mut self.record, side, &bytes[..], 0, bytes.len(), now);
    }

    fn close(&mut self, side: Side) {
        let flags = match side {
            Side::Client => &mut self.record.from_client.flags,
            Side::Server => &mut self.record.from_server.flags,
        };
        *flags |= DirectionRecord::FIN_SENT | DirectionRecord::FIRST_TO_CLOSE;
    }

    fn with_facts<T>(&self, use_them: impl FnOnce(&Facts<'_>, &Thresholds) -> T) -> T {
        let (client, server) = (&self.record.from_client, &self.record.from_server);
        let sizes = RecordSize::Tls13 { tag: 16 };
        let facts = Facts {
            end: Ending {
                by: if server.has(DirectionRecord::FIRST_TO_CLOSE) {
                    CloseBy::Server
                } else {
                    CloseBy::Client
                },
                how: CloseHow::Fin,
            },
            record: &self.record,
            from_client: Counters::of(client, server, CLOSED_NS),
            from_server: Counters::of(server, client, CLOSED_NS),
            tls: None,
            sayings: Sayings::of(&self.record, sizes, CLOSED_NS, true, Some(CLOSED_NS)),
            end_ns: CLOSED_NS,
            closing_ns: Some(CLOSED_NS),
            client_spoke_ns: CLOSED_NS,
            resets: &[],
            timeouts: None,
            stalls: 0,
            quiet: self.quiet,
            rtt_inflated_percent: 0.0,
            neighbours: self.neighbours,
            host: HostFacts::default(),
        };
        use_them(&facts, &Thresholds::default())
    }

    fn codes(&self) -> Vec<Code> {
        self.with_facts(|facts, thresholds| {
            let verdict = judge(facts, thresholds);
            [&[verdict.code], verdict.also.as_slice()].concat()
        })
    }
}

fn stalls(side: &mut DirectionRecord, stalls: u32, each_ms: u32) {
    side.zero_window_stalls = stalls;
    side.stalled_ms = stalls * each_ms;
}

fn sent(side: &mut DirectionRecord, segments: u64, again: u32) {
    side.segments = segments;
    side.retransmits = again;
}

/// What was counted, in words and in a record; and the codes that fit, the verdict first.
type Row = (&'static str, fn(&mut Case), &'static [Code]);

const ROWS: &[Row] = &[
    (
        "the client's alert, and the server's in the same tick of the clock",
        |case| {
            case.say(Side::Client, ALERT, 0);
            case.say(Side::Server, ALERT, 0);
            case.close(Side::Server);
        },
        &[Code::CleanClient],
    ),
    (
        "the same the other way round",
        |case| {
            case.say(Side::Server, ALERT, 0);
            case.say(Side::Client, ALERT, 0);
            case.close(Side::Client);
        },
        &[Code::CleanServer],
    ),
    (
        "the client's alert comes after many records of both",
        |case| {
            for _ in 0..21 {
                case.say(Side::Server, 25, 30 * SECOND_NS);
                case.say(Side::Client, 25, 30 * SECOND_NS);
            }
            case.say(Side::Client, DISCONNECT, 0);
            case.say(Side::Server, DISCONNECT, 0);
            case.close(Side::Server);
        },
        &[Code::CleanClient],
    ),
    (
        "an alert of the client, once the server has closed, answers that",
        |case| {
            case.close(Side::Server);
            case.say(Side::Client, ALERT, 0);
        },
        &[Code::ServerProcessDied],
    ),
    (
        "the window closes three times for a moment",
        |case| stalls(&mut case.record.from_client, 3, 199),
        &[Code::ClientProcessDied],
    ),
    (
        "it does so for as long as the sender waits before it asks",
        |case| stalls(&mut case.record.from_client, 3, 200),
        &[Code::ClientZeroWindow],
    ),
    (
        "it does so twice",
        |case| stalls(&mut case.record.from_server, 2, 200),
        &[Code::ClientProcessDied],
    ),
    (
        "many moments are a second in this minute",
        |case| stalls(&mut case.record.from_server, 100, 10),
        &[Code::ServerZeroWindow],
    ),
    (
        "3 % sent again",
        |case| sent(&mut case.record.from_server, 1_000, 30),
        &[Code::LossDegraded],
    ),
    (
        "3 % sent again, and the server closes it with two others, without a word",
        |case| {
            sent(&mut case.record.from_server, 1_000, 30);
            case.close(Side::Server);
            case.neighbours.died_together = 3;
        },
        &[Code::ServerRestart, Code::LossDegraded],
    ),
    (
        "3 % sent again, and the server closes it with one other",
        |case| {
            sent(&mut case.record.from_server, 1_000, 30);
            case.close(Side::Server);
            case.neighbours.died_together = 2;
        },
        &[Code::LossDegraded],
    ),
    (
        "3 % sent again, of which half had been acknowledged",
        |case| {
            sent(&mut case.record.from_server, 1_000, 30);
            case.record.from_server.spurious_retransmits = 15;
        },
        &[Code::ClientProcessDied],
    ),
    (
        "3 % sent again, of which the other end reports half as received twice",
        |case| {
            sent(&mut case.record.from_client, 1_000, 30);
            case.record.from_server.dsack_dups = 15;
        },
        &[Code::ClientProcessDied],
    ),
    (
        "the server says goodbye, as it did to two others alike",
        |case| {
            case.say(Side::Server, DISCONNECT, SECOND_NS);
            case.close(Side::Server);
            case.neighbours.dismissed_alike = 3;
        },
        &[Code::PolicyDisconnect, Code::CleanServer],
    ),
    (
        "the server says goodbye, as it did to one other",
        |case| {
            case.say(Side::Server, DISCONNECT, SECOND_NS);
            case.close(Side::Server);
            case.neighbours.dismissed_alike = 2;
        },
        &[Code::CleanServer],
    ),
];

#[test]
fn each_row_has_the_verdict_that_it_must() {
    for (what, change, expected) in ROWS {
        assert_eq!(Case::new(change).codes(), *expected, "{what}");
    }
}

#[test]
fn a_goodbye_may_end_an_idleness_that_no_hello_would_have_allowed() {
    let said_ns = CLOSED_NS - SECOND_NS;
    let quiet = |since_ns, until_ns| Some(Quiet { since_ns, until_ns });
    let rows = [
        ("both talked all the time", None, None),
        (
            "for longer than a hello",
            quiet(said_ns - 61 * SECOND_NS, said_ns),
            Some(61),
        ),
        (
            "it was the FIN that told of it",
            quiet(said_ns - 61 * SECOND_NS, CLOSED_NS),
            Some(61),
        ),
        (
            "for no longer than one",
            quiet(said_ns - 59 * SECOND_NS, said_ns),
            None,
        ),
        (
            "some time before",
            quiet(said_ns - 90 * SECOND_NS, said_ns - 2 * SECOND_NS),
            None,
        ),
    ];
    // Whoever closes first once it is said.
    let closers = [Side::Server, Side::Client];
    for ((what, quiet, idle_s), first_to_close) in rows
        .into_iter()
        .flat_map(|row| closers.map(|side| (row, side)))
    {
        let case = Case::new(|case| {
            case.quiet = quiet;
            case.say(Side::Server, DISCONNECT, SECOND_NS);
            case.close(first_to_close);
        });
        let Some(Word::Goodbye { idle_ns }) = case.with_facts(ended_by_server) else {
            panic!("{what}: the server said goodbye");
        };
        assert_eq!(idle_ns.map(|idle_ns| idle_ns / SECOND_NS), idle_s, "{what}");
    }
}
