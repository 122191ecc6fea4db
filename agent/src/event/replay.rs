//! Lines about a replay of a capture.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::Serialize;

use super::{Head, Rates, Time, Totals};

/// A capture is read. The times of all lines are the capture's.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ReplayStart<'a> {
    #[serde(flatten)]
    #[expect(missing_docs, reason = "documented where it is defined")]
    pub head: Head<'a>,
    /// Version of sstpulse.
    pub version: &'static str,
    /// The capture's path; null for standard input.
    pub file: Option<Cow<'a, str>>,
    /// The watched ports.
    pub ports: Vec<u16>,
    /// The servers that were named; empty if any host may be one.
    pub servers: Vec<String>,
    /// Time between `session.health` lines, in milliseconds.
    pub interval_ms: u64,
    /// Silence after which a session counts as dead, in milliseconds.
    pub dead_after_ms: u64,
}

/// A capture was read.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ReplayStop<'a> {
    #[serde(flatten)]
    #[expect(missing_docs, reason = "documented where it is defined")]
    pub head: Head<'a>,
    /// Why it is not read any further.
    pub reason: ReplayStopReason,
    /// What kept it from being read to its end; null if nothing did.
    pub error: Option<&'a str>,
    /// What the capture holds.
    pub capture: CaptureStats,
    /// What the replay brought.
    pub totals: Totals,
    /// How often tunnels came up, failed and were dropped in the capture's last hour.
    pub rates: Rates,
}

/// Why a capture is not read any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReplayStopReason {
    /// That was all.
    EndOfCapture,
    /// It is damaged, or can't be read.
    Failure,
    /// SIGINT or SIGTERM.
    Signal,
    /// Nobody reads the output any more.
    OutputClosed,
}

/// What a capture holds. Every packet is in a session, in an attempt, or in one of these
/// counts or `totals.passed_over`.
#[derive(Clone, Copy, Debug, Default, Serialize, JsonSchema)]
pub struct CaptureStats {
    /// Packets read.
    pub packets: u64,
    /// Bytes of them on the wire.
    pub bytes: u64,
    /// When the first passed.
    pub first: Option<Time>,
    /// When the last passed.
    pub last: Option<Time>,
    /// Packets that are no TCP, or of no watched port or server.
    pub other: u64,
    /// Packets of which so little was kept that their headers can't be read.
    pub truncated: u64,
    /// Packets that were counted, and of whose payload not all was kept. What TLS shows, and with
    /// it many a verdict, needs the payload.
    pub payload_cut: u64,
    /// Packets whose link type is not read.
    pub unknown_link_type: u64,
    /// Packets without a time, or with one before that of the packet before; they count as
    /// if they had passed together with it.
    pub time_corrected: u64,
}
