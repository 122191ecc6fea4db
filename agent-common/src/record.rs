//! The record of a session, shared by kernel and agent through memory.
//!
//! One writer per part: what ingress sees writes [`SessionRecord::from_client`] and
//! [`SessionHead::rtt`], what egress sees writes [`SessionRecord::from_server`]; the
//! agent writes [`SessionHead::state`] when it frees the slot, and [`SessionHead::idle`] before
//! it reads what was counted. Every field the agent
//! reads while the session lives is an aligned word that means something by itself and,
//! where it counts, only grows: a reader that catches a record between two stores sees
//! one counter a segment ahead of another, and its next reading makes it good. Nothing
//! is derived from two fields as if they were of the same instant.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    Address, FlowKey, HalfOpen, Segment, Side, TcpOptions, payload,
    sequence::after,
    tls::{ContentType, RecordHeader},
};

/// A session: six cache lines. A segment touches the head of both directions' halves
/// and, in the steady state, writes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(64))]
pub struct SessionRecord {
    /// Who, since when, round-trip times.
    pub head: SessionHead,
    /// What the client sent.
    pub from_client: DirectionRecord,
    /// What the server sent.
    pub from_server: DirectionRecord,
    /// The client's last small TLS records.
    pub client_trail: Trail,
    /// The server's last small TLS records.
    pub server_trail: Trail,
}

/// What belongs to a session as a whole: one cache line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SessionHead {
    /// The connection.
    pub key: FlowKey,
    /// One of the constants of [`SlotState`].
    pub state: u8,
    /// Not 0 if no segment has come since the agent last looked, or since the record was made. The
    /// agent sets it, and a segment takes it back and leaves a [mark](crate::marks), so that in
    /// the steady state both are written once per scan.
    pub idle: u8,
    /// What the agent wants to be told: the constants of [`Attention`]. The agent writes it.
    pub attention: u8,
    /// The longest payload of a segment that is looked into for small records, in bytes; at
    /// most [`payload::SMALL`](crate::payload::SMALL). The agent writes it, by the cipher.
    pub small: u8,
    /// When the record was made, on the monotonic clock, in nanoseconds.
    pub start_ns: u64,
    /// Round-trip times from the server's host to the client.
    pub rtt: Rtt,
}

impl SessionHead {
    /// A segment has come. Whether it is the first in a while, and is to leave a mark.
    #[inline(always)]
    pub const fn stir(&mut self) -> bool {
        // Only read while it is 0: then no other CPU has to fetch the line anew.
        let idle = self.idle != 0;
        if idle {
            self.idle = 0;
        }
        idle
    }
}

/// What a slot holds.
pub struct SlotState;

impl SlotState {
    /// Nothing.
    pub const FREE: u8 = 0;
    /// A session that the index leads to.
    pub const LIVE: u8 = 1;
    /// A session whose client opened a new connection on the same ports; the index
    /// leads to the new one.
    pub const SUPERSEDED: u8 = 2;
}

/// What the agent wants to be told of a session.
pub struct Attention;

impl Attention {
    /// It looks at the session often enough to see by itself what a notice would tell.
    pub const WATCHED: u8 = 1;
    /// It has seen enough of the payload.
    pub const NO_PAYLOAD: u8 = 2;
}

/// Round-trip times in microseconds, 0 while unknown. Samples follow Karn's rule: none
/// is taken over a retransmission. They include the client's delayed acknowledgments.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Rtt {
    /// From the SYN-ACK to the client's ACK, if neither was repeated.
    pub handshake_us: u32,
    /// The smallest sample.
    pub min_us: u32,
    /// Smoothed, with a gain of 1/8 (RFC 6298, section 2).
    pub smoothed_us: u32,
    /// The largest sample.
    pub max_us: u32,
}

impl Rtt {
    /// The least by which a round-trip time must exceed the shortest to be
    /// [inflated](Self::inflated), in microseconds.
    pub const INFLATED_BY_US: u32 = 200_000;

    /// Whether a round-trip time says that packets wait in a queue that is too long: four
    /// times the shortest, and [`Self::INFLATED_BY_US`] more.
    #[inline(always)]
    pub const fn inflated(&self, rtt_us: u32) -> bool {
        self.min_us != 0
            && rtt_us / 4 >= self.min_us
            && rtt_us - self.min_us >= Self::INFLATED_BY_US
    }

