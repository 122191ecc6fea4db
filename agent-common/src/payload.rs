//! What the payload of a segment is looked at for.
//!
//! The first bytes of a session go to the agent whole, which reads from them how the
//! connection comes up. Later only small segments are looked into, for the headers of
//! their TLS records: those of a tunnel's own words (echo, abort, alert) are shorter than
//! any that carries a packet. So are the ends of large ones once a side closes, where an alert
//! can share a segment with the last of the data.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    Bytes, Segment, SessionRecord, Side, Told,
    packet::View as _,
    record::Attention,
    sequence::after,
    tls::{ContentType, HEADER, RecordHeader},
};

/// How much of what the client sends at first goes to the agent, in bytes: room for a
/// `ClientHello` of the largest kind, and the set-up of a tunnel.
pub const OPENING_FROM_CLIENT: u64 = 8 << 10;

/// How much of what the server sends at first does: room for a chain of certificates.
pub const OPENING_FROM_SERVER: u64 = 16 << 10;

/// The longest payload that is looked into for small records, in bytes, whatever the agent
/// says: two of a tunnel's words under the cipher that adds the most.
pub const SMALL: usize = 128;

/// The same while the cipher is not known: right for TLS 1.3, where a packet takes 67 bytes
/// at least (IPv4 and TCP headers of 40, PPP's of 1, SSTP's of 4, TLS's of 22).
pub const SMALL_AT_FIRST: u8 = 66;

/// Small records in one segment that are taken note of.
const MOST_RECORDS: usize = 4;

/// What goes before the bytes of a session's opening on their way to the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ChunkHeader {
    /// When the segment was seen, monotonic clock, in nanoseconds.
    pub time_ns: u64,
    /// When the session's record was made, by which it differs from others in its slot.
    pub start_ns: u64,
    /// The session's slot.
    pub slot: u32,
    /// Where in its side's stream the first byte belongs; 0 is the first after the SYN.
    pub offset: u32,
    /// Payload of the buffer, in bytes. Fewer may follow.
    pub length: u32,
    /// Who sent it: 0 for the client, 1 for the server.
    pub side: u8,
    /// Zero.
    pub reserved: [u8; 3],
}

impl ChunkHeader {
    /// What goes before the payload of a segment in the session's record.
    #[inline(always)]
    pub fn of(record: &SessionRecord, slot: u32, side: Side, segment: &Segment, now: u64) -> Self {
        let first_seq = match side {
            Side::Client => record.client_trail.first_seq,
            Side::Server => record.server_trail.first_seq,
        };
        Self {
            time_ns: now,
            start_ns: record.head.start_ns,
            slot,
            offset: segment.seq.wrapping_sub(first_seq),
            length: segment.payload,
            side: side as u8,
            reserved: [0; 3],
        }
    }

    /// Who sent it.
    pub const fn side(&self) -> Side {
        if self.side == Side::Client as u8 {
            Side::Client
        } else {
            Side::Server
        }
    }
}

/// What there is to do about the payload of a segment that is about to be counted.
#[inline(always)]
pub fn told(record: &SessionRecord, side: Side, segment: &Segment) -> Told {
    if segment.payload == 0 || segment.flags.rst() {
        return Told::NOTHING;
    }
    let (own, other, most) = match side {
        Side::Client => (
            &record.from_client,
            &record.from_server,
            OPENING_FROM_CLIENT,
        ),
        Side::Server => (
            &record.from_server,
            &record.from_client,
            OPENING_FROM_SERVER,
        ),
    };
    let opening = own.bytes < most && record.head.attention & Attention::NO_PAYLOAD == 0;
    let last = (segment.payload - last_segment(segment)) as usize;
    // The order keeps large segments from touching the line that the limit is in.
    let small = last <= SMALL && last <= usize::from(record.head.small);
    let closing = segment.flags.fin() || other.has_closed();
    let new = after(segment.end(), own.seq_next) > 0;
    Told::OPENING.when(opening) | Told::SMALL.when((small || closing) && new)
}

/// Where in the payload of a buffer that begins which is looked into for small records: with
/// its last segment, but no more than [`SMALL`] bytes before the end.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "SMALL is")]
pub const fn looked_into(segment: &Segment) -> u32 {
    let last = last_segment(segment);
    let end = segment.payload.saturating_sub(SMALL as u32);
    if last > end { last } else { end }
}

/// Where in the payload of a buffer its last segment begins.
#[inline(always)]
const fn last_segment(segment: &Segment) -> u32 {
    if segment.segments <= 1 {
        return 0;
    }
    let before = (segment.segments - 1).wrapping_mul(segment.segment_size);
    if before < segment.payload { before } else { 0 }
}

/// Takes note of the small records of `side` that follow one another from `at` on in `bytes`,
/// the last `length` of a segment that was counted.
#[inline(always)]
pub fn note<B: Bytes + ?Sized>(
    record: &mut SessionRecord,
    side: Side,
    bytes: &B,
    at: usize,
    length: usize,
    now: u64,
) {
    let other = record.other_than(side);
    let trail = record.trail_of_mut(side);
    let mut at = at;
    for _ in 0..MOST_RECORDS {
        let Some((header, next)) = whole(bytes, at, length) else {
            return;
        };
        trail.push(header, other, now);
        let Some(next) = bytes.forget(next) else {
            return;
        };
        at = next;
    }
}

/// Where in `bytes`, the last `length` of a segment, the first small record begins that is
/// whole. Before it, there may be the end of one that is not.
#[inline(always)]
pub fn first_whole<B: Bytes + ?Sized>(bytes: &B, length: usize) -> Option<usize> {
    if whole(bytes, 0, length).is_some() {
        return Some(0);
    }
    for at in 1..=SMALL - HEADER {
        if is_sealed(bytes, at, length)? {
            return Some(at);
        }
    }
    None
}

/// Whether a small record that is encrypted begins at `at`, and is whole. What others hold
/// looks like that once in a hundred million segments. `None` if no header has room there.
///
/// All in few branches: the verifier follows each, at every place.
#[inline(always)]
fn is_sealed<B: Bytes + ?Sized>(bytes: &B, at: usize, length: usize) -> Option<bool> {
    /// An alert's type, the version from TLS 1.2 on, and a length below 256 (RFC 8446, 5.1).
    const ALERT: u32 = u32::from_be_bytes([ContentType::ALERT, 3, 3, 0]);
    /// The bit in which application data differs from it.
    const DATA: u32 = (ContentType::ALERT as u32 ^ ContentType::APPLICATION_DATA as u32) << 24;

    let header = bytes.view::<HEADER>(at)?;
    let next = at + HEADER + usize::from(header.byte(4));
    Some(header.be32(0) & !DATA == ALERT && next <= length)
}

/// The header of the record that begins at `at`, and where it ends, if that is before the end
/// of the segment.
#[inline(always)]
fn whole<B: Bytes + ?Sized>(bytes: &B, at: usize, length: usize) -> Option<(RecordHeader, usize)> {
    let header = RecordHeader::at(bytes, at)?;
    let next = at + HEADER + usize::from(header.length);
    (next <= length && next <= SMALL).then_some((header, next))
}

const _: () = assert!(size_of::<ChunkHeader>() == 32);
