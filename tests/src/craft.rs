//! IP packets forged from scratch, with right checksums and without a link layer.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, bail};
use etherparse::icmpv4::DestUnreachableHeader;
use etherparse::{
    Icmpv4Type, Icmpv6Type, IpHeaders, NetSlice, PacketBuilder, PacketBuilderStep, SlicedPacket,
    TcpHeader, TcpOptionElement,
};

use crate::faults::Direction;
use crate::lab::{HOP_V4, HOP_V6};
use crate::path::Observed;
use crate::segment::{Flags, Seen};

/// TTL of forged packets unless chosen otherwise: what Linux sends.
const TTL: u8 = 64;

/// Window field of forged segments unless chosen otherwise.
const WINDOW: u16 = 64_240;

/// Bytes of the refused packet that an ICMP error of IPv6 may quote: all of it fits the smallest MTU.
const QUOTE_V6: usize = 1280 - 40 - 8;

/// Bytes of the refused packet that an ICMP error quotes (RFC 1812, 4.3.2.3).
const QUOTE_V4: usize = 576 - 20 - 8;

/// A TCP segment to be forged. Begin with one of the constructors, then chain changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Address and port it claims to come from.
    pub source: SocketAddr,
    /// Address and port it goes to.
    pub destination: SocketAddr,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgment number; written only with the ACK bit.
    pub acknowledgment: u32,
    /// Control bits.
    pub flags: Flags,
    /// Window field, before scaling.
    pub window: u16,
    /// TTL or hop limit.
    pub ttl: u8,
    /// TCP options.
    pub options: Vec<TcpOptionElement>,
    /// Payload.
    pub payload: Vec<u8>,
}

impl Segment {
    /// A bare segment with these control bits.
    pub fn new(source: SocketAddr, destination: SocketAddr, flags: Flags) -> Self {
        Self {
            source,
            destination,
            sequence: 0,
            acknowledgment: 0,
            flags,
            window: WINDOW,
            ttl: TTL,
            options: Vec::new(),
            payload: Vec::new(),
        }
    }

    /// A SYN with the options a usual client offers.
    pub fn syn(source: SocketAddr, destination: SocketAddr, sequence: u32) -> Self {
        Self::new(source, destination, Flags::SYN)
            .sequence(sequence)
            .options(vec![
                TcpOptionElement::MaximumSegmentSize(1460),
                TcpOptionElement::SelectiveAcknowledgementPermitted,
                TcpOptionElement::Timestamp(1, 0),
                TcpOptionElement::Noop,
                TcpOptionElement::WindowScale(7),
            ])
    }

    /// An acknowledgment without data.
    pub fn ack(source: SocketAddr, destination: SocketAddr, sequence: u32, upto: u32) -> Self {
        Self::new(source, destination, Flags::ACK)
            .sequence(sequence)
            .acknowledgment(upto)
    }

    /// A segment with data.
    pub fn data(
        source: SocketAddr,
        destination: SocketAddr,
        sequence: u32,
        upto: u32,
        payload: &[u8],
    ) -> Self {
        let mut segment = Self::ack(source, destination, sequence, upto);
        segment.flags = Flags::PSH | Flags::ACK;
        segment.payload = payload.to_vec();
        segment
    }

    /// A reset without acknowledgment.
    pub fn rst(source: SocketAddr, destination: SocketAddr, sequence: u32) -> Self {
        Self::new(source, destination, Flags::RST).sequence(sequence)
    }

    /// A reset that follows `last` in its sender's name, right where the receiver expects it.
    pub fn rst_after(last: &Seen) -> Self {
        Self::rst(last.source, last.destination, last.end())
    }

    /// A reset in the name of the sender of that direction, made from the connection's last
    /// segments; nothing if the sender has not been seen yet.
    pub fn rst_from(observed: &Observed, direction: Direction) -> Option<Self> {
        match direction {
            Direction::FromClient => observed.from_client.as_ref(),
            Direction::FromServer => observed.from_server.as_ref(),
        }
        .map(Self::rst_after)
    }

    /// Changes the sequence number.
    #[must_use]
    pub fn sequence(mut self, sequence: u32) -> Self {
        self.sequence = sequence;
        self
    }

    /// Changes the acknowledgment number.
    #[must_use]
    pub fn acknowledgment(mut self, acknowledgment: u32) -> Self {
        self.acknowledgment = acknowledgment;
        self
    }

    /// Changes the TTL or hop limit.
    #[must_use]
    pub fn ttl(mut self, ttl: u8) -> Self {
        self.ttl = ttl;
        self
    }

    /// Changes the window field, before scaling.
    #[must_use]
    pub fn window(mut self, window: u16) -> Self {
        self.window = window;
        self
    }

