//! IPv4 packets inside the tunnel: ICMP echoes, and UDP that is thrown away or asked for.

use std::net::Ipv4Addr;

use etherparse::{Icmpv4Type, NetSlice, PacketBuilder, SlicedPacket, TransportSlice};

/// Port of datagrams that nobody answers (RFC 863).
const DISCARD: u16 = 9;

/// Port that answers a datagram with others (after RFC 864). A request names, as two numbers of 16
/// bits in network byte order, how many datagrams, and of how many bytes with IP and UDP header.
const GENERATE: u16 = 19;

/// TTL of packets.
const TTL: u8 = 64;

/// Bytes of the headers of IPv4 and UDP, and of IPv4 and an ICMP echo.
const HEADERS: usize = 28;

/// The shortest packet that these functions make, in bytes with the IP header.
pub const SHORTEST: u16 = 32;

/// The longest, which the MRU of both ends allows.
pub const LONGEST: u16 = 1400;

/// Who sends to whom, inside the tunnel.
#[derive(Debug, Clone, Copy)]
pub(super) struct Addresses {
    pub(super) own: Ipv4Addr,
    pub(super) peer: Ipv4Addr,
}

/// What a received packet wants.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// An ICMP echo, to be answered with this packet.
    Answer(Vec<u8>),
    /// The answer to the echo with this sequence number.
    Echoed(u16),
    /// So many datagrams, of so many bytes each.
    Wanted(u16, u16),
    /// Nothing.
    Nothing,
}

/// Room for a packet's payload, with its length held within what fits.
fn payload(bytes: u16) -> Vec<u8> {
    let bytes = usize::from(bytes.clamp(SHORTEST, LONGEST));
    vec![0x55; bytes - HEADERS]
}

/// An ICMP echo request (RFC 792) of so many bytes, IP header included.
pub(super) fn echo(addresses: Addresses, sequence: u16, bytes: u16) -> Vec<u8> {
    let Addresses { own, peer } = addresses;
    let builder = PacketBuilder::ipv4(own.octets(), peer.octets(), TTL);
    let mut packet = Vec::new();
    builder
        .icmpv4_echo_request(1, sequence)
        .write(&mut packet, &payload(bytes))
        .expect("a packet of at most 1400 bytes into memory");
    packet
}

/// A datagram of so many bytes that the peer throws away.
pub(super) fn filler(addresses: Addresses, bytes: u16) -> Vec<u8> {
    datagram(addresses, DISCARD, &payload(bytes))
}

/// A request for datagrams.
pub(super) fn request(addresses: Addresses, datagrams: u16, bytes: u16) -> Vec<u8> {
    let wish = [datagrams.to_be_bytes(), bytes.to_be_bytes()].concat();
    datagram(addresses, GENERATE, &wish)
}

fn datagram(addresses: Addresses, port: u16, payload: &[u8]) -> Vec<u8> {
    let Addresses { own, peer } = addresses;
    let mut packet = Vec::new();
    PacketBuilder::ipv4(own.octets(), peer.octets(), TTL)
        .udp(port, port)
        .write(&mut packet, payload)
        .expect("a packet of at most 1400 bytes into memory");
    packet
}

/// Tells what a received packet wants of this end. Answers go to whoever the packet is from.
pub(super) fn read(packet: &[u8]) -> Meaning {
    let Ok(sliced) = SlicedPacket::from_ip(packet) else {
        return Meaning::Nothing;
    };
    let (Some(NetSlice::Ipv4(ip)), Some(transport)) = (&sliced.net, &sliced.transport) else {
        return Meaning::Nothing;
    };
    match transport {
        TransportSlice::Icmpv4(icmp) => match icmp.icmp_type() {
            Icmpv4Type::EchoRequest(echo) => {
                let header = ip.header();
                let mut answer = Vec::new();
                let built = PacketBuilder::ipv4(header.destination(), header.source(), TTL)
                    .icmpv4_echo_reply(echo.id, echo.seq)
                    .write(&mut answer, icmp.payload());
                built.map_or(Meaning::Nothing, |()| Meaning::Answer(answer))
            }
            Icmpv4Type::EchoReply(echo) => Meaning::Echoed(echo.seq),
            _ => Meaning::Nothing,
        },
        TransportSlice::Udp(udp) if udp.destination_port() == GENERATE => {
            let Some(&[a, b, c, d]) = udp.payload().first_chunk() else {
                return Meaning::Nothing;
            };
            Meaning::Wanted(u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))
        }
        _ => Meaning::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESSES: Addresses = Addresses {
        own: Ipv4Addr::new(10, 99, 0, 2),
        peer: Ipv4Addr::new(10, 99, 0, 1),
    };

    #[test]
    fn an_echo_is_answered_with_as_many_bytes() {
        let request = echo(ADDRESSES, 7, 84);
        assert_eq!(request.len(), 84);
        let Meaning::Answer(answer) = read(&request) else {
            panic!("an answer");
        };
        assert_eq!(answer.len(), 84);
        assert_eq!(read(&answer), Meaning::Echoed(7));
    }

    #[test]
    fn lengths_are_held_within_what_fits() {
        assert_eq!(filler(ADDRESSES, 0).len(), usize::from(SHORTEST));
        assert_eq!(filler(ADDRESSES, u16::MAX).len(), usize::from(LONGEST));
        assert_eq!(read(&filler(ADDRESSES, 100)), Meaning::Nothing);
    }

    #[test]
    fn a_request_says_how_many_of_what_size() {
        let packet = request(ADDRESSES, 3, 1200);
        assert_eq!(read(&packet), Meaning::Wanted(3, 1200));
        assert_eq!(read(&packet[..20]), Meaning::Nothing);
        assert_eq!(read(b""), Meaning::Nothing);
    }
}
