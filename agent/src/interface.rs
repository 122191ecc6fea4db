//! Network interfaces and their tc filters, by rtnetlink.

use std::fmt;

use anyhow::{Context as _, anyhow};
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use rtnetlink::{
    Handle, MulticastGroup, new_connection, new_multicast_connection,
    packet_core::NetlinkPayload,
    packet_route::{
        RouteNetlinkMessage,
        link::{LinkAttribute, LinkLayerType, LinkMessage, Stats64},
        tc::{TcAttribute, TcFilterBpfOption, TcHandle, TcMessage, TcOption},
    },
};
use sstpulse_common::Framing;

/// An interface that can be watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its index in this network namespace.
    pub index: u32,
    /// What its packets begin with.
    pub framing: Framing,
}

impl fmt::Display for Interface {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name)
    }
}

/// What an interface has counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statistics {
    /// Its name.
    pub name: String,
    /// Its index; an interface that comes back under the same name has another.
    pub index: u32,
    /// The kernel's counters, since the interface was made.
    pub counters: Stats64,
}

/// A filter on an interface's ingress or egress.
#[derive(Clone, Debug)]
pub struct Filter {
    /// `ingress` or `egress`.
    pub direction: &'static str,
    /// Priority; filters of lower numbers come first.
    pub priority: u16,
    /// Handle, unique within the priority.
    pub handle: u32,
    /// Whether it runs a BPF program.
    pub is_bpf: bool,
    /// Name the BPF program was attached by.
    pub name: Option<String>,
    /// The kernel's number for the BPF program.
    pub program_id: Option<u32>,
}

/// All interfaces of this network namespace.
pub async fn all() -> anyhow::Result<Vec<Interface>> {
    let handle = connect()?;
    let links: Vec<LinkMessage> = handle
        .link()
        .get()
        .execute()
        .try_collect()
        .await
        .context("can't list the network interfaces")?;
    Ok(links.iter().filter_map(interface).collect())
}

/// The interface with this name; `None` if there is none.
pub async fn find(name: &str) -> anyhow::Result<Option<Interface>> {
    Ok(link(name).await?.as_ref().and_then(interface))
}

/// What those of these interfaces have counted that exist. Fails if the kernel can't be asked.
pub async fn statistics(names: &[String]) -> anyhow::Result<Vec<Statistics>> {
    let mut all = Vec::new();
    for name in names {
        if let Some(link) = link(name).await? {
            all.push(
                counted(name, &link)
                    .with_context(|| format!("the kernel has no counters of {name}"))?,
            );
        }
    }
    Ok(all)
}

fn counted(name: &str, link: &LinkMessage) -> Option<Statistics> {
    let counters = link
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            LinkAttribute::Stats64(counters) => Some(*counters),
            _ => None,
        })?;
    Some(Statistics {
        name: name.to_owned(),
        index: link.header.index,
        counters,
    })
}

/// What the kernel tells of one interface; `None` if there is none of this name. Asks for this
/// one alone: a VPN server has thousands.
async fn link(name: &str) -> anyhow::Result<Option<LinkMessage>> {
    let handle = connect()?;
    let mut links = handle.link().get().match_name(name.to_owned()).execute();
    match links.try_next().await {
        Ok(link) => Ok(link),
        Err(rtnetlink::Error::NetlinkError(error)) if is_missing(&error) => Ok(None),
        Err(error) => {
            Err(error).with_context(|| format!("can't look up the network interface {name}"))
        }
    }
}

/// Whether the kernel says that there is no such interface, or can be none.
fn is_missing(error: &rtnetlink::packet_core::ErrorMessage) -> bool {
    [libc::ENODEV, libc::EINVAL, libc::ERANGE].contains(&-error.raw_code())
}

fn interface(link: &LinkMessage) -> Option<Interface> {
    let name = link
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(name.clone()),
            _ => None,
        })?;
    let framing = match link.header.link_layer_type {
        LinkLayerType::Ether | LinkLayerType::Loopback => Framing::Ethernet,
        _ => Framing::Ip,
    };
    Some(Interface {
        name,
        index: link.header.index,
        framing,
    })
}

