//! Attempts that came to nothing.
//!
//! The table remembers them; each interval the agent looks which of them nothing more is
//! to be expected of. Such a sweep is done in steps, since there may be very many: each reads
//! some of them, or deals with some that have failed.

use std::{collections::VecDeque, mem};

use sstpulse_common::{FlowKey, HalfOpen, counters::Counter};

use super::{Flows, Teller};
use crate::{
    diagnosis::{HostFacts, judge_attempt},
    event::{
        Attempt, AttemptFailed, AttemptOutcome, AttemptStats, Endpoint, Event, Network, known,
    },
};

/// Attempts told one by one in an interval. A flood of forged SYNs makes more.
const MOST_TOLD: usize = 1_000;

/// Attempts that have failed and are dealt with in a step: it takes about a millisecond.
const STEP_FAILED: usize = 128;

/// The least silence after which an attempt has failed. Stacks repeat a SYN after one or
/// three seconds at first, then after twice the time each.
const LEAST_PATIENCE_NS: u64 = 5_000_000_000;

/// Counts of attempts, and the sweep that goes on.
#[derive(Default)]
pub(crate) struct Attempts {
    stats: AttemptStats,
    /// Entries the agent took from the table.
    removed: u64,
    sweep: Option<Sweep>,
    host: HostFacts,
}

/// A walk over all attempts.
struct Sweep {
    began_ns: u64,
    /// Entries that were made before it began.
    inserted: u64,
    /// What is to be read next.
    next: Next,
    /// What was just read, before it is looked at.
    found: Vec<(FlowKey, HalfOpen)>,
    /// Those that have failed, as they were when they were read, and are to be dealt with.
    failed: VecDeque<(FlowKey, HalfOpen)>,
    /// Entries that it has met with and left in the table.
    present: u64,
    /// Those among them that were made before it began.
    present_before: u64,
    /// Attempts that it has told one by one.
    told: usize,
}

/// What of the table a sweep reads next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    /// The first of its entries.
    First,
    /// Those that begin there.
    At(u32),
    /// Nothing: all were read.
    Nothing,
}

impl Attempts {
    pub(crate) const fn stats(&self) -> AttemptStats {
        self.stats
    }

    /// Takes in what the host tells.
    pub(crate) const fn host_knows(&mut self, host: HostFacts) {
        self.host = host;
    }

    /// Begins to look at every attempt, unless that goes on already.
    pub(crate) fn begin_sweep<F: Flows>(
        &mut self,
        flows: &F,
        now: impl FnOnce() -> u64,
    ) -> Result<(), F::Error> {
        if self.sweep.is_none() {
            let inserted = flows.counters()?.get(Counter::HalfOpenInserted);
            self.sweep = Some(Sweep {
                // Not before the count: what is in it must be older.
                began_ns: now(),
                inserted,
                next: Next::First,
                found: Vec::new(),
                failed: VecDeque::new(),
                present: 0,
                present_before: 0,
                told: 0,
            });
        }
        Ok(())
    }

    /// Whether a sweep goes on.
    pub(crate) const fn is_sweeping(&self) -> bool {
        self.sweep.is_some()
    }

    /// Does some of a sweep: tells of attempts that have failed by `now`, and lets the table
    /// forget them.
    pub(crate) fn sweep_step<F: Flows>(
        &mut self,
        flows: &mut F,
        teller: &mut Teller<'_>,
        now: u64,
    ) -> Result<(), F::Error> {
        let Some(mut sweep) = self.sweep.take() else {
            return Ok(());
        };
        if sweep.failed.is_empty() {
            sweep.read(flows, now);
        }
        for _ in 0..STEP_FAILED {
            let Some((key, half_open)) = sweep.failed.pop_front() else {
                break;
            };
            self.deal_with(flows, teller, &mut sweep, &key, &half_open);
        }
        if sweep.failed.is_empty() && sweep.next == Next::Nothing {
            return self.conclude(flows, &sweep);
        }
        self.sweep = Some(sweep);
        Ok(())
    }

    /// Does a whole sweep, or what is left of the one that goes on.
    pub(crate) fn sweep<F: Flows>(
        &mut self,
        flows: &mut F,
        teller: &mut Teller<'_>,
        now: u64,
    ) -> Result<(), F::Error> {
        self.begin_sweep(flows, || now)?;
        while self.is_sweeping() {
            self.sweep_step(flows, teller, now)?;
        }
        Ok(())
    }

