//! Interfaces, addresses and routes of the namespace the calling thread is in, over rtnetlink.
//!
//! Call these through [`Namespace::run`](crate::Namespace::run).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::TryStreamExt;
use nix::net::if_::if_nametoindex;
use rtnetlink::packet_route::link::{BondMode, LinkAttribute, LinkMessage, State};
use rtnetlink::packet_route::route::{RouteMessage, RouteType};
use rtnetlink::packet_route::tc::{TcAttribute, TcMessage};
use rtnetlink::{
    Handle, LinkBond, LinkBridge, LinkMessageBuilder, LinkUnspec, LinkVeth, LinkVlan,
    RouteMessageBuilder,
};

use crate::namespace::{Namespace, block_on};
use crate::wait::wait_until;

/// Longest wait for an interface to have its carrier, or for an address to be usable.
const USABLE: Duration = Duration::from_secs(5);

/// Index of one end of each veth pair. The kernel would give both ends the same index, as they
/// are in different namespaces; it then takes them for one, and tells of a carrier a second late.
const VETH_INDEX: u32 = 100;

/// Makes a veth pair: `name` here, `peer_name` in the namespace `peer`. Both are down.
pub fn add_veth(name: &str, peer_name: &str, peer: &Namespace) -> Result<()> {
    with_handle(async |handle| {
        let message = LinkVeth::new(name, peer_name).index(VETH_INDEX).build();
        handle.link().add(message).execute().await?;
        let moved = LinkUnspec::new_with_name(peer_name)
            .setns_by_fd(peer.as_fd().as_raw_fd())
            .build();
        Ok(handle.link().set(moved).execute().await?)
    })
    .with_context(|| format!("cannot make the veth pair {name} and {peer_name}"))
}

/// Makes an interface of a VLAN (802.1Q) on top of another.
pub fn add_vlan(name: &str, below: &str, id: u16) -> Result<()> {
    add(LinkVlan::new(name, index(below)?, id).build(), name)
}

/// Makes a bridge.
pub fn add_bridge(name: &str) -> Result<()> {
    add(LinkBridge::new(name).build(), name)
}

/// Makes a bond, one port of which carries all.
pub fn add_bond(name: &str) -> Result<()> {
    let bond = LinkBond::new(name).mode(BondMode::ActiveBackup).miimon(100);
    add(bond.build(), name)
}

fn add(link: LinkMessage, name: &str) -> Result<()> {
    with_handle(async |handle| Ok(handle.link().add(link).execute().await?))
        .with_context(|| format!("cannot make {name}"))
}

/// Makes the interface a port of a bridge or bond. A bond takes it only while it is down.
pub fn add_port(name: &str, to: &str) -> Result<()> {
    let controller = index(to)?;
    set(name, |link| link.controller(controller))
        .with_context(|| format!("cannot make {name} a port of {to}"))
}

/// Deletes the interface.
pub fn delete(name: &str) -> Result<()> {
    let index = index(name)?;
    with_handle(async |handle| Ok(handle.link().del(index).execute().await?))
        .with_context(|| format!("cannot delete {name}"))
}

/// Sets the interface up.
pub fn set_up(name: &str) -> Result<()> {
    set(name, LinkMessageBuilder::up).with_context(|| format!("cannot set {name} up"))
}

/// Waits until the interface is up and has its carrier.
pub fn wait_for_carrier(name: &str) -> Result<()> {
    let mut state = Ok(false);
    wait_until(USABLE, &format!("the carrier of {name}"), || {
        state = get(name).map(|link| is_operational(&link));
        !matches!(state, Ok(false))
    })?;
    state.map(drop)
}

fn is_operational(link: &LinkMessage) -> bool {
    link.attributes
        .contains(&LinkAttribute::OperState(State::Up))
}

/// Sets the interface down. It loses its IPv6 addresses, and all routes through it vanish.
pub fn set_down(name: &str) -> Result<()> {
    set(name, LinkMessageBuilder::down).with_context(|| format!("cannot set {name} down"))
}

/// Sets the interface's MTU, in bytes.
pub fn set_mtu(name: &str, mtu: u32) -> Result<()> {
    set(name, |link| link.mtu(mtu)).with_context(|| format!("cannot set the MTU of {name}"))
}

/// Sets of how many segments at most TCP builds one packet for this interface. With 1 each packet
/// holds one segment, as if the interface knew no segmentation offload.
pub fn set_gso_max_segments(name: &str, segments: u32) -> Result<()> {
    set(name, |link| {
        link.append_extra_attribute(LinkAttribute::GsoMaxSegs(segments))
    })
    .with_context(|| format!("cannot set the GSO segments of {name}"))
}

/// Most segments TCP puts in one packet for this interface.
pub fn gso_max_segments(name: &str) -> Result<u32> {
    get(name)?
        .attributes
        .into_iter()
        .find_map(|attribute| match attribute {
            LinkAttribute::GsoMaxSegs(segments) => Some(segments),
            _ => None,
        })
        .with_context(|| format!("the kernel does not tell the GSO segments of {name}"))
}

