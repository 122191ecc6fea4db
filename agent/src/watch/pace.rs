//! How a scan is spread over time: in short steps, and, while there is much to tell, with
//! pauses between them.

use std::time::Duration;

use tokio::{
    task::coop::consume_budget,
    time::{Instant, sleep_until},
};

use crate::{clock::monotonic_ns, event::ScanStats};

/// A step that told so many lines or more is followed by a pause as long as itself: half of a
/// CPU is for what can't wait.
const MANY: u64 = 64;

/// When the steps of the scans come, and how long they take.
#[derive(Default)]
pub(super) struct Pace {
    began_ns: u64,
    /// The end of a pause.
    next: Option<Instant>,
    /// The longest step of the scan that goes on, in microseconds.
    longest_step_us: u64,
    stats: ScanStats,
}

impl Pace {
    /// A scan begins.
    pub(super) fn begin(&mut self) {
        self.began_ns = monotonic_ns();
        self.next = None;
        self.longest_step_us = 0;
    }

    /// One can't begin, as another goes on.
    pub(super) const fn late(&mut self) {
        self.stats.late += 1;
    }

    /// A step took so much of the CPU's time, and told so many lines.
    pub(super) fn step(&mut self, took: Duration, told: u64) {
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.longest_step_us = self.longest_step_us.max(took_us);
        self.next = (told >= MANY).then(|| Instant::now() + took);
    }

    /// Waits for the next step.
    pub(super) async fn next_step(&self) {
        match self.next {
            Some(next) => sleep_until(next).await,
            // One turn of those that a task has before others have theirs.
            None => consume_budget().await,
        }
    }

    /// The scan has come to its end.
    pub(super) fn end(&mut self) {
        self.stats.longest_step_us = self.longest_step_us;
        self.stats.last_ms = monotonic_ns().saturating_sub(self.began_ns) / 1_000_000;
    }

    /// How the last scan went.
    pub(super) const fn stats(&self) -> ScanStats {
        self.stats
    }
}
