//! The session table: memory shared with the kernel.

use std::sync::atomic::{Ordering, fence};

use aya::maps::Map;
use sstpulse_common::{FlowKey, SessionRecord, record::SlotState};

use super::{mapped::Mapped, programs::KernelError};
use crate::report::Glance;

/// The array of session records, mapped.
pub struct SessionTable {
    records: Mapped<SessionRecord>,
}

impl SessionTable {
    /// Maps the records of `map`, an mmapable array.
    pub(super) fn map(map: Map) -> Result<Self, KernelError> {
        Mapped::new(map, "session table").map(|records| Self { records })
    }

    /// How many slots there are.
    pub const fn capacity(&self) -> u32 {
        self.records.length()
    }

    /// What the slot holds: a constant of [`SlotState`].
    #[expect(unsafe_code, reason = "memory shared with the kernel")]
    pub fn state(&self, slot: u32) -> u8 {
        let record = self.records.pointer(slot);
        // SAFETY: the pointer is within the mapping; any byte is a valid u8.
        unsafe { (&raw const (*record).head.state).read_volatile() }
    }

    /// What tells which session a slot holds, from one cache line.
    #[expect(unsafe_code, reason = "memory shared with the kernel")]
    pub fn glance(&self, slot: u32) -> Glance {
        let record = self.records.pointer(slot);
        // SAFETY: as in `state`.
        unsafe {
            Glance {
                state: (&raw const (*record).head.state).read_volatile(),
                start_ns: (&raw const (*record).head.start_ns).read_volatile(),
            }
        }
    }

    /// Whether no segment has come since the slot was let [rest](Self::rest).
    #[expect(unsafe_code, reason = "memory shared with the kernel")]
    pub(super) fn is_idle(&self, slot: u32) -> bool {
        let record = self.records.pointer(slot);
        // SAFETY: as in `state`.
        unsafe { (&raw const (*record).head.idle).read_volatile() != 0 }
    }

    /// Lets a slot rest until its next segment.
    #[expect(unsafe_code, reason = "memory shared with the kernel")]
    pub(super) fn rest(&mut self, slot: u32) {
        let record = self.records.pointer(slot);
        // SAFETY: as in `state`; whatever is stored last, the slot's mark tells of it.
        unsafe { (&raw mut (*record).head.idle).write_volatile(1) };
    }

    /// A copy of the record. The kernel may write meanwhile; see the record's
    /// documentation for what that can and can't do.
    #[expect(unsafe_code, reason = "memory shared with the kernel")]
    pub fn read(&self, slot: u32) -> SessionRecord {
        let record = self.records.pointer(slot);
        fence(Ordering::Acquire);
        // SAFETY: as in `state`; any bytes are a valid record.
        unsafe { record.read_volatile() }
    }

    /// The record of a flow, looked for in every slot: for tests.
    pub fn find(&self, key: &FlowKey) -> Option<SessionRecord> {
        (0..self.capacity())
            .map(|slot| self.read(slot))
            .find(|record| record.head.state == SlotState::LIVE && record.head.key == *key)
    }

    /// Sets what the programs tell of a session. They only read it.
    #[expect(unsafe_code, reason = "memory shared with the kernel")]
    pub fn attend(&mut self, slot: u32, attention: u8, small: u8) {
        let record = self.records.pointer(slot);
        // SAFETY: as in `state`; the programs write these bytes before the session is told of.
        unsafe {
            (&raw mut (*record).head.attention).write_volatile(attention);
            (&raw mut (*record).head.small).write_volatile(small);
        }
    }

    /// Marks a slot as free. Nothing leads to it any more.
    #[expect(unsafe_code, reason = "memory shared with the kernel")]
    pub(super) fn clear(&mut self, slot: u32) {
        let record = self.records.pointer(slot);
        // SAFETY: as in `state`; the programs don't write a slot the index doesn't lead to.
        unsafe { (&raw mut (*record).head.state).write_volatile(SlotState::FREE) };
        fence(Ordering::Release);
    }
}
