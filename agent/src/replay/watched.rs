//! Which end of a connection is the server.
//!
//! On a live interface the direction tells: what comes in is the client's. A capture holds
//! both directions, and maybe those of other hosts, so ports and addresses have to tell.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use sstpulse_common::{FlowKey, Framing, Parsed, Side, Skip, parse};

/// A server that was named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Server {
    address: IpAddr,
    /// `None` for any of the watched ports.
    port: Option<u16>,
}

impl Server {
    /// Whether it was named with its port.
    pub const fn has_port(&self) -> bool {
        self.port.is_some()
    }
}

impl FromStr for Server {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse() {
            return Ok(Self {
                address,
                port: None,
            });
        }
        match text.parse::<SocketAddr>() {
            Ok(end) if end.port() != 0 => Ok(Self {
                address: end.ip(),
                port: Some(end.port()),
            }),
            _ => Err(
                "that is no address; write it as 192.0.2.1, 192.0.2.1:8443 or [2001:db8::1]:443"
                    .into(),
            ),
        }
    }
}

impl std::fmt::Display for Server {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.address, port).fmt(formatter),
            None => self.address.fmt(formatter),
        }
    }
}

/// The servers that are watched.
#[derive(Clone, Debug)]
pub struct Watched {
    ports: BTreeSet<u16>,
    /// Whether a port is among them, by its number.
    by_number: Vec<bool>,
    servers: Vec<Server>,
}

impl Watched {
    /// Servers on `ports`; only those in `servers`, if any are named. A server that is named
    /// with its port is watched there as well.
    pub fn new(ports: &BTreeSet<u16>, servers: Vec<Server>) -> Self {
        let named = servers.iter().filter_map(|server| server.port);
        let ports: BTreeSet<u16> = ports.iter().copied().chain(named).collect();
        let mut by_number = vec![false; 1 << 16];
        for port in &ports {
            by_number[usize::from(*port)] = true;
        }
        Self {
            ports,
            by_number,
            servers,
        }
    }

    /// The watched ports.
    pub(super) fn ports(&self) -> impl Iterator<Item = u16> {
        self.ports.iter().copied()
    }

    /// Reads a packet, and finds out who sent it. `known` tells the flows that are followed.
    pub fn parse(
        &self,
        framing: Framing,
        packet: &[u8],
        length: u32,
        known: impl Fn(&FlowKey) -> bool,
    ) -> Result<(Side, Parsed), Skip> {
        let watches = |port: u16| self.by_number[usize::from(port)];
        let to_server = match parse(packet, framing, Side::Client, length, watches) {
            Err(Skip::NotOurs) => None,
            parsed => Some(parsed?),
        };
        let both = |parsed: &Parsed| watches(parsed.key.client_port);
        if let Some(parsed) = to_server
            && !both(&parsed)
        {
            return self.admit(Side::Client, parsed);
        }
        let to_client = parse(packet, framing, Side::Server, length, watches)?;
        match to_server {
            Some(to_server) if self.goes_to_server(&to_server, &to_client, known) => {
                self.admit(Side::Client, to_server)
            }
            _ => self.admit(Side::Server, to_client),
        }
    }

    /// Decides where both ends have a watched port.
    fn goes_to_server(
        &self,
        to_server: &Parsed,
        to_client: &Parsed,
        known: impl Fn(&FlowKey) -> bool,
    ) -> bool {
        let flags = to_server.segment.flags;
        let named = (self.names(&to_server.key), self.names(&to_client.key));
        if !self.servers.is_empty() && named.0 != named.1 {
            named.0
        } else if flags.syn() {
            !flags.ack()
        } else if known(&to_server.key) || known(&to_client.key) {
            known(&to_server.key)
        } else {
            to_server.key.server_port <= to_client.key.server_port
        }
    }

    fn admit(&self, side: Side, parsed: Parsed) -> Result<(Side, Parsed), Skip> {
        if self.servers.is_empty() || self.names(&parsed.key) {
            Ok((side, parsed))
        } else {
            Err(Skip::NotOurs)
        }
    }

    /// Whether a flow's server is among those named.
    fn names(&self, key: &FlowKey) -> bool {
        let server = key.server();
        self.servers.iter().any(|named| {
            named.address == server.ip() && named.port.is_none_or(|port| port == server.port())
        })
    }
}
