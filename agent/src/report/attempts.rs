//! Attempts that came to nothing.
//!
//! The table remembers them; each interval the agent looks which of them nothing more is
//! to be expected of.

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

/// The least silence after which an attempt has failed. Stacks repeat a SYN after one or
/// three seconds at first, then after twice the time each.
const LEAST_PATIENCE_NS: u64 = 5_000_000_000;

/// Counts of attempts.
#[derive(Default)]
pub(crate) struct Attempts {
    stats: AttemptStats,
    /// Entries the agent took from the table.
    removed: u64,
}

impl Attempts {
    pub(crate) const fn stats(&self) -> AttemptStats {
        self.stats
    }

    /// Tells of the attempts that have failed by `now`, and lets the table forget them.
    pub(crate) fn sweep<F: Flows>(
        &mut self,
        flows: &mut F,
        teller: &mut Teller<'_>,
        now: u64,
    ) -> Result<(), F::Error> {
        // Those that come while we walk are in none of the counts.
        let inserted = flows.counters()?.get(Counter::HalfOpenInserted);
        let mut present = 0;
        let mut over = Vec::new();
        for (key, half_open) in flows.attempts() {
            present += 1;
            if has_failed(&half_open, now) {
                over.push((key, half_open));
            }
        }
        let mut told = 0;
        for (key, half_open) in over {
            // It may have gone on, completed or been pushed out while we walked.
            let unchanged = flows
                .attempt(&key)
                .is_some_and(|now| now.last_ns == half_open.last_ns);
            if !unchanged || !flows.forget_attempt(&key) {
                continue;
            }
            self.removed += 1;
            present -= 1;
            if half_open.over_session != 0 && half_open.syn_acks == 0 {
                continue;
            }
            self.stats.failed += 1;
            if told < MOST_TOLD {
                tell(teller, &key, &half_open);
                told += 1;
            } else {
                self.stats.unreported += 1;
            }
        }
        let completed = flows.counters()?.get(Counter::HalfOpenCompleted);
        let displaced = inserted.saturating_sub(completed + self.removed + present);
        self.stats.half_open = present;
        self.stats.displaced = self.stats.displaced.max(displaced);
        Ok(())
    }
}

/// Whether nothing more is to be expected of an attempt.
fn has_failed(half_open: &HalfOpen, now: u64) -> bool {
    let gap_ns = u64::from(half_open.gap_ms) * 1_000_000;
    let patience_ns = LEAST_PATIENCE_NS.max(2 * gap_ns + 1_000_000_000);
    let silence_ns = now.saturating_sub(half_open.last_ns);
    half_open.reset_by != HalfOpen::NOT_RESET || silence_ns >= patience_ns
}

fn tell(teller: &mut Teller<'_>, key: &FlowKey, half_open: &HalfOpen) {
    let attempt = Attempt {
        start: teller.lines.time(half_open.first_ns),
        duration_ms: half_open.last_ns.saturating_sub(half_open.first_ns) / 1_000_000,
        syns: half_open.syns,
        syn_acks: half_open.syn_acks,
        outcome: AttemptOutcome::of(half_open),
        client_mss: known(half_open.client_options.mss),
    };
    let verdict = judge_attempt(half_open, HostFacts::default());
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
