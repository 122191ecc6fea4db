//! What is known of a session when it ends.

use sstpulse_common::{DirectionRecord, Notice, SessionRecord, Side, Told};

use super::said::Sayings;
use crate::{
    event::{Counters, Ending},
    tls::{Milestone, Phase, TlsFacts},
};

/// What is known of a session when it ends. Times are in nanoseconds of one clock.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// Who ended it, and how.
    pub end: Ending,
    /// What was counted.
    pub record: &'a SessionRecord,
    /// Everything the client sent.
    pub from_client: Counters,
    /// Everything the server sent.
    pub from_server: Counters,
    /// What TLS and the set-up of the tunnel showed; `None` if its beginning was not seen.
    pub tls: Option<&'a TlsFacts>,
    /// What both sides said last.
    pub sayings: Sayings,
    /// When the last segment was seen.
    pub end_ns: u64,
    /// When the first FIN or RST was seen, if one was.
    pub closing_ns: Option<u64>,
    /// When the client last sent data, exact to 67.1 ms.
    pub client_spoke_ns: u64,
    /// The first RSTs of the client.
    pub resets: &'a [Reset],
    /// The last time the server's retransmission timer ran out again and again.
    pub timeouts: Option<Timeouts>,
    /// Stalls of a second or more that ended with something sent again.
    pub stalls: u32,
    /// The last time that nothing was sent either way for long.
    pub quiet: Option<Quiet>,
    /// The share of the session's time in which the round-trip time was inflated.
    pub rtt_inflated_percent: f32,
    /// What happened to other sessions.
    pub neighbours: Neighbours,
    /// What the host knows.
    pub host: HostFacts,
}

/// A RST of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reset {
    /// When it was seen.
    pub time_ns: u64,
    /// Its sequence number.
    pub seq: u32,
    /// Its acknowledgment number, if it bears one.
    pub ack: Option<u32>,
    /// Its TTL or hop limit.
    pub ttl: u8,
    /// A FIN of either side had been seen before.
    pub after_fin: bool,
    /// Its number lies below what the client had sent.
    pub below_data: bool,
    /// It ended the session.
    pub ended: bool,
}

impl Reset {
    /// The RST that a notice tells of, as the record stands after it.
    pub fn of(notice: &Notice, record: &SessionRecord) -> Self {
        use sstpulse_common::{TcpFlags, sequence::after};

        let fin = DirectionRecord::FIN_SENT;
        Self {
            time_ns: notice.time_ns,
            seq: notice.seq,
            ack: TcpFlags(notice.flags).ack().then_some(notice.ack),
            ttl: notice.ttl,
            after_fin: record.from_client.has(fin) || record.from_server.has(fin),
            below_data: after(record.from_client.seq_next, notice.seq) > 0,
            ended: notice.tells(Told::SESSION_END),
        }
    }
}

/// Timeouts of the server in a row, with nothing acknowledged in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// How many.
    pub count: u32,
    /// When the first was seen.
    pub first_ns: u64,
    /// When the last was.
    pub last_ns: u64,
    /// When the last but one was.
    pub before_ns: u64,
    /// Between the last but one and the one before it.
    pub gap_before_ns: u64,
    /// The largest payload that was sent again, in bytes.
    pub largest: u32,
    /// The smallest.
    pub smallest: u32,
    /// The client had received what came after it.
    pub hole_reported: bool,
    /// What the client had acknowledged.
    pub acknowledged: u32,
    /// The client has acknowledged more since.
    pub over: bool,
}

impl Timeouts {
    /// The first one.
    pub fn first(notice: &Notice, record: &SessionRecord) -> Self {
        Self {
            count: 1,
            first_ns: notice.time_ns,
            last_ns: notice.time_ns,
            before_ns: notice.time_ns,
            gap_before_ns: 0,
            largest: notice.payload,
            smallest: notice.payload,
            hole_reported: record.from_client.has(DirectionRecord::HOLE_REPORTED),
            acknowledged: record.from_client.ack,
            over: false,
        }
    }

    /// One more. False if it begins another row, the client having acknowledged something.
    pub fn another(&mut self, notice: &Notice, record: &SessionRecord) -> bool {
        if record.from_client.ack != self.acknowledged {
            return false;
        }
        self.count = self.count.saturating_add(1);
        self.gap_before_ns = self.last_ns - self.before_ns;
        self.before_ns = self.last_ns;
        self.last_ns = notice.time_ns.max(self.last_ns);
        self.largest = self.largest.max(notice.payload);
        self.smallest = self.smallest.min(notice.payload);
        self.hole_reported |= record.from_client.has(DirectionRecord::HOLE_REPORTED);
        true
    }

