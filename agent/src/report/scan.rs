//! Which slots are worth a look: those in which a segment has come, and those once more.
//!
//! Nothing is read of a session that is idle but its [mark](sstpulse_common::marks).

use sstpulse_common::record::SlotState;

use super::Flows;

/// What a slot that has a mark and is free again costs, in slots that have none: its record is
/// read.
const FREED: u32 = 1_024;

/// A walk over all slots, in as many steps as one likes.
#[derive(Debug)]
pub struct Scan {
    next: u32,
}

impl Scan {
    /// A walk over a table of so many slots, which has not begun.
    pub const fn new(capacity: u32) -> Self {
        Self { next: capacity }
    }

    /// Begins at the first slot.
    pub const fn begin(&mut self) {
        self.next = 0;
    }

    /// The next slot that is worth a look, which is let rest. Ends at the last slot, or when it
    /// has passed over as many as `budget` says, from which it takes those that it has.
    pub fn next<F: Flows>(&mut self, flows: &mut F, budget: &mut u32) -> Option<u32> {
        loop {
            let end = flows.capacity().min(self.next.saturating_add(*budget));
            if self.next >= end {
                return None;
            }
            let Some(slot) = flows.stirred(self.next, end) else {
                *budget -= end - self.next;
                self.next = end;
                return None;
            };
            *budget -= slot + 1 - self.next;
            self.next = slot + 1;
            flows.rest(slot);
            if flows.state(slot) != SlotState::FREE {
                return Some(slot);
            }
            *budget = budget.saturating_sub(FREED);
        }
    }

    /// Whether all slots were looked at.
    pub fn is_done<F: Flows>(&self, flows: &F) -> bool {
        self.next >= flows.capacity()
    }
}
