//! What the agent knows of each slot: four bytes, and a place among what it knows of sessions
//! if there is one. Sessions may lie anywhere in a table that is mostly empty.

use slab::Slab;

use super::known::Known;

/// What the agent knows of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing.
    Empty,
    /// A scan has seen a record in it that no notice had told of. The next scan takes it
    /// up; by then it is complete, whatever order this CPU sees the kernel's stores in.
    Seen,
    /// A session that was told of.
    Live,
    /// Its end was told; not yet free.
    Retired,
}

const EMPTY: u32 = 0;
const SEEN: u32 = 1;
const RETIRED: u32 = 2;
/// Larger numbers are places of sessions, and this much more.
const LIVE: u32 = 3;

/// What the agent knows of all slots.
#[derive(Debug)]
pub(super) struct Table {
    slots: Vec<u32>,
    known: Slab<Known>,
}

impl Table {
    /// Nothing is known of so many slots.
    pub(super) fn new(capacity: u32) -> Self {
        Self {
            // From the allocator as zeros: memory that no slot has used takes no room.
            slots: vec![EMPTY; capacity as usize],
            known: Slab::new(),
        }
    }

    /// What is known of a slot.
    pub(super) fn state(&self, slot: u32) -> State {
        match self.slots[slot as usize] {
            EMPTY => State::Empty,
            SEEN => State::Seen,
            RETIRED => State::Retired,
            _ => State::Live,
        }
    }

    /// The session in a slot.
    pub(super) fn live(&self, slot: u32) -> Option<&Known> {
        self.known.get(place(self.slots[slot as usize])?)
    }

    /// The same, to change it.
    pub(super) fn live_mut(&mut self, slot: u32) -> Option<&mut Known> {
        self.known.get_mut(place(self.slots[slot as usize])?)
    }

    /// A session begins in a slot.
    pub(super) fn begin(&mut self, slot: u32, known: Known) {
        let place = u32::try_from(self.known.insert(known)).unwrap_or(u32::MAX);
        self.slots[slot as usize] = place.saturating_add(LIVE);
    }

    /// A scan has seen a record in a slot.
    pub(super) fn see(&mut self, slot: u32) {
        self.set(slot, SEEN);
    }

    /// The end of a slot's session was told.
    pub(super) fn retire(&mut self, slot: u32) {
        self.set(slot, RETIRED);
    }

    /// A slot is free again.
    pub(super) fn free(&mut self, slot: u32) {
        self.set(slot, EMPTY);
    }

    fn set(&mut self, slot: u32, state: u32) {
        let before = std::mem::replace(&mut self.slots[slot as usize], state);
        if let Some(place) = place(before) {
            self.known.try_remove(place);
        }
    }
}

fn place(slot: u32) -> Option<usize> {
    slot.checked_sub(LIVE).map(|place| place as usize)
}
