//! Endings of a kind, counted by what they have in common. To count those like one takes no
//! look at each: many thousands may end within a second.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::RangeInclusive,
};

/// Endings of a kind that are remembered.
const MOST: usize = 4_096;

/// Endings of a kind within a time, by what they have in common.
pub(super) struct Alike<K> {
    within_ns: u64,
    /// In the order in which they were told.
    latest: VecDeque<(u64, K)>,
    /// How many of them there are of each.
    counts: BTreeMap<K, u32>,
}

impl<K: Copy + Ord> Alike<K> {
    pub(super) const fn within(within_ns: u64) -> Self {
        Self {
            within_ns,
            latest: VecDeque::new(),
            counts: BTreeMap::new(),
        }
    }

    pub(super) fn push(&mut self, now: u64, what: K) {
        if self.latest.len() == MOST {
            self.forget_first();
        }
        self.latest.push_back((now, what));
        *self.counts.entry(what).or_default() += 1;
    }

    /// How many of these there were until `now`. Asked of a narrow range, it looks at a few
    /// numbers.
    pub(super) fn count(&mut self, now: u64, these: RangeInclusive<K>) -> u32 {
        while let Some((time_ns, _)) = self.latest.front()
            && time_ns.saturating_add(self.within_ns) < now
        {
            self.forget_first();
        }
        self.counts.range(these).map(|(_, count)| count).sum()
    }

    fn forget_first(&mut self) {
        let Some((_, what)) = self.latest.pop_front() else {
            return;
        };
        if let Some(count) = self.counts.get_mut(&what) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&what);
            }
        }
    }
}

/// When something happened, the latest last.
#[derive(Default)]
pub(super) struct Times(VecDeque<u64>);

impl Times {
    pub(super) fn push(&mut self, time_ns: u64) {
        if self.0.len() == MOST {
            self.0.pop_front();
        }
        // They come nearly in order: it goes to the end, or close to it.
        let at = self.0.partition_point(|other| *other <= time_ns);
        self.0.insert(at, time_ns);
    }

    /// How many there were around `time_ns`.
    pub(super) fn around(&self, time_ns: u64, within_ns: u64) -> u32 {
        let first = time_ns.saturating_sub(within_ns);
        let last = time_ns.saturating_add(within_ns);
        let before = self.0.partition_point(|other| *other < first);
        let until = self.0.partition_point(|other| *other <= last);
        u32::try_from(until - before).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_alike_are_counted_while_they_are_recent() {
        let mut alike = Alike::within(100);
        for (now, what) in [(10, 5), (20, 6), (30, 9), (40, 5)] {
            alike.push(now, what);
        }
        let cases = [
            (40, 5..=5, 2),
            (40, 4..=6, 3),
            (40, 7..=8, 0),
            (110, 4..=6, 3),
            (111, 4..=6, 2),
            (141, 0..=9, 0),
        ];
        for (now, these, count) in cases {
            assert_eq!(alike.count(now, these.clone()), count, "{these:?} at {now}");
        }
        assert!(alike.counts.is_empty() && alike.latest.is_empty());
    }

    #[test]
    fn no_more_are_remembered_than_fit() {
        let mut alike = Alike::within(u64::MAX);
        let mut times = Times::default();
        for number in 0..3 * MOST as u64 {
            alike.push(number, number % 7);
            times.push(number);
        }
        assert_eq!(alike.count(0, 0..=7), u32::try_from(MOST).unwrap());
        assert_eq!(alike.counts.len(), 7);
        assert_eq!(times.around(0, u64::MAX), u32::try_from(MOST).unwrap());
    }

    #[test]
    fn times_need_not_come_in_order() {
        let mut times = Times::default();
        for time_ns in [10, 30, 20, 20, 40] {
            times.push(time_ns);
        }
        let cases = [
            (20, 0, 2),
            (20, 10, 4),
            (25, 5, 3),
            (100, 59, 0),
            (100, 60, 1),
        ];
        for (around, within, count) in cases {
            assert_eq!(times.around(around, within), count, "{around} ± {within}");
        }
    }
}
