//! From bytes to a flow and a segment.
//!
//! Ethernet with any mix of up to two VLAN tags (802.1Q, 802.1ad), PPPoE sessions, IPv4
//! with options, IPv6 with extension headers, TCP. What is not a whole TCP segment of a
//! watched port is told apart as [`Skip`].

use crate::{
    Address, FlowKey, Segment, Side, TcpFlags, TcpOptions,
    packet::{Bytes, View},
};

/// What a packet begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// An Ethernet header.
    Ethernet,
    /// An IP header: tun, ppp and WireGuard devices.
    Ip,
}

/// Why a packet is not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skip {
    /// Not TCP, or the server's end is on no watched port.
    NotOurs,
    /// A fragment that carries TCP.
    Fragment,
    /// The headers contradict themselves.
    Malformed,
    /// The headers go on where the bytes end.
    Truncated,
}

mod ethertype {
    pub(super) const IPV4: u16 = 0x0800;
    pub(super) const IPV6: u16 = 0x86dd;
    /// 802.1Q.
    pub(super) const VLAN: u16 = 0x8100;
    /// 802.1ad, "QinQ".
    pub(super) const SERVICE_VLAN: u16 = 0x88a8;
    /// RFC 2516, session stage.
    pub(super) const PPPOE: u16 = 0x8864;
}

/// Next-header and protocol numbers (RFC 8200, section 4).
mod protocol {
    pub(super) const HOP_BY_HOP: u8 = 0;
    pub(super) const TCP: u8 = 6;
    pub(super) const ROUTING: u8 = 43;
    pub(super) const FRAGMENT: u8 = 44;
    pub(super) const AUTHENTICATION: u8 = 51;
    pub(super) const DESTINATION: u8 = 60;
}

/// Extension headers looked through before giving up; RFC 8200 (4.1) has each kind occur
/// once, destination options twice.
const MAX_EXTENSIONS: usize = 6;

const ETHERNET_HEADER: usize = 14;
const VLAN_TAG: usize = 4;
const PPPOE_HEADER: usize = 8;
const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;
const TCP_HEADER: usize = 20;

/// More than any buffer of Linux holds (`GSO_MAX_SIZE` in `linux/netdevice.h`), in bytes.
const MOST_PAYLOAD: u32 = 1 << 20;

/// What the IP header says: enough to find the TCP header and to name the ends.
struct Internet {
    source: Address,
    destination: Address,
    ttl: u8,
    /// Where the TCP header begins, in the packet.
    tcp: usize,
    /// Bytes from the TCP header to the packet's end, by the IP header; `None` if it
    /// leaves that to the device (packets beyond 64 KiB, RFC 2675 and Linux's BIG TCP).
    tcp_length: Option<u32>,
}

/// A packet that belongs to a watched port.
#[derive(Clone, Copy, Debug)]
pub struct Parsed {
    /// Its flow.
    pub key: FlowKey,
    /// What it says; options are still to be read.
    pub segment: Segment,
    /// Where in the packet the TCP options begin. They are for the caller to
    /// [read](crate::OptionReader).
    pub options: usize,
    /// How many bytes of options there are. After them comes the payload.
    pub options_length: u32,
    /// Whether they are worth reading: those of a SYN are, and those that may hold SACK
    /// blocks.
    pub options_matter: bool,
}

/// Reads a packet that `side` sent.
///
/// `length` is the packet's whole length in bytes, `watched` tells a server's port.
/// Offloads are not known here: the segment counts as one.
#[inline(always)]
pub fn parse<B: Bytes + ?Sized>(
    bytes: &B,
    framing: Framing,
    side: Side,
    length: u32,
    watched: impl Fn(u16) -> bool,
) -> Result<Parsed, Skip> {
    let (version, at) = network(bytes, framing)?;
    let internet = match version {
        4 => ipv4(bytes, at)?,
        _ => ipv6(bytes, at)?,
    };
    tcp(bytes, &internet, side, length, watched)
}

