//! The three namespaces and the path, put together.
//!
//! ```text
//! server                    router                          client
//! eth0 10.77.0.1/24  <-->  server0 10.77.0.254/24
//!      fd77::1/64                  fd77::fe/64
//!                           path0 10.78.255.254  <-path->  tun0 10.78.0.1/16
//!                                 fd78::fe                      fd78::1/64
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::available_parallelism;
use std::time::Duration;

use anyhow::Result;

use crate::links::{self, Via};
use crate::namespace::{Namespace, PREFIX};
use crate::netem;
use crate::offloads::{self, RECEIVE_MERGING, TCP_SEGMENTATION};
use crate::path::{CLIENT_TUN, Path, ROUTER_TUN};
use crate::root;

/// IPv4 address of the server.
pub const SERVER_V4: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// IPv6 address of the server.
pub const SERVER_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1);
/// IPv4 address of the router toward the server.
pub const ROUTER_V4: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 254);
/// IPv6 address of the router toward the server.
pub const ROUTER_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 0xfe);
/// First IPv4 address of the client; the rest of `10.78.0.0/16` is routed to it too.
pub const CLIENT_V4: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 1);
/// First IPv6 address of the client; the rest of `fd78::/64` is routed to it too.
pub const CLIENT_V6: Ipv6Addr = Ipv6Addr::new(0xfd78, 0, 0, 0, 0, 0, 0, 1);
/// IPv4 address of the hop inside the path that answers with ICMP.
pub const HOP_V4: Ipv4Addr = Ipv4Addr::new(10, 78, 255, 253);
/// IPv6 address of the hop inside the path that answers with ICMP.
pub const HOP_V6: Ipv6Addr = Ipv6Addr::new(0xfd78, 0, 0, 0, 0, 0, 0, 0xfd);

/// Interface of the server.
pub const SERVER_INTERFACE: &str = "eth0";

/// The router's interface toward the server.
pub const ROUTER_INTERFACE: &str = "server0";
/// The router's own addresses on the path; ICMP from these would be refused by the router itself,
/// hence the separate addresses of the hop.
const PATH_V4: Ipv4Addr = Ipv4Addr::new(10, 78, 255, 254);
const PATH_V6: Ipv6Addr = Ipv6Addr::new(0xfd78, 0, 0, 0, 0, 0, 0, 0xfe);

/// MTU of all interfaces unless chosen otherwise, in bytes.
const MTU: u16 = 1500;

/// How long the server's interface holds segments to merge others with them, in nanoseconds.
const MERGING_NS: &str = "200000";

/// Counts the laboratories of this process, for their names.
static LABS: AtomicU32 = AtomicU32::new(0);

/// A server, a router, a client and the path between the latter two; all gone when dropped.
pub struct Lab {
    /// Carries packets between router and client, with faults.
    pub path: Path,
    /// Namespace of the server.
    pub server: Namespace,
    /// Namespace of the router.
    pub router: Namespace,
    /// Namespace of the client.
    pub client: Namespace,
}

/// Choices made before a [`Lab`] is built.
#[derive(Debug, Clone, Copy)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a choice of its own, made by the method of its name"
)]
pub struct LabBuilder {
    mtu: u16,
    tso: bool,
    gro: bool,
    ordered: bool,
    exact: bool,
}

impl LabBuilder {
    /// MTU of all interfaces, in bytes; 1500 otherwise. IPv6 wants 1280 at least.
    #[must_use]
    pub fn mtu(mut self, mtu: u16) -> Self {
        self.mtu = mtu;
        self
    }

    /// Whether the server's TCP hands its interface packets of many segments; on otherwise.
    #[must_use]
    pub fn tso(mut self, tso: bool) -> Self {
        self.tso = tso;
        self
    }

    /// Whether the server's interface merges segments that follow one another before its TCP
    /// sees them; off otherwise.
    #[must_use]
    pub fn gro(mut self, gro: bool) -> Self {
        self.gro = gro;
        self
    }

