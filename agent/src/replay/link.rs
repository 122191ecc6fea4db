//! Link layers of captures, by their numbers in the registry of link types.

use pcap_parser::Linktype;
use sstpulse_common::Framing;

/// A packet without its link layer's own header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inner<'a> {
    /// What the rest begins with.
    pub framing: Framing,
    /// The rest, as far as it was kept.
    pub bytes: &'a [u8],
    /// Its length on the wire, in bytes.
    pub length: u32,
    /// Index of the interface, if the link layer's header has it.
    pub ifindex: Option<u32>,
}

/// Why a packet can't be looked into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// Its link type is not one of those read here.
    LinkType,
    /// Too little of it was kept.
    Truncated,
    /// It carries something else than IP.
    OtherProtocol,
}

/// Linux cooked capture v1: packet type, ARPHRD, address length and address, then the
/// protocol, where Ethernet's header has it if one begins two bytes later.
const COOKED_BEFORE_ETHERNET: usize = 2;

/// Linux cooked capture v2: protocol, interface, ARPHRD, packet type, address.
const COOKED_V2_HEADER: usize = 20;

/// BSD loopback: the address family.
const LOOPBACK_HEADER: usize = 4;

/// Takes off what goes before Ethernet or IP.
pub fn inner(link: Linktype, bytes: &[u8], length: u32) -> Result<Inner<'_>, Unreadable> {
    match link {
        Linktype::ETHERNET => Ok(Inner {
            framing: Framing::Ethernet,
            bytes,
            length,
            ifindex: None,
        }),
        // 12 and 14 are what raw IP was before it had a number of its own.
        Linktype::RAW | Linktype::IPV4 | Linktype::IPV6 | Linktype(12 | 14) => {
            after(bytes, length, 0, Framing::Ip)
        }
        Linktype::NULL | Linktype::LOOP => after(bytes, length, LOOPBACK_HEADER, Framing::Ip),
        Linktype::LINUX_SLL => after(bytes, length, COOKED_BEFORE_ETHERNET, Framing::Ethernet),
        Linktype::LINUX_SLL2 => cooked_v2(bytes, length),
        _ => Err(Unreadable::LinkType),
    }
}

fn cooked_v2(bytes: &[u8], length: u32) -> Result<Inner<'_>, Unreadable> {
    const IPV4: u16 = 0x0800;
    const IPV6: u16 = 0x86dd;
    const VLAN: [u16; 2] = [0x8100, 0x88a8];

    let number = |at: usize| {
        let bytes = bytes.get(at..)?.first_chunk()?;
        Some(u16::from_be_bytes(*bytes))
    };
    let mut protocol = number(0).ok_or(Unreadable::Truncated)?;
    let mut at = COOKED_V2_HEADER;
    for _ in 0..2 {
        if VLAN.contains(&protocol) {
            protocol = number(at + 2).ok_or(Unreadable::Truncated)?;
            at += 4;
        }
    }
    if protocol != IPV4 && protocol != IPV6 {
        return Err(Unreadable::OtherProtocol);
    }
    let ifindex = bytes.get(4..).and_then(|rest| rest.first_chunk());
    Ok(Inner {
        ifindex: ifindex.map(|index| u32::from_be_bytes(*index)),
        ..after(bytes, length, at, Framing::Ip)?
    })
}

fn after(
    bytes: &[u8],
    length: u32,
    header: usize,
    framing: Framing,
) -> Result<Inner<'_>, Unreadable> {
    let rest = bytes.get(header..).ok_or(Unreadable::Truncated)?;
    let header = u32::try_from(header).map_err(|_| Unreadable::Truncated)?;
    Ok(Inner {
        framing,
        bytes: rest,
        length: length.checked_sub(header).ok_or(Unreadable::Truncated)?,
        ifindex: None,
    })
}