    /// Takes a sample in.
    #[inline(always)]
    pub fn sample(&mut self, rtt_us: u32) {
        let rtt_us = if rtt_us == 0 { 1 } else { rtt_us };
        if self.min_us == 0 {
            self.smoothed_us = rtt_us;
            self.min_us = rtt_us;
        } else {
            self.smoothed_us = self.smoothed_us - self.smoothed_us / 8 + rtt_us / 8;
            if rtt_us < self.min_us {
                self.min_us = rtt_us;
            }
        }
        if rtt_us > self.max_us {
            self.max_us = rtt_us;
        }
    }
}

/// What one side sent: a cache line that every segment touches, and one for the rest.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct DirectionRecord {
    /// Payload seen, in bytes, repetitions included.
    pub bytes: u64,
    /// Segments seen, with or without payload, SYN included.
    pub segments: u64,
    /// When the last one was seen, monotonic clock, in nanoseconds; 0 if none was.
    pub last_seen_ns: u64,
    /// In `from_server`: the stretch whose acknowledgment gives the next RTT sample.
    /// In `from_client`: the gap in the sequence, from the first number missing to the
    /// last, and when the first was missed.
    pub mark: Mark,
    /// The highest sequence number seen, plus one; never lowered. SND.NXT of this side.
    pub seq_next: u32,
    /// The highest acknowledgment number this side sent.
    pub ack: u32,
    /// The interface that counts this direction; see [`crate::track`].
    pub ifindex: u32,
    /// When this side last sent payload, by [`Self::data_clock`]; 0 if it has not.
    pub data_seen: u16,
    /// The largest window field after the SYN, unscaled.
    pub max_window: u16,
    /// The last window field, unscaled.
    pub window: u16,
    /// The largest payload of a segment, in bytes.
    pub largest_segment: u16,
    /// TTL or hop limit that segments of this side usually have.
    pub ttl_usual: u8,
    /// TTL or hop limit of the last segment.
    pub ttl_last: u8,
    /// The constants of this type.
    pub flags: u8,
    /// Shift count of `window`, or [`Self::SCALE_UNKNOWN`].
    pub window_scale: u8,

    /// Payload sent again, in bytes.
    pub retransmitted_bytes: u64,
    /// Segments that carry data (or a FIN) seen before, and didn't just come late.
    pub retransmits: u32,
    /// Those among them whose data had been acknowledged when they passed here.
    pub spurious_retransmits: u32,
    /// Segments that filled a gap within half a round trip: overtaken, not lost.
    pub out_of_order: u32,
    /// Acknowledgments that repeat the last one while data is outstanding.
    pub duplicate_acks: u32,
    /// Segments with a zero window, without SYN, FIN or RST.
    pub zero_window_segments: u32,
    /// Times the window closed.
    pub zero_window_stalls: u32,
    /// Time spent with the window closed, finished stalls only, in milliseconds.
    pub stalled_ms: u32,
    /// The longest finished stall, in milliseconds.
    pub longest_stall_ms: u32,
    /// Probes of the other side's zero window.
    pub window_probes: u32,
    /// Keepalives.
    pub keepalives: u32,
    /// Since when this side's window is zero, by [`Self::stall_clock_ms`]; 0 if it is open.
    pub stall_since_ms: u32,
    /// Segments of the other side that this one reported as received twice (D-SACK,
    /// RFC 2883); stops at its largest value, as one may report what one likes.
    pub dsack_dups: u32,
    /// Segments with RST; stops at 65535.
    pub resets: u16,
    /// Segments with FIN; stops at 65535.
    pub fins: u16,
    /// The MSS this side announced, in bytes; 0 if unknown.
    pub mss: u16,
    /// SYNs (or SYN-ACKs) after the first; stops at 255.
    pub syn_retransmits: u8,
    /// Options this side announced: the constants of [`TcpOptions`].
    pub options: u8,
}

/// The last small TLS records of one side, of those that a segment holds whole: echoes,
/// aborts, alerts.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Trail {
    /// The number of this side's first byte; 0 if the handshake was not seen.
    pub first_seq: u32,
    /// When each was seen, by [`Self::clock`]; 0 if there is none.
    pub seen: [u32; Self::LENGTH],
    /// What each carries, and what the other side had done by then, packed: see
    /// [`SmallRecord`].
    pub what: [u8; Self::LENGTH],
    /// Bytes after each one's header.
    pub length: [u8; Self::LENGTH],
    /// How many there were, going round.
    pub written: u8,
    /// Zero.
    pub reserved: [u8; 3],
}

/// A record of a [`Trail`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SmallRecord {
    /// When it was seen, by [`Trail::clock`].
    pub seen: u32,
    /// What it carries: a [`ContentType`](crate::tls::ContentType).
    pub content_type: u8,
    /// Bytes after its header.
    pub length: u8,
    /// How many small records of its side came before it, modulo 16.
    pub number: u8,
    /// What the other side had done by then.
    pub other: OtherSide,
}

