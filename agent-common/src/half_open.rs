//! Connections whose handshake is not done.
//!
//! They live in a table of their own, which a flood of SYNs may churn: nothing here is
//! proof of a real peer.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{DirectionRecord, Segment, Side, TcpOptions, sequence};

/// An attempt: what was seen of a handshake so far.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct HalfOpen {
    /// When the first segment was seen, monotonic clock, in nanoseconds.
    pub first_ns: u64,
    /// When the last one was seen.
    pub last_ns: u64,
    /// When the last SYN-ACK was seen; 0 if none was.
    pub syn_ack_ns: u64,
    /// Time between the last two SYNs or SYN-ACKs of one side, in milliseconds.
    pub gap_ms: u32,
    /// Sequence number of the SYN.
    pub client_isn: u32,
    /// Sequence number of the SYN-ACK; meaningful if there was one.
    pub server_isn: u32,
    /// The interface the client's SYN came in by; 0 if it was not seen.
    pub client_ifindex: u32,
    /// The interface the SYN-ACK left by; 0 if it was not seen.
    pub server_ifindex: u32,
    /// What the client announced.
    pub client_options: TcpOptions,
    /// What the server announced.
    pub server_options: TcpOptions,
    /// Window field of the SYN.
    pub client_window: u16,
    /// Window field of the SYN-ACK.
    pub server_window: u16,
    /// SYNs seen; stops at 65535.
    pub syns: u16,
    /// SYN-ACKs seen; stops at 65535.
    pub syn_acks: u16,
    /// TTL of the SYN.
    pub client_ttl: u8,
    /// TTL of the SYN-ACK.
    pub server_ttl: u8,
    /// Who refused it: one of the constants of this type.
    pub reset_by: u8,
    /// 1 if a session lived on the same ports when it began: it may come to nothing
    /// without having failed.
    pub over_session: u8,
}

/// How far a client may be past its first byte and still prove the handshake: its first
/// ACKs may be lost, but more than an unscaled window it can't have sent.
const PROOF_WINDOW: u32 = 0xffff;

impl HalfOpen {
    /// Nobody reset it.
    pub const NOT_RESET: u8 = 0;
    /// The client answered the SYN-ACK with a RST.
    pub const RESET_BY_CLIENT: u8 = 1;
    /// The server answered the SYN with a RST.
    pub const RESET_BY_SERVER: u8 = 2;

    /// What a client's first SYN says.
    #[inline(always)]
    pub fn from_syn(segment: &Segment, over_session: bool, now: u64) -> Self {
        let mut half_open = Self {
            first_ns: now,
            client_isn: segment.seq,
            over_session: u8::from(over_session),
            ..Self::default()
        };
        half_open.syn(segment, now);
        half_open
    }

    /// What a SYN-ACK says whose SYN was not seen.
    #[inline(always)]
    pub fn from_syn_ack(segment: &Segment, now: u64) -> Self {
        let mut half_open = Self {
            first_ns: now,
            client_isn: segment.ack.wrapping_sub(1),
            ..Self::default()
        };
        half_open.syn_ack(segment, now);
        half_open
    }

    /// Takes note of a SYN with this attempt's number; false if another interface counts it.
    #[inline(always)]
    pub fn syn(&mut self, segment: &Segment, now: u64) -> bool {
        if self.syns == 0 {
            self.client_options = segment.options;
            self.client_window = segment.window;
            self.client_ttl = segment.ttl;
            self.client_ifindex = segment.ifindex;
        } else if self.client_ifindex != segment.ifindex {
            // The same SYN on its way through a second watched interface.
            return false;
        } else {
            self.gap_ms = milliseconds(now.saturating_sub(self.last_ns));
        }
        self.syns = self.syns.saturating_add(1);
        self.last_ns = now;
        true
    }

    /// Takes note of a SYN-ACK that answers this attempt's SYN; false if another interface
    /// counts it.
    #[inline(always)]
    pub fn syn_ack(&mut self, segment: &Segment, now: u64) -> bool {
        if self.syn_acks != 0 && self.server_ifindex != segment.ifindex {
            return false;
        }
        if self.syn_acks != 0 {
            self.gap_ms = milliseconds(now.saturating_sub(self.syn_ack_ns));
        }
        // With SYN cookies, each SYN-ACK has a number of its own.
        self.server_isn = segment.seq;
        self.server_options = segment.options;
        self.server_window = segment.window;
        self.server_ttl = segment.ttl;
        self.server_ifindex = segment.ifindex;
        self.syn_acks = self.syn_acks.saturating_add(1);
        self.syn_ack_ns = now;
        self.last_ns = now;
        true
    }

    /// Whether a SYN-ACK answers this attempt's SYN, or data in it (RFC 7413).
    #[inline(always)]
    pub const fn answered_by(&self, syn_ack: &Segment) -> bool {
        let first = self.client_isn.wrapping_add(1);
        sequence::within(syn_ack.ack, first, first.wrapping_add(PROOF_WINDOW))
    }

