//! Lines about sessions and attempts.

use std::{borrow::Cow, net::IpAddr};

use schemars::JsonSchema;
use serde::Serialize;
use sstpulse_common::{DirectionRecord, FlowKey, HalfOpen, SessionRecord, TcpOptions, record};

use super::{Head, Time};

/// Which session.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Session {
    /// The same on all lines about this session, and on no other host's or run's.
    pub id: String,
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
pub struct Network<'a> {
    /// IP version.
    #[serde(rename = "type")]
    pub kind: NetworkType,
    /// Community ID, version 1 with seed 0: the same in Zeek, Suricata and others.
    pub community_id: Cow<'a, str>,
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
pub struct About<'a> {
    /// Which session.
    pub session: Session,
    /// The client's end.
    pub client: Endpoint,
    /// The server's end.
    pub server: Endpoint,
    /// What carries it.
    pub network: Network<'a>,
}

/// A handshake completed, or a connection older than the agent was found.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SessionStart<'a> {
    #[serde(flatten)]
    #[expect(missing_docs, reason = "documented where it is defined")]
    pub head: Head<'a>,
    #[serde(flatten)]
    #[expect(missing_docs, reason = "documented where it is defined")]
    pub about: About<'a>,
    /// What the handshake showed; null if it was not seen.
    pub handshake: Option<Handshake>,
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
    /// Whether selective acknowledgment was permitted.
    pub sack_permitted: bool,
    /// Whether timestamps were offered.
    pub timestamps: bool,
}

/// What an interval brought.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SessionHealth<'a> {
    #[serde(flatten)]
    #[expect(missing_docs, reason = "documented where it is defined")]
    pub head: Head<'a>,
    #[serde(flatten)]
    #[expect(missing_docs, reason = "documented where it is defined")]
    pub about: About<'a>,
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
    pub about: About<'a>,
    /// Who ended it, and how.
    pub end: Ending,
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

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CloseHow {
    /// Both sides sent a FIN, and both were acknowledged.
    Fin,
    /// A RST that the other side had to accept.
    Reset,
    /// Nothing was seen for the time that `--dead-after` names.
    Dead,
    /// The client opened a new connection on the same ports, and the server took it.
    Superseded,
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
    /// Those among them whose data had been acknowledged already.
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
    pub network: Network<'a>,
    /// What was seen of it.
    pub attempt: Attempt,
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

impl Endpoint {
    /// The client's end of a flow.
    pub fn client(key: &FlowKey) -> Self {
        Self {
            address: key.client.into(),
            port: key.client_port,
        }
    }

    /// The server's end of a flow.
    pub fn server(key: &FlowKey) -> Self {
        Self {
            address: key.server.into(),
            port: key.server_port,
        }
    }
}

impl Network<'_> {
    /// What carries a flow.
    pub fn of(key: &FlowKey) -> Self {
        const TCP: u8 = 6;
        let (client, server) = (key.client(), key.server());
        let community_id = community_id::calculate_community_id(
            0,
            client.ip(),
            server.ip(),
            Some(client.port()),
            Some(server.port()),
            TCP,
            false,
        );
        Self {
            kind: if key.is_ipv4() {
                NetworkType::Ipv4
            } else {
                NetworkType::Ipv6
            },
            // Fails only for ends of different IP versions, which no packet has.
            community_id: community_id.map_or_else(Into::into, Cow::from),
        }
    }
}

impl Handshake {
    /// What the record keeps of the handshake; `None` if it was not seen.
    pub fn of(record: &SessionRecord) -> Option<Self> {
        (record.head.seen_from == record::SeenFrom::HANDSHAKE).then(|| Self {
            rtt_us: known(record.head.rtt.handshake_us),
            from_client: HandshakeSide::of(&record.from_client),
            from_server: HandshakeSide::of(&record.from_server),
        })
    }
}

impl HandshakeSide {
    fn of(side: &DirectionRecord) -> Self {
        let options = TcpOptions {
            mss: side.mss,
            window_scale: side.window_scale,
            present: side.options,
        };
        let scale = options
            .has(TcpOptions::WINDOW_SCALE)
            .then_some(side.window_scale);
        Self {
            syn_retransmits: side.syn_retransmits,
            mss: known(side.mss),
            window_scale: scale,
            sack_permitted: options.has(TcpOptions::SACK_PERMITTED),
            timestamps: options.has(TcpOptions::TIMESTAMPS),
        }
    }
}

