//! Who belongs to a cluster.

use std::fmt;

use sstpulse_common::FlowKey;

use crate::event::Network;

/// A session, as lines call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SessionId {
    /// Differs from run to run.
    pub(crate) run: u32,
    /// Differs from session to session.
    pub(crate) number: u64,
}

impl fmt::Display for SessionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:08x}{:08x}", self.run, self.number)
    }
}

/// Who belongs to a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Member {
    Session(SessionId),
    Attempt(FlowKey),
}

/// By the `session.id`, or by the `network.community_id`.
impl fmt::Display for Member {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session(id) => id.fmt(formatter),
            Self::Attempt(key) => formatter.write_str(&Network::of(key).community_id),
        }
    }
}
