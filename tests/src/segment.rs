//! TCP segments as the path saw them.

use std::net::{IpAddr, SocketAddr};
use std::ops::BitOr;

use etherparse::{NetSlice, SlicedPacket, TcpSlice, TransportSlice};

/// Control bits of a TCP header, in the order RFC 9293 gives them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Flags(u8);

impl Flags {
    /// No control bit.
    pub const NONE: Self = Self(0);
    /// The sender has no more data.
    pub const FIN: Self = Self(0x01);
    /// Sequence numbers are being agreed.
    pub const SYN: Self = Self(0x02);
    /// The connection is reset.
    pub const RST: Self = Self(0x04);
    /// The data is to be handed on at once.
    pub const PSH: Self = Self(0x08);
    /// The acknowledgment number counts.
    pub const ACK: Self = Self(0x10);

    /// Whether all bits of `other` are set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// One TCP segment as it entered the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Address and port of the sender.
    pub source: SocketAddr,
    /// Address and port of the receiver.
    pub destination: SocketAddr,
    /// Sequence number of the first payload byte, or of the SYN.
    pub sequence: u32,
    /// Acknowledgment number, 0 where the ACK bit is not set.
    pub acknowledgment: u32,
    /// Control bits.
    pub flags: Flags,
    /// Window field as sent, before scaling.
    pub window: u16,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Bytes of payload.
    pub payload_length: u32,
}

impl Seen {
    /// Reads an IP packet; nothing for what is not a whole TCP segment.
    pub fn parse(packet: &[u8]) -> Option<Self> {
        let sliced = SlicedPacket::from_ip(packet).ok()?;
        let (source, destination, ttl) = addresses(sliced.net.as_ref()?)?;
        let Some(TransportSlice::Tcp(tcp)) = &sliced.transport else {
            return None;
        };
        Some(Self {
            source: SocketAddr::new(source, tcp.source_port()),
            destination: SocketAddr::new(destination, tcp.destination_port()),
            sequence: tcp.sequence_number(),
            acknowledgment: tcp.acknowledgment_number(),
            flags: flags(tcp),
            window: tcp.window_size(),
            ttl,
            payload_length: u32::try_from(tcp.payload().len()).ok()?,
        })
    }

    /// Sequence number the sender's next segment begins with: SYN and FIN take one each.
    pub fn end(&self) -> u32 {
        let control =
            u32::from(self.flags.contains(Flags::SYN)) + u32::from(self.flags.contains(Flags::FIN));
        self.sequence
            .wrapping_add(self.payload_length)
            .wrapping_add(control)
    }

    /// Whether the segment does nothing but acknowledge.
    pub fn is_pure_ack(&self) -> bool {
        self.flags.contains(Flags::ACK)
            && self.payload_length == 0
            && !self.flags.contains(Flags::SYN)
            && !self.flags.contains(Flags::FIN)
            && !self.flags.contains(Flags::RST)
    }
}

fn addresses(net: &NetSlice<'_>) -> Option<(IpAddr, IpAddr, u8)> {
    match net {
        NetSlice::Ipv4(ip) => {
            let header = ip.header();
            Some((
                header.source_addr().into(),
                header.destination_addr().into(),
                header.ttl(),
            ))
        }
        NetSlice::Ipv6(ip) => {
            let header = ip.header();
            let ttl = header.hop_limit();
            Some((
                header.source_addr().into(),
                header.destination_addr().into(),
                ttl,
            ))
        }
        NetSlice::Arp(_) => None,
    }
}

fn flags(tcp: &TcpSlice<'_>) -> Flags {
    [
        (tcp.fin(), Flags::FIN),
        (tcp.syn(), Flags::SYN),
        (tcp.rst(), Flags::RST),
        (tcp.psh(), Flags::PSH),
        (tcp.ack(), Flags::ACK),
    ]
    .into_iter()
    .filter(|(set, _)| *set)
    .fold(Flags::NONE, |flags, (_, flag)| flags | flag)
}
