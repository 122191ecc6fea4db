//! Numbers in fewer bytes than they usually take, for what a million sessions have.

/// The last 48 bits of a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Low48([u16; 3]);

impl Low48 {
    const MASK: u64 = (1 << 48) - 1;

    #[expect(clippy::cast_possible_truncation, reason = "it is taken apart")]
    pub(super) const fn of(number: u64) -> Self {
        Self([number as u16, (number >> 16) as u16, (number >> 32) as u16])
    }

    const fn get(self) -> u64 {
        let [low, middle, high] = self.0;
        low as u64 | (middle as u64) << 16 | (high as u64) << 32
    }

    /// The number whose last 48 bits these are, and that is no further before `now` than they
    /// tell.
    pub(super) const fn whole(self, now: u64) -> u64 {
        now.saturating_sub(now.wrapping_sub(self.get()) & Self::MASK)
    }
}

/// A time in nanoseconds, exact to 16.4 µs: never later, and right until the year 2116 also
/// where it counts from 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Moment(Low48);

impl Moment {
    const SHIFT: u32 = 14;

    pub(super) const fn of(ns: u64) -> Self {
        Self(Low48::of(ns >> Self::SHIFT))
    }

    /// In nanoseconds.
    pub(super) const fn ns(self) -> u64 {
        self.0.get() << Self::SHIFT
    }
}

/// The last 32 bits of a number.
#[expect(clippy::cast_possible_truncation, reason = "they are what is wanted")]
pub(super) const fn low(number: u64) -> u32 {
    number as u32
}

/// The number whose last 32 bits these are, and that is no further before `now` than they tell.
pub(super) const fn whole(low_bits: u32, now: u64) -> u64 {
    now.saturating_sub(low(now).wrapping_sub(low_bits) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_far_back_comes_back_whole() {
        const FAR: u64 = 1 << 48;
        for earlier in [0, 1, 0xffff_ffff, FAR - 1, FAR, 3 * FAR + 7, u64::MAX - FAR] {
            for passed in [0, 1, 0x1_0000, 0xffff_ffff] {
                let now = earlier + passed;
                assert_eq!(
                    whole(low(earlier), now),
                    earlier,
                    "{passed} after {earlier}"
                );
                assert_eq!(Low48::of(earlier).whole(now), earlier);
                assert_eq!(Low48::of(earlier).whole(earlier + FAR - 1), earlier);
            }
        }
    }

    #[test]
    fn moments_are_never_later_and_hardly_earlier() {
        const YEAR_2100_NS: u64 = 4_102_444_800_000_000_000;
        for ns in [0, 16_383, 16_384, 5_000_000_001, YEAR_2100_NS] {
            let moment = Moment::of(ns).ns();
            assert!(moment <= ns && ns - moment < 16_384, "{moment} for {ns}");
        }
    }
}
