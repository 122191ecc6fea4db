//! How often tunnels come up, fail and are dropped.

use schemars::JsonSchema;
use serde::Serialize;

/// How often tunnels came up, failed and were dropped in the last hour.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Rates {
    /// Minutes counted: up to 60, and fewer in the first hour.
    pub minutes: u64,
    /// Of all sessions.
    pub total: Rate,
    /// Of each server name (SNI), the busiest first. A name is told apart once a tunnel has come
    /// up under it; there are 16 at most.
    pub servers: Vec<ServerRate>,
    /// Of what is under none of these names.
    pub others: Rate,
}

/// The same of a server name.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ServerRate {
    /// The name as in `session.tls`, cut after 64 bytes.
    pub name: String,
    #[serde(flatten)]
    #[expect(missing_docs, reason = "documented where it is defined")]
    pub rate: Rate,
}

/// Counts of the last hour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Rate {
    /// Tries to open a tunnel of which it is known what came of them: `established` and
    /// `failed`. Probes and other HTTPS are none.
    pub attempts: u64,
    /// Tunnels that came up.
    pub established: u64,
    /// Attempts that no tunnel came of.
    pub failed: u64,
    /// Tunnels that ended.
    pub ended: u64,
    /// Those among them that nobody wanted to end.
    pub dropped: u64,
    /// `dropped` of hundred `ended`; null if none ended.
    pub dropped_percent: Option<f32>,
    /// What is usual in an hour; null while too little is known.
    pub baseline: Option<Baseline>,
}

/// What is usual in an hour: a mean of all hours before the last one, in which what is a day
/// older counts half.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Baseline {
    /// Attempts in an hour.
    pub attempts: f32,
    /// Tunnels that come up in an hour.
    pub established: f32,
    /// Attempts that fail in an hour.
    pub failed: f32,
    /// Tunnels that are dropped in an hour.
    pub dropped: f32,
    /// Tunnels that are dropped, of hundred that end; null while too few have ended.
    pub dropped_percent: Option<f32>,
}
