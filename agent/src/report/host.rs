//! What verdicts take from what the host tells.

use std::collections::VecDeque;

use crate::{diagnosis::HostFacts, event::HostState};

/// Lines of `host.health` that are remembered: a connection that found no room is given up
/// by its client only after a minute or two.
const REMEMBERED: usize = 12;

/// What the host told lately.
#[derive(Debug, Default)]
pub(crate) struct HostMemory {
    overflows: VecDeque<u64>,
}

impl HostMemory {
    /// Takes a line in, and tells what verdicts may lean on.
    pub(crate) fn take(&mut self, state: &HostState) -> HostFacts {
        let overflows = state.tcp.as_ref().and_then(|tcp| tcp.listen_overflows);
        if let Some(count) = overflows.and_then(|count| count.since_last) {
            if self.overflows.len() == REMEMBERED {
                self.overflows.pop_front();
            }
            self.overflows.push_back(count);
        }
        HostFacts {
            listen_overflows: (!self.overflows.is_empty()).then(|| self.overflows.iter().sum()),
        }
    }
}
