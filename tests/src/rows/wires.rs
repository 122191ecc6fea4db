//! What carries the segments.

use super::{Row, rows};
use crate::conversation::{Link, Network, c, s};

#[rustfmt::skip]
pub(super) fn wires() -> Vec<Row> {
    rows! {
        "IPv6": |t| {
            t.network(Network::Ipv6).handshake().send(c(0, 0, 100)).send(s(0, 100, 300));
        } => |left| {
            assert_eq!((left.client().bytes, left.server().bytes), (100, 300));
            assert!(!left.session().head.key.is_ipv4());
        }
        "IPv6 with extension headers": |t| {
            t.network(Network::Ipv6Extensions).handshake().send(c(0, 0, 100)).send(s(0, 100, 300));
        } => |left| {
            assert_eq!((left.client().bytes, left.server().bytes), (100, 300));
            assert_eq!(left.client().mss, 1460);
        }
        "IPv4 with options": |t| {
            t.network(Network::Ipv4Options).handshake().send(c(0, 0, 100)).send(s(0, 100, 300));
        } => |left| {
            assert_eq!((left.client().bytes, left.server().bytes), (100, 300));
            assert_eq!(left.server().mss, 1400);
        }
        "802.1Q": |t| {
            t.link(Link::Vlan).handshake().send(c(0, 0, 100)).send(s(0, 100, 300));
        } => |left| {
            assert_eq!((left.client().bytes, left.server().bytes), (100, 300));
        }
        "802.1ad over 802.1Q (QinQ), with IPv6": |t| {
            t.network(Network::Ipv6).link(Link::QinQ).handshake().send(c(0, 0, 100)).send(s(0, 100, 300));
        } => |left| {
            assert_eq!((left.client().bytes, left.server().bytes), (100, 300));
        }
        "PPPoE": |t| {
            t.link(Link::Pppoe).handshake().send(c(0, 0, 100)).send(s(0, 100, 300));
        } => |left| {
            assert_eq!((left.client().bytes, left.server().bytes), (100, 300));
        }
        "a device without Ethernet headers": |t| {
            t.link(Link::None).handshake().send(c(0, 0, 100)).send(s(0, 100, 300));
        } => |left| {
            assert_eq!((left.client().bytes, left.server().bytes), (100, 300));
        }
        "a device without Ethernet headers, with IPv6": |t| {
            t.link(Link::None).network(Network::Ipv6).handshake().send(c(0, 0, 100)).send(s(0, 100, 300));
        } => |left| {
            assert_eq!((left.client().bytes, left.server().bytes), (100, 300));
        }
    }
}
