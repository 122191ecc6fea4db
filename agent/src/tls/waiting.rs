//! Segments that came before those in front of them.

use std::collections::VecDeque;

use sstpulse_common::tls::{HEADER, RecordHeader};

/// Segments that are kept at most. While a session is set up, both sides mostly send one and
/// wait for the answer.
const MOST_PIECES: usize = 8;

/// Bytes that are kept at most.
const MOST_BYTES: usize = 16 << 10;

/// How long a gap may stay open, in nanoseconds. TCP sends again after one second at most at
/// first (RFC 6298, section 2), and then after two more.
const PATIENCE_NS: u64 = 5_000_000_000;

/// Some bytes of a stream, by their offsets.
pub(super) struct Piece<'a> {
    /// Of the first byte.
    pub(super) start: u64,
    /// After the last one on the wire.
    pub(super) end: u64,
    /// The first of them, as far as they were kept.
    pub(super) bytes: &'a [u8],
}

impl Piece<'_> {
    /// Whether it looks like a chain of records from its first byte on.
    pub(super) fn begins_with_records(&self) -> bool {
        let length = usize::try_from(self.end - self.start).unwrap_or(usize::MAX);
        let mut at = 0;
        while at < length && (at == 0 || at + HEADER <= self.bytes.len()) {
            let Some(header) = RecordHeader::at(self.bytes, at) else {
                return false;
            };
            at += HEADER + usize::from(header.length);
        }
        true
    }
}

/// Pieces that wait for what comes before them.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// By offset.
    pieces: VecDeque<Kept>,
    held: usize,
}

#[derive(Debug)]
struct Kept {
    start: u64,
    end: u64,
    bytes: Box<[u8]>,
    /// When it came.
    time_ns: u64,
}

impl Waiting {
    /// Keeps a piece for later. More than fits is treated as if nobody had captured it.
    pub(super) fn keep(&mut self, piece: &Piece<'_>, now_ns: u64) {
        let covered = |kept: &Kept| kept.start <= piece.start && piece.end <= kept.end;
        if self.pieces.iter().any(covered) {
            return;
        }
        let room = MOST_BYTES.saturating_sub(self.held);
        let bytes: Box<[u8]> = piece.bytes[..piece.bytes.len().min(room)].into();
        self.held += bytes.len();
        let at = self
            .pieces
            .partition_point(|kept| (kept.start, kept.end) < (piece.start, piece.end));
        self.pieces.insert(
            at,
            Kept {
                start: piece.start,
                end: piece.end,
                bytes,
                time_ns: now_ns,
            },
        );
    }

    /// Whether what comes before them is not worth waiting for any longer.
    pub(super) fn is_hopeless(&self, now_ns: u64) -> bool {
        let has_waited = |kept: &Kept| now_ns.saturating_sub(kept.time_ns) > PATIENCE_NS;
        self.pieces.len() > MOST_PIECES
            || self.held >= MOST_BYTES
            || self.pieces.front().is_some_and(has_waited)
    }

    /// Offset of the first byte that waits.
    pub(super) fn first(&self) -> Option<u64> {
        self.pieces.front().map(|kept| kept.start)
    }

    /// Takes the first piece out: its start, its end, and its bytes.
    pub(super) fn pop(&mut self) -> Option<(u64, u64, Box<[u8]>)> {
        let Kept {
            start,
            end,
            bytes,
            time_ns: _,
        } = self.pieces.pop_front()?;
        self.held -= bytes.len();
        Some((start, end, bytes))
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Bytes kept.
    pub(super) fn held(&self) -> usize {
        self.held
    }
}
