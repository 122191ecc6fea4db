//! One side's bytes, in order, as TLS records.
//!
//! Segments come as the wire had them: repeated, cut anew, overtaken, cut short by whoever
//! captured them, or not at all. What matters of most records is their header. So a gap
//! inside a body that nobody wants to read is no loss, and bytes are kept only while those
//! before them are awaited.

use sstpulse_common::tls::{HEADER, RecordHeader};

use super::waiting::{Piece, Waiting};

/// What takes in the records of a stream, in order.
pub(super) trait Records {
    /// A record begins. Whether its body is to be read.
    fn record(&mut self, header: RecordHeader) -> bool;
    /// Some of a body that is read.
    fn body(&mut self, bytes: &[u8]);
    /// So many bytes of a body that is read will not come.
    fn hole(&mut self, length: u32);
    /// Some records are missed.
    fn lost(&mut self);
    /// The stream begins with something else than TLS.
    fn foreign(&mut self);
}

/// Where in the sequence of records the next byte belongs.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// In a header, of which this much is there.
    Header { bytes: [u8; HEADER], length: usize },
    /// In a body, of which this much is to come.
    Body { left: u32, wanted: bool },
    /// Nobody knows, until a segment begins with what can be a header.
    Lost,
    /// In something else than TLS.
    Foreign,
}

impl Default for Place {
    fn default() -> Self {
        BETWEEN
    }
}

const BETWEEN: Place = Place::Header {
    bytes: [0; HEADER],
    length: 0,
};

/// One side's bytes.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// Offset of the next byte, from the first after the SYN.
    next: u64,
    /// Offset after the last byte seen.
    end: u64,
    place: Place,
    waiting: Waiting,
}

impl Stream {
    /// Offset after the last byte seen, whether or not those before it were.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    fn is_lost(&self) -> bool {
        matches!(self.place, Place::Lost)
    }

    /// Bytes kept for later.
    pub(super) fn held(&self) -> usize {
        self.waiting.held()
    }

    /// Takes a segment in: `length` bytes on the wire from `offset` on, and the first of them
    /// that were kept. Whether any of them are new.
    pub(super) fn take(
        &mut self,
        offset: u32,
        length: u32,
        bytes: &[u8],
        now_ns: u64,
        records: &mut impl Records,
    ) -> bool {
        let start = u64::from(offset);
        let end = start + u64::from(length);
        let kept = bytes.len().min(length as usize);
        let piece = Piece {
            start,
            end,
            bytes: &bytes[..kept],
        };
        let new = end > self.end;
        self.end = self.end.max(end);
        if end <= self.next || matches!(self.place, Place::Foreign) {
            return new;
        }
        if self.may_follow(start) {
            self.piece(&piece, records);
        } else {
            self.waiting.keep(&piece, now_ns);
        }
        self.catch_up(records);
        while self.waiting.is_hopeless(now_ns) {
            let Some(start) = self.waiting.first() else {
                break;
            };
            self.skip(start, records);
            self.catch_up(records);
        }
        new
    }

    /// Whether what begins at `start` can be taken now: nothing that matters is missing before.
    fn may_follow(&self, start: u64) -> bool {
        let gap = start.saturating_sub(self.next);
        match self.place {
            Place::Body {
                left,
                wanted: false,
            } => gap <= u64::from(left),
            Place::Header { .. } | Place::Body { .. } => gap == 0,
            Place::Lost | Place::Foreign => true,
        }
    }

    /// Takes what has waited and need not any more.
    fn catch_up(&mut self, records: &mut impl Records) {
        while self
            .waiting
            .first()
            .is_some_and(|start| self.may_follow(start))
        {
            if let Some((start, end, bytes)) = self.waiting.pop() {
                let piece = Piece {
                    start,
                    end,
                    bytes: &bytes,
                };
                self.piece(&piece, records);
            }
        }
    }

    fn piece(&mut self, piece: &Piece<'_>, records: &mut impl Records) {
        if piece.end <= self.next {
            return;
        }
        self.skip(piece.start, records);
        if self.is_lost() && piece.start == self.next && piece.begins_with_records() {
            self.place = BETWEEN;
        }
        let before = usize::try_from(self.next - piece.start).unwrap_or(usize::MAX);
        self.read(piece.bytes.get(before..).unwrap_or_default(), records);
        self.skip(piece.end, records);
    }

    /// Goes on to `until` without the bytes before it.
    fn skip(&mut self, until: u64, records: &mut impl Records) {
        let length = until.saturating_sub(self.next);
        if length == 0 {
            return;
        }
        self.next = until;
        let within = match self.place {
            Place::Body { left, wanted } => {
                let hole = u32::try_from(length).unwrap_or(u32::MAX).min(left);
                if wanted {
                    records.hole(hole);
                }
                self.place = body(left - hole, wanted);
                u64::from(hole) == length
            }
            Place::Header { .. } => false,
            Place::Lost | Place::Foreign => true,
        };
        if !within {
            self.lose(records);
        }
    }

    fn lose(&mut self, records: &mut impl Records) {
        self.place = Place::Lost;
        records.lost();
    }

    /// Reads what comes next.
    fn read(&mut self, mut bytes: &[u8], records: &mut impl Records) {
        while !bytes.is_empty() {
            let used = match self.place {
                Place::Header { .. } => self.read_header(bytes, records),
                Place::Body { left, wanted } => {
                    let used = bytes.len().min(left as usize);
                    if wanted {
                        records.body(&bytes[..used]);
                    }
                    self.place = body(left.saturating_sub(length_of(used)), wanted);
                    used
                }
                Place::Lost | Place::Foreign => bytes.len(),
            };
            self.next += used as u64;
            bytes = &bytes[used..];
        }
    }

    /// Reads what belongs to a header. How much that is.
    fn read_header(&mut self, bytes: &[u8], records: &mut impl Records) -> usize {
        let Place::Header {
            bytes: mut header,
            length,
        } = self.place
        else {
            return 0;
        };
        let used = bytes.len().min(HEADER - length);
        header[length..length + used].copy_from_slice(&bytes[..used]);
        let length = length + used;
        self.place = Place::Header {
            bytes: header,
            length,
        };
        if length == HEADER {
            match RecordHeader::at(&header[..], 0) {
                Some(header) => {
                    let wanted = records.record(header);
                    self.place = body(header.length.into(), wanted);
                }
                None if self.next + used as u64 == HEADER as u64 => {
                    self.place = Place::Foreign;
                    self.waiting.clear();
                    records.foreign();
                }
                None => self.lose(records),
            }
        }
        used
    }
}

/// The place in a body of which `left` bytes are to come, which may be none.
fn body(left: u32, wanted: bool) -> Place {
    if left == 0 {
        BETWEEN
    } else {
        Place::Body { left, wanted }
    }
}

fn length_of(used: usize) -> u32 {
    u32::try_from(used).unwrap_or(u32::MAX)
}
