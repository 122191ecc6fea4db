//! The events: what a line says.
//!
//! These types are the contract: the JSON Schema is generated from them, and the lines
//! are written from them. What a line means is told here, and `sstpulse schema` repeats it.

mod agent;
mod anomaly;
mod cluster;
mod host;
mod of_record;
mod rates;
mod replay;
mod session;
mod text;
mod tls;
mod verdict;

pub use agent::{
    AgentStart, AgentStats, AgentStop, AttemptStats, LostStats, PassedOverStats, ProcessStats,
    ScanStats, SessionStats, StopReason, Totals, WatchedInterface,
};
pub use anomaly::{
    Anomaly, AnomalyCode, AnomalyEvidence, AnomalyState, Grade, Health, HealthReason,
    SessionAnomaly,
};
pub use cluster::{Cluster, ClusterAnomaly, ClusterCode, ClusterEvidence, Scope, ScopeKind};
pub use host::{
    Conntrack, Count, HostHealth, HostState, InterfaceCounters, Listener, ListenerProcess,
    Pressure, Softnet, Stall, TcpCounters, TcpMemoryLimit, TcpSockets,
};
pub(crate) use of_record::known;
pub use rates::{Baseline, Rate, Rates, ServerRate};
pub use replay::{CaptureStats, ReplayStart, ReplayStop, ReplayStopReason};
pub use session::{
    About, Attempt, AttemptFailed, AttemptOutcome, CloseBy, CloseHow, Counters, DirectionTotals,
    Ending, Endpoint, Handshake, HandshakeSide, Mss, Network, NetworkType, Previous, Rtt, SeenFrom,
    Session, SessionEnd, SessionHealth, SessionStart, Ttl, ZeroWindow,
};
pub use text::{CommunityId, SessionId, Time};
pub use tls::{
    CertificateValidity, Cipher, PhasesMs, PppCounts, SessionTls, TlsAlert, TlsHandshake,
};

pub use verdict::{Code, Confidence, Evidence, ForgerySign, Goodbye, Party, Verdict};

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, generate::SchemaSettings};
use serde::Serialize;

/// Name and version of the schema; the version changes when a reader would have to.
pub const SCHEMA: &str = "sstpulse/1";

/// One line of output.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "type")]
#[schemars(title = "sstpulse event")]
pub enum Event<'a> {
    /// The agent is attached and watching.
    #[serde(rename = "agent.start")]
    AgentStart(AgentStart<'a>),
    /// The agent ends.
    #[serde(rename = "agent.stop")]
    AgentStop(AgentStop<'a>),
    /// How the agent does, each interval.
    #[serde(rename = "agent.stats")]
    AgentStats(AgentStats<'a>),
    /// How the host does, each interval: what may keep connections from working that no
    /// segment shows.
    #[serde(rename = "host.health")]
    HostHealth(HostHealth<'a>),
    /// A handshake completed, or the server was seen sending in a connection that is older
    /// than the agent.
    #[serde(rename = "session.start")]
    SessionStart(SessionStart<'a>),
    /// What TLS and the set-up of SSTP showed without being decrypted.
    #[serde(rename = "session.tls")]
    SessionTls(SessionTls<'a>),
    /// What an interval brought, if anything.
    #[serde(rename = "session.health")]
    SessionHealth(SessionHealth<'a>),
    /// Trouble began in a session, or is over.
    #[serde(rename = "session.anomaly")]
    SessionAnomaly(SessionAnomaly<'a>),
    /// A session ended: all its counts, by whom and how it ended, and why.
    #[serde(rename = "session.end")]
    SessionEnd(SessionEnd<'a>),
    /// A connection was tried, and no handshake completed.
    #[serde(rename = "attempt.failed")]
    AttemptFailed(AttemptFailed<'a>),
    /// Several sessions fail alike, or do so no more.
    #[serde(rename = "cluster.anomaly")]
    ClusterAnomaly(ClusterAnomaly<'a>),
    /// A capture is read, by `sstpulse replay`.
    #[serde(rename = "replay.start")]
    ReplayStart(ReplayStart<'a>),
    /// A capture was read.
    #[serde(rename = "replay.stop")]
    ReplayStop(ReplayStop<'a>),
}

/// What all lines share.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Head<'a> {
    /// `sstpulse/1`.
    #[schemars(extend("const" = SCHEMA))]
    pub schema: &'static str,
    /// When it happened (RFC 3339, UTC, nanoseconds).
    pub time: Time,
    /// One more than in the line before; a gap is a lost line. Begins with 1.
    pub seq: u64,
    /// Name of this host.
    pub host: &'a str,
    /// The watched interface that the line is about; null on lines about the agent,
    /// the host or a cluster.
    pub interface: Option<Cow<'a, str>>,
}

/// The JSON Schema (2020-12) of a line.
pub fn schema() -> Schema {
    SchemaSettings::draft2020_12()
        .for_serialize()
        .into_generator()
        .into_root_schema_for::<Event<'static>>()
}