/// The IP version, and where its header begins.
#[inline(always)]
fn network<B: Bytes + ?Sized>(bytes: &B, framing: Framing) -> Result<(u8, usize), Skip> {
    if framing == Framing::Ip {
        let header = bytes.view::<IPV4_HEADER>(0).ok_or(Skip::Truncated)?;
        return match header.byte(0) >> 4 {
            version @ (4 | 6) => Ok((version, 0)),
            _ => Err(Skip::NotOurs),
        };
    }
    let header = bytes.view::<ETHERNET_HEADER>(0).ok_or(Skip::Truncated)?;
    let mut kind = header.be16(12);
    let mut at = ETHERNET_HEADER;
    for _ in 0..2 {
        if kind != ethertype::VLAN && kind != ethertype::SERVICE_VLAN {
            break;
        }
        kind = bytes.view::<VLAN_TAG>(at).ok_or(Skip::Truncated)?.be16(2);
        at = bytes.forget(at + VLAN_TAG).ok_or(Skip::Malformed)?;
    }
    match kind {
        ethertype::IPV4 => Ok((4, at)),
        ethertype::IPV6 => Ok((6, at)),
        ethertype::PPPOE => pppoe(bytes, at),
        _ => Err(Skip::NotOurs),
    }
}

#[inline(always)]
fn pppoe<B: Bytes + ?Sized>(bytes: &B, at: usize) -> Result<(u8, usize), Skip> {
    const PPP_IPV4: u16 = 0x0021;
    const PPP_IPV6: u16 = 0x0057;
    let header = bytes.view::<PPPOE_HEADER>(at).ok_or(Skip::Truncated)?;
    let next = bytes.forget(at + PPPOE_HEADER).ok_or(Skip::Malformed)?;
    match header.be16(6) {
        PPP_IPV4 => Ok((4, next)),
        PPP_IPV6 => Ok((6, next)),
        _ => Err(Skip::NotOurs),
    }
}

#[inline(always)]
fn ipv4<B: Bytes + ?Sized>(bytes: &B, at: usize) -> Result<Internet, Skip> {
    /// Flag "more fragments" and the fragment offset.
    const FRAGMENT: u16 = 0x3fff;

    let header = bytes.view::<IPV4_HEADER>(at).ok_or(Skip::Truncated)?;
    if header.byte(9) != protocol::TCP {
        return Err(Skip::NotOurs);
    }
    let first = header.byte(0);
    let header_length = usize::from(first & 0x0f) * 4;
    if first >> 4 != 4 || header_length < IPV4_HEADER {
        return Err(Skip::Malformed);
    }
    if header.be16(6) & FRAGMENT != 0 {
        return Err(Skip::Fragment);
    }
    let tcp_length = match u32::from(header.be16(2)) {
        0 => None,
        total => Some(checked(total, header_length)?),
    };
    Ok(Internet {
        source: Address::from_v4_word(header.word(12)),
        destination: Address::from_v4_word(header.word(16)),
        ttl: header.byte(8),
        tcp: at + header_length,
        tcp_length,
    })
}

#[inline(always)]
fn ipv6<B: Bytes + ?Sized>(bytes: &B, at: usize) -> Result<Internet, Skip> {
    let header = bytes.view::<IPV6_HEADER>(at).ok_or(Skip::Truncated)?;
    if header.byte(0) >> 4 != 6 {
        return Err(Skip::Malformed);
    }
    let tcp = extensions(bytes, at + IPV6_HEADER, header.byte(6))?;
    let tcp_length = match u32::from(header.be16(4)) {
        0 => None,
        payload => Some(checked(payload, tcp - at - IPV6_HEADER)?),
    };
    Ok(Internet {
        source: Address([
            header.word(8),
            header.word(12),
            header.word(16),
            header.word(20),
        ]),
        destination: Address([
            header.word(24),
            header.word(28),
            header.word(32),
            header.word(36),
        ]),
        ttl: header.byte(7),
        tcp,
        tcp_length,
    })
}

