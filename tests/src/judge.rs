//! How the path decides about each packet.

use std::time::Duration;

use fastrand::Rng;

use crate::faults::{Action, DirectionFaults, Loss, Match, Reorder, Rule};
use crate::segment::{Flags, Seen};

/// What becomes of one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is lost.
    Drop,
    /// It is lost for its size; the sender is told of this MTU, in bytes.
    TooBig(u16),
    /// It is delivered `copies` times, after `hold`.
    Pass { copies: u32, hold: Duration },
}

/// The faults of one direction together with what has been counted since they were set.
#[derive(Debug)]
pub(crate) struct Judge {
    faults: DirectionFaults,
    /// Rules that have not yet met their packet, each with the matching packets still to come.
    armed: Vec<(Rule, u32)>,
    random: Rng,
    jitter: Rng,
    lossy: u32,
    reordered: u32,
    duplicated: u32,
}

impl Judge {
    pub(crate) fn new() -> Self {
        Self {
            faults: DirectionFaults::default(),
            armed: Vec::new(),
            random: Rng::with_seed(0),
            jitter: Rng::with_seed(0),
            lossy: 0,
            reordered: 0,
            duplicated: 0,
        }
    }

    pub(crate) fn faults(&self) -> &DirectionFaults {
        &self.faults
    }

    /// Rules still waiting for their packet.
    pub(crate) fn pending(&self) -> usize {
        self.armed.len()
    }

    /// Takes new faults and begins all counts anew.
    pub(crate) fn set(&mut self, faults: DirectionFaults) {
        *self = Self::new();
        self.arm(&faults);
        self.seed(&faults);
        self.faults = faults;
    }

    /// Takes changed faults; only the counts of what changed begin anew.
    pub(crate) fn update(&mut self, faults: DirectionFaults) {
        if faults.rules != self.faults.rules {
            self.arm(&faults);
        }
        if faults.loss != self.faults.loss {
            self.seed(&faults);
        }
        if faults.reorder != self.faults.reorder {
            self.reordered = 0;
        }
        if faults.duplicate_every != self.faults.duplicate_every {
            self.duplicated = 0;
        }
        self.faults = faults;
    }

    fn arm(&mut self, faults: &DirectionFaults) {
        self.armed = faults
            .rules
            .iter()
            .map(|rule| (*rule, rule.nth.max(1)))
            .collect();
    }

    fn seed(&mut self, faults: &DirectionFaults) {
        self.lossy = 0;
        if let Loss::Random { seed, .. } = faults.loss {
            self.random = Rng::with_seed(seed);
        }
    }

    /// Decides about a packet of `length` bytes.
    pub(crate) fn judge(&mut self, length: usize, seen: Option<&Seen>) -> Verdict {
        if !self.concerns(seen) {
            return Verdict::Pass {
                copies: 1,
                hold: Duration::ZERO,
            };
        }
        if self.faults.cut {
            return Verdict::Drop;
        }
        if let Some(mtu) = self.faults.mtu.filter(|mtu| length > usize::from(*mtu)) {
            return if self.faults.icmp {
                Verdict::TooBig(mtu)
            } else {
                Verdict::Drop
            };
        }
        let Some((mut copies, mut hold)) = self.apply_rules(seen) else {
            return Verdict::Drop;
        };
        if self.is_lost() {
            return Verdict::Drop;
        }
        copies += u32::from(is_nth(&mut self.duplicated, self.faults.duplicate_every));
        hold += self.faults.delay + self.jitter();
        if let Some(Reorder {
            every,
            hold: longer,
        }) = self.faults.reorder
            && is_nth(&mut self.reordered, every)
        {
            hold += longer;
        }
        Verdict::Pass { copies, hold }
    }

    /// Whether the faults are meant for this packet's client.
    fn concerns(&self, seen: Option<&Seen>) -> bool {
        self.faults.client.is_none_or(|client| {
            seen.is_some_and(|seen| [seen.source.ip(), seen.destination.ip()].contains(&client))
        })
    }

