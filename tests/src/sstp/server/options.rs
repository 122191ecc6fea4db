//! What a server does, and what it does wrong.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::sstp::manners::{Keepalive, Timers};
use crate::sstp::ppp::{Credentials, Method};
use crate::sstp::timeline::Timeline;
use crate::sstp::tls::ServerTls;

/// What a server does, with every session alike. Change what a scenario is about, and leave the
/// rest.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// TLS versions and suites, and the certificate.
    pub tls: ServerTls,
    /// Whom it lets in.
    pub authentication: Authentication,
    /// Its timers.
    pub timers: Timers,
    /// How it keeps tunnels alive.
    pub keepalive: Keepalive,
    /// Its own address inside the tunnels; clients get those that follow.
    pub inside: Ipv4Addr,
    /// Whether it checks the crypto binding.
    pub checks_binding: bool,
    /// Sends each packet's header of four bytes in a record of its own, as sorz's sstp-server.
    pub split_header: bool,
    /// Connections that the kernel completes ahead of `accept`.
    pub backlog: u32,
    /// Whether it accepts connections at all; otherwise they fill the backlog.
    pub accepts: bool,
    /// Receive buffer of each connection, in bytes, as for `SO_RCVBUF`.
    pub receive_buffer: Option<u32>,
    /// What it does with connections before TLS.
    pub gate: Gate,
    /// What it does once a tunnel is up.
    pub timeline: Timeline,
}

impl ServerOptions {
    /// A server that lets this one user in by PAP, and ends no session by itself.
    pub fn new(tls: ServerTls, credentials: Credentials) -> Self {
        Self {
            tls,
            authentication: Authentication {
                method: Method::Pap,
                credentials,
                delay: Duration::ZERO,
                refuses_all: false,
                refusal: Refusal::Disconnect,
            },
            timers: Timers::default(),
            keepalive: Keepalive::default(),
            inside: Ipv4Addr::new(10, 99, 0, 1),
            checks_binding: true,
            split_header: false,
            backlog: 4096,
            accepts: true,
            receive_buffer: None,
            gate: Gate::Open,
            timeline: Timeline::idle(),
        }
    }
}

/// How a server authenticates clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authentication {
    /// The protocol it insists on.
    pub method: Method,
    /// The one user there is.
    pub credentials: Credentials,
    /// Time its backend takes to decide.
    pub delay: Duration,
    /// Whether right passwords are refused, too.
    pub refuses_all: bool,
    /// How it ends the session of a client that it has refused.
    pub refusal: Refusal,
}

/// How a server ends the session of a client that it has refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Call Disconnect, its answer, `close_notify` and FIN.
    Disconnect,
    /// Call Abort, its answer, `close_notify` and FIN.
    Abort,
    /// `close_notify` and FIN.
    Close,
}

/// What a server does with connections before TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// Serves them.
    Open,
    /// Closes those beyond so many at a time, with a FIN.
    Fin {
        /// Connections that it serves at a time.
        limit: usize,
    },
    /// Closes those beyond so many at a time, with an RST.
    Reset {
        /// Connections that it serves at a time.
        limit: usize,
    },
    /// Neither reads nor closes any for so long after TCP's handshake; then serves them.
    Hang(Duration),
}
