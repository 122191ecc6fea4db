//! A conversation between a client and a server, written down packet by packet.
//!
//! Numbers count from each side's first byte: `c(0, 0, 100)` is the client's first 100
//! bytes, acknowledging nothing but the handshake.

use std::{borrow::Borrow, collections::BTreeSet, net::SocketAddr, num::NonZeroUsize};

use etherparse::{
    EtherType, IpNumber, Ipv4Options, Ipv6Extensions, Ipv6RawExtHeader, Ipv6RoutingExtensions,
    PacketBuilder, PacketBuilderStep, TcpHeader, TcpOptionElement, VlanId,
};
use sstpulse::replay::{Buffer, Limits, Tables, Watched};
use sstpulse_common::{FlowKey, Framing, Parsed, Side, Skip, TcpFlags};

/// The watched port.
pub const PORT: u16 = 443;
/// The client's initial sequence number, unless another is chosen.
pub const ISN_CLIENT: u32 = 1_000;
/// The server's.
pub const ISN_SERVER: u32 = 500_000_000;

/// Loopback's index, which the kernel gives packets of a test run.
const IFINDEX: u32 = 1;
/// Room for a conversation or two.
const LIMITS: Limits = Limits {
    sessions: 16,
    half_open: NonZeroUsize::new(16).unwrap(),
};

const SYN: u8 = TcpFlags::SYN;
const ACK: u8 = TcpFlags::ACK;

/// A segment to be said.
#[derive(Clone)]
#[must_use]
pub struct Said {
    side: Side,
    flags: u8,
    seq: u32,
    ack: u32,
    payload: usize,
    window: u16,
    ttl: u8,
    gso_size: u32,
    forwarded: bool,
    sack: Vec<(u32, u32)>,
    contents: Vec<(usize, Vec<u8>)>,
    patches: Vec<(usize, u8)>,
    cut: Option<usize>,
    padding: usize,
}

/// What carries TCP.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// IPv4.
    Ipv4,
    /// IPv4 with an option.
    Ipv4Options,
    /// IPv6.
    Ipv6,
    /// IPv6 with extension headers.
    Ipv6Extensions,
}

/// What carries IP.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// Ethernet.
    Ethernet,
    /// With an 802.1Q tag.
    Vlan,
    /// With an 802.1ad and an 802.1Q tag.
    QinQ,
    /// PPPoE over Ethernet.
    Pppoe,
    /// A device without Ethernet headers.
    None,
}

/// A packet as it passes.
pub struct Packet {
    /// Who sent it.
    pub side: Side,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What the buffer brings along.
    pub buffer: Buffer,
}

/// A conversation, written down.
pub struct Conversation {
    client_port: u16,
    server_port: u16,
    isn_client: u32,
    isn_server: u32,
    now_ns: u64,
    network: Network,
    link: Link,
    packets: Vec<Packet>,
}

/// The client says `payload` bytes from `seq` on, and has all before `ack`.
pub fn c(seq: u32, ack: u32, payload: usize) -> Said {
    say(Side::Client, seq, ack, payload)
}

/// The server says so.
pub fn s(seq: u32, ack: u32, payload: usize) -> Said {
    say(Side::Server, seq, ack, payload)
}

fn say(side: Side, seq: u32, ack: u32, payload: usize) -> Said {
    Said {
        side,
        flags: ACK,
        seq,
        ack,
        payload,
        window: 1_000,
        ttl: 64,
        gso_size: 0,
        forwarded: false,
        sack: Vec::new(),
        contents: Vec::new(),
        patches: Vec::new(),
        cut: None,
        padding: 0,
    }
}

impl Said {
    /// With these flags.
    pub fn flags(mut self, flags: u8) -> Self {
        self.flags = flags;
        self
    }

    /// With this window field.
    pub fn window(mut self, window: u16) -> Self {
        self.window = window;
        self
    }

    /// With this time to live.
    pub fn ttl(mut self, ttl: u8) -> Self {
        self.ttl = ttl;
        self
    }

    /// In one buffer, to be cut into segments of this size.
    pub fn gso(mut self, size: u32) -> Self {
        self.gso_size = size;
        self
    }

    /// As one that the host only forwards.
    pub fn forwarded(mut self) -> Self {
        self.forwarded = true;
        self
    }

