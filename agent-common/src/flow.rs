//! Which connection: addresses and ports, named by role and not by vantage point.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// An IPv6 address, or an IPv4 address as IPv4-mapped IPv6 (RFC 4291, section 2.5.5.2).
///
/// The words hold the bytes as they stand on the wire, so that the kernel half can copy
/// them without swapping.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Address(pub [u32; 4]);

impl Address {
    /// The IPv4 address whose four bytes, in wire order, are the bytes of `word`.
    #[inline(always)]
    pub const fn from_v4_word(word: u32) -> Self {
        Self([0, 0, 0x0000_ffff_u32.to_be(), word])
    }
}

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        let octets = match address {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            IpAddr::V6(v6) => v6.octets(),
        };
        zerocopy::transmute!(octets)
    }
}

impl From<Address> for IpAddr {
    fn from(address: Address) -> Self {
        let octets: [u8; 16] = zerocopy::transmute!(address);
        Ipv6Addr::from(octets).to_canonical()
    }
}

/// A connection: who is the client, who is the server. Ports in host byte order.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct FlowKey {
    /// The end that is not on a watched port.
    pub client: Address,
    /// The end that is on a watched port, local to the watched interface.
    pub server: Address,
    /// The client's TCP port.
    pub client_port: u16,
    /// The server's TCP port, one of those watched.
    pub server_port: u16,
}

impl FlowKey {
    /// The client's end.
    pub fn client(&self) -> SocketAddr {
        SocketAddr::new(self.client.into(), self.client_port)
    }

    /// The server's end.
    pub fn server(&self) -> SocketAddr {
        SocketAddr::new(self.server.into(), self.server_port)
    }

    /// The flow between these two ends.
    pub fn new(client: SocketAddr, server: SocketAddr) -> Self {
        Self {
            client: client.ip().into(),
            server: server.ip().into(),
            client_port: client.port(),
            server_port: server.port(),
        }
    }

    /// Whether the packets are IPv4.
    #[inline(always)]
    pub const fn is_ipv4(&self) -> bool {
        let [first, second, third, _] = self.client.0;
        let [.., mapped, _] = Self::UNSPECIFIED_V4.0;
        first | second == 0 && third == mapped
    }

    const UNSPECIFIED_V4: Address = Address::from_v4_word(Ipv4Addr::UNSPECIFIED.to_bits());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_round_trip() {
        for text in ["192.0.2.1", "2001:db8::1", "0.0.0.0", "::", "::1"] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(IpAddr::from(Address::from(address)), address);
        }
    }

    #[test]
    fn words_are_wire_bytes() {
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        let word = u32::from_ne_bytes([192, 0, 2, 1]);
        assert_eq!(Address::from(address), Address::from_v4_word(word));
    }
}
