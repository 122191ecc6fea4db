//! Who belongs to a cluster.

use std::fmt;

use sstpulse_common::FlowKey;

use crate::event::{CommunityId, SessionId};

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
            Self::Attempt(key) => CommunityId::of(key).fmt(formatter),
        }
    }
}