    /// With these SACK blocks, of the other side's numbers.
    pub fn sack(mut self, blocks: &[(u32, u32)]) -> Self {
        self.sack = blocks.to_vec();
        self
    }

    /// With these bytes at this offset of the payload.
    pub fn content(mut self, at: usize, bytes: &[u8]) -> Self {
        self.contents.push((at, bytes.to_vec()));
        self
    }

    /// With another byte at this offset of the frame.
    pub fn patch(mut self, at: usize, byte: u8) -> Self {
        self.patches.push((at, byte));
        self
    }

    /// Only its first bytes.
    pub fn cut(mut self, length: usize) -> Self {
        self.cut = Some(length);
        self
    }

    /// With bytes after the IP packet.
    pub fn padded(mut self, bytes: usize) -> Self {
        self.padding = bytes;
        self
    }
}

impl Conversation {
    /// Between a client on this port and the server.
    pub fn new(client_port: u16) -> Self {
        Self {
            client_port,
            server_port: PORT,
            isn_client: ISN_CLIENT,
            isn_server: ISN_SERVER,
            now_ns: 3_600_000_000_000,
            network: Network::Ipv4,
            link: Link::Ethernet,
            packets: Vec::new(),
        }
    }

    /// With these initial sequence numbers.
    pub fn start_at(&mut self, isn_client: u32, isn_server: u32) -> &mut Self {
        self.isn_client = isn_client;
        self.isn_server = isn_server;
        self
    }

    /// With the server on another port.
    pub fn server_port(&mut self, port: u16) -> &mut Self {
        self.server_port = port;
        self
    }

    /// Over this network layer.
    pub fn network(&mut self, network: Network) -> &mut Self {
        self.network = network;
        self
    }

    /// Over this link layer.
    pub fn link(&mut self, link: Link) -> &mut Self {
        self.link = link;
        self
    }

    /// What its packets begin with.
    pub fn framing(&self) -> Framing {
        match self.link {
            Link::None => Framing::Ip,
            _ => Framing::Ethernet,
        }
    }

    /// What has passed.
    pub fn packets(&self) -> &[Packet] {
        &self.packets
    }

    /// Whether a capture can hold all of it: no buffer stands for several segments.
    pub fn is_plain(&self) -> bool {
        let whole = |packet: &Packet| packet.buffer.gso.is_none_or(|(_, size)| size == 0);
        self.packets.iter().all(whole)
    }

    /// Its flow.
    pub fn key(&self) -> FlowKey {
        let (client, server) = self.ends();
        FlowKey::new(client, server)
    }

    /// Lets time pass.
    pub fn wait_ms(&mut self, ms: u64) -> &mut Self {
        self.now_ns += ms * 1_000_000;
        self
    }

    /// The client's SYN.
    pub fn syn(&mut self) -> &mut Self {
        self.syn_with(self.isn_client)
    }

    /// A SYN with this initial sequence number.
    pub fn syn_with(&mut self, isn: u32) -> &mut Self {
        let options = [
            TcpOptionElement::MaximumSegmentSize(1460),
            TcpOptionElement::Noop,
            TcpOptionElement::WindowScale(8),
            TcpOptionElement::SelectiveAcknowledgementPermitted,
        ];
        let said = c(isn.wrapping_sub(self.isn_client).wrapping_sub(1), 0, 0);
        self.put(&said.flags(SYN).window(64_000), &options)
    }

    /// The server's SYN-ACK.
    pub fn syn_ack(&mut self) -> &mut Self {
        self.syn_ack_with(self.isn_server, self.isn_client)
    }

    /// A SYN-ACK with this initial sequence number, to a SYN with that one.
    pub fn syn_ack_with(&mut self, isn: u32, isn_client: u32) -> &mut Self {
        let options = [
            TcpOptionElement::MaximumSegmentSize(1400),
            TcpOptionElement::SelectiveAcknowledgementPermitted,
            TcpOptionElement::Timestamp(1, 2),
            TcpOptionElement::Noop,
            TcpOptionElement::WindowScale(7),
        ];
        let said = s(
            isn.wrapping_sub(self.isn_server).wrapping_sub(1),
            isn_client.wrapping_sub(self.isn_client),
            0,
        );
        self.put(&said.flags(SYN | ACK).window(64_000), &options)
    }