/// What the other side had done when a record passed here.
///
/// The clock can't tell whose record was first when they are some microseconds apart, and the
/// two directions have a CPU each. But what answers a record passes here after it, so it finds
/// that record noted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OtherSide {
    /// How many small records of it had been noted, modulo 16.
    pub noted: u8,
    /// It had sent a FIN, or a RST that counts.
    pub closed: bool,
}

impl SmallRecord {
    /// Numbers of records go round after as many.
    const NUMBERS: u8 = 16;

    /// Whether it had been noted when that `later` record of the other side was. Of two that
    /// are seconds apart, their times tell more: numbers go round.
    pub const fn was_noted_before(&self, later: &Self) -> bool {
        let since = later.other.noted.wrapping_sub(self.number) % Self::NUMBERS;
        since != 0 && since as usize <= Trail::LENGTH
    }
}

impl Trail {
    /// How many records are kept.
    pub const LENGTH: usize = 4;

    /// Nothing was seen.
    pub const EMPTY: Self = Self {
        first_seq: 0,
        seen: [0; Self::LENGTH],
        what: [0; Self::LENGTH],
        length: [0; Self::LENGTH],
        written: 0,
        reserved: [0; 3],
    };

    /// Bits of the monotonic clock that [`Self::clock`] leaves out: its unit is 65,536 ns.
    pub const CLOCK_SHIFT: u32 = 16;

    /// Of a packed record, the bits of its content type, less the first of those.
    const TYPE: u8 = 0b111;
    /// The bit that says that the other side had closed.
    const CLOSED: u8 = 0b1000;
    /// Bits below those that say how many records of the other side had been noted.
    const NOTED_SHIFT: u32 = 4;

    /// The clock that records are timed with: `now` (nanoseconds, monotonic) in units of 65.5
    /// microseconds, which wrap after 78 hours; never 0.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "it may wrap")]
    pub const fn clock(now: u64) -> u32 {
        let time = (now >> Self::CLOCK_SHIFT) as u32;
        if time == 0 { 1 } else { time }
    }

    /// Takes a record in that is seen `now` (nanoseconds, monotonic), in place of the oldest.
    /// Of its length, the last eight bits are kept.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "small ones are shorter")]
    pub fn push(&mut self, header: RecordHeader, other: OtherSide, now: u64) {
        let at = usize::from(self.written) % Self::LENGTH;
        let content_type = header.content_type.wrapping_sub(ContentType::FIRST) & Self::TYPE;
        let closed = if other.closed { Self::CLOSED } else { 0 };
        self.seen[at] = Self::clock(now);
        self.what[at] = content_type | closed | other.noted << Self::NOTED_SHIFT;
        self.length[at] = header.length as u8;
        self.written = self.written.wrapping_add(1);
    }

    /// The records, the last one first.
    #[expect(clippy::cast_possible_truncation, reason = "LENGTH is small")]
    pub fn newest_first(&self) -> impl Iterator<Item = SmallRecord> {
        (1..=Self::LENGTH as u8).map_while(|back| {
            let number = self.written.wrapping_sub(back);
            let at = usize::from(number) % Self::LENGTH;
            let what = self.what[at];
            (self.seen[at] != 0).then(|| SmallRecord {
                seen: self.seen[at],
                content_type: ContentType::FIRST + (what & Self::TYPE),
                length: self.length[at],
                number: number % SmallRecord::NUMBERS,
                other: OtherSide {
                    noted: what >> Self::NOTED_SHIFT,
                    closed: what & Self::CLOSED != 0,
                },
            })
        })
    }
}

/// A stretch of sequence numbers, and when it was noted.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Mark {
    /// Monotonic clock, in nanoseconds; 0 if there is no such stretch.
    pub since_ns: u64,
    /// Its first number.
    pub start: u32,
    /// The number after its last.
    pub end: u32,
}

impl Mark {
    /// There is no such stretch.
    pub const NONE: Self = Self {
        since_ns: 0,
        start: 0,
        end: 0,
    };
}

