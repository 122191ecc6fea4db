//! What many sessions have in common: that they fail alike, and how often they do.
//!
//! Each end of a session, and each attempt that failed, is taken in with its verdict, at the
//! cost of a few look-ups. Each interval it is told which clusters begin and which are over,
//! and how often tunnels came up, failed and were dropped.
//!
//! Memory is bounded, whatever comes: 1,024 [groups](groups) with 20 members each (3 MiB at
//! most), [sessions open](live) by 65,536 servers and as many prefixes (5 MiB), and an hour by
//! minutes of 16 server [names](ledger) (50 KiB).

mod alarm;
mod group;
mod groups;
mod latch;
mod ledger;
mod live;
mod member;
mod meter;
mod sign;
mod toll;
mod traffic;
mod window;

#[cfg(test)]
mod tests;

use sstpulse_common::FlowKey;

use self::{
    alarm::Alarm,
    groups::{Groups, Open},
    ledger::Ledger,
    member::Member,
};
use super::{Lines, nanoseconds, prefix::Prefix};
use crate::{
    diagnosis::{ClusterLimits, Thresholds},
    event::{
        AnomalyState, AttemptOutcome, Cluster, ClusterAnomaly, ClusterCode, ClusterEvidence, Code,
        Confidence, Counters, Event, Party, Rates, Scope, SessionId, Verdict,
    },
};

/// What many sessions have in common.
pub struct Across {
    open: Open,
    groups: Groups,
    ledger: Ledger,
    hello_ms: u64,
}

/// The end of a session.
pub(crate) struct End<'a> {
    pub(crate) id: SessionId,
    pub(crate) key: &'a FlowKey,
    pub(crate) verdict: &'a Verdict,
    /// When it was closed, or last heard of.
    pub(crate) closed_ns: u64,
    /// When its client was last heard of.
    pub(crate) heard_ns: u64,
    /// Its tunnel was up, as far as is known.
    pub(crate) was_up: bool,
    pub(crate) server_name: Option<&'a str>,
}

/// A cluster begins, or is over.
#[derive(Debug)]
struct Finding {
    code: ClusterCode,
    scope: Scope,
    change: Change,
}

impl Finding {
    const fn of_all(code: ClusterCode, change: Change) -> Self {
        Self {
            code,
            scope: ledger::all(),
            change,
        }
    }
}

/// What there is to tell of it.
#[derive(Debug)]
struct Change {
    state: AnomalyState,
    since_ns: u64,
    last_ns: u64,
    count: u64,
    members: Vec<Member>,
    evidence: ClusterEvidence,
}

impl Change {
    fn of(alarm: &Alarm, state: AnomalyState, count: u32, evidence: ClusterEvidence) -> Self {
        Self {
            state,
            since_ns: alarm.since_ns,
            last_ns: alarm.last_ns,
            count: count.into(),
            members: Vec::new(),
            evidence,
        }
    }
}

impl Across {
    /// Nothing yet.
    pub fn new(thresholds: &Thresholds, limits: &ClusterLimits) -> Self {
        Self {
            open: Open::default(),
            groups: Groups::new(thresholds, limits.clone()),
            ledger: Ledger::new(limits.clone()),
            hello_ms: nanoseconds(thresholds.hello) / 1_000_000,
        }
    }

    /// A session was opened.
    pub(crate) fn opened(&mut self, key: &FlowKey) {
        self.open.servers.opened(sign::server(key));
        self.open.prefixes.opened(Prefix::of(key.client));
    }

    /// The tunnel of a session has come up.
    pub(crate) fn came_up(&mut self, server_name: Option<&str>) {
        self.ledger.established(server_name);
    }

    /// What an interval brought of a session.
    pub(crate) fn sent(&mut self, from_client: &Counters, from_server: &Counters, rtt_us: u32) {
        self.ledger.sent(from_client, from_server, rtt_us);
    }

    /// A session has ended, or is as good as lost.
    pub(crate) fn ended(&mut self, end: &End<'_>) {
        self.open.servers.closed(&sign::server(end.key));
        self.open.prefixes.closed(&Prefix::of(end.key.client));
        let (name, member) = (end.server_name, Member::Session(end.id));
        match end.verdict.code {
            code if end.was_up && code.is_loss() => self.ledger.dropped(name, member),
            _ if end.was_up => self.ledger.ended(name),
            Code::Probe => {}
            // Unless it was the server that spoke no TLS.
            Code::NotSstp if end.verdict.by == Party::Client => {}
            _ => self.ledger.failed(name, member),
        }
        if let Some(sign) = sign::of_session(end, self.hello_ms) {
            self.groups.take(&sign, &self.open);
        }
    }

    /// An attempt has failed; its last segment was seen at `last_ns`.
    pub(crate) fn attempt_failed(
        &mut self,
        key: &FlowKey,
        last_ns: u64,
        outcome: AttemptOutcome,
        verdict: &Verdict,
    ) {
        if verdict.code != Code::Probe && verdict.confidence > Confidence::Low {
            self.ledger.failed(None, Member::Attempt(*key));
        }
        if let Some(sign) = sign::of_attempt(key, last_ns, outcome, verdict) {
            self.groups.take(&sign, &self.open);
        }
    }

    /// Failures forgotten for newer ones before it was clear whether they are a cluster.
    pub(crate) const fn displaced(&self) -> u64 {
        self.groups.displaced()
    }

    /// How often tunnels came up, failed and were dropped in the last hour.
    pub(crate) fn rates(&self) -> Rates {
        self.ledger.rates()
    }

    /// Lets time pass, and tells what begins and what is over.
    pub(crate) fn tell(&mut self, lines: &mut Lines, now: u64) {
        self.write(lines, now, false);
    }

    /// The same at the end of the run: there is nothing more to be waited for.
    pub(crate) fn tell_last(&mut self, lines: &mut Lines, now: u64) {
        self.write(lines, now, true);
    }

    fn write(&mut self, lines: &mut Lines, now: u64, last: bool) {
        for finding in self.look(now, last) {
            let cluster = finding.cluster(lines);
            lines.write(now, None, |head| {
                Event::ClusterAnomaly(ClusterAnomaly { head, cluster })
            });
        }
    }

    /// What begins and what is over, the earliest first.
    fn look(&mut self, now: u64, last: bool) -> Vec<Finding> {
        let mut found = self.groups.look(&self.open, now, last);
        found.extend(self.ledger.look(now));
        found.sort_by_key(|finding| (finding.change.since_ns, finding.code));
        found
    }
}

impl Finding {
    fn cluster(self, lines: &Lines) -> Cluster {
        let Self {
            code,
            scope,
            change,
        } = self;
        let Change {
            state,
            since_ns,
            last_ns,
            count,
            members,
            evidence,
        } = change;
        Cluster {
            code,
            state,
            scope,
            since: lines.time(since_ns),
            lasted_ms: last_ns.saturating_sub(since_ns) / 1_000_000,
            count,
            members: members.iter().map(ToString::to_string).collect(),
            evidence,
            advice: code.advice(),
        }
    }
}
