//! What a scan has to look at: a byte of each slot, apart from the records, so that a scan of
//! sessions that are idle reads a cache line for 64 of them.
//!
//! A session's first segment after the agent has let it [rest](crate::record::SessionHead::idle)
//! leaves a mark, and the others leave it alone: so the bytes of many sessions may share a line
//! that all CPUs write.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Slots whose marks are in a line.
pub const SLOTS: u32 = 64;

/// The marks of some slots: a cache line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(64))]
pub struct Marks(pub [u8; SLOTS as usize]);

/// A slot's mark.
pub struct Mark;

impl Mark {
    /// There is nothing to look at.
    pub const NONE: u8 = 0;
    /// A segment has come. The programs set this, and no other.
    pub const STIRRED: u8 = 1;
    /// A scan has let the slot rest, and looked at what had come. It may have missed what a program
    /// was just about to write; so the next scan looks once more, when all such writes have long
    /// arrived.
    pub const ONCE_MORE: u8 = 2;
}

/// The line that a slot's mark is in, and its place there.
#[inline(always)]
pub const fn place(slot: u32) -> (u32, usize) {
    (slot / SLOTS, (slot % SLOTS) as usize)
}