/// Kinds of the queueing disciplines on the interface, such as `noqueue` or `clsact`.
pub fn qdiscs(name: &str) -> Result<Vec<String>> {
    let index = i32::try_from(index(name)?)?;
    with_handle(async |handle| {
        let all: Vec<TcMessage> = handle.qdisc().get().execute().try_collect().await?;
        let here = all.into_iter().filter(|qdisc| qdisc.header.index == index);
        let kind = |attribute| match attribute {
            TcAttribute::Kind(kind) => Some(kind),
            _ => None,
        };
        Ok(here
            .flat_map(|qdisc| qdisc.attributes)
            .filter_map(kind)
            .collect())
    })
    .with_context(|| format!("cannot list the queueing disciplines of {name}"))
}

/// Adds an address with its prefix length to the interface.
pub fn add_address(name: &str, address: IpAddr, prefix: u8) -> Result<()> {
    add_addresses(name, [address], prefix)
}

/// Adds many addresses, all with the same prefix length, over one netlink socket; returns when
/// each can be bound and reached. The interface must be up, and so must its carrier.
pub fn add_addresses(
    name: &str,
    addresses: impl IntoIterator<Item = IpAddr>,
    prefix: u8,
) -> Result<()> {
    let index = index(name)?;
    with_handle(async |handle| {
        let mut added = Vec::new();
        for address in addresses {
            handle
                .address()
                .add(index, address, prefix)
                .execute()
                .await?;
            added.push(address);
        }
        for address in added {
            wait_for_address(&handle, address).await?;
        }
        Ok(())
    })
    .with_context(|| format!("cannot add addresses to {name}"))
}

/// Waits until the kernel routes the address to itself: for IPv6 it does so a little later.
async fn wait_for_address(handle: &Handle, address: IpAddr) -> Result<()> {
    let deadline = Instant::now() + USABLE;
    loop {
        let whole = if address.is_ipv4() { 32 } else { 128 };
        let destination = RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(address, whole)?
            .build();
        let found = handle.route().get(destination).execute().try_next().await;
        if found.is_ok_and(|route| route.is_some_and(|route| is_local(&route))) {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "the address {address} does not become usable"
        );
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn is_local(route: &RouteMessage) -> bool {
    route.header.kind == RouteType::Local
}

/// Next stop of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via<'a> {
    /// Straight out of the interface of that name.
    Interface(&'a str),
    /// Nowhere: what is sent there is dropped without a word.
    Nowhere,
    /// Nowhere: who sends there is told by ICMP.
    Unreachable,
    /// A router on a network that an interface is part of.
    Gateway(IpAddr),
}

/// Adds a route to a prefix; `0.0.0.0/0` and `::/0` are the default routes.
pub fn add_route(destination: IpAddr, prefix: u8, via: Via<'_>) -> Result<()> {
    let message = route(destination, prefix, via)?;
    with_handle(async |handle| Ok(handle.route().add(message).execute().await?))
        .with_context(|| format!("cannot add the route to {destination}/{prefix}"))
}

/// Adds the default routes of both families.
pub fn add_default_routes(via_v4: Via<'_>, via_v6: Via<'_>) -> Result<()> {
    add_route(Ipv4Addr::UNSPECIFIED.into(), 0, via_v4)?;
    add_route(Ipv6Addr::UNSPECIFIED.into(), 0, via_v6)
}

fn route(destination: IpAddr, prefix: u8, via: Via<'_>) -> Result<RouteMessage> {
    let route = RouteMessageBuilder::<IpAddr>::new()
        .destination_prefix(destination, prefix)
        .with_context(|| format!("{destination}/{prefix} is no prefix"))?;
    Ok(match via {
        Via::Nowhere => route.kind(RouteType::BlackHole),
        Via::Unreachable => route.kind(RouteType::Unreachable),
        Via::Interface(name) => route.output_interface(index(name)?),
        Via::Gateway(gateway) => route
            .gateway(gateway)
            .with_context(|| format!("{gateway} is no gateway to {destination}"))?,
    }
    .build())
}

fn set(
    name: &str,
    change: impl FnOnce(LinkMessageBuilder<LinkUnspec>) -> LinkMessageBuilder<LinkUnspec>,
) -> Result<()> {
    let message = change(LinkUnspec::new_with_index(index(name)?)).build();
    with_handle(async |handle| Ok(handle.link().set(message).execute().await?))
}

fn get(name: &str) -> Result<LinkMessage> {
    let index = index(name)?;
    with_handle(async |handle| {
        let mut found = handle.link().get().match_index(index).execute();
        found
            .try_next()
            .await?
            .context("the kernel does not answer")
    })
    .with_context(|| format!("cannot look up {name}"))
}

pub(crate) fn index(name: &str) -> Result<u32> {
    if_nametoindex(name).with_context(|| format!("there is no interface {name}"))
}

/// Opens a netlink socket in this thread's namespace, lends it to `job` and closes it.
pub(crate) fn with_handle<T>(job: impl AsyncFnOnce(Handle) -> Result<T>) -> Result<T> {
    block_on(async {
        let (connection, handle, _) =
            rtnetlink::new_connection().context("cannot open a netlink socket")?;
        let pump = tokio::spawn(connection);
        let result = job(handle).await;
        pump.abort();
        result
    })
}
