//! Which slots are worth a look: of a session that is idle, a scan reads one cache line.
//!
//! The head of a record says whether a segment has come since the agent [let it
//! rest](Flows::rest). An agent that reads the counts, and then lets the slot rest, may miss
//! what a program was just about to write. So a slot is looked at once more by the next scan,
//! when all such writes have long arrived, and only then passed over until it stirs.

use sstpulse_common::record::SlotState;

use super::Flows;

/// A walk over all slots, in as many steps as one likes.
#[derive(Debug)]
pub struct Scan {
    /// Whether a slot that rests was looked at once more.
    confirmed: Vec<bool>,
    next: u32,
}

impl Scan {
    /// A walk over a table of so many slots.
    pub fn new(capacity: u32) -> Self {
        Self {
            // From the allocator as zeros: memory that no slot has used takes no room.
            confirmed: vec![false; capacity as usize],
            next: capacity,
        }
    }

    /// Begins at the first slot.
    pub const fn begin(&mut self) {
        self.next = 0;
    }

    /// The next slot that is worth a look. Ends at the last slot, or when it has passed over
    /// as many as `budget` says, from which it takes those that it has.
    pub fn next<F: Flows>(&mut self, flows: &mut F, budget: &mut u32) -> Option<u32> {
        let end = flows.capacity().min(self.next.saturating_add(*budget));
        while self.next < end {
            let slot = self.next;
            self.next += 1;
            *budget -= 1;
            let glance = flows.glance(slot);
            let confirmed = &mut self.confirmed[slot as usize];
            if glance.state == SlotState::FREE || glance.idle && *confirmed {
                continue;
            }
            *confirmed = glance.idle;
            if !glance.idle {
                flows.rest(slot);
            }
            return Some(slot);
        }
        None
    }

    /// Whether all slots were looked at.
    pub fn is_done<F: Flows>(&self, flows: &F) -> bool {
        self.next >= flows.capacity()
    }
}
