//! Lines about sessions and attempts.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::Serialize;
use sstpulse_common::Side;

use super::{CommunityId, Head, Health, SessionId, Time, Verdict};
use crate::tls::Phase;

/// Which session.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Session {
    /// The same on all lines about this session. Sessions of one run differ in it, those of
    /// two runs but for a chance in four billion.
    pub id: SessionId,
    /// When the handshake completed, or when the session was first seen.
    pub start: Time,
    /// From `start` to this line's time, in milliseconds.
    pub duration_ms: u64,
    /// How the session came to be known.
    pub seen_from: SeenFrom,
}

/// How a session came to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SeenFrom {
    /// Its handshake was seen; everything is counted.
    Handshake,
    /// It is older than the agent; what came before is not counted.
    Midstream,
}

/// One end of a connection (OpenTelemetry: `client.address`, `client.port`, ...).
#[derive(Debug, Serialize, JsonSchema)]
pub struct Endpoint {
    /// IP address.
    pub address: IpAddr,
    /// TCP port.
    pub port: u16,
}

/// What carries the connection (OpenTelemetry: `network.type`).
#[derive(Debug, Serialize, JsonSchema)]
pub struct Network {
    /// IP version.
    #[serde(rename = "type")]
    pub kind: NetworkType,
    /// Community ID, version 1 with seed 0: the same in Zeek, Suricata and others.
    pub community_id: CommunityId,
}

/// IP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NetworkType {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

/// Which session a line is about.
#[derive(Debug, Serialize, JsonSchema)]
pub struct About {
    /// Which session.
    pub session: Session,
    /// The client's end.
    pub client: Endpoint,
    /// The server's end.
    pub server: Endpoint,
    /// What carries it.
    pub network: Network,
    /// How far the session has come; null if its beginning was not seen.
    pub phase: Option<Phase>,
}

/// A handshake completed, or a connection older than the agent was found.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SessionStart<'a> {
    #[serde(flatten)]
    #[expect(missing_docs, reason = "documented where it is defined")]
    pub head: Head<'a>,
    #[serde(flatten)]
    #[expect(missing_docs, reason = "documented where it is defined")]
    pub about: About,
    /// What the handshake showed; null if it was not seen.
    pub handshake: Option<Handshake>,
    /// The session that the same client lost before; null if it lost none lately.
    pub previous: Option<Previous>,
}

/// A session that the same client lost before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Previous {
    /// Its `session.id`.
    pub id: SessionId,
    /// From its last segment of the client to the begin of this one, in milliseconds.
    pub away_ms: u64,
    /// Which connection this is that the client has opened since, from 1 on.
    pub attempt: u32,
}

/// What a handshake showed.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Handshake {
    /// From the server's SYN-ACK to the client's ACK, in microseconds; null where a
    /// repetition makes it ambiguous.
    pub rtt_us: Option<u32>,
    /// What the client's SYN said.
    pub from_client: HandshakeSide,
    /// What the server's SYN-ACK said.
    pub from_server: HandshakeSide,
}

/// One side's SYN or SYN-ACK.
#[derive(Debug, Serialize, JsonSchema)]
pub struct HandshakeSide {
    /// SYNs (SYN-ACKs) after the first.
    pub syn_retransmits: u8,
    /// Announced MSS in bytes; null if none was.
    pub mss: Option<u16>,
    /// Shift count of the window; null if none was announced.
    pub window_scale: Option<u8>,
    /// Whether selective acknowledgment was permitted; null if a capture lacks the options.
    pub sack_permitted: Option<bool>,
    /// Whether timestamps were offered; null likewise.
    pub timestamps: Option<bool>,
}

/// What an interval brought.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SessionHealth<'a> {
    #[serde(flatten)]
    #[expect(missing_docs, reason = "documented where it is defined")]
    pub head: Head<'a>,
    #[serde(flatten)]
    #[expect(missing_docs, reason = "documented where it is defined")]
    pub about: About,
    /// How well the session did.
    pub health: Health,
    /// Round-trip times of the session so far.
    pub rtt_us: Rtt,
    /// What the client sent since the last line about this session.
    pub from_client: Counters,
    /// What the server sent since the last line about this session.
    pub from_server: Counters,
}

/// A session ended.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SessionEnd<'a> {
    #[serde(flatten)]
    #[expect(missing_docs, reason = "documented where it is defined")]
    pub head: Head<'a>,
    #[serde(flatten)]
    #[expect(missing_docs, reason = "documented where it is defined")]
    pub about: About,
    /// How far it had come before it closed: as `phase`, but never `closing`.
    pub reached: Option<Phase>,
    /// Who ended it, and how.
    pub end: Ending,
    /// Why; null of a session that did not end, unless it was as good as lost.
    pub verdict: Option<Verdict>,
    /// Round-trip times.
    pub rtt_us: Rtt,
    /// All the client sent.
    pub from_client: DirectionTotals,
    /// All the server sent.
    pub from_server: DirectionTotals,
}

