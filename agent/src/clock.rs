//! Time: the kernel half counts on the monotonic clock, events carry the time of day.

use jiff::Timestamp;
use nix::time::{ClockId, clock_gettime};

/// Nanoseconds on the monotonic clock, the one of `bpf_ktime_get_ns`.
pub fn monotonic_ns() -> u64 {
    nanoseconds(ClockId::CLOCK_MONOTONIC)
}

/// Nanoseconds that this thread has had a CPU.
pub fn cpu_time_ns() -> u64 {
    nanoseconds(ClockId::CLOCK_THREAD_CPUTIME_ID)
}

/// The time of day at monotonic times, by the distance of the two clocks at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Time of day less monotonic time, in nanoseconds.
    offset_ns: i128,
}

impl Clock {
    /// The clocks' distance now. To be renewed now and then: the time of day is adjusted,
    /// and the monotonic clock stops while the machine sleeps.
    pub fn now() -> Self {
        let realtime = i128::from(nanoseconds(ClockId::CLOCK_REALTIME));
        Self {
            offset_ns: realtime - i128::from(monotonic_ns()),
        }
    }

    /// The time of day, in nanoseconds since 1970.
    pub fn now_of_day_ns() -> u64 {
        nanoseconds(ClockId::CLOCK_REALTIME)
    }

    /// For times that count from 1970 on themselves.
    pub const fn of_day() -> Self {
        Self { offset_ns: 0 }
    }

    /// The time of day when the monotonic clock was at `ns`.
    pub fn at(self, ns: u64) -> Timestamp {
        // Out of jiff's range only if the clock says a year beyond 9999.
        Timestamp::from_nanosecond(self.offset_ns + i128::from(ns)).unwrap_or(Timestamp::MAX)
    }
}

fn nanoseconds(clock: ClockId) -> u64 {
    // These clocks exist on every Linux, and none is negative.
    clock_gettime(clock).map_or(0, |time| {
        let seconds = u64::try_from(time.tv_sec()).unwrap_or_default();
        let nanoseconds = u64::try_from(time.tv_nsec()).unwrap_or_default();
        seconds * 1_000_000_000 + nanoseconds
    })
}