/// Where TCP begins, after the extension headers that begin at `at`.
#[inline(always)]
fn extensions<B: Bytes + ?Sized>(bytes: &B, at: usize, first: u8) -> Result<usize, Skip> {
    /// Fragment offset and "more fragments"; both zero in an atomic fragment (RFC 6946).
    const FRAGMENT: u16 = 0xfff9;

    let mut next = first;
    let mut at = at;
    for _ in 0..MAX_EXTENSIONS {
        if next == protocol::TCP {
            return Ok(at);
        }
        let header = match next {
            protocol::HOP_BY_HOP
            | protocol::ROUTING
            | protocol::DESTINATION
            | protocol::FRAGMENT
            | protocol::AUTHENTICATION => bytes.view::<4>(at).ok_or(Skip::Truncated)?,
            _ => return Err(Skip::NotOurs),
        };
        let units = usize::from(header.byte(1));
        let length = match next {
            protocol::FRAGMENT => {
                if header.be16(2) & FRAGMENT != 0 {
                    return match header.byte(0) {
                        protocol::TCP => Err(Skip::Fragment),
                        _ => Err(Skip::NotOurs),
                    };
                }
                8
            }
            protocol::AUTHENTICATION => (units + 2) * 4,
            _ => (units + 1) * 8,
        };
        next = header.byte(0);
        at = bytes.forget(at + length).ok_or(Skip::Malformed)?;
    }
    if next == protocol::TCP {
        Ok(at)
    } else {
        Err(Skip::NotOurs)
    }
}

#[inline(always)]
fn tcp<B: Bytes + ?Sized>(
    bytes: &B,
    internet: &Internet,
    side: Side,
    length: u32,
    watched: impl Fn(u16) -> bool,
) -> Result<Parsed, Skip> {
    let header = bytes
        .view::<TCP_HEADER>(internet.tcp)
        .ok_or(Skip::Truncated)?;
    let (source, destination) = (header.be16(0), header.be16(2));
    let server_port = match side {
        Side::Client => destination,
        Side::Server => source,
    };
    if !watched(server_port) {
        return Err(Skip::NotOurs);
    }
    let key = match side {
        Side::Client => FlowKey {
            client: internet.source,
            server: internet.destination,
            client_port: source,
            server_port,
        },
        Side::Server => FlowKey {
            client: internet.destination,
            server: internet.source,
            client_port: destination,
            server_port,
        },
    };
    let header_length = usize::from(header.byte(12) >> 4) * 4;
    if header_length < TCP_HEADER {
        return Err(Skip::Malformed);
    }
    let payload = match internet.tcp_length {
        // A packet shorter than it says is dropped by whoever it is for.
        Some(tcp_length) if checked(length, internet.tcp)? < tcp_length => {
            return Err(Skip::Malformed);
        }
        Some(tcp_length) => checked(tcp_length, header_length)?,
        None => checked(length, internet.tcp + header_length)?,
    };
    if payload > MOST_PAYLOAD {
        return Err(Skip::Malformed);
    }
    let flags = TcpFlags(header.byte(13));
    let segment = Segment {
        seq: header.be32(4),
        ack: header.be32(8),
        payload,
        segments: 1,
        segment_size: payload,
        ifindex: 0,
        window: header.be16(14),
        flags,
        ttl: internet.ttl,
        forwarded: false,
        from_capture: false,
        options: TcpOptions::default(),
        duplicate: 0,
        hole_reported: false,
    };
    let options = internet.tcp + TCP_HEADER;
    let options_length = checked(u32::from(header.byte(12) >> 4) * 4, TCP_HEADER)?;
    Ok(Parsed {
        key,
        segment,
        options,
        options_length,
        options_matter: options_length != 0
            && (flags.syn() || selective(bytes, options, options_length)),
    })
}

/// Whether options of a segment without SYN may hold SACK blocks: there is room for one,
/// and they are not the timestamps that most segments bear.
#[inline(always)]
fn selective<B: Bytes + ?Sized>(bytes: &B, options: usize, length: u32) -> bool {
    /// As RFC 7323 (appendix A) recommends to lay them out.
    const ONLY_TIMESTAMPS: (u32, u32) = (12, 0x0101_080a);
    const LEAST: u32 = 12;

    if length < LEAST {
        return false;
    }
    bytes
        .view::<4>(options)
        .is_none_or(|first| (length, first.be32(0)) != ONLY_TIMESTAMPS)
}

/// `total` less `headers`.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "headers add up to a few kilobytes"
)]
fn checked(total: u32, headers: usize) -> Result<u32, Skip> {
    total.checked_sub(headers as u32).ok_or(Skip::Malformed)
}