    /// A SYN-ACK without options.
    pub fn syn_ack_bare(&mut self) -> &mut Self {
        let said = s(u32::MAX, 0, 0).flags(SYN | ACK).window(64_000);
        self.put(&said, &[])
    }

    /// All three steps, 20 ms from SYN-ACK to ACK.
    pub fn handshake(&mut self) -> &mut Self {
        self.syn()
            .wait_ms(1)
            .syn_ack()
            .wait_ms(20)
            .send(c(0, 0, 0))
            .wait_ms(1)
    }

    /// Says something.
    pub fn send(&mut self, said: impl Borrow<Said>) -> &mut Self {
        self.put(said.borrow(), &[])
    }

    /// The conversation through the native tracker.
    pub fn replay(&self) -> Tables {
        let mut tables = Tables::new(LIMITS);
        for packet in &self.packets {
            // What is passed over is in the counters.
            let _ = self.take(packet, &mut tables);
        }
        tables
    }

    /// One of its packets through the native tracker.
    pub fn take(&self, packet: &Packet, tables: &mut Tables) -> Result<(Side, Parsed), Skip> {
        let watched = Watched::new(&BTreeSet::from([PORT]), Vec::new());
        tables.take(&watched, self.framing(), &packet.bytes, &packet.buffer)
    }

    fn put(&mut self, said: &Said, options: &[TcpOptionElement]) -> &mut Self {
        let mut bytes = self.frame(said, options);
        for (at, byte) in &said.patches {
            bytes[*at] = *byte;
        }
        bytes.truncate(said.cut.unwrap_or(bytes.len()));
        bytes.resize(bytes.len() + said.padding, 0xee);
        let payload = u32::try_from(said.payload).unwrap();
        self.packets.push(Packet {
            side: said.side,
            buffer: Buffer {
                time_ns: self.now_ns,
                length: u32::try_from(bytes.len()).unwrap(),
                gso: Some(match said.gso_size {
                    0 => (1, 0),
                    size => (payload.div_ceil(size), size),
                }),
                ifindex: IFINDEX,
                forwarded: said.forwarded,
                from_capture: false,
            },
            bytes,
        });
        self
    }

    fn ends(&self) -> (SocketAddr, SocketAddr) {
        let (client, server) = match self.network {
            Network::Ipv4 | Network::Ipv4Options => ("192.0.2.12", "192.0.2.5"),
            Network::Ipv6 | Network::Ipv6Extensions => ("2001:db8::c", "2001:db8::5"),
        };
        (
            SocketAddr::new(client.parse().unwrap(), self.client_port),
            SocketAddr::new(server.parse().unwrap(), self.server_port),
        )
    }

    fn frame(&self, said: &Said, options: &[TcpOptionElement]) -> Vec<u8> {
        let (client, server) = self.ends();
        let (source, destination, isn, peer_isn) = match said.side {
            Side::Client => (client, server, self.isn_client, self.isn_server),
            Side::Server => (server, client, self.isn_server, self.isn_client),
        };
        let mut tcp = TcpHeader::new(
            source.port(),
            destination.port(),
            isn.wrapping_add(1).wrapping_add(said.seq),
            said.window,
        );
        tcp.acknowledgment_number = peer_isn.wrapping_add(1).wrapping_add(said.ack);
        tcp.fin = said.flags & TcpFlags::FIN != 0;
        tcp.syn = said.flags & TcpFlags::SYN != 0;
        tcp.rst = said.flags & TcpFlags::RST != 0;
        tcp.ack = said.flags & TcpFlags::ACK != 0;
        let absolute = |edge: u32| peer_isn.wrapping_add(1).wrapping_add(edge);
        let blocks: Vec<_> = said
            .sack
            .iter()
            .map(|(start, end)| (absolute(*start), absolute(*end)))
            .collect();
        match blocks[..] {
            [] => tcp.set_options(options).unwrap(),
            [first, ref rest @ ..] => {
                let mut others = [None; 3];
                for (other, block) in others.iter_mut().zip(rest) {
                    *other = Some(*block);
                }
                let sack = TcpOptionElement::SelectiveAcknowledgement(first, others);
                tcp.set_options(&[TcpOptionElement::Noop, TcpOptionElement::Noop, sack])
                    .unwrap();
            }
        }
        let packet = self
            .below_tcp(source, destination, said.ttl)
            .tcp_header(tcp);
        let mut payload = vec![0x17; said.payload];
        for (at, content) in &said.contents {
            payload[*at..at + content.len()].copy_from_slice(content);
        }
        let mut bytes = Vec::new();
        packet.write(&mut bytes, &payload).unwrap();
        if self.link == Link::Pppoe {
            encapsulate(&mut bytes);
        }
        bytes
    }

