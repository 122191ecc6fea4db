//! What came in the last hour, and what usually comes in one.

use std::ops::{Add, AddAssign};

use crate::{
    diagnosis::percent,
    event::{Baseline, Rate},
};

/// Minutes of an hour.
const HOUR: u8 = 60;

/// In this time, what was counts for half as much: a day, in minutes.
const HALF_LIFE: f64 = 1_440.0;

/// A baseline is believed from so many attempts on, and its share of drops from so many ends.
/// What has grown old counts for less.
const LEAST_EVENTS: f64 = 30.0;

/// And no sooner than it is about this time.
const LEAST_MINUTES: f64 = 60.0;

/// What came in a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) established: u32,
    pub(super) failed: u32,
    pub(super) ended: u32,
    pub(super) dropped: u32,
}

impl Counts {
    pub(super) const ESTABLISHED: Self = Self::of([1, 0, 0, 0]);
    pub(super) const FAILED: Self = Self::of([0, 1, 0, 0]);
    pub(super) const ENDED: Self = Self::of([0, 0, 1, 0]);
    pub(super) const DROPPED: Self = Self::of([0, 0, 1, 1]);

    const fn of([established, failed, ended, dropped]: [u32; 4]) -> Self {
        Self {
            established,
            failed,
            ended,
            dropped,
        }
    }

    pub(super) const fn attempts(self) -> u32 {
        self.established.saturating_add(self.failed)
    }
}

impl Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            established: self.established.saturating_add(other.established),
            failed: self.failed.saturating_add(other.failed),
            ended: self.ended.saturating_add(other.ended),
            dropped: self.dropped.saturating_add(other.dropped),
        }
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

/// Counts of the last hour by minutes, and what remains of those before.
#[derive(Clone, Debug)]
pub(super) struct Meter {
    minutes: [Counts; HOUR as usize],
    /// The first minute that is counted, and the present one.
    first: u64,
    present: u64,
    past: Past,
}

/// Sums in which each minute counts for less than the one after it.
#[derive(Clone, Copy, Debug, Default)]
struct Past {
    minutes: f64,
    established: f64,
    failed: f64,
    ended: f64,
    dropped: f64,
}

impl Past {
    /// A minute more: it is the last one now.
    fn add(&mut self, counts: Counts) {
        self.fade(1);
        self.minutes += 1.0;
        self.established += f64::from(counts.established);
        self.failed += f64::from(counts.failed);
        self.ended += f64::from(counts.ended);
        self.dropped += f64::from(counts.dropped);
    }

    /// Minutes more in which there was nothing.
    fn add_empty(&mut self, minutes: u64) {
        let kept = self.fade(minutes);
        self.minutes += (1.0 - kept) / (1.0 - kept_of(1));
    }

    /// Lets minutes pass, and returns what is left of what was.
    fn fade(&mut self, minutes: u64) -> f64 {
        let kept = kept_of(minutes);
        for sum in [
            &mut self.minutes,
            &mut self.established,
            &mut self.failed,
            &mut self.ended,
            &mut self.dropped,
        ] {
            *sum *= kept;
        }
        kept
    }

    fn attempts(&self) -> f64 {
        self.established + self.failed
    }
}

/// What is left of something after so many minutes.
fn kept_of(minutes: u64) -> f64 {
    #[expect(
        clippy::cast_precision_loss,
        reason = "after 2^53 minutes nothing is left"
    )]
    (-(minutes as f64) / HALF_LIFE).exp2()
}

impl Meter {
    /// Counts from this minute on.
    pub(super) fn since(minute: u64) -> Self {
        Self {
            minutes: [Counts::default(); HOUR as usize],
            first: minute,
            present: minute,
            past: Past::default(),
        }
    }

    pub(super) fn add(&mut self, counts: Counts) {
        self.minutes[slot(self.present)] += counts;
    }

    /// It is this minute now.
    pub(super) fn pass(&mut self, minute: u64) {
        let passed = minute.saturating_sub(self.present);
        for _ in 0..passed.min(HOUR.into()) {
            self.present += 1;
            let counts = &mut self.minutes[slot(self.present)];
            // This one is an hour old, if it is of the time that is counted at all.
            if self.present >= self.first + u64::from(HOUR) {
                self.past.add(std::mem::take(counts));
            }
        }
        let empty = minute.saturating_sub(self.present);
        if empty > 0 {
            self.past.add_empty(empty);
            self.present = minute;
        }
    }

    /// What came in the last hour.
    pub(super) fn hour(&self) -> Counts {
        self.minutes
            .iter()
            .fold(Counts::default(), |sum, counts| sum + *counts)
    }

    /// The minutes of the last hour that are counted.
    pub(super) fn minutes(&self) -> u64 {
        (self.present - self.first + 1).min(HOUR.into())
    }

    pub(super) fn rate(&self) -> Rate {
        let hour = self.hour();
        Rate {
            attempts: hour.attempts().into(),
            established: hour.established.into(),
            failed: hour.failed.into(),
            ended: hour.ended.into(),
            dropped: hour.dropped.into(),
            dropped_percent: (hour.ended > 0)
                .then(|| percent(hour.dropped.into(), hour.ended.into())),
            baseline: self.baseline(),
        }
    }