impl DirectionRecord {
    /// This side sent a FIN.
    pub const FIN_SENT: u8 = 1;
    /// This side sent a RST that the other end had to accept.
    pub const RESET: u8 = 2;
    /// This side sent the session's first FIN or accepted RST.
    pub const FIRST_TO_CLOSE: u8 = 4;
    /// A segment of this side ended the session.
    pub const ENDED: u8 = 8;
    /// That segment was a RST.
    pub const RESET_ENDED: u8 = 16;
    /// Of the client: new data came after the RST that ended the session, so somebody else
    /// had sent that. Of the server: it repeated its SYN-ACK after the client's ACK had
    /// come, so its queue of connections to accept was full.
    pub const AFTERWARDS: u8 = 32;
    /// This side's last acknowledgment reports that bytes beyond it have arrived (SACK).
    pub const HOLE_REPORTED: u8 = 64;
    /// Of the server: the session is known from data that it sent, its handshake was not seen.
    pub const MIDSTREAM: u8 = 128;

    /// The handshake was not seen, so the shift count of the window is not known.
    pub const SCALE_UNKNOWN: u8 = 0xff;

    /// The clock stalls are timed with: `now` (nanoseconds, monotonic) in milliseconds,
    /// which wrap after 49 days; never 0.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "it may wrap")]
    pub const fn stall_clock_ms(now: u64) -> u32 {
        let ms = (now / 1_000_000) as u32;
        if ms == 0 { 1 } else { ms }
    }

    /// Bits of the monotonic clock that [`Self::data_clock`] leaves out: its unit is 67,108,864
    /// ns.
    pub const DATA_CLOCK_SHIFT: u32 = 26;

    /// The clock that payload is timed with: `now` (nanoseconds, monotonic) in units of 67.1 ms,
    /// which wrap after 73 minutes; never 0.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "it may wrap")]
    pub const fn data_clock(now: u64) -> u16 {
        let time = (now >> Self::DATA_CLOCK_SHIFT) as u16;
        if time == 0 { 1 } else { time }
    }

    /// For how long this side has sent no payload at `now`, in nanoseconds: less than 67.1 ms
    /// too much or too little, and whatever is left of it after 73 minutes.
    #[inline(always)]
    pub const fn without_data_ns(&self, now: u64) -> u64 {
        (Self::data_clock(now).wrapping_sub(self.data_seen) as u64) << Self::DATA_CLOCK_SHIFT
    }

    /// The largest receive window this side offered, in bytes.
    #[inline(always)]
    pub const fn largest_window(&self) -> u32 {
        self.scaled(self.max_window)
    }

    /// How long this side's window has been zero at `now`, in milliseconds.
    #[inline(always)]
    pub const fn stalling_ms(&self, now: u64) -> u32 {
        if self.stall_since_ms == 0 {
            0
        } else {
            let since = Self::stall_clock_ms(now).wrapping_sub(self.stall_since_ms);
            // Another CPU's time may be a little behind.
            if since > u32::MAX / 2 { 0 } else { since }
        }
    }

    /// Whether a flag is set, or one of several.
    #[inline(always)]
    pub const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Whether this side has sent a FIN, or a RST that the other end had to accept.
    #[inline(always)]
    pub const fn has_closed(&self) -> bool {
        self.has(Self::FIN_SENT | Self::RESET)
    }

    /// The largest window that a window field of this side can stand for, in bytes.
    #[inline(always)]
    pub const fn scaled(&self, window: u16) -> u32 {
        let scale = if self.window_scale == Self::SCALE_UNKNOWN {
            TcpOptions::MAX_WINDOW_SCALE
        } else {
            self.window_scale & 15
        };
        (window as u32) << scale
    }
}

impl SessionRecord {
    const EMPTY: DirectionRecord = DirectionRecord {
        bytes: 0,
        segments: 0,
        last_seen_ns: 0,
        mark: Mark::NONE,
        seq_next: 0,
        ack: 0,
        ifindex: 0,
        data_seen: 0,
        max_window: 0,
        window: 0,
        largest_segment: 0,
        ttl_usual: 0,
        ttl_last: 0,
        flags: 0,
        window_scale: 0,
        retransmitted_bytes: 0,
        retransmits: 0,
        spurious_retransmits: 0,
        out_of_order: 0,
        duplicate_acks: 0,
        zero_window_segments: 0,
        zero_window_stalls: 0,
        stalled_ms: 0,
        longest_stall_ms: 0,
        window_probes: 0,
        keepalives: 0,
        stall_since_ms: 0,
        dsack_dups: 0,
        resets: 0,
        fins: 0,
        mss: 0,
        syn_retransmits: 0,
        options: 0,
    };

