//! Failures that may be a cluster, or are one.

use std::mem;

use super::{
    Change,
    latch::Latch,
    sign::{Failure, Sign},
    window::Window,
};
use crate::{
    event::{AnomalyState, ClusterEvidence},
    report::prefix::Prefix,
};

/// Members that are remembered, and named.
pub(super) const NAMED: usize = 20;

/// A cluster is told once nothing has been added for so long, so that its first line has all
/// there is.
const SETTLED_NS: u64 = 2_000_000_000;

/// For no longer than this is that waited for.
const PATIENCE_NS: u64 = 10_000_000_000;

/// When a number of failures is a cluster.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measure {
    /// Within this time.
    pub(super) window_ns: u64,
    /// At least so many.
    pub(super) least: u32,
    /// And this share of the sessions that were open, in percent.
    pub(super) share_percent: f32,
    /// What has been away for so long is over.
    pub(super) calm_ns: u64,
}

impl Measure {
    fn is_cluster(&self, count: u32, still_open: u32) -> bool {
        let open = f64::from(still_open) + f64::from(count);
        count >= self.least && f64::from(count) * 100.0 >= f64::from(self.share_percent) * open
    }
}

/// Failures of one kind and scope.
#[derive(Debug)]
pub(super) struct Group {
    window: Window,
    members: Vec<Sign>,
    /// 0 once it is over.
    count: u64,
    tally: Tally,
    pub(super) failure: Failure,
    /// There are enough of them, and that is not told yet.
    is_cluster: bool,
    /// Some were added since the last look: enough for it to go on.
    goes_on: bool,
    latch: Latch,
}

/// What all of them have in common.
#[derive(Debug)]
struct Tally {
    since_ns: u64,
    last_ns: u64,
    /// The prefix of all clients, if it is one.
    prefix: Option<Prefix>,
    unanswered: u64,
    refused: u64,
}

impl Tally {
    /// Before the first of them is added.
    const fn before(first: &Sign) -> Self {
        Self {
            since_ns: first.time_ns,
            last_ns: first.time_ns,
            prefix: Some(first.prefix),
            unanswered: 0,
            refused: 0,
        }
    }

    fn add(&mut self, sign: &Sign) {
        self.since_ns = self.since_ns.min(sign.time_ns);
        self.last_ns = self.last_ns.max(sign.time_ns);
        self.prefix = self.prefix.filter(|prefix| *prefix == sign.prefix);
        match sign.failure {
            Failure::Unanswered => self.unanswered += 1,
            Failure::Refused => self.refused += 1,
            Failure::Lost | Failure::Idle { .. } => {}
        }
    }
}

impl Group {
    pub(super) fn new(sign: &Sign, measure: &Measure, still_open: u32) -> Self {
        let mut tally = Tally::before(sign);
        tally.add(sign);
        Self {
            window: Window::of(sign.time_ns),
            members: vec![*sign],
            count: 1,
            tally,
            failure: sign.failure,
            is_cluster: measure.is_cluster(1, still_open),
            goes_on: true,
            latch: Latch::default(),
        }
    }

    /// Whether it was told, and is not over.
    pub(super) const fn is_told(&self) -> bool {
        self.latch.is_told()
    }

    /// Whether more than half of its members are of one prefix.
    pub(super) fn is_mostly_of_one_prefix(&self) -> bool {
        let of = |prefix| {
            let same = self.members.iter().filter(|sign| sign.prefix == prefix);
            same.count()
        };
        let prefixes = self.members.iter().map(|sign| sign.prefix);
        prefixes.map(of).max().unwrap_or_default() * 2 > self.members.len()
    }

    /// Whether what comes at this time may still make it a cluster.
    pub(super) const fn may_grow(&self, measure: &Measure, time_ns: u64) -> bool {
        let reach_ns = measure.window_ns.saturating_mul(2);
        self.count > 0 && self.tally.last_ns.saturating_add(reach_ns) > time_ns
    }

    pub(super) fn add(&mut self, sign: &Sign, measure: &Measure, still_open: u32) {
        if self.count == 0 {
            let latch = mem::take(&mut self.latch);
            *self = Self::new(sign, measure, still_open);
            self.latch = latch;
            return;
        }
        let counts = self.window.add(sign.time_ns, measure.window_ns);
        if !self.is_told() && !self.is_cluster {
            if !counts {
                return;
            }
            self.forget_before(self.window.begin_ns(measure.window_ns), sign);
        }
        self.count += 1;
        self.tally.add(sign);
        if self.members.len() < NAMED {
            self.members.push(*sign);
        }
        let count = self.window.count();
        // Half of what makes it a cluster keeps it one.
        self.goes_on |= counts && measure.is_cluster(count.saturating_mul(2), still_open);
        self.is_cluster |= !self.is_told() && measure.is_cluster(count, still_open);
    }

    /// What came before is no part of what this one may belong to.
    fn forget_before(&mut self, begin_ns: u64, sign: &Sign) {
        let all = self.members.len();
        self.members.retain(|member| member.time_ns >= begin_ns);
        if self.members.len() == all {
            return;
        }
        self.count = u64::from(self.window.count() - 1);
        self.tally = Tally::before(sign);
        for member in &self.members {
            self.tally.add(member);
        }
    }

    /// Tells whether it begins, or is over, if it is to be `told` at all. At the `last` look
    /// nothing more is waited for.
    pub(super) fn look(
        &mut self,
        measure: &Measure,
        told: bool,
        now: u64,
        last: bool,
    ) -> Option<AnomalyState> {
        if mem::take(&mut self.goes_on) {
            self.latch.there(now);
        }
        if self.is_cluster {
            let settled = now.saturating_sub(self.tally.last_ns) >= SETTLED_NS
                || now.saturating_sub(self.tally.since_ns) >= PATIENCE_NS;
            if !settled && !last {
                return None;
            }
            self.is_cluster = false;
            if !told {
                return None;
            }
            self.latch.tell(now, measure.calm_ns);
            return Some(AnomalyState::Onset);
        }
        self.latch.clears(now).then_some(AnomalyState::Cleared)
    }

    /// Forgets all but that it was there.
    pub(super) fn forget(&mut self) {
        self.count = 0;
        self.members = Vec::new();
    }

    pub(super) fn change(&self, state: AnomalyState) -> Change {
        let Tally {
            since_ns,
            last_ns,
            prefix,
            unanswered,
            refused,
        } = self.tally;
        let attempts = unanswered + refused > 0;
        let mut evidence = ClusterEvidence {
            client_prefix: prefix.map(|prefix| prefix.to_string()),
            unanswered: attempts.then_some(unanswered),
            refused: attempts.then_some(refused),
            ..ClusterEvidence::default()
        };
        if let Failure::Idle {
            idle_ms,
            timeout_of,
        } = self.failure
        {
            evidence.idle_ms = Some(idle_ms);
            evidence.timeout_of = timeout_of;
        }
        Change {
            state,
            since_ns,
            last_ns,
            count: self.count,
            members: self.members.iter().map(|sign| sign.member).collect(),
            evidence,
        }
    }
}