    /// What is usual, if that is known.
    fn baseline(&self) -> Option<Baseline> {
        let past = &self.past;
        let known = past.attempts() >= LEAST_EVENTS && past.minutes >= LEAST_MINUTES;
        let in_an_hour = |sum: f64| rounded(sum * f64::from(HOUR) / past.minutes);
        known.then(|| Baseline {
            attempts: in_an_hour(past.attempts()),
            established: in_an_hour(past.established),
            failed: in_an_hour(past.failed),
            dropped: in_an_hour(past.dropped),
            dropped_percent: self.usual_drops().map(rounded),
        })
    }

    /// Of hundred tunnels that end, how many are usually dropped.
    pub(super) fn usual_drops(&self) -> Option<f64> {
        self.usual(self.past.dropped, self.past.ended)
    }

    /// Of hundred attempts, how many usually fail.
    pub(super) fn usual_failures(&self) -> Option<f64> {
        self.usual(self.past.failed, self.past.attempts())
    }

    fn usual(&self, part: f64, all: f64) -> Option<f64> {
        (all >= LEAST_EVENTS && self.past.minutes >= LEAST_MINUTES).then(|| part * 100.0 / all)
    }
}

/// Where a minute is counted.
const fn slot(minute: u64) -> usize {
    #[expect(clippy::cast_possible_truncation, reason = "there are 60")]
    let slot = (minute % HOUR as u64) as usize;
    slot
}

/// With two digits.
pub(super) fn rounded(value: f64) -> f32 {
    #[expect(clippy::cast_possible_truncation, reason = "two digits are kept")]
    let rounded = (value * 100.0).round() as f32 / 100.0;
    rounded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(established: u32, failed: u32, ended: u32, dropped: u32) -> Counts {
        Counts::of([established, failed, ended, dropped])
    }

    #[test]
    fn an_hour_is_sixty_minutes() {
        let mut meter = Meter::since(0);
        let mut seen = Vec::new();
        for minute in [0, 1, 59, 60, 61, 118, 119, 500] {
            meter.pass(minute);
            if minute < 60 {
                meter.add(counts(1, 0, 1, 0));
            }
            seen.push((meter.hour().ended, meter.minutes()));
        }
        let expected = [1, 2, 3, 2, 1, 1, 0, 0].into_iter();
        let minutes = [1, 2, 60, 60, 60, 60, 60, 60];
        assert_eq!(seen, expected.zip(minutes).collect::<Vec<_>>());
    }

    #[test]
    fn a_baseline_is_believed_once_there_is_enough() {
        let mut meter = Meter::since(0);
        let mut known_at = None;
        for minute in 0..300 {
            meter.pass(minute);
            if known_at.is_none() && meter.rate().baseline.is_some() {
                known_at = Some(minute);
            }
            meter.add(counts(1, 0, 1, 0));
        }
        // An hour and a minute, as a little of it has faded, and the hour that goes on.
        assert_eq!(known_at, Some(120));
        let mut rare = Meter::since(0);
        for minute in 0..28 * 60 {
            rare.pass(minute);
            if minute % 60 == 0 {
                rare.add(counts(1, 0, 1, 1));
            }
        }
        assert_eq!(rare.rate().baseline, None, "27 a day are too few");
    }

    #[test]
    fn a_baseline_is_what_is_usual_in_an_hour() {
        let mut meter = Meter::since(0);
        for minute in 0..3 * 1_440 {
            meter.pass(minute);
            meter.add(counts(3, 1, 2, u32::from(minute % 10 == 0)));
        }
        let usual = meter.rate().baseline.expect("three days are enough");
        assert!((usual.attempts - 240.0).abs() < 0.1, "{usual:?}");
        assert!((usual.failed - 60.0).abs() < 0.1, "{usual:?}");
        assert!((usual.dropped - 6.0).abs() < 0.1, "{usual:?}");
        let share = usual.dropped_percent.expect("many have ended");
        assert!((share - 5.0).abs() < 0.1, "{usual:?}");
        // A day of nothing halves what was; there were only three days of it.
        meter.pass(4 * 1_440);
        let later = meter.rate().baseline.expect("a day later");
        assert!((later.attempts - 115.0).abs() < 5.0, "{later:?}");
        assert_eq!(meter.hour(), Counts::default());
    }

    #[test]
    fn time_in_which_nothing_comes_passes_at_once() {
        let mut at_once = Meter::since(0);
        let mut bit_by_bit = Meter::since(0);
        for meter in [&mut at_once, &mut bit_by_bit] {
            meter.pass(100);
            meter.add(counts(40, 10, 40, 4));
        }
        at_once.pass(5_000);
        for minute in 100..=5_000 {
            bit_by_bit.pass(minute);
        }
        let differ = |one: f64, other: f64| (one - other).abs() > 1e-6;
        assert!(!differ(at_once.past.minutes, bit_by_bit.past.minutes));
        assert!(!differ(at_once.past.dropped, bit_by_bit.past.dropped));
        at_once.pass(u64::MAX);
    }
}