/// Each interface that comes, goes or changes. On a VPN server that is one for every
/// client, so the caller had better look whether it is one of its own.
pub fn changes() -> anyhow::Result<impl Stream<Item = Interface> + Unpin> {
    let (connection, _, messages) = new_multicast_connection(&[MulticastGroup::Link])
        .context("can't listen to changes of the network interfaces")?;
    tokio::spawn(connection);
    let changed = messages.filter_map(|(message, _)| {
        std::future::ready(match &message.payload {
            NetlinkPayload::InnerMessage(
                RouteNetlinkMessage::NewLink(link) | RouteNetlinkMessage::DelLink(link),
            ) => interface(link),
            _ => None,
        })
    });
    Ok(changed)
}

/// The filters on both directions of an interface; none if it has no clsact qdisc.
pub async fn filters(interface: &Interface) -> anyhow::Result<Vec<Filter>> {
    let handle = connect()?;
    let index = signed(interface)?;
    let mut filters = Vec::new();
    for direction in ["ingress", "egress"] {
        let request = handle.traffic_filter(index).get();
        let request = match direction {
            "ingress" => request.ingress(),
            _ => request.egress(),
        };
        let messages: Vec<TcMessage> = match request.execute().try_collect().await {
            Ok(messages) => messages,
            // Without a qdisc there is nothing to list, which kernels tell in various ways.
            Err(rtnetlink::Error::NetlinkError(error)) if is_nothing(&error) => continue,
            Err(error) => {
                let context = format!("can't list the filters of {interface}");
                return Err(anyhow::Error::new(error).context(context));
            }
        };
        filters.extend(
            messages
                .iter()
                .filter_map(|message| filter(direction, message)),
        );
    }
    Ok(filters)
}

fn is_nothing(error: &rtnetlink::packet_core::ErrorMessage) -> bool {
    [libc::ENOENT, libc::EINVAL, libc::EOPNOTSUPP, libc::ENODEV].contains(&-error.raw_code())
}

fn filter(direction: &'static str, message: &TcMessage) -> Option<Filter> {
    let handle = u32::from(message.header.handle);
    if handle == 0 {
        // The head of a priority, not a filter.
        return None;
    }
    let mut filter = Filter {
        direction,
        priority: u16::try_from(message.header.info >> 16).unwrap_or_default(),
        handle,
        is_bpf: false,
        name: None,
        program_id: None,
    };
    for attribute in &message.attributes {
        match attribute {
            TcAttribute::Kind(kind) => filter.is_bpf = kind == "bpf",
            TcAttribute::Options(options) => {
                for option in options {
                    match option {
                        TcOption::Bpf(TcFilterBpfOption::ProgName(name)) => {
                            filter.name = Some(name.clone());
                        }
                        TcOption::Bpf(TcFilterBpfOption::ProgId(id)) => {
                            filter.program_id = Some(*id);
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Some(filter)
}

/// Whether the interface has an `ingress` qdisc: it hangs where clsact would, and has no
/// place for filters on egress.
pub async fn has_ingress_qdisc(interface: &Interface) -> anyhow::Result<bool> {
    let index = signed(interface)?;
    let qdiscs: Vec<TcMessage> = connect()?
        .qdisc()
        .get()
        .execute()
        .try_collect()
        .await
        .with_context(|| format!("can't list the qdiscs of {interface}"))?;
    let is_ingress =
        |attribute: &TcAttribute| matches!(attribute, TcAttribute::Kind(kind) if kind == "ingress");
    Ok(qdiscs
        .iter()
        .filter(|qdisc| qdisc.header.index == index)
        .any(|qdisc| qdisc.attributes.iter().any(is_ingress)))
}

/// Removes the clsact qdisc, and with it every filter.
pub async fn remove_clsact(interface: &Interface) -> anyhow::Result<()> {
    let mut request = connect()?.qdisc().del(signed(interface)?);
    let message = request.message_mut();
    message.header.parent = TcHandle::CLSACT;
    message.header.handle = TcHandle {
        major: 0xffff,
        minor: 0,
    };
    message.attributes.push(TcAttribute::Kind("clsact".into()));
    request.execute().await?;
    Ok(())
}

fn connect() -> anyhow::Result<Handle> {
    let (connection, handle, _) = new_connection().context("can't open a netlink socket")?;
    tokio::spawn(connection);
    Ok(handle)
}

fn signed(interface: &Interface) -> anyhow::Result<i32> {
    i32::try_from(interface.index).map_err(|_| anyhow!("{interface} has an impossible index"))
}
