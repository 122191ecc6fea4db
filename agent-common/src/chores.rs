//! What the agent has the programs do with many slots at once.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Slots that can be listed at once: a power of two.
pub const MOST: usize = 4_096;

/// A list of slots. The agent writes it, and runs a program as often as there are slots; each
/// run takes the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Chores {
    /// How many are done. The programs count it.
    pub done: u32,
    /// The slots.
    pub slots: [u32; MOST],
}
