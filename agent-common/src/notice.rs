//! What the programs tell the agent at once, through the ring buffer.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// One beginning or ending. The numbers are in the record; a lost notice delays the event
/// until a scan finds what it told, the next or the one after it, and loses nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Notice {
    /// When, on the monotonic clock, in nanoseconds.
    pub time_ns: u64,
    /// The session's slot.
    pub slot: u32,
    /// A [`NoticeKind`].
    pub kind: u32,
}

/// What a [`Notice`] tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum NoticeKind {
    /// A record was made.
    SessionStart = 1,
    /// The session ended; late segments may still be counted.
    SessionEnd = 2,
}
