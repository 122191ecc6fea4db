//! What the programs tell the agent at once, through the ring buffer.

use core::ops::BitOr;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{Segment, Side};

/// What there is to tell of a segment, and to do about it: any of the constants, together.
///
/// A number with bits, and no enumeration: the tracker brings it up from many places, and
/// nothing branches on it until the end. So the kernel's verifier need not follow each of
/// its values on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Told(pub u32);

impl Told {
    /// Nothing.
    pub const NOTHING: Self = Self(0);
    /// A record was made.
    pub const SESSION_START: Self = Self(1);
    /// The session ended; late segments may still be counted.
    pub const SESSION_END: Self = Self(1 << 1);
    /// A RST. Of each side, the first few are told.
    pub const RESET: Self = Self(1 << 2);
    /// The server sent data again after a [pause](crate::track::PAUSE_NS): its retransmission
    /// timer ran out.
    pub const TIMEOUT: Self = Self(1 << 3);
    /// This side has sent [`REPETITIONS`](crate::track::REPETITIONS) more segments again.
    pub const REPETITIONS: Self = Self(1 << 4);
    /// This side closed its window.
    pub const WINDOW_CLOSED: Self = Self(1 << 5);
    /// A round-trip time was [inflated](crate::record::Rtt::inflated).
    pub const RTT_INFLATED: Self = Self(1 << 6);

    /// The session's first FIN, or a RST that the other end had to accept.
    pub const CLOSING: Self = Self(1 << 7);

    /// To be counted: another interface owns this direction.
    pub const OTHER_INTERFACE: Self = Self(1 << 8);
    /// To be counted: numbers outside the windows, which the server's TCP drops as well.
    pub const OUT_OF_WINDOW: Self = Self(1 << 9);

    /// The payload belongs to the opening that the agent wants to see.
    pub const OPENING: Self = Self(1 << 10);
    /// The payload is small and new.
    pub const SMALL: Self = Self(1 << 11);

    /// What the agent is told by a [`Notice`].
    const OF_NOTICES: u32 = 0xff;
    /// What it is not told of a session that it looks at anyway.
    const UNLESS_WATCHED: u32 = Self::REPETITIONS.0 | Self::WINDOW_CLOSED.0 | Self::RTT_INFLATED.0;

    /// This, if `condition` holds, and nothing otherwise.
    #[inline(always)]
    #[must_use]
    pub const fn when(self, condition: bool) -> Self {
        if condition { self } else { Self::NOTHING }
    }

    /// Whether any of `other` is part of it.
    #[inline(always)]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// What of it is for a notice, about a session that is `watched` or not.
    #[inline(always)]
    #[must_use]
    pub const fn for_notice(self, watched: bool) -> Self {
        let told = self.0 & Self::OF_NOTICES;
        if watched {
            Self(told & !Self::UNLESS_WATCHED)
        } else {
            Self(told)
        }
    }
}

impl BitOr for Told {
    type Output = Self;

    #[inline(always)]
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// A beginning, an ending, or trouble, and the segment that brought it. The numbers are in
/// the record; a lost notice delays the event until a scan finds what it told, the next or
/// the one after it, and loses no count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Notice {
    /// When, on the monotonic clock, in nanoseconds.
    pub time_ns: u64,
    /// When the session's record was made, by which it differs from others in its slot.
    pub start_ns: u64,
    /// The session's slot.
    pub slot: u32,
    /// The segment's sequence number.
    pub seq: u32,
    /// Its acknowledgment number.
    pub ack: u32,
    /// Its payload, in bytes.
    pub payload: u32,
    /// What it tells: the first eight bits of a [`Told`].
    pub told: u8,
    /// Who sent it: 0 for the client, 1 for the server.
    pub side: u8,
    /// Its TTL or hop limit.
    pub ttl: u8,
    /// Its control bits.
    pub flags: u8,
    /// Its window, unscaled.
    pub window: u16,
    /// Zero.
    pub reserved: u16,
}

impl Notice {
    /// Whether it tells any of `told`.
    pub fn tells(&self, told: Told) -> bool {
        Told(u32::from(self.told)).has(told)
    }

    /// Who sent the segment.
    pub const fn side(&self) -> Side {
        if self.side == Side::Client as u8 {
            Side::Client
        } else {
            Side::Server
        }
    }

    /// What there is to tell of a segment that `side` sent, in the session in `slot`.
    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "eight bits are for notices"
    )]
    pub const fn of(
        told: Told,
        slot: u32,
        start_ns: u64,
        side: Side,
        segment: &Segment,
        now: u64,
    ) -> Self {
        Self {
            time_ns: now,
            start_ns,
            slot,
            seq: segment.seq,
            ack: segment.ack,
            payload: segment.payload,
            told: told.0 as u8,
            side: side as u8,
            ttl: segment.ttl,
            flags: segment.flags.0,
            window: segment.window,
            reserved: 0,
        }
    }
}

const _: () = assert!(size_of::<Notice>() == 40);
