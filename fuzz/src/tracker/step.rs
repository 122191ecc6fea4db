//! From bytes to segments whose numbers lie near those that decide.

use arbitrary::Arbitrary;
use sstpulse_common::{
    DirectionRecord, HalfOpen, Segment, SessionRecord, Side, TcpFlags, TcpOptions,
};

use super::{FLOWS, SLOTS};

/// One thing that happens. Small numbers choose from tables, so that each bit matters.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(super) struct Step {
    act: u8,
    flow: u8,
    flags: u8,
    seq: Near,
    ack: Near,
    window: u8,
    payload: u16,
    size: u8,
    way: u8,
    wait: u16,
    extra: u16,
}

/// A number, named by one that decides and its distance.
#[derive(Arbitrary, Clone, Copy, Debug)]
struct Near {
    edge: u8,
    distance: i16,
}

/// What happens.
pub(super) enum Act {
    /// A segment passes.
    Segment,
    /// The agent lets the index forget a slot.
    Retire(usize),
    /// The agent frees a slot.
    Release(usize),
    /// The agent forgets an attempt.
    Forget(usize),
}

const ACK: u8 = TcpFlags::ACK;

/// The control bits that mean something here.
const FLAGS: [u8; 12] = [
    ACK,
    TcpFlags::SYN,
    TcpFlags::SYN | ACK,
    ACK | TcpFlags::PSH,
    TcpFlags::FIN | ACK,
    TcpFlags::RST,
    TcpFlags::RST | ACK,
    TcpFlags::FIN | TcpFlags::PSH | ACK,
    0,
    TcpFlags::FIN,
    TcpFlags::FIN | TcpFlags::RST | ACK,
    TcpFlags::FIN | TcpFlags::SYN | ACK,
];

/// Window fields.
const WINDOWS: [u16; 6] = [1_000, 0, 1, 64_000, u16::MAX, 8];

/// Sizes that offload cuts to; 0 for a buffer of one segment.
const SIZES: [u32; 8] = [0, 1, 2, 3, 100, 536, 1_448, 65_000];

/// Initial sequence numbers of the client and of the server, by flow.
const ISNS: [(u32, u32); FLOWS] = [
    (u32::MAX - 9, 1_000),
    (i32::MAX as u32 - 9, u32::MAX - 99),
    (0, i32::MAX as u32),
    (500_000_000, 3_000_000_000),
];

/// The least window that is allowed for; see `sstpulse_common::track`.
const LEAST_WINDOW: u32 = 66_000;

impl Step {
    pub(super) fn act(&self) -> Act {
        let number = usize::from(self.flow);
        match self.act {
            0..240 => Act::Segment,
            240..246 => Act::Retire(number % SLOTS),
            246..252 => Act::Release(number % SLOTS),
            252..=255 => Act::Forget(number % FLOWS),
        }
    }

    pub(super) fn flow(&self) -> usize {
        usize::from(self.flow) % FLOWS
    }

    pub(super) fn side(&self) -> Side {
        if self.way & 1 == 0 {
            Side::Client
        } else {
            Side::Server
        }
    }

    /// Time since the step before: up to 16384 of nothing, microseconds, milliseconds or
    /// seconds.
    pub(super) fn wait_ns(&self) -> u64 {
        const UNITS: [u64; 4] = [0, 1_000, 1_000_000, 1_000_000_000];
        UNITS[usize::from(self.wait & 3)] * u64::from(self.wait >> 2)
    }

