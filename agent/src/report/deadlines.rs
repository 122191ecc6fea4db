//! When sessions of which nothing is heard will have been silent for too long.
//!
//! Most hear something before, so a deadline is not moved each time: when it comes, whoever set
//! it looks whether it still holds, and sets another.

use std::{collections::BTreeMap, mem};

/// Deadlines within so many nanoseconds come together, with the first of them.
const GRAIN_NS: u64 = 1_000_000_000;

/// A slot has no deadline.
const UNPLANNED: u32 = 0;
/// It has one, and is the last of those at that time.
const LAST: u32 = 1;
/// Larger numbers are the next slot of those at the same time, and this much more.
const NEXT: u32 = 2;

/// At most one deadline for each slot.
#[derive(Debug)]
pub(super) struct Deadlines {
    /// The first slot of each time.
    first: BTreeMap<u64, u32>,
    /// What each slot has.
    slots: Vec<u32>,
}

impl Deadlines {
    /// None yet, for a table of so many slots.
    pub(super) fn new(capacity: u32) -> Self {
        Self {
            first: BTreeMap::new(),
            // From the allocator as zeros: memory that no slot has used takes no room.
            slots: vec![UNPLANNED; capacity as usize],
        }
    }

    /// Sets a deadline, unless the slot has one; so that no [`Self::pop`] until `after_ns`
    /// finds it.
    pub(super) fn plan(&mut self, slot: u32, at_ns: u64, after_ns: u64) {
        let planned = &mut self.slots[slot as usize];
        if *planned == UNPLANNED {
            let at = (at_ns / GRAIN_NS).max(after_ns / GRAIN_NS + 1);
            let next = self.first.insert(at, slot);
            *planned = next.map_or(LAST, |next| next.saturating_add(NEXT));
        }
    }

    /// Takes a slot out whose deadline comes before `until_ns`, or is no more than a second
    /// from it.
    pub(super) fn pop(&mut self, until_ns: u64) -> Option<u32> {
        let mut first = self.first.first_entry()?;
        if *first.key() > until_ns / GRAIN_NS {
            return None;
        }
        let slot = *first.get();
        match mem::replace(&mut self.slots[slot as usize], UNPLANNED).checked_sub(NEXT) {
            Some(next) => *first.get_mut() = next,
            None => {
                first.remove();
            }
        }
        Some(slot)
    }
}

#[cfg(test)]
mod tests {
    use std::iter;

    use super::*;

    const SECOND_NS: u64 = GRAIN_NS;
    const NONE: [u32; 0] = [];

    fn due(deadlines: &mut Deadlines, until_ns: u64) -> Vec<u32> {
        let mut slots: Vec<_> = iter::from_fn(|| deadlines.pop(until_ns)).collect();
        slots.sort_unstable();
        slots
    }

    #[test]
    fn deadlines_come_when_they_are_due() {
        let mut deadlines = Deadlines::new(4);
        deadlines.plan(0, 10 * SECOND_NS, 0);
        deadlines.plan(1, 20 * SECOND_NS, 0);
        deadlines.plan(2, 10 * SECOND_NS + 1, 0);
        assert_eq!(due(&mut deadlines, 9 * SECOND_NS), NONE);
        assert_eq!(due(&mut deadlines, 10 * SECOND_NS), [0, 2]);
        assert_eq!(due(&mut deadlines, 10 * SECOND_NS), NONE);
        assert_eq!(due(&mut deadlines, u64::MAX), [1]);
    }

    #[test]
    fn a_slot_has_one_deadline() {
        let mut deadlines = Deadlines::new(1);
        deadlines.plan(0, 10 * SECOND_NS, 0);
        deadlines.plan(0, 5 * SECOND_NS, 0);
        assert_eq!(due(&mut deadlines, 9 * SECOND_NS), NONE);
        assert_eq!(due(&mut deadlines, 10 * SECOND_NS), [0]);
    }

    #[test]
    fn what_is_set_meanwhile_comes_afterwards() {
        let mut deadlines = Deadlines::new(1);
        deadlines.plan(0, SECOND_NS, 0);
        let until_ns = 5 * SECOND_NS;
        assert_eq!(deadlines.pop(until_ns), Some(0));
        deadlines.plan(0, 2 * SECOND_NS, until_ns);
        assert_eq!(deadlines.pop(until_ns), None);
        assert_eq!(deadlines.pop(until_ns + SECOND_NS), Some(0));
    }
}