/// Who ended a session, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Ending {
    /// The side whose FIN or RST came first; `unknown` if neither sent one.
    pub by: CloseBy,
    /// How it ended.
    pub how: CloseHow,
}

/// A side of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CloseBy {
    /// The client.
    Client,
    /// The server.
    Server,
    /// Neither side said anything.
    Unknown,
}

impl From<Side> for CloseBy {
    fn from(side: Side) -> Self {
        match side {
            Side::Client => Self::Client,
            Side::Server => Self::Server,
        }
    }
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CloseHow {
    /// Both sides sent a FIN, and both were acknowledged.
    Fin,
    /// A RST that the other side had to accept.
    Reset,
    /// Nothing was seen for the time that `--dead-after` names.
    Dead,
    /// The client opened a new connection on the same ports, and the server took it.
    Superseded,
    /// It did not: the capture ends before it does. Only `replay` says so.
    StillOpen,
}

/// Round-trip times between this host and the client, in microseconds; null while
/// unknown. Samples follow Karn's rule and include the client's delayed acknowledgments.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub struct Rtt {
    /// From the SYN-ACK to the client's ACK.
    pub handshake: Option<u32>,
    /// The smallest sample.
    pub min: Option<u32>,
    /// Smoothed as TCP does (RFC 6298).
    pub smoothed: Option<u32>,
    /// The largest sample.
    pub max: Option<u32>,
}

/// What one side sent. Counts segments on the wire, whatever offloads make of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Counters {
    /// Payload in bytes, repetitions included.
    pub bytes: u64,
    /// Segments, with or without payload, SYN included.
    pub segments: u64,
    /// Payload sent again, in bytes.
    pub retransmitted_bytes: u64,
    /// Segments that carry data (or a FIN) sent before.
    pub retransmits: u32,
    /// Those among them that were needless: their data had been acknowledged already, or
    /// the other side reported it as received twice (D-SACK, RFC 2883).
    pub spurious_retransmits: u32,
    /// Segments overtaken on the way to this host; always 0 from the server.
    pub out_of_order: u32,
    /// Acknowledgments that repeat the last one while data is outstanding.
    pub duplicate_acks: u32,
    /// This side's receive window at zero.
    pub zero_window: ZeroWindow,
    /// Probes of the other side's zero window.
    pub window_probes: u32,
    /// Keepalives.
    pub keepalives: u32,
    /// Segments with RST.
    pub resets: u16,
    /// Segments with FIN.
    pub fins: u16,
}

/// One side's receive window at zero: it does not read what it is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ZeroWindow {
    /// Segments that offer a window of zero, without SYN, FIN or RST.
    pub segments: u32,
    /// Times the window closed.
    pub stalls: u32,
    /// Time it was closed, in milliseconds; a stall that lasts is counted so far.
    pub stalled_ms: u32,
    /// The longest stall of the whole session so far, in milliseconds.
    pub longest_ms: u32,
}

/// Everything one side sent in a session.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DirectionTotals {
    #[serde(flatten)]
    #[expect(missing_docs, reason = "documented where it is defined")]
    pub counters: Counters,
    /// SYNs (SYN-ACKs) after the first.
    pub syn_retransmits: u8,
    /// Segment sizes.
    pub mss: Mss,
    /// TTL or hop limit on arrival at this host.
    pub ttl: Ttl,
}

/// Segment sizes in bytes.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Mss {
    /// What this side announced it can take; null if unknown.
    pub announced: Option<u16>,
    /// The largest payload this side sent in a segment.
    pub largest_seen: u16,
}

/// TTL or hop limit of one side's segments; null if none was seen.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Ttl {
    /// What they usually have.
    pub usual: Option<u8>,
    /// What the last one had.
    pub last: Option<u8>,
}

/// A connection was tried, and no handshake completed.
#[derive(Debug, Serialize, JsonSchema)]
pub struct AttemptFailed<'a> {
    #[serde(flatten)]
    #[expect(missing_docs, reason = "documented where it is defined")]
    pub head: Head<'a>,
    /// The client's end.
    pub client: Endpoint,
    /// The server's end.
    pub server: Endpoint,
    /// What carries it.
    pub network: Network,
    /// What was seen of it.
    pub attempt: Attempt,
    /// Why it failed.
    pub verdict: Verdict,
}

/// What was seen of a handshake that did not complete.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Attempt {
    /// When the first segment was seen.
    pub start: Time,
    /// From the first segment to the last, in milliseconds.
    pub duration_ms: u64,
    /// SYNs of the client.
    pub syns: u16,
    /// SYN-ACKs of the server.
    pub syn_acks: u16,
    /// What became of it.
    pub outcome: AttemptOutcome,
    /// The client's announced MSS in bytes; null if unknown.
    pub client_mss: Option<u16>,
}

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AttemptOutcome {
    /// The server did not answer the SYN.
    SynUnanswered,
    /// The client did not acknowledge the SYN-ACK.
    SynAckUnanswered,
    /// The server refused with a RST.
    ResetByServer,
    /// The client took it back with a RST.
    ResetByClient,
}
