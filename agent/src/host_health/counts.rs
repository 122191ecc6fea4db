//! What counters have grown by from one look to the next.

use std::{collections::HashMap, mem};

use crate::event::Count;

/// The counters of this look and the one before, by name.
#[derive(Default)]
pub(super) struct Counts {
    now: HashMap<String, u64>,
    before: HashMap<String, u64>,
}

impl Counts {
    /// A new look begins. What was not there in the last one is forgotten.
    pub(super) fn begin(&mut self) {
        self.before = mem::take(&mut self.now);
    }

    /// Takes a counter of this look.
    pub(super) fn count(&mut self, name: impl Into<String>, total: u64) -> Count {
        let name = name.into();
        let before = self.before.get(&name);
        let since_last = before.and_then(|before| total.checked_sub(*before));
        self.now.insert(name, total);
        Count { total, since_last }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(counts: &mut Counts, total: u64) -> Option<u64> {
        counts.begin();
        counts.count("drops", total).since_last
    }

    #[test]
    fn a_count_is_what_came_since_the_last_look() {
        let mut counts = Counts::default();
        assert_eq!(look(&mut counts, 5), None);
        assert_eq!(look(&mut counts, 5), Some(0));
        assert_eq!(look(&mut counts, 12), Some(7));
        assert_eq!(counts.count("drops", 12).total, 12);
    }

    #[test]
    fn a_counter_that_began_anew_or_was_gone_has_nothing_to_compare_with() {
        let mut counts = Counts::default();
        look(&mut counts, 5);
        assert_eq!(look(&mut counts, 4), None);
        counts.begin();
        assert_eq!(look(&mut counts, 6), None);
        assert_eq!(look(&mut counts, u64::MAX), Some(u64::MAX - 6));
    }
}
