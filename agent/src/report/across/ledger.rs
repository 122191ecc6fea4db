//! How often tunnels come up, fail and are dropped: in total, and by server name.
//!
//! Names come from clients, which may send any: they are cut, and there are few. One is told
//! apart once a tunnel has come up under it, and gives its place to another when it has not
//! been asked for in a day.

use super::{
    Change, Finding,
    alarm::{Alarm, Reading},
    member::Member,
    meter::{Counts, Meter, rounded},
    toll::{Mishap, Toll},
    traffic::Traffic,
};
use crate::{
    diagnosis::ClusterLimits,
    event::{ClusterCode, ClusterEvidence, Counters, Rates, Scope, ScopeKind, ServerRate},
    report::nanoseconds,
};

/// Names that are told apart.
const MOST_NAMES: usize = 16;

/// Bytes of a name that are kept.
const LONGEST_NAME: usize = 64;

/// A name that has not been asked for in so many minutes may be forgotten for another.
const STALE_MINUTES: u64 = 1_440;

const MINUTE_NS: u64 = 60_000_000_000;

/// Counts, and what has gone wrong.
#[derive(Clone)]
struct Series {
    meter: Meter,
    drops: Toll,
    failures: Toll,
}

impl Series {
    fn since(minute: u64) -> Self {
        Self {
            meter: Meter::since(minute),
            drops: Toll::default(),
            failures: Toll::default(),
        }
    }

    const fn toll(&mut self, mishap: Mishap) -> &mut Toll {
        match mishap {
            Mishap::Drop => &mut self.drops,
            Mishap::Failure => &mut self.failures,
        }
    }

    fn add(&mut self, counts: Counts, mishap: Option<(Mishap, Member)>) {
        self.meter.add(counts);
        if let Some((mishap, member)) = mishap {
            self.toll(mishap).add(member);
        }
    }

    fn look(&mut self, mishap: Mishap, limits: &ClusterLimits, now: u64) -> Option<Change> {
        // Two fields of one struct at once: the meter is read, the toll written.
        let (meter, toll) = match mishap {
            Mishap::Drop => (&self.meter, &mut self.drops),
            Mishap::Failure => (&self.meter, &mut self.failures),
        };
        toll.look(mishap, meter, limits, now)
    }
}

struct Named {
    name: Box<str>,
    /// The minute in which it was last asked for.
    asked: u64,
    series: Series,
}

/// How often tunnels come up, fail and are dropped.
pub(super) struct Ledger {
    limits: ClusterLimits,
    /// The first look: minutes are counted from it on.
    started_ns: Option<u64>,
    minute: u64,
    total: Series,
    named: Vec<Named>,
    others: Meter,
    /// Whose the troubles of the total are that were told: drops and failures.
    blamed: [Scope; 2],
    traffic: Traffic,
    retransmits: Alarm,
    rtt: Alarm,
}

impl Ledger {
    pub(super) fn new(limits: ClusterLimits) -> Self {
        Self {
            limits,
            started_ns: None,
            minute: 0,
            total: Series::since(0),
            named: Vec::new(),
            others: Meter::since(0),
            blamed: [all(), all()],
            traffic: Traffic::default(),
            retransmits: Alarm::default(),
            rtt: Alarm::default(),
        }
    }

    /// A tunnel has come up.
    pub(super) fn established(&mut self, name: Option<&str>) {
        if let Some(name) = name {
            self.know(name);
        }
        self.add(name, Counts::ESTABLISHED, None);
    }

    /// An attempt has failed.
    pub(super) fn failed(&mut self, name: Option<&str>, member: Member) {
        self.add(name, Counts::FAILED, Some((Mishap::Failure, member)));
    }

    /// A tunnel has ended as it should.
    pub(super) fn ended(&mut self, name: Option<&str>) {
        self.add(name, Counts::ENDED, None);
    }

    /// A tunnel was dropped.
    pub(super) fn dropped(&mut self, name: Option<&str>, member: Member) {
        self.add(name, Counts::DROPPED, Some((Mishap::Drop, member)));
    }

    /// What an interval brought of a session.
    pub(super) fn sent(&mut self, from_client: &Counters, from_server: &Counters, rtt_us: u32) {
        self.traffic.add(from_client, from_server, rtt_us);
    }

    fn add(&mut self, name: Option<&str>, counts: Counts, mishap: Option<(Mishap, Member)>) {
        self.total.add(counts, mishap);
        let named = name.map(cut).and_then(|name| {
            self.named
                .iter_mut()
                .find(|named| named.name.eq_ignore_ascii_case(name))
        });
        match named {
            Some(named) => {
                named.asked = self.minute;
                named.series.add(counts, mishap);
            }
            None => self.others.add(counts),
        }
    }

    /// Tells a name apart from now on, if there is room.
    fn know(&mut self, name: &str) {
        let name = cut(name);
        if self
            .named
            .iter()
            .any(|named| named.name.eq_ignore_ascii_case(name))
        {
            return;
        }
        let new = Named {
            name: name.into(),
            asked: self.minute,
            series: Series::since(self.minute),
        };
        if self.named.len() < MOST_NAMES {
            self.named.push(new);
        } else if let Some(oldest) = self.named.iter_mut().min_by_key(|named| named.asked)
            && oldest.asked + STALE_MINUTES <= self.minute
        {
            *oldest = new;
        }
    }

