//! What the path does to packets.

use std::{net::IpAddr, time::Duration};

use sstpulse_common::Side;

/// Who sent the packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// The client, toward the server.
    FromClient,
    /// The server, toward the client.
    FromServer,
}

impl Direction {
    /// Its name in events.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FromClient => "from_client",
            Self::FromServer => "from_server",
        }
    }
}

impl From<Side> for Direction {
    fn from(side: Side) -> Self {
        match side {
            Side::Client => Self::FromClient,
            Side::Server => Self::FromServer,
        }
    }
}

/// Faults of both directions. The default is a clean path.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Faults {
    /// Faults of packets the client sent.
    pub from_client: DirectionFaults,
    /// Faults of packets the server sent.
    pub from_server: DirectionFaults,
}

/// Faults of one direction, applied in this order: cut, MTU, rules, loss; then the packet is
/// duplicated, delayed and held.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DirectionFaults {
    /// The client they are for, by its address; all packets otherwise.
    pub client: Option<IpAddr>,
    /// Drops every packet.
    pub cut: bool,
    /// Largest IP packet that passes, in bytes.
    pub mtu: Option<u16>,
    /// Whether a packet that is too big is answered with ICMP "fragmentation needed" or, with IPv6,
    /// "packet too big"; otherwise the path is a black hole for it.
    pub icmp: bool,
    /// Packets lost.
    pub loss: Loss,
    /// Added to the way of every packet.
    pub delay: Duration,
    /// Up to this much is added on top, evenly spread; may reorder packets.
    pub jitter: Duration,
    /// Packets held until later ones have overtaken them.
    pub reorder: Option<Reorder>,
    /// Every n-th packet is delivered twice; 0 for none.
    pub duplicate_every: u32,
    /// What happens once, to one packet each.
    pub rules: Vec<Rule>,
}

/// Which packets are lost.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Loss {
    /// None.
    #[default]
    None,
    /// Each by itself, with this probability from 0 to 1. The same seed loses the same packets.
    Random {
        /// Share of packets lost, 0 to 1.
        probability: f64,
        /// Start of the random sequence.
        seed: u64,
    },
    /// The n-th, 2n-th, 3n-th... packet since the fault was set; 0 for none.
    EveryNth(u32),
}

/// Every n-th packet is held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reorder {
    /// Packets from one held to the next; 0 for none.
    pub every: u32,
    /// How long it is held.
    pub hold: Duration,
}

/// Something done once, to one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Packets that count.
    pub what: Match,
    /// Which of them is meant, from 1, counted since the rule was set.
    pub nth: u32,
    /// What is done to it.
    pub action: Action,
}

/// Packets a rule counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Match {
    /// Every packet.
    Any,
    /// TCP segments with payload.
    Data,
    /// SYN without ACK.
    Syn,
    /// SYN with ACK.
    SynAck,
    /// ACK without payload, SYN, FIN or RST.
    PureAck,
    /// FIN.
    Fin,
    /// RST.
    Rst,
}

/// What a rule does to its packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It is lost.
    Drop,
    /// It is held this long.
    Delay(Duration),
    /// It is delivered twice.
    Duplicate,
}
