//! The SSTP peers do what they say: against each other over loopback, and on the wire.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Result;
use lab::Tls;
use lab::sstp::{
    ClientOptions, ClientTls, Credentials, Ended, Ending, How, Offer, ServerOptions, ServerTls,
    SstpClients, SstpServer, Timeline, Traffic,
};

mod authentication;
mod endings;
mod faults;
mod keepalive;
mod limits;
mod load;
mod namespaces;
mod records;
mod relay;
mod scale;
mod traffic;

/// Longest wait for anything that has to happen.
const SOON: Duration = Duration::from_secs(20);

/// A short time in a scenario.
const MOMENT: Duration = Duration::from_millis(100);

/// Any port of this host.
const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

fn credentials() -> Credentials {
    Credentials {
        user: "lab".to_owned(),
        password: "secret".to_owned(),
    }
}

/// Options of both ends, which share a certificate.
struct Setup {
    tls: Tls,
    server: ServerOptions,
    client: ClientOptions,
}

impl Setup {
    /// A client that disconnects as soon as the tunnel is up.
    fn new() -> Result<Self> {
        Self::with(Offer::All)
    }

    /// With this offered by the client; the server takes all.
    fn with(offer: Offer) -> Result<Self> {
        let tls = Tls::new()?;
        let server = ServerOptions::new(ServerTls::new(&tls, Offer::All)?, credentials());
        let mut client = ClientOptions::new(ClientTls::new(&tls, offer)?, credentials());
        client.timeline = Timeline::of(vec![], Ending::Disconnect);
        Ok(Self {
            tls,
            server,
            client,
        })
    }

    /// Has both meet once.
    fn meet(&self) -> Result<Met> {
        let server = SstpServer::start_here(LOOPBACK, &self.server)?;
        let clients = SstpClients::start_here()?;
        let session = clients.open(server.address(), &self.client);
        let client = session.wait_ended(SOON)?;
        let mut ended = server.wait_ended(1, SOON)?;
        Ok(Met {
            client,
            server: ended.remove(0),
        })
    }
}

/// What both ends say of their meeting.
#[derive(Debug)]
struct Met {
    client: Ended,
    server: Ended,
}

impl Met {
    fn hows(&self) -> (How, How) {
        (self.client.how, self.server.how)
    }
}

/// A good end that was answered.
const DISCONNECTED: How = How::Disconnect { acknowledged: true };

/// A client that stays until the server ends the session.
fn stay() -> Timeline {
    Timeline::of(vec![], Ending::ByPeer(Traffic::Idle))
}