    /// The segment that passes, given what the tables know of its flow.
    pub(super) fn segment(
        &self,
        flow: usize,
        record: Option<&SessionRecord>,
        attempt: Option<&HalfOpen>,
    ) -> Segment {
        let flags = TcpFlags(choose(&FLAGS, self.flags));
        let edges = Edges::of(self.side(), flow, flags, record, attempt);
        let payload = u32::from(self.payload);
        let size = choose(&SIZES, self.size);
        let cut = size != 0 && payload > size;
        let [low, high] = self.extra.to_le_bytes();
        let mut segment = Segment {
            seq: self.seq.resolve(&edges.seq),
            ack: self.ack.resolve(&edges.ack),
            payload,
            segments: if cut { payload.div_ceil(size) } else { 1 },
            segment_size: if cut { size } else { payload },
            ifindex: 1 + u32::from(self.way >> 4) % 3,
            window: choose(&WINDOWS, self.window),
            flags,
            ttl: 60 + (self.way >> 6),
            forwarded: self.way & 2 != 0 && self.side() == Side::Server,
            from_capture: false,
            options: TcpOptions::default(),
            duplicate: 0,
            hole_reported: false,
        };
        if flags.syn() {
            segment.options = TcpOptions {
                mss: self.extra,
                window_scale: high % (TcpOptions::MAX_WINDOW_SCALE + 1),
                present: low & 7,
            };
        } else {
            segment.duplicate = u32::from(low) << (high % 23);
            segment.hole_reported = high & 0x80 != 0;
        }
        segment
    }
}

impl Near {
    fn resolve(self, edges: &[u32; 8]) -> u32 {
        choose(edges, self.edge).wrapping_add_signed(i32::from(self.distance))
    }
}

/// The numbers that decide. The first of each is what a well-behaved peer would say.
struct Edges {
    seq: [u32; 8],
    ack: [u32; 8],
}

impl Edges {
    fn of(
        side: Side,
        flow: usize,
        flags: TcpFlags,
        record: Option<&SessionRecord>,
        attempt: Option<&HalfOpen>,
    ) -> Self {
        let (client, server) = match attempt {
            Some(attempt) => (attempt.client_isn, attempt.server_isn),
            None => ISNS[flow],
        };
        // The server's number is not known before it has said it.
        let server = match attempt {
            Some(attempt) if attempt.syn_acks == 0 => ISNS[flow].1,
            _ => server,
        };
        let isns = match side {
            Side::Client => (client, server),
            Side::Server => (server, client),
        };
        match record {
            Some(record) => {
                let (own, peer) = match side {
                    Side::Client => (&record.from_client, &record.from_server),
                    Side::Server => (&record.from_server, &record.from_client),
                };
                Self::of_session(own, peer, isns)
            }
            None => Self::of_handshake(isns, flags),
        }
    }

    fn of_session(own: &DirectionRecord, peer: &DirectionRecord, isns: (u32, u32)) -> Self {
        let own_window = own.largest_window().max(LEAST_WINDOW);
        let peer_window = peer.largest_window().max(LEAST_WINDOW);
        Self {
            seq: [
                own.seq_next,
                peer.ack,
                own.mark.start,
                own.mark.end,
                peer.ack.wrapping_add(peer_window),
                own.seq_next.wrapping_sub(peer_window),
                isns.0,
                own.seq_next.wrapping_add(1 << 31),
            ],
            ack: [
                peer.seq_next,
                own.ack,
                peer.mark.start,
                peer.mark.end,
                own.ack.wrapping_sub(own_window),
                peer.seq_next.wrapping_add(own_window),
                isns.1.wrapping_add(1),
                peer.seq_next.wrapping_add(1 << 31),
            ],
        }
    }

    fn of_handshake((own, peer): (u32, u32), flags: TcpFlags) -> Self {
        let first = own.wrapping_add(1);
        let next = if flags.syn() { own } else { first };
        let answer = peer.wrapping_add(1);
        Self {
            seq: [
                next,
                own,
                first,
                first.wrapping_add(0xffff),
                0,
                next,
                own,
                next,
            ],
            ack: [
                answer,
                peer,
                answer.wrapping_add(0xffff),
                0,
                answer,
                peer,
                answer,
                peer,
            ],
        }
    }
}

/// One of a table.
fn choose<T: Copy>(table: &[T], number: u8) -> T {
    table[usize::from(number) % table.len()]
}
