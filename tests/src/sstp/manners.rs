//! How an end keeps time, and a tunnel alive.

use std::time::Duration;

/// Timers ([MS-SSTP], sections 3.1.2, 3.2.2 and 3.3.2). The defaults are the specification's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timers {
    /// Longest wait for the TCP handshake. Linux itself gives up after some two minutes.
    pub connect: Duration,
    /// Longest set-up: for the TLS handshake, for HTTP, and then from HTTP's answer on until the
    /// tunnel is up.
    pub negotiation: Duration,
    /// Longest wait for the answer to a Call Abort.
    pub abort: Duration,
    /// From the answer to a Call Abort to the close.
    pub abort_linger: Duration,
    /// Longest wait for the answer to a Call Disconnect.
    pub disconnect: Duration,
    /// From the answer to a Call Disconnect to the close, unless the other end closes before.
    pub disconnect_linger: Duration,
    /// From a PPP request that isn't answered to the next: the Restart timer (RFC 1661, 4.6).
    pub restart: Duration,
    /// Longest wait for the other end's FIN after one's own.
    pub close: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(30),
            negotiation: Duration::from_mins(1),
            abort: Duration::from_secs(3),
            abort_linger: Duration::from_secs(1),
            disconnect: Duration::from_secs(5),
            disconnect_linger: Duration::from_secs(1),
            restart: Duration::from_secs(3),
            close: Duration::from_secs(5),
        }
    }
}

/// What an end does about a peer that answers no echo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GiveUp {
    /// Call Abort first, as accel-ppp and `SoftEther` do.
    Abort,
    /// Closes without a word of SSTP, by `close_notify` and FIN, as the specification has it.
    Close,
}

/// Echoes of LCP (RFC 1661, section 5.8), as pppd's `lcp-echo-interval` and `lcp-echo-failure`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LcpEcho {
    /// Time from one to the next.
    pub every: Duration,
    /// Unanswered echoes in a row after which the peer counts as gone; at least 1.
    pub failures: u32,
}

/// How an end keeps the tunnel alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keepalive {
    /// Silence after which it asks for an echo, and after as much again gives up: the hello timer
    /// ([MS-SSTP], 3.1.2). Any packet from the peer starts it anew. `None` never asks.
    pub hello: Option<Duration>,
    /// What it does then.
    pub give_up: GiveUp,
    /// Echoes of LCP besides.
    pub lcp_echo: Option<LcpEcho>,
    /// Whether it answers echoes, of SSTP and of LCP.
    pub answers: bool,
}

impl Default for Keepalive {
    fn default() -> Self {
        Self {
            hello: Some(Duration::from_mins(1)),
            give_up: GiveUp::Close,
            lcp_echo: None,
            answers: true,
        }
    }
}