    /// A free slot: all zero.
    pub const FREE: Self = Self {
        head: SessionHead {
            key: FlowKey {
                client: Address([0; 4]),
                server: Address([0; 4]),
                client_port: 0,
                server_port: 0,
            },
            state: SlotState::FREE,
            idle: 0,
            attention: 0,
            small: 0,
            start_ns: 0,
            rtt: Rtt {
                handshake_us: 0,
                min_us: 0,
                smoothed_us: 0,
                max_us: 0,
            },
        },
        from_client: Self::EMPTY,
        from_server: Self::EMPTY,
        client_trail: Trail::EMPTY,
        server_trail: Trail::EMPTY,
    };

    /// Fills a free record from a handshake that a segment of `side` completes `now`. The
    /// state stays free until the record is published.
    #[inline(always)]
    pub fn open_from_handshake(
        &mut self,
        side: Side,
        key: &FlowKey,
        half_open: &HalfOpen,
        now: u64,
    ) {
        *self = Self::FREE;
        self.head.idle = 1;
        self.head.key = *key;
        self.head.start_ns = now;
        self.head.small = payload::SMALL_AT_FIRST;
        half_open.open(&mut self.from_client, &mut self.from_server);
        self.client_trail.first_seq = self.from_client.seq_next;
        self.server_trail.first_seq = self.from_server.seq_next;
        let rtt_us = half_open.rtt_us(now);
        // Unless it was the server's own segment that told.
        if rtt_us != 0 && side == Side::Client {
            self.head.rtt.sample(rtt_us);
            self.head.rtt.handshake_us = rtt_us;
        }
    }

    /// Fills a free record from a segment with data that the server sent.
    #[inline(always)]
    pub fn open_midstream(&mut self, key: &FlowKey, segment: &Segment, now: u64) {
        *self = Self::FREE;
        self.head.idle = 1;
        self.head.key = *key;
        self.head.start_ns = now;
        self.head.small = payload::SMALL_AT_FIRST;
        self.head.attention = Attention::NO_PAYLOAD;
        self.from_server.flags = DirectionRecord::MIDSTREAM;
        self.from_server.seq_next = segment.seq;
        self.from_server.ack = segment.ack;
        self.from_server.window_scale = DirectionRecord::SCALE_UNKNOWN;
        self.from_client.seq_next = segment.ack;
        self.from_client.ack = segment.seq;
        self.from_client.window_scale = DirectionRecord::SCALE_UNKNOWN;
        // Unknown until the client says something; zero would read as a closed window.
        self.from_client.window = u16::MAX;
    }

    /// What `side` sent.
    #[inline(always)]
    pub const fn sent_by(&self, side: Side) -> &DirectionRecord {
        match side {
            Side::Client => &self.from_client,
            Side::Server => &self.from_server,
        }
    }

    /// The last small records of `side`.
    #[inline(always)]
    pub const fn trail_of(&self, side: Side) -> &Trail {
        match side {
            Side::Client => &self.client_trail,
            Side::Server => &self.server_trail,
        }
    }

    /// The same, to write to.
    #[inline(always)]
    pub(crate) const fn trail_of_mut(&mut self, side: Side) -> &mut Trail {
        match side {
            Side::Client => &mut self.client_trail,
            Side::Server => &mut self.server_trail,
        }
    }

    /// What the side other than this one has done so far.
    #[inline(always)]
    pub(crate) const fn other_than(&self, side: Side) -> OtherSide {
        let (sent, trail) = match side {
            Side::Client => (&self.from_server, &self.server_trail),
            Side::Server => (&self.from_client, &self.client_trail),
        };
        OtherSide {
            noted: trail.written % SmallRecord::NUMBERS,
            closed: sent.has_closed(),
        }
    }

    /// Whether the handshake was not seen.
    #[inline(always)]
    pub const fn is_midstream(&self) -> bool {
        self.from_server.has(DirectionRecord::MIDSTREAM)
    }

    /// Whether a segment has ended the session.
    #[inline(always)]
    pub const fn ended(&self) -> bool {
        (self.from_client.flags | self.from_server.flags) & DirectionRecord::ENDED != 0
    }

    /// Whether both sides' FINs are acknowledged. If each was so in the same instant, each CPU
    /// may have missed that the other's was, and neither has [ended](Self::ended) the session.
    pub const fn is_closed(&self) -> bool {
        let (client, server) = (&self.from_client, &self.from_server);
        client.flags & server.flags & DirectionRecord::FIN_SENT != 0
            && after(client.ack, server.seq_next) >= 0
            && after(server.ack, client.seq_next) >= 0
    }
}

const _: () = assert!(size_of::<SessionHead>() == 64);
const _: () = assert!(size_of::<DirectionRecord>() == 128);
const _: () = assert!(size_of::<Trail>() == 32);
const _: () = assert!(size_of::<SessionRecord>() == 384);