    /// From the first to the last.
    pub const fn lasted_ns(&self) -> u64 {
        self.last_ns - self.first_ns
    }

    /// Whether they come at a constant pace, as they do while a router says "unreachable"
    /// (RFC 6069), and not ever more slowly (RFC 6298, section 5.5).
    pub const fn is_constant(&self) -> bool {
        let gap_ns = self.last_ns - self.before_ns;
        self.count >= 4 && gap_ns * 2 < self.gap_before_ns * 3
    }
}

/// A time in which nothing was sent either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quiet {
    /// When the last segment before it was seen.
    pub since_ns: u64,
    /// When the first one after it was.
    pub until_ns: u64,
}

impl Quiet {
    /// How long it lasted.
    pub const fn lasted_ns(&self) -> u64 {
        self.until_ns.saturating_sub(self.since_ns)
    }
}

/// What happened to other sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Neighbours {
    /// Sessions that the server closed without a word at about the same time, this one
    /// included.
    pub died_together: u32,
    /// Sessions that the server ended at the same age, or after being idle as long, this
    /// one included.
    pub dismissed_alike: u32,
    /// Sessions that ended after being idle for as long, this one included.
    pub same_idle: u32,
    /// Sessions of the same prefix that were cut off after their `ClientHello`, this one
    /// included.
    pub cut_off_together: u32,
    /// When the same client opened another session, after this one had last heard of it.
    pub back_ns: Option<u64>,
}

/// What the host knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostFacts {
    /// Connections dropped lately because the queue of those to accept was full; `None` if that
    /// is not known.
    pub listen_overflows: Option<u64>,
}

impl Facts<'_> {
    /// How far the session came; `None` if its beginning was not seen.
    pub fn phase(&self) -> Option<Phase> {
        self.tls.map(TlsFacts::phase)
    }

    /// When a step of its set-up was taken.
    pub fn at(&self, milestone: Milestone) -> Option<u64> {
        self.tls.and_then(|tls| tls.at(milestone))
    }

    /// When it was closed, or else last heard of.
    pub fn closed_ns(&self) -> u64 {
        self.closing_ns.unwrap_or(self.end_ns)
    }

    /// From the client's last segment to the end.
    pub fn client_silent_ns(&self) -> u64 {
        let until = self.closed_ns().max(self.record.from_server.last_seen_ns);
        until.saturating_sub(self.record.from_client.last_seen_ns)
    }

    /// How long it lasted.
    pub fn age_ns(&self) -> u64 {
        self.end_ns.saturating_sub(self.record.head.start_ns)
    }

    /// Segments that a side had to send again, of hundred; `None` of too few to tell.
    pub fn retransmitted_percent(&self, side: Side) -> Option<f32> {
        /// Fewer segments than this say nothing about a path.
        const LEAST_SEGMENTS: u64 = 100;

        let counters = match side {
            Side::Client => &self.from_client,
            Side::Server => &self.from_server,
        };
        (counters.segments >= LEAST_SEGMENTS)
            .then(|| percent(u64::from(counters.lost()), counters.segments))
    }

    /// The largest payload that a segment of a side can have had: what the other announced,
    /// or what was seen.
    pub fn mss(&self, side: Side) -> u32 {
        let (own, peer) = match side {
            Side::Client => (&self.record.from_client, &self.record.from_server),
            Side::Server => (&self.record.from_server, &self.record.from_client),
        };
        // Timestamps take 12 bytes of each segment (RFC 7323, appendix A).
        let timestamps = own.options & peer.options & sstpulse_common::TcpOptions::TIMESTAMPS != 0;
        let announced = u32::from(peer.mss).saturating_sub(if timestamps { 12 } else { 0 });
        match announced {
            0 => u32::from(own.largest_segment),
            announced => announced,
        }
    }
}

/// `part` of `all`, in percent with two digits.
pub(crate) fn percent(part: u64, all: u64) -> f32 {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "a share, with two digits"
    )]
    let percent = (part as f64 * 10_000.0 / all.max(1) as f64).round() as f32 / 100.0;
    percent
}
