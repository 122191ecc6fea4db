//! What a client does, and what it does wrong.

use std::net::IpAddr;
use std::time::Duration;

use crate::sstp::manners::{Keepalive, Timers};
use crate::sstp::ppp::Credentials;
use crate::sstp::timeline::Timeline;
use crate::sstp::tls::ClientTls;

/// What a client does. Change what a scenario is about, and leave the rest.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// TLS versions, suites, server name, and whom it trusts.
    pub tls: ClientTls,
    /// Name and password.
    pub credentials: Credentials,
    /// Address it connects from; the kernel chooses otherwise.
    pub from: Option<IpAddr>,
    /// Receive buffer, in bytes, as for `SO_RCVBUF`; the kernel tunes it otherwise.
    pub receive_buffer: Option<u32>,
    /// Its timers.
    pub timers: Timers,
    /// How it keeps the tunnel alive.
    pub keepalive: Keepalive,
    /// Time it lets pass before each thing it sends until the tunnel is up.
    pub pace: Duration,
    /// What it does wrong in the set-up.
    pub fault: Option<ClientFault>,
    /// What it does once the tunnel is up.
    pub timeline: Timeline,
}

impl ClientOptions {
    /// A client that stays idle until the server ends the session.
    pub fn new(tls: ClientTls, credentials: Credentials) -> Self {
        Self {
            tls,
            credentials,
            from: None,
            receive_buffer: None,
            timers: Timers::default(),
            keepalive: Keepalive::default(),
            pace: Duration::ZERO,
            fault: None,
            timeline: Timeline::idle(),
        }
    }
}

/// What a client does wrong in the set-up. Further faults are in its options: a wrong password, a
/// [`Trust`](crate::sstp::Trust) in nobody, an [`Offer`](crate::sstp::Offer) that the server won't
/// take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientFault {
    /// Closes as soon as TCP is connected, as a port scanner.
    CloseAfterConnect,
    /// Connects, says nothing for so long, and closes.
    SilentAfterConnect(Duration),
    /// Closes when the TLS handshake is done, as a probe does, with `close_notify` and FIN.
    CloseAfterTls,
    /// Leaves the server's part of the TLS handshake unread for so long, as a client that can't
    /// reach the list of revoked certificates; the kernel acknowledges it. Then it goes on.
    StallAtCertificate(Duration),
    /// Answers the server's part of the TLS handshake with the alert `unknown_ca` in clear, and
    /// closes: what OpenSSL does under TLS 1.3, too.
    RefuseCertificateInClear,
    /// Sends ordinary HTTPS requests on one connection, as a browser, and closes.
    Browse {
        /// Requests.
        requests: u32,
        /// Time between them.
        every: Duration,
    },
    /// Sends a crypto binding with another compound MAC, as if somebody between the two had
    /// another certificate.
    WrongBinding,
    /// Never sends Call Connected, and waits for what the server does.
    NeverCallConnected,
}