    /// Whether segments reach the server's interface in the order in which the path delivers
    /// them; off otherwise, when two processors that send in turn reorder some now and then.
    #[must_use]
    pub fn ordered(mut self, ordered: bool) -> Self {
        self.ordered = ordered;
        self
    }

    /// Whether a path without faults has to show no retransmission at all, however busy the
    /// machine; off otherwise.
    ///
    /// Linux by itself takes a path that stands still for some ms for a lost tail (RFC 8985), and
    /// two processors that send in turn reorder packets now and then. This prevents both, for
    /// about a third of the path's throughput.
    #[must_use]
    pub fn exact(mut self, exact: bool) -> Self {
        self.exact = exact;
        self
    }

    /// Builds it.
    pub fn build(self) -> Result<Lab> {
        root::raise_open_files()?;
        Namespace::remove_stale()?;
        let number = LABS.fetch_add(1, Ordering::Relaxed);
        let create = |role: &str| {
            let namespace =
                Namespace::create(&format!("{PREFIX}{}-{number}-{role}", process::id()))?;
            prepare(&namespace)?;
            Ok::<_, anyhow::Error>(namespace)
        };
        let (server, router, client) = (create("server")?, create("router")?, create("client")?);
        let path = Path::open(&router, &client, self.mtu)?;
        if self.exact || self.ordered {
            keep_order(&server)?;
        }
        if self.exact {
            forbid_probes(&server)?;
            forbid_probes(&client)?;
        }
        server.run(|| links::add_veth(SERVER_INTERFACE, ROUTER_INTERFACE, &router))?;
        if self.gro {
            merge_received(&server, &router)?;
        }
        // Both ends are up before either has an address: IPv6 ones wait for the carrier.
        server.run(|| self.raise(SERVER_INTERFACE))?;
        router.run(|| self.raise(ROUTER_INTERFACE))?;
        server.run(|| links::wait_for_carrier(SERVER_INTERFACE))?;
        router.run(|| links::wait_for_carrier(ROUTER_INTERFACE))?;
        server.run(configure_server)?;
        router.run(configure_router)?;
        client.run(configure_client)?;
        prepare_router(&router)?;
        prepare_client(&client)?;
        Ok(Lab {
            path,
            server,
            router,
            client,
        })
    }

    fn raise(self, interface: &str) -> Result<()> {
        links::set_mtu(interface, self.mtu.into())?;
        if !self.tso {
            links::set_gso_max_segments(interface, 1)?;
        }
        links::set_up(interface)
    }
}

impl Lab {
    /// A laboratory with a clean path, an MTU of 1500 bytes and segmentation offload.
    pub fn new() -> Result<Self> {
        Self::builder().build()
    }

    /// Begins the choices.
    pub fn builder() -> LabBuilder {
        LabBuilder {
            mtu: MTU,
            tso: true,
            gro: false,
            ordered: false,
            exact: false,
        }
    }

    /// Gives the client further addresses of its own prefixes.
    pub fn add_client_addresses(&self, addresses: impl IntoIterator<Item = IpAddr>) -> Result<()> {
        let (v4, v6): (Vec<_>, Vec<_>) = addresses.into_iter().partition(IpAddr::is_ipv4);
        self.client.run(|| {
            links::add_addresses(CLIENT_TUN, v4, 32)?;
            links::add_addresses(CLIENT_TUN, v6, 128)
        })
    }

    /// Has the router hold every packet for `delay` and lose this share of them (0 to 1), either
    /// way, by the kernel's own emulator.
    pub fn emulate(&self, delay: Duration, loss: f64) -> Result<()> {
        self.router.run(|| {
            netem::emulate(ROUTER_INTERFACE, delay, loss)?;
            netem::emulate(ROUTER_TUN, delay, loss)
        })
    }

    /// Leaves the namespaces up after this process. The path carries packets until it ends.
    pub fn keep(mut self) {
        self.server.keep();
        self.router.keep();
        self.client.keep();
        std::mem::forget(self.path);
    }
}

