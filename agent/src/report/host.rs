//! What verdicts take from what the host tells.

use std::collections::VecDeque;

use crate::{diagnosis::HostFacts, event::HostState};

/// How long overflows are remembered: a connection that found no room is given up by its client
/// only after a minute or two.
const REMEMBERED_NS: u64 = 120_000_000_000;

/// What the host told lately.
#[derive(Debug, Default)]
pub(crate) struct HostMemory {
    /// When they were told of, and how many there were.
    overflows: VecDeque<(u64, u64)>,
    /// The kernel counts them.
    counted: bool,
}

impl HostMemory {
    /// Takes a line in that is told `now`, and tells what verdicts may lean on.
    pub(crate) fn take(&mut self, state: &HostState, now: u64) -> HostFacts {
        let overflows = state.tcp.as_ref().and_then(|tcp| tcp.listen_overflows);
        if let Some(count) = overflows.and_then(|count| count.since_last) {
            self.counted = true;
            if count > 0 {
                self.overflows.push_back((now, count));
            }
        }
        let oldest_ns = now.saturating_sub(REMEMBERED_NS);
        while self
            .overflows
            .pop_front_if(|(at_ns, _)| *at_ns < oldest_ns)
            .is_some()
        {}
        HostFacts {
            listen_overflows: self
                .counted
                .then(|| self.overflows.iter().map(|(_, count)| count).sum()),
        }
    }
}
