//! Time, as the tracker asks for it.

/// A monotonic clock, in nanoseconds.
///
/// Inside the kernel, reading it to the nanosecond takes almost as long as all the counting of
/// a segment, and holds up the CPU's other loads. So what may be late by a tick of the kernel (1
/// to 10 ms, its `CONFIG_HZ`) takes the coarse time, and only what needs it the exact one.
pub trait Clock {
    /// The time, or as long ago as a tick; never after the exact time.
    fn coarse_ns(&self) -> u64;
    /// The exact time.
    fn exact_ns(&self) -> u64;
}

/// A moment: what a capture tells of a packet.
impl Clock for u64 {
    #[inline(always)]
    fn coarse_ns(&self) -> u64 {
        *self
    }

    #[inline(always)]
    fn exact_ns(&self) -> u64 {
        *self
    }
}
