//! Lines about several sessions that fail alike.

use schemars::JsonSchema;
use serde::Serialize;

use super::{AnomalyState, Head, Time};

/// Several sessions fail alike, or do so no more.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ClusterAnomaly<'a> {
    #[serde(flatten)]
    #[expect(missing_docs, reason = "documented where it is defined")]
    pub head: Head<'a>,
    /// What they have in common.
    pub cluster: Cluster,
}

/// What several sessions have in common.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Cluster {
    /// What it is.
    pub code: ClusterCode,
    /// Whether it begins or is over. A run that ends takes its clusters with it: no line says
    /// that they are over.
    pub state: AnomalyState,
    /// Whose sessions.
    pub scope: Scope,
    /// When it began.
    pub since: Time,
    /// From then to the last failure, in milliseconds.
    pub lasted_ms: u64,
    /// Sessions (or attempts) that it has taken so far.
    pub count: u64,
    /// Up to 20 of them: of sessions their `session.id`, of attempts their
    /// `network.community_id`.
    pub members: Vec<String>,
    /// The numbers that show it.
    pub evidence: ClusterEvidence,
    /// What to do, in one sentence.
    pub advice: &'static str,
}

/// How sessions fail alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClusterCode {
    /// A server closed many sessions within seconds, without a word.
    ServerRestart,
    /// Clients of a prefix are cut off, or reset in their name: a middlebox.
    ClientsCutOff,
    /// Clients of a prefix reset their sessions within seconds.
    ClientsReset,
    /// The path to clients of a prefix died at the same time.
    PathsDead,
    /// Sessions are lost after the same idleness: a timeout on the way.
    SharedIdleTimeout,
    /// A server leaves many attempts unanswered, or refuses them.
    ServerUnreachable,
    /// Too large a share of tunnels is dropped.
    DropsHigh,
    /// Too large a share of attempts fails.
    FailuresHigh,
    /// Too many segments are sent again.
    RetransmitsHigh,
    /// Round trips take too long.
    RttHigh,
}

impl ClusterCode {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::ServerRestart,
        Self::ClientsCutOff,
        Self::ClientsReset,
        Self::PathsDead,
        Self::SharedIdleTimeout,
        Self::ServerUnreachable,
        Self::DropsHigh,
        Self::FailuresHigh,
        Self::RetransmitsHigh,
        Self::RttHigh,
    ];

    /// What to do about it, in one sentence.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::ServerRestart => {
                "See in the server's log, `journalctl` and `dmesg` whether the daemon crashed, was \
                 killed for memory, or was restarted."
            }
            Self::ClientsCutOff => {
                "Ask whoever runs the network of this prefix for a firewall, intrusion prevention \
                 or filter that cuts VPNs off; try another server name or port."
            }
            Self::ClientsReset => {
                "Ask whoever runs the network of this prefix what was restarted or changed at that \
                 moment: a firewall that loses its state does this."
            }
            Self::PathsDead => {
                "Look for an outage of the network of this prefix, or of the route to it; the \
                 server can do nothing."
            }
            Self::SharedIdleTimeout => {
                "Set the server's hello or LCP echo interval well below the shared idleness, or \
                 raise the timeout of the NAT, firewall or load balancer that has it."
            }
            Self::ServerUnreachable => {
                "Check that the daemon runs and listens, that no firewall drops its port, and \
                 host.health for full queues."
            }
            Self::DropsHigh => {
                "See which verdicts the members of this cluster have, and begin with the most \
                 frequent one."
            }
            Self::FailuresHigh => {
                "See which verdicts the members of this cluster have: RADIUS, the certificate or a \
                 limit of the server fail many at once."
            }
            Self::RetransmitsHigh => {
                "Compare the errors and drops of the interface in host.health with the uplink's: \
                 what all clients share is lossy."
            }
            Self::RttHigh => {
                "Look for a full uplink, and limit its rate just below with fq_codel or cake; see \
                 host.health for a host without CPU time to spare."
            }
        }
    }
}

/// Whose sessions a cluster takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Scope {
    /// What they have in common.
    pub kind: ScopeKind,
    /// Which one: `192.0.2.1:443`, `vpn.example.net` or `203.0.113.0/24`; null of all.
    pub value: Option<String>,
}

/// What the sessions of a cluster have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ScopeKind {
    /// The server's address and port.
    Server,
    /// The name by which clients asked for the server (SNI).
    ServerName,
    /// The network of the clients: IPv4 /24, IPv6 /48.
    ClientPrefix,
    /// All sessions.
    All,
}

/// The numbers that show a cluster: those that its kind has, and no others.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct ClusterEvidence {
    /// Sessions of the scope that are still open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub still_open: Option<u64>,
    /// The prefix that all clients of a server's cluster come from, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_prefix: Option<String>,
    /// The shared idleness, in milliseconds: that of the first member.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_ms: Option<u64>,
    /// Whose default timeout that is, within 5 %.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_of: Option<&'static str>,
    /// Attempts that were left without an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unanswered: Option<u64>,
    /// Attempts that were refused with a RST.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<u64>,
    /// What the share is of: tunnels that ended, or attempts, in the last hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of: Option<u64>,
    /// The value that is too high: the share, or segments sent again, of hundred.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percent: Option<f32>,
    /// What it may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit_percent: Option<f32>,
    /// What it usually is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline_percent: Option<f32>,
    /// The average of the smoothed round-trip times, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_us: Option<u64>,
    /// What it may be, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit_us: Option<u64>,
}
