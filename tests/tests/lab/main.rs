//! The laboratory does what it says.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::Result;
use lab::tcp_info::{TcpInfo, tcp_info};
use lab::{Client, Lab, SERVER_V4, SERVER_V6, Server, Tls};

mod cleanup;
mod faults;
mod forged;
mod offloads;
mod scale;
mod sessions;

const MEGABYTE: u64 = 1 << 20;

/// Longest wait for anything that has to happen.
const SOON: Duration = Duration::from_secs(10);

/// A laboratory with a TLS server on both addresses.
struct Setup {
    tls: Tls,
    server_v4: Server,
    server_v6: Server,
    lab: Lab,
}

impl Setup {
    fn new() -> Result<Self> {
        Self::with(Lab::new()?)
    }

    /// With a path on which nothing is retransmitted but for its faults.
    fn exact() -> Result<Self> {
        Self::with(Lab::builder().exact(true).build()?)
    }

    fn with(lab: Lab) -> Result<Self> {
        let tls = Tls::new()?;
        let start = |address: IpAddr| Server::start(&lab.server, (address, 443).into(), &tls);
        Ok(Self {
            server_v4: start(SERVER_V4.into())?,
            server_v6: start(SERVER_V6.into())?,
            tls,
            lab,
        })
    }

    fn connect(&self) -> Result<Client> {
        Client::connect(&self.lab.client, None, self.server_v4.address(), &self.tls)
    }

    fn connect_v6(&self) -> Result<Client> {
        Client::connect(&self.lab.client, None, self.server_v6.address(), &self.tls)
    }

    /// The server's counters of this client's connection.
    fn info(&self, client: &Client) -> Result<TcpInfo> {
        tcp_info(&self.lab.server, client.remote_addr(), client.local_addr())
    }
}
