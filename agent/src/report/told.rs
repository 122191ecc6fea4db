//! What was told of a session's counts, so that the next line can tell what came since.
//!
//! A million sessions have this, so it is kept small: a count is kept as its last 32 or 48
//! bits where no more can come in an interval, and what most sessions never have, apart.

use sstpulse_common::Side;

use super::compact::{Low48, low, whole};
use crate::event::{Counters, ZeroWindow};

/// What was told of both sides, the client's first, but for what is [rare](Rare). Side by side,
/// since numbers of a kind leave no gaps.
#[derive(Debug, Default)]
pub(super) struct Told {
    bytes: [Low48; 2],
    segments: [u32; 2],
    retransmitted_bytes: [u32; 2],
    retransmits: [u32; 2],
    duplicate_acks: [u32; 2],
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
        self.segments[side as usize] == low(segments)
    }

    /// What came of a side since, by what its record counts now, which is told with that. What
    /// of it is rare is told in `rare`.
    pub(super) fn tell(&mut self, side: Side, now: &Counters, rare: &mut Rare) -> Counters {
        let since = now.since(&self.earlier(side, now, *rare));
        let side = side as usize;
        self.bytes[side] = Low48::of(now.bytes);
        self.segments[side] = low(now.segments);
        self.retransmitted_bytes[side] = low(now.retransmitted_bytes);
        self.retransmits[side] = now.retransmits;
        self.duplicate_acks[side] = now.duplicate_acks;
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
        let side = side as usize;
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
            bytes: self.bytes[side].whole(now.bytes),
            segments: whole(self.segments[side], now.segments),
            retransmitted_bytes: whole(self.retransmitted_bytes[side], now.retransmitted_bytes),
            retransmits: self.retransmits[side],
            spurious_retransmits,
            out_of_order,
            duplicate_acks: self.duplicate_acks[side],
            zero_window,
            window_probes,
            keepalives,
            resets,
            fins,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_survive_what_is_cut_off() {
        let (mut told, mut rare) = (Told::default(), Rare::default());
        let mut now = Counters {
            bytes: (1 << 48) - 1,
            segments: u64::from(u32::MAX) - 1,
            retransmitted_bytes: 7,
            ..Counters::default()
        };
        assert_eq!(told.tell(Side::Client, &now, &mut rare), now);
        now.bytes += 5_000_000_000;
        now.segments += 5;
        now.keepalives = 1;
        let since = told.tell(Side::Client, &now, &mut rare);
        assert_eq!((since.segments, since.keepalives), (5, 1));
        assert_eq!((since.bytes, since.retransmitted_bytes), (5_000_000_000, 0));
        assert!(told.is_all_of(Side::Client, now.segments));
        assert!(!told.is_all_of(Side::Server, now.segments));
    }
}
