//! Lines about trouble while it lasts, and how well a session does.

use schemars::JsonSchema;
use serde::Serialize;

use super::{About, CloseBy, Head, Time};

/// Trouble began, or is over.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SessionAnomaly<'a> {
    #[serde(flatten)]
    #[expect(missing_docs, reason = "documented where it is defined")]
    pub head: Head<'a>,
    #[serde(flatten)]
    #[expect(missing_docs, reason = "documented where it is defined")]
    pub about: About,
    /// What it is.
    pub anomaly: Anomaly,
}

/// Trouble.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Anomaly {
    /// What it is.
    pub code: AnomalyCode,
    /// Whether it begins or is over. A session that ends takes its troubles with it: no line
    /// says that they are over.
    pub state: AnomalyState,
    /// Whose it is; `unknown` if it is both sides' or the path's.
    pub side: CloseBy,
    /// When it began.
    pub since: Time,
    /// How long it has lasted, in milliseconds; of what is over, the time it has been calm since
    /// is no part of that.
    pub lasted_ms: u64,
    /// The numbers that show it.
    pub evidence: AnomalyEvidence,
}

/// A kind of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AnomalyCode {
    /// This side's window is closed: it does not read.
    WindowStalled,
    /// This side sends many segments again.
    RetransmissionStorm,
    /// The server sends again and again, and the client acknowledges nothing.
    PathStalled,
    /// The same, while the client lives: what the server sends may be too large for the path.
    BlackholeSuspected,
    /// Neither side has sent anything for two hellos.
    Silent,
    /// Round trips take four times as long as they could, and 200 ms longer.
    RttInflated,
}

/// Whether trouble begins or is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AnomalyState {
    /// It has begun.
    Onset,
    /// It is over.
    Cleared,
}

/// The numbers that show trouble: those that its kind has, and no others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct AnomalyEvidence {
    /// How long the window has been closed, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stalled_ms: Option<u32>,
    /// Segments sent again within the last second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retransmits: Option<u32>,
    /// Segments sent within the last second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segments: Option<u64>,
    /// Times the server's retransmission timer ran out in a row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<u32>,
    /// Payload of the largest segment that was sent again, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub largest_lost: Option<u32>,
    /// From the last segment to now, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub silent_ms: Option<u64>,
    /// The smallest round-trip time, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_min_us: Option<u32>,
    /// The smoothed round-trip time, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_smoothed_us: Option<u32>,
}

/// How well a session did in an interval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Health {
    /// In one word.
    pub grade: Grade,
    /// Why it is not `good`.
    pub reasons: Vec<HealthReason>,
}

/// How well a session does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Grade {
    /// Nobody would complain.
    Good,
    /// One could notice.
    Fair,
    /// One would complain.
    Poor,
}

/// Why a session does not do well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HealthReason {
    /// Segments of the client were lost.
    LossFromClient,
    /// Segments of the server were lost.
    LossFromServer,
    /// The client's window was closed.
    ClientWindowStalled,
    /// The server's window was closed.
    ServerWindowStalled,
    /// Round trips took much longer than they could.
    RttInflated,
    /// The server's segments were not acknowledged.
    PathStalled,
}