    /// Whether a segment without SYN completes the handshake: both ends know each other's
    /// number, and the server has sent nothing that we have not seen.
    #[inline(always)]
    pub const fn proved_by(&self, side: Side, segment: &Segment) -> bool {
        if self.syn_acks == 0 || segment.flags.rst() || !segment.flags.ack() {
            return false;
        }
        // The server has forgotten it then. What the client sent before, and comes later, gets
        // a RST.
        if self.is_reset_by_client() {
            return false;
        }
        let client = self.client_isn.wrapping_add(1);
        let server = self.server_isn.wrapping_add(1);
        let (client_number, server_number) = match side {
            Side::Client => (segment.seq, segment.ack),
            Side::Server => (segment.ack, segment.seq),
        };
        sequence::within(client_number, client, client.wrapping_add(PROOF_WINDOW))
            && server_number == server
    }

    /// Takes note of a RST if it belongs to this attempt, and tells whether it does.
    #[inline(always)]
    pub fn reset(&mut self, side: Side, segment: &Segment, now: u64) -> bool {
        let first = self.client_isn.wrapping_add(1);
        let (number, by) = match side {
            Side::Client => (segment.seq, Self::RESET_BY_CLIENT),
            Side::Server => (segment.ack, Self::RESET_BY_SERVER),
        };
        if number == first && self.reset_by == Self::NOT_RESET {
            self.reset_by = by;
            self.last_ns = now;
        }
        number == first
    }

    /// Whether the client has answered the SYN-ACK with a RST.
    #[inline(always)]
    pub const fn is_reset_by_client(&self) -> bool {
        self.reset_by == Self::RESET_BY_CLIENT
    }

    /// From the SYN-ACK to `now`, in microseconds, at least 1; 0 where a repeated SYN or
    /// SYN-ACK leaves open which one was answered (Karn's rule).
    #[inline(always)]
    pub fn rtt_us(&self, now: u64) -> u32 {
        if self.syn_acks == 1 {
            microseconds(now.saturating_sub(self.syn_ack_ns)).max(1)
        } else {
            0
        }
    }

    /// What both sides have said, as the beginning of their records.
    #[inline(always)]
    pub(crate) fn open(&self, client: &mut DirectionRecord, server: &mut DirectionRecord) {
        // A scale holds only if both announced one (RFC 7323, section 2.2).
        let both = self.client_options.present & self.server_options.present;
        let scaled = both & TcpOptions::WINDOW_SCALE != 0;
        let either = self.client_options.present | self.server_options.present;

        client.seq_next = self.client_isn.wrapping_add(1);
        client.ack = self.server_isn.wrapping_add(1);
        client.segments = u64::from(self.syns);
        client.syn_retransmits = one_less(self.syns);
        client.last_seen_ns = if self.syns == 0 { 0 } else { self.first_ns };
        client.ifindex = self.client_ifindex;
        client.ttl_usual = self.client_ttl;
        client.ttl_last = self.client_ttl;
        announce(client, self.client_options, self.client_window, scaled);
        if self.syns == 0 {
            client.window_scale = DirectionRecord::SCALE_UNKNOWN;
            client.window = u16::MAX;
        }

        server.seq_next = self.server_isn.wrapping_add(1);
        server.ack = self.client_isn.wrapping_add(1);
        server.segments = u64::from(self.syn_acks);
        server.syn_retransmits = one_less(self.syn_acks);
        server.last_seen_ns = self.syn_ack_ns;
        server.ifindex = self.server_ifindex;
        server.ttl_usual = self.server_ttl;
        server.ttl_last = self.server_ttl;
        let server_scaled = scaled || self.syns == 0;
        announce(
            server,
            self.server_options,
            self.server_window,
            server_scaled,
        );
        if either & TcpOptions::UNREAD != 0 {
            client.window_scale = DirectionRecord::SCALE_UNKNOWN;
            server.window_scale = DirectionRecord::SCALE_UNKNOWN;
        }
    }
}

/// Takes over what one side announced in its SYN.
#[inline(always)]
fn announce(record: &mut DirectionRecord, options: TcpOptions, window: u16, scaled: bool) {
    record.mss = options.mss;
    record.options = options.present;
    record.window_scale = if scaled { options.window_scale } else { 0 };
    // The window of a SYN is never scaled (RFC 7323, section 2.2).
    record.window = window;
}

/// How many of `count` segments were repetitions; stops at 255.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "cut off at 255")]
fn one_less(count: u16) -> u8 {
    let repetitions = count.saturating_sub(1);
    if repetitions > 255 {
        255
    } else {
        repetitions as u8
    }
}

/// Nanoseconds as whole milliseconds; stops at 49 days.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "cut off at u32::MAX")]
pub(crate) fn milliseconds(ns: u64) -> u32 {
    let ms = ns / 1_000_000;
    if ms > u64::from(u32::MAX) {
        u32::MAX
    } else {
        ms as u32
    }
}

/// Nanoseconds as whole microseconds; stops at 71 minutes.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "cut off at u32::MAX")]
pub(crate) fn microseconds(ns: u64) -> u32 {
    let us = ns / 1_000;
    if us > u64::from(u32::MAX) {
        u32::MAX
    } else {
        us as u32
    }
}

const _: () = assert!(size_of::<HalfOpen>() == 64);
