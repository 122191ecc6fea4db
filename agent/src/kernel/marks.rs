//! The [marks](sstpulse_common::marks) that segments leave: memory shared with the kernel.

use std::sync::atomic::{
    AtomicU8, AtomicU64,
    Ordering::{Acquire, Relaxed},
};

use aya::maps::Map;
use sstpulse_common::marks::{Mark, Marks as Line, place};

use super::{mapped::Mapped, programs::KernelError};

/// Marks that are read at once.
const WORD: u32 = 8;

/// The array of marks, mapped.
pub(super) struct Marks {
    lines: Mapped<Line>,
}

impl Marks {
    /// Maps the marks of `map`, an mmapable array.
    pub(super) fn map(map: Map) -> Result<Self, KernelError> {
        Mapped::new(map, "marks of the session table").map(|lines| Self { lines })
    }

    /// The first slot from `from` on, and before `until`, that has a mark.
    pub(super) fn first(&self, from: u32, until: u32) -> Option<u32> {
        let mut slot = from;
        while slot < until {
            let before = slot % WORD;
            let marks = self.word(slot - before).load(Relaxed).to_le() >> (8 * before);
            if marks != 0 {
                return Some(slot + marks.trailing_zeros() / 8).filter(|slot| *slot < until);
            }
            slot += WORD - before;
        }
        None
    }

    /// Takes a slot's mark back, in two steps: a scan is to look once more. `idle` says whether
    /// the session has been silent since the first; whoever ends that leaves another mark.
    pub(super) fn rest(&mut self, slot: u32, idle: bool) {
        let mark = self.mark(slot);
        let (from, to) = match mark.load(Relaxed) {
            Mark::STIRRED => (Mark::STIRRED, Mark::ONCE_MORE),
            Mark::ONCE_MORE if idle => (Mark::ONCE_MORE, Mark::NONE),
            _ => return,
        };
        // If a program has set it meanwhile, that holds. What the slot holds is read afterwards.
        let _ = mark.compare_exchange(from, to, Acquire, Relaxed);
    }

    #[expect(unsafe_code, reason = "memory shared with the kernel")]
    fn mark(&self, slot: u32) -> &AtomicU8 {
        let (line, place) = place(slot);
        let line = self.lines.pointer(line).cast::<u8>();
        // SAFETY: within the line, which is mapped while `self` lives; whoever else writes to it
        // writes single bytes.
        unsafe { AtomicU8::from_ptr(line.add(place)) }
    }

    /// The marks of eight slots from `slot` on, of which that is a multiple.
    #[expect(unsafe_code, reason = "memory shared with the kernel")]
    fn word(&self, slot: u32) -> &AtomicU64 {
        let (line, place) = place(slot);
        let line = self.lines.pointer(line).cast::<u64>();
        // SAFETY: as in `mark`; lines are aligned, and it is only read.
        unsafe { AtomicU64::from_ptr(line.add(place / size_of::<u64>())) }
    }
}
