//! The part of a buffer that repeats sequence numbers seen before, counted in segments.
//!
//! Every count here is the same whether the segments come one by one or merged by an
//! offload: a segment is judged by its own numbers, not by those of its buffer.

use crate::{Segment, sequence::after};

/// Sequence numbers of a segment that lie below SND.NXT of its side. They are its first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeated {
    seq: u32,
    /// Payload among them, in bytes.
    pub bytes: u32,
    /// The FIN is among them as well.
    pub fin: bool,
    /// Segments that carry any of them.
    pub segments: u32,
    /// Payload of each segment of the buffer but the last, in bytes; at least 1.
    size: u32,
}

/// Segments, and the payload in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Segments.
    pub segments: u32,
    /// Repeated payload in them, in bytes.
    pub bytes: u32,
}

impl Repeated {
    /// What of a segment lies below `seq_next`; `None` if nothing does.
    #[inline(always)]
    pub fn of(segment: &Segment, seq_next: u32) -> Option<Self> {
        let below = after(seq_next, segment.seq);
        if below <= 0 {
            return None;
        }
        let below = below.unsigned_abs();
        let beyond = below > segment.payload;
        let bytes = if beyond { segment.payload } else { below };
        let fin = beyond && segment.flags.fin();
        if bytes == 0 && !fin {
            return None;
        }
        let whole = segment.segments <= 1 || segment.segment_size == 0;
        let size = if whole {
            segment.payload
        } else {
            segment.segment_size
        };
        let size = size.max(1);
        let segments = bytes.div_ceil(size).max(1);
        Some(Self {
            seq: segment.seq,
            bytes,
            fin,
            segments,
            size,
        })
    }

    /// How many of the segments hold nothing repeated beyond the acknowledgment `ack`.
    #[inline(always)]
    pub fn acknowledged(&self, ack: u32) -> u32 {
        let acknowledged = after(ack, self.seq);
        if acknowledged <= 0 {
            return 0;
        }
        let acknowledged = acknowledged.unsigned_abs();
        if acknowledged >= self.bytes + u32::from(self.fin) {
            return self.segments;
        }
        // A FIN that is not acknowledged is part of the last segment.
        acknowledged.min(self.bytes.saturating_sub(1)) / self.size
    }

    /// The segments that have a number in `[start, end)`.
    #[inline(always)]
    pub fn inside(&self, start: u32, end: u32) -> Part {
        let from = after(start, self.seq);
        let from = if from <= 0 { 0 } else { from.unsigned_abs() };
        let to = after(end, self.seq);
        let to = if to <= 0 { 0 } else { to.unsigned_abs() };
        let to = to.min(self.bytes + u32::from(self.fin));
        if from >= to {
            return Part::default();
        }
        // The FIN goes with the last segment.
        let first = (from / self.size).min(self.segments - 1);
        let last = to.div_ceil(self.size).min(self.segments);
        Part {
            segments: last - first,
            bytes: last.wrapping_mul(self.size).min(self.bytes) - first.wrapping_mul(self.size),
        }
    }

    /// The segments, all of them.
    #[inline(always)]
    pub const fn all(&self) -> Part {
        Part {
            segments: self.segments,
            bytes: self.bytes,
        }
    }

    /// The first sequence number.
    #[inline(always)]
    pub const fn start(&self) -> u32 {
        self.seq
    }

    /// The sequence number after the last.
    #[inline(always)]
    pub const fn end(&self) -> u32 {
        self.seq
            .wrapping_add(self.bytes)
            .wrapping_add(self.fin as u32)
    }

    /// How many bytes of the buffer are left out if it is taken from its first segment on
    /// that holds nothing repeated.
    #[inline(always)]
    pub const fn whole_segments(&self) -> u32 {
        self.segments.wrapping_mul(self.size)
    }
}