impl From<record::Rtt> for Rtt {
    fn from(rtt: record::Rtt) -> Self {
        Self {
            handshake: known(rtt.handshake_us),
            min: known(rtt.min_us),
            smoothed: known(rtt.smoothed_us),
            max: known(rtt.max_us),
        }
    }
}

impl Counters {
    /// What a record counts at `now` (monotonic, nanoseconds).
    pub fn of(side: &DirectionRecord, now: u64) -> Self {
        let stalling_ms = match side.stall_since_ns {
            0 => 0,
            since => u32::try_from(now.saturating_sub(since) / 1_000_000).unwrap_or(u32::MAX),
        };
        Self {
            bytes: side.bytes,
            segments: side.segments,
            retransmitted_bytes: side.retransmitted_bytes,
            retransmits: side.retransmits,
            spurious_retransmits: side.spurious_retransmits,
            out_of_order: side.out_of_order,
            duplicate_acks: side.duplicate_acks,
            zero_window: ZeroWindow {
                segments: side.zero_window_segments,
                stalls: side.zero_window_stalls,
                stalled_ms: side.stalled_ms.saturating_add(stalling_ms),
                longest_ms: side.longest_stall_ms.max(stalling_ms),
            },
            window_probes: side.window_probes,
            keepalives: side.keepalives,
            resets: side.resets,
            fins: side.fins,
        }
    }

    /// What came since `earlier`. The longest stall is that of the whole session.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let Self {
            bytes,
            segments,
            retransmitted_bytes,
            retransmits,
            spurious_retransmits,
            out_of_order,
            duplicate_acks,
            zero_window,
            window_probes,
            keepalives,
            resets,
            fins,
        } = *earlier;
        Self {
            bytes: self.bytes.saturating_sub(bytes),
            segments: self.segments.saturating_sub(segments),
            retransmitted_bytes: self.retransmitted_bytes.saturating_sub(retransmitted_bytes),
            retransmits: self.retransmits.wrapping_sub(retransmits),
            spurious_retransmits: self.spurious_retransmits.wrapping_sub(spurious_retransmits),
            out_of_order: self.out_of_order.wrapping_sub(out_of_order),
            duplicate_acks: self.duplicate_acks.wrapping_sub(duplicate_acks),
            zero_window: self.zero_window.since(&zero_window),
            window_probes: self.window_probes.wrapping_sub(window_probes),
            keepalives: self.keepalives.wrapping_sub(keepalives),
            resets: self.resets.saturating_sub(resets),
            fins: self.fins.saturating_sub(fins),
        }
    }
}

impl ZeroWindow {
    fn since(&self, earlier: &Self) -> Self {
        Self {
            segments: self.segments.wrapping_sub(earlier.segments),
            stalls: self.stalls.wrapping_sub(earlier.stalls),
            // The end of a stall may round down what was reported while it lasted.
            stalled_ms: self.stalled_ms.saturating_sub(earlier.stalled_ms),
            longest_ms: self.longest_ms,
        }
    }
}

impl DirectionTotals {
    /// Everything a record has of one side.
    pub fn of(side: &DirectionRecord, now: u64) -> Self {
        Self {
            counters: Counters::of(side, now),
            syn_retransmits: side.syn_retransmits,
            mss: Mss {
                announced: known(side.mss),
                largest_seen: side.largest_segment,
            },
            ttl: Ttl {
                usual: known(side.ttl_usual),
                last: known(side.ttl_last),
            },
        }
    }
}

impl AttemptOutcome {
    /// What became of an attempt that nothing more is expected of.
    pub fn of(half_open: &HalfOpen) -> Self {
        match (half_open.reset_by, half_open.syn_acks) {
            (HalfOpen::RESET_BY_CLIENT, _) => Self::ResetByClient,
            (HalfOpen::RESET_BY_SERVER, _) => Self::ResetByServer,
            (_, 0) => Self::SynUnanswered,
            _ => Self::SynAckUnanswered,
        }
    }
}

/// A number that is 0 while unknown.
pub(crate) fn known<T: Default + PartialEq>(value: T) -> Option<T> {
    (value != T::default()).then_some(value)
}
