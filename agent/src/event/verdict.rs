//! Why a session or an attempt ended: the part of a line that operators come for.

use schemars::JsonSchema;
use serde::Serialize;

/// Why a session or an attempt ended.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Verdict {
    /// What it was.
    pub code: Code,
    /// How sure that is.
    pub confidence: Confidence,
    /// Whose doing it was.
    pub by: Party,
    /// The numbers that led there.
    pub evidence: Evidence,
    /// Other codes that fit, the likeliest first.
    pub also: Vec<Code>,
    /// What to do, in one sentence.
    pub advice: &'static str,
}

/// Why a session or an attempt ended. `docs/verdicts.md` has the rule of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The client said goodbye.
    CleanClient,
    /// The server said goodbye.
    CleanServer,
    /// TLS, but no tunnel: the client never asked for one.
    NotSstp,
    /// The client left before it could have asked for a tunnel: a health check, a scan.
    Probe,
    /// The client refused the server's certificate.
    TlsCertificateRejected,
    /// Client and server found no common version, cipher or the like.
    TlsNegotiationFailed,
    /// The client took seconds over the server's certificate, and the session did not come up.
    TlsCertificateCheckStall,
    /// The server refused the client's crypto binding: somebody sits within TLS.
    CryptoBindingRejected,
    /// The user was refused.
    AuthFailed,
    /// The server took seconds to answer the client's credentials.
    AuthBackendSlow,
    /// The set-up took longer than the server allows.
    NegotiationTimeout,
    /// The server ended sessions by a rule: all at the same age, or after the same idleness.
    PolicyDisconnect,
    /// The client's TCP lived, and the client itself did not answer.
    PeerHung,
    /// Nothing came through any more.
    PathDead,
    /// Something on the way forgot the connection while it was idle.
    IdleTimeoutSuspect,
    /// Neither side sent anything for longer than a working hello allows.
    KeepaliveAbsent,
    /// Large packets of the server vanish, small ones pass.
    PmtuBlackholeFromServer,
    /// Large packets of the client vanish, small ones pass.
    PmtuBlackholeFromClient,
    /// Too many segments were lost.
    LossDegraded,
    /// Packets waited too long in a queue.
    Bufferbloat,
    /// Losses and the stalls after them, as when TCP goes through TCP.
    TcpMeltdown,
    /// The client did not read what it was sent.
    ClientZeroWindow,
    /// The server's daemon did not read what it was sent.
    ServerZeroWindow,
    /// A RST that the client did not send.
    ResetInjectedSuspect,
    /// The connection was cut off right after the client had shown where it wants to go.
    ResetOnClientHello,
    /// The client reset the connection.
    ClientReset,
    /// The server reset the connection.
    ServerReset,
    /// The client closed without a word.
    ClientProcessDied,
    /// The server closed without a word.
    ServerProcessDied,
    /// The server closed many sessions at once without a word.
    ServerRestart,
    /// The server closed before TLS began.
    ServerRejectedBeforeTls,
    /// The server's queue of connections to accept was full.
    AcceptQueueOverflow,
    /// The server did not answer the SYN.
    SynUnanswered,
    /// The path died, and the client came back from elsewhere.
    ClientRoamed,
    /// None of the above.
    Unknown,
}

impl Code {
    /// Whether a tunnel was lost that nobody wanted to end.
    pub const fn is_loss(self) -> bool {
        !matches!(
            self,
            Self::CleanClient
                | Self::CleanServer
                | Self::NotSstp
                | Self::Probe
                | Self::TlsCertificateRejected
                | Self::TlsNegotiationFailed
                | Self::AuthFailed
                | Self::ServerRejectedBeforeTls
                | Self::SynUnanswered
        )
    }
}

/// How sure a verdict is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Confidence {
    /// One of several explanations.
    Low,
    /// The likeliest explanation.
    Medium,
    /// As good as proved.
    High,
}

/// Whose doing something was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Party {
    /// The client.
    Client,
    /// The server, or what it asks.
    Server,
    /// What lies between.
    Network,
    /// That can't be told.
    Unknown,
}

