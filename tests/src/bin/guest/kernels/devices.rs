//! Kinds of interfaces that servers have: sessions over each, to the byte.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    process,
};

use anyhow::{Context as _, Result, ensure};
use lab::{Agent, Exchange, Namespace, PlainServer, links, namespace::PREFIX, plain};

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 79, 0, 1);
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 79, 0, 2);

/// The wire's end in the server's namespace.
const WIRE: &str = "eth0";

/// Its end in the client's.
const FAR_END: &str = "wire0";

const EXCHANGE: Exchange = Exchange {
    from_client: 50_000,
    from_server: 500_000,
};

/// Sessions over each device.
const SESSIONS: usize = 4;

/// How an end of the wire is fitted out; returns the interface that gets the address.
type Fit = fn(end: &'static str) -> Result<&'static str>;

/// What the server has, what the client needs for it, and which interfaces are watched in turn.
const DEVICES: [(&str, Fit, Fit, &[&str]); 5] = [
    ("vlan", vlan, vlan, &["vlan10", WIRE]),
    (
        "QinQ",
        double_vlan,
        double_vlan,
        &["vlan20", "vlan10", WIRE],
    ),
    ("bridge", bridge, bare, &["br0", WIRE]),
    ("bond", bond, bare, &["bond0", WIRE]),
    ("vlan on a bond", vlan_on_bond, vlan, &["vlan10", "bond0"]),
];

/// Sessions over each device, counted on each of its interfaces.
pub(super) fn carry_sessions() -> Result<String> {
    let mut told = Vec::new();
    for (what, server, client, watched) in DEVICES {
        let wire = Wire::lay(server, client).context(what)?;
        for interface in watched {
            wire.carry(interface)
                .with_context(|| format!("{what}, watched on {interface}"))?;
        }
        told.push(format!("{what} ({})", watched.join(", ")));
    }
    Ok(told.join("; "))
}

fn bare(end: &'static str) -> Result<&'static str> {
    links::set_up(end)?;
    Ok(end)
}

fn vlan(end: &'static str) -> Result<&'static str> {
    links::set_up(end)?;
    links::add_vlan("vlan10", end, 10)?;
    links::set_up("vlan10")?;
    Ok("vlan10")
}

fn double_vlan(end: &'static str) -> Result<&'static str> {
    vlan(end)?;
    links::add_vlan("vlan20", "vlan10", 20)?;
    links::set_up("vlan20")?;
    Ok("vlan20")
}

fn bridge(end: &'static str) -> Result<&'static str> {
    links::add_bridge("br0")?;
    links::add_port(end, "br0")?;
    links::set_up(end)?;
    links::set_up("br0")?;
    Ok("br0")
}

fn bond(end: &'static str) -> Result<&'static str> {
    links::add_bond("bond0")?;
    links::add_port(end, "bond0")?;
    links::set_up("bond0")?;
    Ok("bond0")
}

fn vlan_on_bond(end: &'static str) -> Result<&'static str> {
    bond(end)?;
    links::add_vlan("vlan10", "bond0", 10)?;
    links::set_up("vlan10")?;
    Ok("vlan10")
}

/// Two hosts on one wire.
struct Wire {
    server: Namespace,
    client: Namespace,
}

impl Wire {
    fn lay(fit_server: Fit, fit_client: Fit) -> Result<Self> {
        let host = |role| Namespace::create(&format!("{PREFIX}{}-wire-{role}", process::id()));
        let wire = Self {
            server: host("server")?,
            client: host("client")?,
        };
        wire.server
            .run(|| links::add_veth(WIRE, FAR_END, &wire.client))?;
        let client = wire.client.run(|| fit_client(FAR_END))?;
        let server = wire.server.run(|| fit_server(WIRE))?;
        for (host, interface, address) in [
            (&wire.client, client, CLIENT),
            (&wire.server, server, SERVER),
        ] {
            host.run(|| {
                links::wait_for_carrier(interface)?;
                links::add_address(interface, IpAddr::V4(address), 24)
            })?;
        }
        Ok(wire)
    }

    /// Carries sessions while one interface of the server is watched.
    fn carry(&self, interface: &str) -> Result<()> {
        let agent = Agent::start(&self.server, &["--interface", interface])?;
        let server = PlainServer::start(&self.server, SocketAddr::from((SERVER, 443)), EXCHANGE)?;
        plain::exchange_many(&self.client, server.address(), EXCHANGE, SESSIONS, 2)?;
        agent.wait_for_count(lab::agent::PATIENCE, "ends", SESSIONS, |line| {
            line.session_end().is_some()
        })?;
        let lines = agent.stop()?;
        let ends: Vec<_> = lines.iter().filter_map(|line| line.session_end()).collect();
        ensure!(ends.len() == SESSIONS, "{} ends", ends.len());
        for end in ends {
            let sides = [
                (&end.from_client, EXCHANGE.from_client),
                (&end.from_server, EXCHANGE.from_server),
            ];
            for (side, sent) in sides {
                // Each byte once, and what came again: of what the path had lost before, which
                // busy machines do, the first copy did not pass here.
                let again = side.retransmitted_bytes;
                ensure!(
                    side.bytes >= sent && side.bytes - again <= sent,
                    "{} bytes counted, {again} of them again, of {sent}: {side:?}",
                    side.bytes
                );
            }
            ensure!(end.end.how == "fin", "ended with {}", end.end.how);
        }
        Ok(())
    }
}