    /// How often it was in the last hour.
    pub(super) fn rates(&self) -> Rates {
        let mut servers: Vec<_> = self
            .named
            .iter()
            .map(|named| ServerRate {
                name: named.name.to_string(),
                rate: named.series.meter.rate(),
            })
            .collect();
        servers
            .sort_by_key(|server| std::cmp::Reverse(server.rate.attempts.max(server.rate.ended)));
        Rates {
            minutes: self.total.meter.minutes(),
            total: self.total.meter.rate(),
            servers,
            others: self.others.rate(),
        }
    }

    /// Lets time pass, and tells what is too high from now on, or no more.
    pub(super) fn look(&mut self, now: u64) -> Vec<Finding> {
        self.pass(now);
        let mut found = Vec::new();
        for mishap in Mishap::ALL {
            found.extend(self.look_at_total(mishap, now));
            // What the total tells, its names need not tell again.
            let told = self.total.toll(mishap).is_told();
            for named in &mut self.named {
                if told && !named.series.toll(mishap).is_told() {
                    continue;
                }
                let change = named.series.look(mishap, &self.limits, now);
                found.extend(change.map(|change| Finding {
                    code: mishap.code(),
                    scope: of_name(&named.name),
                    change,
                }));
            }
        }
        found.extend(self.look_at_traffic(now));
        found
    }

    fn pass(&mut self, now: u64) {
        let started_ns = *self.started_ns.get_or_insert(now);
        self.minute = now.saturating_sub(started_ns) / MINUTE_NS;
        self.total.meter.pass(self.minute);
        self.others.pass(self.minute);
        for named in &mut self.named {
            named.series.meter.pass(self.minute);
        }
        self.traffic.pass(self.minute);
    }

    fn look_at_total(&mut self, mishap: Mishap, now: u64) -> Option<Finding> {
        let was_told = self.total.toll(mishap).is_told();
        let change = self.total.look(mishap, &self.limits, now)?;
        if !was_told {
            self.blamed[mishap as usize] = self.whose(mishap);
        }
        Some(Finding {
            code: mishap.code(),
            scope: self.blamed[mishap as usize].clone(),
            change,
        })
    }

    /// The name that nine in ten of these mishaps are of; all, if there is none.
    fn whose(&self, mishap: Mishap) -> Scope {
        let (all_of_them, _) = mishap.share(&self.total.meter);
        let most = self.named.iter().find(|named| {
            let (its, _) = mishap.share(&named.series.meter);
            u64::from(its) * 10 >= u64::from(all_of_them) * 9
        });
        most.map_or_else(all, |named| of_name(&named.name))
    }

    fn look_at_traffic(&mut self, now: u64) -> Vec<Finding> {
        let sent = self.traffic.sent();
        let ClusterLimits {
            retransmits_percent: limit_percent,
            rtt,
            least,
            calm,
            ..
        } = self.limits;
        let limit_us = u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX);
        let calm_ns = nanoseconds(calm);
        let reading = |value: f64, bound: f64| Reading {
            count: sent.sessions,
            value,
            bound: Some(bound),
        };
        let mut found = Vec::new();
        let lossy = reading(
            sent.retransmits_percent.unwrap_or_default().into(),
            limit_percent.into(),
        );
        if let Some(state) = self.retransmits.look(lossy, least, now, calm_ns) {
            let evidence = ClusterEvidence {
                percent: Some(rounded(lossy.value)),
                limit_percent: Some(limit_percent),
                ..ClusterEvidence::default()
            };
            let change = Change::of(&self.retransmits, state, sent.sessions, evidence);
            found.push(Finding::of_all(ClusterCode::RetransmitsHigh, change));
        }
        let slow = reading(as_f64(sent.rtt_us.unwrap_or_default()), as_f64(limit_us));
        if let Some(state) = self.rtt.look(slow, least, now, calm_ns) {
            let evidence = ClusterEvidence {
                rtt_us: sent.rtt_us,
                limit_us: Some(limit_us),
                ..ClusterEvidence::default()
            };
            let change = Change::of(&self.rtt, state, sent.sessions, evidence);
            found.push(Finding::of_all(ClusterCode::RttHigh, change));
        }
        found
    }
}

/// The first bytes of a name.
fn cut(name: &str) -> &str {
    &name[..name.floor_char_boundary(LONGEST_NAME)]
}

fn of_name(name: &str) -> Scope {
    Scope {
        kind: ScopeKind::ServerName,
        value: Some(name.to_owned()),
    }
}

pub(super) const fn all() -> Scope {
    Scope {
        kind: ScopeKind::All,
        value: None,
    }
}

fn as_f64(us: u64) -> f64 {
    #[expect(
        clippy::cast_precision_loss,
        reason = "2^53 microseconds are 285 years"
    )]
    let us = us as f64;
    us
}