/// The numbers that led to a verdict: those that its rule looked at, and no others.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Evidence {
    /// How long the session lasted, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_ms: Option<u64>,
    /// From the last segment before, either way, to the segment with which the trouble began,
    /// in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_ms: Option<u64>,
    /// Whose default timeout that is, within 5 %.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_of: Option<&'static str>,
    /// From the client's last segment to the end, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_silent_ms: Option<u64>,
    /// From the goodbye (an SSTP disconnect or abort, or a TLS alert) to the first FIN or
    /// RST, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub goodbye_ms: Option<u64>,
    /// What the goodbye was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub goodbye: Option<Goodbye>,
    /// The TLS alert's number (IANA), as it was in clear.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alert: Option<u8>,
    /// Application records of the client before it asked for a tunnel, or instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_records: Option<u8>,
    /// How long the server took to answer, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_took_ms: Option<u64>,
    /// How long the client took to answer, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_took_ms: Option<u64>,
    /// Hellos of the server (SSTP echo requests) that TCP delivered and nobody answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unanswered_echoes: Option<u32>,
    /// Times the server's retransmission timer ran out in a row, with nothing acknowledged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<u32>,
    /// From the first of them to the last, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeouts_ms: Option<u64>,
    /// They came at a constant pace, and not ever more slowly: a router answered with ICMP
    /// "unreachable" (RFC 6069).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icmp_unreachable: Option<bool>,
    /// Payload of the largest segment that was sent again and again, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub largest_lost: Option<u32>,
    /// The largest payload that can have been sent in a segment, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mss: Option<u32>,
    /// The client had received what came after it (SACK).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub later_bytes_arrived: Option<bool>,
    /// How long bytes of the client were missing while later ones arrived, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hole_ms: Option<u64>,
    /// How many they were, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hole_bytes: Option<u32>,
    /// Segments that the server had to send again, of hundred; needless copies are left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retransmitted_percent_from_server: Option<f32>,
    /// Segments that the client had to send again, of hundred; likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retransmitted_percent_from_client: Option<f32>,
    /// The smallest round-trip time, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_min_us: Option<u32>,
    /// The smoothed round-trip time at the end, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_smoothed_us: Option<u32>,
    /// The share of the session's time in which the round-trip time was inflated, in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_inflated_percent: Option<f32>,
    /// Times that nothing moved for a second or more, until something was sent again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stalls: Option<u32>,
    /// Time the window was closed, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stalled_ms: Option<u32>,
    /// What about the RST can't be the client's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signs: Option<Vec<ForgerySign>>,
    /// TTL or hop limit of the RST.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_of_reset: Option<u8>,
    /// TTL or hop limit that the client's segments have otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_usual: Option<u8>,
    /// SYNs of the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub syns: Option<u16>,
    /// SYN-ACKs of the server; of a session, those after the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub syn_acks: Option<u16>,
    /// Sessions that ended alike: see the code's rule for how.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sessions_alike: Option<u32>,
    /// From the client's last segment to its coming back, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub back_after_ms: Option<u64>,
    /// Connections that the kernel dropped lately, by the last twelve lines of `host.health`,
    /// because the queue of those to accept was full.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen_overflows: Option<u64>,
}

/// What a side said goodbye with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Goodbye {
    /// SSTP Call Disconnect or Call Abort; the two are of the same length.
    DisconnectOrAbort,
    /// SSTP Call Disconnect Acknowledge, or SoftEther's Call Abort.
    DisconnectAck,
    /// A TLS alert, mostly `close_notify`.
    Alert,
}

/// What shows that somebody else sent a RST (VERDICTS, "Forged resets").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ForgerySign {
    /// New data of the client came after it.
    DataAfterReset,
    /// Its number is below what the client had sent.
    NumberBelowData,
    /// There were several, with different numbers.
    DifferentNumbers,
    /// Its TTL differs from that of the client's segments.
    TtlDiffers,
}
