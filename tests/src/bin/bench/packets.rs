//! Packets that the driver makes its own of.

use anyhow::Result;
use etherparse::{PacketBuilder, TcpOptionElement};

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    V4,
    V6,
}

/// What a segment is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flags {
    Syn,
    SynAck,
    Ack,
}

/// A segment to a port, with so many bytes of payload; the driver sets addresses, ports and
/// numbers.
pub(crate) fn packet(version: Version, payload: u32, flags: Flags, port: u16) -> Result<Vec<u8>> {
    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
    let ethernet = PacketBuilder::ethernet2(MAC, MAC);
    let internet = match version {
        Version::V4 => ethernet.ipv4([10, 0, 0, 0], [192, 0, 2, 1], 64),
        Version::V6 => ethernet.ipv6([0; 16], [0; 16], 64),
    };
    let tcp = internet.tcp(40_000, port, 0, u16::MAX);
    let options = [
        TcpOptionElement::Noop,
        TcpOptionElement::Noop,
        TcpOptionElement::Timestamp(1, 1),
    ];
    let tcp = match flags {
        Flags::Syn => tcp.syn().options(&options)?,
        Flags::SynAck => tcp.syn().ack(1).options(&options)?,
        Flags::Ack => tcp.ack(1).options(&options)?,
    };
    let payload = vec![0; payload as usize];
    let mut bytes = Vec::new();
    tcp.write(&mut bytes, &payload)?;
    Ok(bytes)
}
