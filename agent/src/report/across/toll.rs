//! Sessions or attempts of a scope that met with the same mishap, against what is accepted.

use std::collections::VecDeque;

use super::{
    Change,
    alarm::{Alarm, Reading},
    group::NAMED,
    member::Member,
    meter::{Meter, rounded},
};
use crate::{
    diagnosis::ClusterLimits,
    event::{AnomalyState, ClusterCode, ClusterEvidence},
    report::nanoseconds,
};

/// A mishap that has a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mishap {
    /// A tunnel was dropped.
    Drop,
    /// An attempt failed.
    Failure,
}

impl Mishap {
    pub(super) const ALL: [Self; 2] = [Self::Drop, Self::Failure];

    pub(super) const fn code(self) -> ClusterCode {
        match self {
            Self::Drop => ClusterCode::DropsHigh,
            Self::Failure => ClusterCode::FailuresHigh,
        }
    }

    /// How many there were in the last hour, and of how many.
    pub(super) fn share(self, meter: &Meter) -> (u32, u32) {
        let hour = meter.hour();
        match self {
            Self::Drop => (hour.dropped, hour.ended),
            Self::Failure => (hour.failed, hour.attempts()),
        }
    }

    /// What is accepted, and what is usual, of hundred.
    fn bounds(self, meter: &Meter, limits: &ClusterLimits) -> (Option<f64>, Option<f64>) {
        let (limit, usual) = match self {
            Self::Drop => (Some(limits.drops_percent), meter.usual_drops()),
            Self::Failure => (None, meter.usual_failures()),
        };
        let often = usual.map(|usual| usual * f64::from(limits.baseline_factor));
        let lower = [limit.map(f64::from), often].into_iter().flatten();
        (lower.min_by(f64::total_cmp), usual)
    }
}

/// Those that met with a mishap.
#[derive(Clone, Debug, Default)]
pub(super) struct Toll {
    alarm: Alarm,
    latest: VecDeque<Member>,
    /// Since it was told, those of the hour before included.
    count: u64,
}

impl Toll {
    pub(super) const fn is_told(&self) -> bool {
        self.alarm.is_told()
    }

    pub(super) fn add(&mut self, member: Member) {
        if self.latest.len() == NAMED {
            self.latest.pop_front();
        }
        self.latest.push_back(member);
        self.count += 1;
    }

    /// Tells whether there are too many from now on, or no more.
    pub(super) fn look(
        &mut self,
        mishap: Mishap,
        meter: &Meter,
        limits: &ClusterLimits,
        now: u64,
    ) -> Option<Change> {
        let (part, of) = mishap.share(meter);
        let (bound, usual) = mishap.bounds(meter, limits);
        let value = f64::from(part) * 100.0 / f64::from(of.max(1));
        let reading = Reading {
            count: part,
            value,
            bound,
        };
        let calm_ns = nanoseconds(limits.calm);
        let state = self.alarm.look(reading, limits.least, now, calm_ns)?;
        if state == AnomalyState::Onset {
            self.count = part.into();
        }
        Some(Change {
            state,
            since_ns: self.alarm.since_ns,
            last_ns: self.alarm.last_ns,
            count: self.count,
            members: self.latest.iter().copied().collect(),
            evidence: ClusterEvidence {
                of: Some(of.into()),
                percent: Some(rounded(value)),
                limit_percent: bound.map(rounded),
                baseline_percent: usual.map(rounded),
                ..ClusterEvidence::default()
            },
        })
    }
}