    /// Changes the TCP options.
    #[must_use]
    pub fn options(mut self, options: Vec<TcpOptionElement>) -> Self {
        self.options = options;
        self
    }

    /// The IP packet, ready for [`Path::inject`](crate::Path::inject).
    pub fn packet(&self) -> Result<Vec<u8>> {
        let builder = ip(self.source.ip(), self.destination.ip(), self.ttl)?;
        let builder = builder.tcp_header(self.header()?);
        let mut packet = Vec::with_capacity(builder.size(self.payload.len()));
        builder
            .write(&mut packet, &self.payload)
            .context("cannot write a forged segment")?;
        Ok(packet)
    }

    fn header(&self) -> Result<TcpHeader> {
        let has = |flag| self.flags.contains(flag);
        let mut header = TcpHeader::new(
            self.source.port(),
            self.destination.port(),
            self.sequence,
            self.window,
        );
        header.fin = has(Flags::FIN);
        header.syn = has(Flags::SYN);
        header.rst = has(Flags::RST);
        header.psh = has(Flags::PSH);
        header.ack = has(Flags::ACK);
        if header.ack {
            header.acknowledgment_number = self.acknowledgment;
        }
        header
            .set_options(&self.options)
            .context("the TCP options do not fit")?;
        Ok(header)
    }
}

fn ip(source: IpAddr, destination: IpAddr, ttl: u8) -> Result<PacketBuilderStep<IpHeaders>> {
    Ok(match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            PacketBuilder::ipv4(source.octets(), destination.octets(), ttl)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            PacketBuilder::ipv6(source.octets(), destination.octets(), ttl)
        }
        _ => bail!("{source} and {destination} are not of one address family"),
    })
}

/// The answer of a hop in the path to a packet larger than `mtu` bytes: ICMP "fragmentation
/// needed" or, with IPv6, "packet too big". Nothing for what is no IP packet.
pub fn too_big(packet: &[u8], mtu: u16) -> Option<Vec<u8>> {
    let quote = |length: usize| &packet[..packet.len().min(length)];
    let mut answer = Vec::new();
    match SlicedPacket::from_ip(packet).ok()?.net? {
        NetSlice::Ipv4(ip) => {
            let kind = DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: mtu };
            PacketBuilder::ipv4(HOP_V4.octets(), ip.header().source(), TTL)
                .icmpv4(Icmpv4Type::DestinationUnreachable(kind))
                .write(&mut answer, quote(QUOTE_V4))
        }
        NetSlice::Ipv6(ip) => PacketBuilder::ipv6(HOP_V6.octets(), ip.header().source(), TTL)
            .icmpv6(Icmpv6Type::PacketTooBig { mtu: mtu.into() })
            .write(&mut answer, quote(QUOTE_V6)),
        NetSlice::Arp(_) => return None,
    }
    .ok()?;
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(ip: &str, port: u16) -> SocketAddr {
        SocketAddr::new(ip.parse().unwrap(), port)
    }

    #[test]
    fn a_forged_segment_reads_back() {
        for (from, to) in [("10.78.0.9", "10.77.0.1"), ("fd78::9", "fd77::1")] {
            let (from, to) = (address(from, 4000), address(to, 443));
            let segment = Segment::data(from, to, u32::MAX, 77, b"hello")
                .ttl(9)
                .window(5);
            let seen = Seen::parse(&segment.packet().unwrap()).unwrap();
            assert_eq!((seen.source, seen.destination), (from, to));
            assert_eq!((seen.sequence, seen.acknowledgment), (u32::MAX, 77));
            assert_eq!((seen.payload_length, seen.ttl, seen.window), (5, 9, 5));
            assert_eq!(seen.flags, Flags::PSH | Flags::ACK);
            assert_eq!(seen.end(), 4, "sequence numbers wrap");
        }
    }

    #[test]
    fn checksums_are_right() {
        let segment = Segment::syn(address("10.78.0.9", 1), address("10.77.0.1", 2), 5);
        let packet = segment.packet().unwrap();
        let sliced = SlicedPacket::from_ip(&packet).unwrap();
        let (Some(NetSlice::Ipv4(ip)), Some(etherparse::TransportSlice::Tcp(tcp))) =
            (&sliced.net, &sliced.transport)
        else {
            panic!("no TCP over IPv4: {sliced:?}");
        };
        let header = ip.header().to_header();
        assert_eq!(header.header_checksum, header.calc_header_checksum());
        let (source, destination) = (header.source, header.destination);
        assert_eq!(
            tcp.checksum(),
            tcp.calc_checksum_ipv4(source, destination).unwrap()
        );
    }

    #[test]
    fn families_do_not_mix() {
        let segment = Segment::syn(address("10.78.0.9", 1), address("fd77::1", 2), 5);
        assert!(segment.packet().is_err());
    }
}