    /// Tells of an attempt that had failed when it was read, and has the table forget it.
    fn deal_with<F: Flows>(
        &mut self,
        flows: &mut F,
        teller: &mut Teller<'_>,
        sweep: &mut Sweep,
        key: &FlowKey,
        half_open: &HalfOpen,
    ) {
        // It may have gone on, completed or been pushed out since.
        let Some(present) = flows.attempt(key) else {
            return;
        };
        if present.last_ns != half_open.last_ns {
            return sweep.leave(half_open);
        }
        if !flows.forget_attempt(key) {
            return;
        }
        self.removed += 1;
        if half_open.over_session != 0 && half_open.syn_acks == 0 {
            return;
        }
        self.stats.failed += 1;
        if sweep.told < MOST_TOLD {
            tell(teller, key, half_open, self.host);
            sweep.told += 1;
        } else {
            self.stats.unreported += 1;
        }
    }

    /// A sweep has come to its end.
    fn conclude<F: Flows>(&mut self, flows: &F, sweep: &Sweep) -> Result<(), F::Error> {
        // Those that came and completed while it went on are among the completed, and not among
        // the inserted: what is displaced is never less than this, and the next sweep tells.
        let completed = flows.counters()?.get(Counter::HalfOpenCompleted);
        let gone = completed + self.removed + sweep.present_before;
        let displaced = sweep.inserted.saturating_sub(gone);
        self.stats.half_open = sweep.present;
        self.stats.displaced = self.stats.displaced.max(displaced);
        Ok(())
    }
}

impl Sweep {
    /// Reads the next entries, and finds those that have failed.
    fn read<F: Flows>(&mut self, flows: &F, now: u64) {
        let from = match self.next {
            Next::First => None,
            Next::At(place) => Some(place),
            Next::Nothing => return,
        };
        let mut found = mem::take(&mut self.found);
        self.next = match flows.some_attempts(from, &mut found) {
            Some(place) => Next::At(place),
            None => Next::Nothing,
        };
        for (key, half_open) in found.drain(..) {
            if has_failed(&half_open, now) {
                self.failed.push_back((key, half_open));
            } else {
                self.leave(&half_open);
            }
        }
        self.found = found;
    }

    /// Leaves an entry in the table.
    const fn leave(&mut self, half_open: &HalfOpen) {
        self.present += 1;
        if half_open.first_ns <= self.began_ns {
            self.present_before += 1;
        }
    }
}

/// Whether nothing more is to be expected of an attempt.
fn has_failed(half_open: &HalfOpen, now: u64) -> bool {
    let gap_ns = u64::from(half_open.gap_ms) * 1_000_000;
    let patience_ns = LEAST_PATIENCE_NS.max(2 * gap_ns + 1_000_000_000);
    let silence_ns = now.saturating_sub(half_open.last_ns);
    half_open.reset_by != HalfOpen::NOT_RESET || silence_ns >= patience_ns
}

fn tell(teller: &mut Teller<'_>, key: &FlowKey, half_open: &HalfOpen, host: HostFacts) {
    let attempt = Attempt {
        start: teller.lines.time(half_open.first_ns),
        duration_ms: half_open.last_ns.saturating_sub(half_open.first_ns) / 1_000_000,
        syns: half_open.syns,
        syn_acks: half_open.syn_acks,
        outcome: AttemptOutcome::of(half_open),
        client_mss: known(half_open.client_options.mss),
    };
    let verdict = judge_attempt(half_open, host);
    teller
        .across
        .attempt_failed(key, half_open.last_ns, attempt.outcome, &verdict);
    let interface = teller
        .interfaces
        .name(half_open.client_ifindex)
        .or_else(|| teller.interfaces.name(half_open.server_ifindex));
    teller.lines.write(half_open.last_ns, interface, |head| {
        Event::AttemptFailed(AttemptFailed {
            head,
            client: Endpoint::client(key),
            server: Endpoint::server(key),
            network: Network::of(key),
            attempt,
            verdict,
        })
    });
}

#[cfg(test)]
mod tests;