    fn below_tcp(
        &self,
        source: SocketAddr,
        destination: SocketAddr,
        ttl: u8,
    ) -> PacketBuilderStep<etherparse::IpHeaders> {
        let headers = self.ip_headers(source, destination, ttl);
        let ethernet = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let vlan = |id| VlanId::try_new(id).unwrap();
        match self.link {
            Link::None => PacketBuilder::ip(headers),
            Link::Ethernet | Link::Pppoe => ethernet.ip(headers),
            Link::Vlan => ethernet.single_vlan(vlan(7)).ip(headers),
            Link::QinQ => ethernet.double_vlan(vlan(7), vlan(42)).ip(headers),
        }
    }

    fn ip_headers(
        &self,
        source: SocketAddr,
        destination: SocketAddr,
        ttl: u8,
    ) -> etherparse::IpHeaders {
        match (source.ip(), destination.ip()) {
            (std::net::IpAddr::V4(source), std::net::IpAddr::V4(destination)) => {
                let mut header = etherparse::Ipv4Header::new(
                    0,
                    ttl,
                    IpNumber::TCP,
                    source.octets(),
                    destination.octets(),
                )
                .unwrap();
                if self.network == Network::Ipv4Options {
                    // Router alert (RFC 2113).
                    header.options = Ipv4Options::from([0x94, 4, 0, 0]);
                }
                etherparse::IpHeaders::Ipv4(header, etherparse::Ipv4Extensions::default())
            }
            (std::net::IpAddr::V6(source), std::net::IpAddr::V6(destination)) => {
                let header = etherparse::Ipv6Header {
                    hop_limit: ttl,
                    source: source.octets(),
                    destination: destination.octets(),
                    ..etherparse::Ipv6Header::default()
                };
                let extensions = if self.network == Network::Ipv6Extensions {
                    extension_headers()
                } else {
                    Ipv6Extensions::default()
                };
                etherparse::IpHeaders::Ipv6(header, extensions)
            }
            _ => unreachable!("both ends have the same IP version"),
        }
    }
}

/// Hop-by-hop options, destination options and a routing header, padding within.
fn extension_headers() -> Ipv6Extensions {
    let padding = |bytes: &[u8]| Ipv6RawExtHeader::new_raw(IpNumber::TCP, bytes).unwrap();
    // Type 2 (RFC 6275), with no segment left and the home address.
    let mut routing = [0; 22];
    routing[0] = 2;
    routing[6..].copy_from_slice(&[0xfd; 16]);
    Ipv6Extensions {
        hop_by_hop_options: Some(padding(&[1, 4, 0, 0, 0, 0])),
        destination_options: Some(padding(&[1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])),
        routing: Some(Ipv6RoutingExtensions {
            routing: padding(&routing),
            final_destination_options: None,
        }),
        ..Ipv6Extensions::default()
    }
}

/// Puts a PPPoE session header (RFC 2516) between Ethernet and IP.
fn encapsulate(frame: &mut Vec<u8>) {
    const PPPOE_SESSION: u16 = 0x8864;
    let kind = u16::from_be_bytes([frame[12], frame[13]]);
    let protocol: u16 = if kind == EtherType::IPV6.0 {
        0x0057
    } else {
        0x0021
    };
    let length = u16::try_from(frame.len() - 14 + 2).unwrap();
    frame[12..14].copy_from_slice(&PPPOE_SESSION.to_be_bytes());
    let mut header = vec![0x11, 0, 0, 1];
    header.extend(length.to_be_bytes());
    header.extend(protocol.to_be_bytes());
    frame.splice(14..14, header);
}