    /// Copies and hold that rules give the packet; nothing if one drops it.
    fn apply_rules(&mut self, seen: Option<&Seen>) -> Option<(u32, Duration)> {
        let (mut copies, mut hold, mut dropped) = (1, Duration::ZERO, false);
        self.armed.retain_mut(|(rule, left)| {
            if !rule.what.holds(seen) {
                return true;
            }
            *left -= 1;
            if *left > 0 {
                return true;
            }
            match rule.action {
                Action::Drop => dropped = true,
                Action::Delay(delay) => hold += delay,
                Action::Duplicate => copies += 1,
            }
            false
        });
        (!dropped).then_some((copies, hold))
    }

    fn is_lost(&mut self) -> bool {
        match self.faults.loss {
            Loss::None => false,
            Loss::Random { probability, .. } => self.random.f64() < probability,
            Loss::EveryNth(n) => is_nth(&mut self.lossy, n),
        }
    }

    fn jitter(&mut self) -> Duration {
        if self.faults.jitter.is_zero() {
            return Duration::ZERO;
        }
        self.faults.jitter.mul_f64(self.jitter.f64())
    }
}

/// Counts one packet and tells whether it is the n-th since the last such one; 0 for never.
fn is_nth(count: &mut u32, n: u32) -> bool {
    if n == 0 {
        return false;
    }
    *count += 1;
    let met = *count >= n;
    if met {
        *count = 0;
    }
    met
}

impl Match {
    fn holds(self, seen: Option<&Seen>) -> bool {
        let Some(seen) = seen else {
            return self == Self::Any;
        };
        let has = |flag| seen.flags.contains(flag);
        match self {
            Self::Any => true,
            Self::Data => seen.payload_length > 0,
            Self::Syn => has(Flags::SYN) && !has(Flags::ACK),
            Self::SynAck => has(Flags::SYN | Flags::ACK),
            Self::PureAck => seen.is_pure_ack(),
            Self::Fin => has(Flags::FIN),
            Self::Rst => has(Flags::RST),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(faults: DirectionFaults) -> Judge {
        let mut judge = Judge::new();
        judge.set(faults);
        judge
    }

    fn dropped(judge: &mut Judge, packets: usize) -> Vec<usize> {
        (1..=packets)
            .filter(|_| judge.judge(100, None) == Verdict::Drop)
            .collect()
    }

    #[test]
    fn every_nth_is_lost() {
        let mut judge = judge(DirectionFaults {
            loss: Loss::EveryNth(3),
            ..Default::default()
        });
        assert_eq!(dropped(&mut judge, 9), [3, 6, 9]);
    }

    #[test]
    fn a_seed_repeats_its_losses() {
        let loss = Loss::Random {
            probability: 0.2,
            seed: 7,
        };
        let positions = || {
            dropped(
                &mut judge(DirectionFaults {
                    loss,
                    ..Default::default()
                }),
                1000,
            )
        };
        let first = positions();
        assert_eq!(first, positions());
        assert!(
            (150..250).contains(&first.len()),
            "{} of 1000 lost",
            first.len()
        );
    }

    #[test]
    fn a_rule_applies_once() {
        let rule = Rule {
            what: Match::Any,
            nth: 2,
            action: Action::Drop,
        };
        let mut judge = judge(DirectionFaults {
            rules: vec![rule],
            ..Default::default()
        });
        assert_eq!(dropped(&mut judge, 6), [2]);
        assert_eq!(judge.pending(), 0);
    }

    #[test]
    fn an_update_leaves_other_counts_alone() {
        let rule = Rule {
            what: Match::Any,
            nth: 3,
            action: Action::Drop,
        };
        let faults = DirectionFaults {
            rules: vec![rule],
            ..Default::default()
        };
        let mut judge = judge(faults.clone());
        assert_eq!(dropped(&mut judge, 2), [0; 0]);
        judge.update(DirectionFaults {
            delay: Duration::from_millis(1),
            ..faults
        });
        assert_eq!(dropped(&mut judge, 2), [1]);
    }

    #[test]
    fn size_decides_before_loss() {
        let faults = DirectionFaults {
            mtu: Some(99),
            icmp: true,
            ..Default::default()
        };
        assert_eq!(judge(faults).judge(100, None), Verdict::TooBig(99));
    }
}
