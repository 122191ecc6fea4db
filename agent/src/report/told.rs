//! What was told of a session's counts, so that the next line can tell what came since.
//!
//! A million sessions have this, so it is kept small: a count is kept as its last 32 bits
//! where no more can come in an interval, and what most sessions never have, apart.

use sstpulse_common::Side;

use crate::event::{Counters, ZeroWindow};

/// What was told of both sides, but for what is [rare](Rare).
#[derive(Debug, Default)]
pub(super) struct Told([Usual; 2]);

/// What every session has.
#[derive(Clone, Copy, Debug, Default)]
struct Usual {
    bytes: u64,
    segments: u32,
    retransmitted_bytes: u32,
    retransmits: u32,
    duplicate_acks: u32,
}

/// What was told of a side that most sessions never have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rare {
    spurious_retransmits: u32,
    out_of_order: u32,
    zero_window: ZeroWindow,
    window_probes: u32,
    keepalives: u32,
    resets: u16,
    fins: u16,
}

impl Told {
    /// Whether a side has sent nothing since.
    pub(super) fn is_all_of(&self, side: Side, segments: u64) -> bool {
        self.0[side as usize].segments == low(segments)
    }

    /// What came of a side since, by what its record counts now, which is told with that. What
    /// of it is rare is told in `rare`.
    pub(super) fn tell(&mut self, side: Side, now: &Counters, rare: &mut Rare) -> Counters {
        let since = now.since(&self.earlier(side, now, *rare));
        self.0[side as usize] = Usual {
            bytes: now.bytes,
            segments: low(now.segments),
            retransmitted_bytes: low(now.retransmitted_bytes),
            retransmits: now.retransmits,
            duplicate_acks: now.duplicate_acks,
        };
        *rare = Rare {
            spurious_retransmits: now.spurious_retransmits,
            out_of_order: now.out_of_order,
            zero_window: now.zero_window,
            window_probes: now.window_probes,
            keepalives: now.keepalives,
            resets: now.resets,
            fins: now.fins,
        };
        since
    }

    /// What was counted of a side when it was last told of.
    fn earlier(&self, side: Side, now: &Counters, rare: Rare) -> Counters {
        let Usual {
            bytes,
            segments,
            retransmitted_bytes,
            retransmits,
            duplicate_acks,
        } = self.0[side as usize];
        let Rare {
            spurious_retransmits,
            out_of_order,
            zero_window,
            window_probes,
            keepalives,
            resets,
            fins,
        } = rare;
        Counters {
            bytes,
            segments: whole(segments, now.segments),
            retransmitted_bytes: whole(retransmitted_bytes, now.retransmitted_bytes),
            retransmits,
            spurious_retransmits,
            out_of_order,
            duplicate_acks,
            zero_window,
            window_probes,
            keepalives,
            resets,
            fins,
        }
    }
}

/// The last 32 bits of a count.
#[expect(clippy::cast_possible_truncation, reason = "they are what is wanted")]
pub(super) const fn low(count: u64) -> u32 {
    count as u32
}

/// The count whose last 32 bits these are, and that is no further from `now` than they tell.
pub(super) const fn whole(count: u32, now: u64) -> u64 {
    now.saturating_sub(low(now).wrapping_sub(count) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_survive_32_bits() {
        let (mut told, mut rare) = (Told::default(), Rare::default());
        let mut now = Counters {
            segments: u64::from(u32::MAX) - 1,
            retransmitted_bytes: 7,
            ..Counters::default()
        };
        assert_eq!(told.tell(Side::Client, &now, &mut rare), now);
        now.segments += 5;
        now.keepalives = 1;
        let since = told.tell(Side::Client, &now, &mut rare);
        assert_eq!((since.segments, since.keepalives), (5, 1));
        assert_eq!(since.retransmitted_bytes, 0);
        assert!(told.is_all_of(Side::Client, now.segments));
        assert!(!told.is_all_of(Side::Server, now.segments));
    }
}
