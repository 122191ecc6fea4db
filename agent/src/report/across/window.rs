//! How many came within a time: two counts instead of all the times.

/// Counts what comes by windows of a length: those of the present one, and of the one before.
/// Whatever comes within that length is counted together; what is further apart than twice the
/// length is not.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    /// When the present one began.
    start_ns: u64,
    before: u32,
    present: u32,
}

impl Window {
    /// It begins with the first.
    pub(super) const fn of(time_ns: u64) -> Self {
        Self {
            start_ns: time_ns,
            before: 0,
            present: 1,
        }
    }

    /// One more. False if it is so late that it belongs to none of them.
    pub(super) const fn add(&mut self, time_ns: u64, length_ns: u64) -> bool {
        if time_ns.saturating_add(length_ns) < self.start_ns {
            return false;
        }
        let passed_ns = time_ns.saturating_sub(self.start_ns);
        if passed_ns >= length_ns.saturating_mul(2) {
            *self = Self::of(time_ns);
        } else if passed_ns >= length_ns {
            self.start_ns += length_ns;
            self.before = self.present;
            self.present = 1;
        } else {
            self.present = self.present.saturating_add(1);
        }
        true
    }

    pub(super) const fn count(&self) -> u32 {
        self.before.saturating_add(self.present)
    }

    /// What came earlier is not counted.
    pub(super) const fn begin_ns(&self, length_ns: u64) -> u64 {
        self.start_ns.saturating_sub(length_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_within_a_time_is_counted_together() {
        let cases: [(&str, &[u64], u32); 7] = [
            ("alone", &[100], 1),
            ("together", &[100, 101, 109], 3),
            ("across two windows", &[100, 109, 110, 111], 4),
            ("two windows later", &[100, 101, 120], 1),
            ("ever so often", &[100, 110, 120, 130, 140], 2),
            ("a little late", &[100, 95, 90], 3),
            ("too late", &[100, 89, 5], 1),
        ];
        for (what, times, count) in cases {
            let mut window = Window::of(times[0]);
            for time in &times[1..] {
                window.add(*time, 10);
            }
            assert_eq!(window.count(), count, "{what}");
        }
    }
}
