//! Hysteresis: what comes and goes is told when it begins, and when it has been away for long.

/// The longest that something must have been away, unless it is more from the start: two hours.
const MOST_CALM_NS: u64 = 7_200_000_000_000;

/// Whether something was told, and is not over. It is over once it has been away for a time,
/// which doubles with each time that it comes back.
#[derive(Clone, Debug, Default)]
pub(super) struct Latch {
    told: bool,
    /// When it was last there.
    there_ns: u64,
    calm_ns: u64,
    cleared_ns: Option<u64>,
}

impl Latch {
    pub(super) const fn is_told(&self) -> bool {
        self.told
    }

    /// It is there, or nearly so.
    pub(super) const fn there(&mut self, now: u64) {
        self.there_ns = now;
    }

    /// It is told now. `calm_ns` is how long it must be away, the first time.
    pub(super) fn tell(&mut self, now: u64, calm_ns: u64) {
        let is_back = self
            .cleared_ns
            .is_some_and(|cleared_ns| now.saturating_sub(cleared_ns) < MOST_CALM_NS);
        self.calm_ns = if is_back {
            self.calm_ns
                .saturating_mul(2)
                .min(MOST_CALM_NS)
                .max(calm_ns)
        } else {
            calm_ns
        };
        self.told = true;
        self.there_ns = now;
    }

    /// Whether it is over, from now on.
    pub(super) fn clears(&mut self, now: u64) -> bool {
        let over = self.told && now.saturating_sub(self.there_ns) >= self.calm_ns;
        if over {
            self.told = false;
            self.cleared_ns = Some(now);
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_back_has_to_be_away_for_longer() {
        const CALM: u64 = 300_000_000_000;
        let mut latch = Latch::default();
        let mut now = 0;
        let mut away = Vec::new();
        for _ in 0..7 {
            latch.tell(now, CALM);
            let since = now;
            while !latch.clears(now) {
                now += CALM / 10;
            }
            away.push((now - since) / CALM);
        }
        assert_eq!(away, [1, 2, 4, 8, 16, 24, 24]);
        now += MOST_CALM_NS;
        latch.tell(now, CALM);
        assert!(!latch.clears(now + CALM - 1) && latch.clears(now + CALM));
        assert!(
            !latch.is_told() && !latch.clears(now + 2 * CALM),
            "it is over once"
        );
    }
}