/// Kernel settings of every namespace, before it has interfaces.
fn prepare(namespace: &Namespace) -> Result<()> {
    for (key, value) in [
        // IPv6 addresses need no probing, and the kernel sends nothing of its own accord.
        ("net/ipv6/conf/default/accept_dad", "0"),
        ("net/ipv6/conf/default/router_solicitations", "0"),
        ("net/ipv6/conf/default/accept_ra", "0"),
        ("net/ipv4/conf/all/rp_filter", "0"),
        ("net/ipv4/conf/default/rp_filter", "0"),
        // Connections do not learn from earlier ones, nor search for an MTU by themselves.
        ("net/ipv4/tcp_no_metrics_save", "1"),
        ("net/ipv4/tcp_mtu_probing", "0"),
        // Thousands of connections at once.
        ("net/ipv4/tcp_max_syn_backlog", "8192"),
        ("net/core/somaxconn", "4096"),
    ] {
        namespace.set_sysctl(key, value)?;
    }
    Ok(())
}

/// Has every connection's packets handled by one processor at both ends of the veth pair to come.
fn keep_order(server: &Namespace) -> Result<()> {
    let processors = available_parallelism().map_or(1, usize::from).min(32);
    let mask = u32::MAX >> (32 - processors);
    server.set_sysctl("net/core/rps_default_mask", &format!("{mask:x}"))
}

/// Has the server's interface merge what follows within [`MERGING_NS`].
fn merge_received(server: &Namespace, router: &Namespace) -> Result<()> {
    server.run(|| offloads::set(SERVER_INTERFACE, &[RECEIVE_MERGING], true))?;
    // A veth device merges only what its peer could not have built by itself.
    router.run(|| offloads::set(ROUTER_INTERFACE, &TCP_SEGMENTATION, false))?;
    // The path delivers packets one by one; without this, each would go on at once.
    server.set_attribute(SERVER_INTERFACE, "gro_flush_timeout", MERGING_NS)
}

/// Has senders wait for their retransmission timer instead of probing for a lost tail.
fn forbid_probes(namespace: &Namespace) -> Result<()> {
    namespace.set_sysctl("net/ipv4/tcp_early_retrans", "0")
}

fn prepare_router(router: &Namespace) -> Result<()> {
    router.set_sysctl("net/ipv4/ip_forward", "1")?;
    router.set_sysctl("net/ipv6/conf/all/forwarding", "1")
}

fn prepare_client(client: &Namespace) -> Result<()> {
    client.set_sysctl("net/ipv4/ip_local_port_range", "10000 65000")?;
    client.set_sysctl("net/ipv4/tcp_max_tw_buckets", "65536")
}

fn configure_server() -> Result<()> {
    links::add_address(SERVER_INTERFACE, SERVER_V4.into(), 24)?;
    links::add_address(SERVER_INTERFACE, SERVER_V6.into(), 64)?;
    links::add_default_routes(
        Via::Gateway(ROUTER_V4.into()),
        Via::Gateway(ROUTER_V6.into()),
    )
}

fn configure_router() -> Result<()> {
    links::add_address(ROUTER_INTERFACE, ROUTER_V4.into(), 24)?;
    links::add_address(ROUTER_INTERFACE, ROUTER_V6.into(), 64)?;
    let path = Via::Interface(ROUTER_TUN);
    links::add_address(ROUTER_TUN, PATH_V4.into(), 32)?;
    links::add_address(ROUTER_TUN, PATH_V6.into(), 128)?;
    links::add_route(Ipv4Addr::new(10, 78, 0, 0).into(), 16, path)?;
    links::add_route(Ipv6Addr::new(0xfd78, 0, 0, 0, 0, 0, 0, 0).into(), 64, path)?;
    // Answers to forged sources go where the forgery came from, and vanish there.
    links::add_default_routes(path, path)
}

fn configure_client() -> Result<()> {
    links::add_address(CLIENT_TUN, CLIENT_V4.into(), 16)?;
    links::add_address(CLIENT_TUN, CLIENT_V6.into(), 64)?;
    let path = Via::Interface(CLIENT_TUN);
    links::add_default_routes(path, path)
}
