//! The network a client is in.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use sstpulse_common::Address;

/// The network a client is in: of IPv4 the first 24 bits, of IPv6 the first 48.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Prefix {
    V4([u8; 3]),
    V6([u8; 6]),
}

impl Prefix {
    /// The prefix of an address.
    pub(super) fn of(address: Address) -> Self {
        match IpAddr::from(address) {
            IpAddr::V4(address) => {
                let mut first = [0; 3];
                first.copy_from_slice(&address.octets()[..3]);
                Self::V4(first)
            }
            IpAddr::V6(address) => {
                let mut first = [0; 6];
                first.copy_from_slice(&address.octets()[..6]);
                Self::V6(first)
            }
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::V4([a, b, c]) => write!(formatter, "{}/24", Ipv4Addr::new(a, b, c, 0)),
            Self::V6(bytes) => {
                let mut octets = [0; 16];
                octets[..6].copy_from_slice(&bytes);
                write!(formatter, "{}/48", Ipv6Addr::from(octets))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_as_a_network() {
        let cases = [
            ("203.0.113.77", "203.0.113.0/24"),
            ("2001:db8:1:2::3", "2001:db8:1::/48"),
            ("a4e:100::1", "a4e:100::/48"),
        ];
        for (address, network) in cases {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(Prefix::of(address.into()).to_string(), network);
        }
        let alike = ["10.78.1.0", "a4e:100::"].map(|address| {
            let address: IpAddr = address.parse().unwrap();
            Prefix::of(address.into())
        });
        assert_ne!(alike[0], alike[1]);
    }
}
