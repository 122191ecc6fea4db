//! Doing something so many times in a second.

use std::{
    thread,
    time::{Duration, Instant},
};

/// Doing something so many times in a second.
pub(crate) struct Pace {
    began: Instant,
    per_second: u32,
    done: u32,
}

impl Pace {
    /// From now on.
    pub(crate) fn new(per_second: u32) -> Self {
        Self {
            began: Instant::now(),
            per_second,
            done: 0,
        }
    }

    /// Waits until the next may be done.
    pub(crate) fn wait(&mut self) {
        self.done += 1;
        // Not each by itself: the clock and the scheduler take longer than some things.
        if self.done.is_multiple_of(64) {
            self.sleep();
        }
    }

    /// Waits until so many may be done at once.
    pub(crate) fn wait_for(&mut self, count: u32) {
        self.done += count;
        self.sleep();
    }

    fn sleep(&self) {
        let due = Duration::from_secs_f64(f64::from(self.done) / f64::from(self.per_second));
        thread::sleep(due.saturating_sub(self.began.elapsed()));
    }
}
