//! A value that may be too high.

use super::latch::Latch;
use crate::event::AnomalyState;

/// Of its bound, what a value must be below for it to be over.
const BELOW: f64 = 0.8;

/// How much of something there is, and how much there may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    /// What the value is made of: with too little, it says nothing.
    pub(super) count: u32,
    pub(super) value: f64,
    /// What it may be, if that is known.
    pub(super) bound: Option<f64>,
}

/// Whether a value is too high, with hysteresis.
#[derive(Clone, Debug, Default)]
pub(super) struct Alarm {
    latch: Latch,
    pub(super) since_ns: u64,
    pub(super) last_ns: u64,
}

impl Alarm {
    pub(super) const fn is_told(&self) -> bool {
        self.latch.is_told()
    }

    /// Tells whether the value is too high from now on, or no more.
    pub(super) fn look(
        &mut self,
        reading: Reading,
        least: u32,
        now: u64,
        calm_ns: u64,
    ) -> Option<AnomalyState> {
        let Reading {
            count,
            value,
            bound,
        } = reading;
        let above = |least: u32, share: f64| {
            count >= least.max(1) && bound.is_some_and(|bound| value > bound * share)
        };
        if !self.latch.is_told() {
            if !above(least, 1.0) {
                return None;
            }
            self.latch.tell(now, calm_ns);
            (self.since_ns, self.last_ns) = (now, now);
            return Some(AnomalyState::Onset);
        }
        if above(least / 2, BELOW) {
            self.latch.there(now);
            self.last_ns = now;
        }
        self.latch.clears(now).then_some(AnomalyState::Cleared)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_over_well_below_its_bound_for_long() {
        const ONSET: Option<AnomalyState> = Some(AnomalyState::Onset);
        const CLEARED: Option<AnomalyState> = Some(AnomalyState::Cleared);
        let steps = [
            (1, 9, 90.0, None),
            (2, 10, 50.0, None),
            (3, 10, 50.1, ONSET),
            (4, 99, 99.0, None),
            (9, 5, 41.0, None),
            (18, 4, 99.0, None),
            (19, 4, 99.0, CLEARED),
            (20, 4, 99.0, None),
            // It is back, and has to be away for twice as long.
            (21, 10, 60.0, ONSET),
            (22, 10, 39.0, None),
            (40, 10, 39.0, None),
            (41, 10, 39.0, CLEARED),
        ];
        let mut alarm = Alarm::default();
        for (now, count, value, expected) in steps {
            let reading = Reading {
                count,
                value,
                bound: Some(50.0),
            };
            assert_eq!(alarm.look(reading, 10, now, 10), expected, "at {now}");
        }
        let unknown = Reading {
            count: 99,
            value: 99.0,
            bound: None,
        };
        assert_eq!(Alarm::default().look(unknown, 10, 1, 10), None);
    }
}
