//! An independent count of one connection's segments, at both ends of the path.
//!
//! It knows nothing of how agent or kernel count: it holds every sequence number against all
//! that it saw before.

use std::net::SocketAddr;

use crate::faults::Direction;
use crate::segment::{Flags, Seen};

/// Segments, and the payload in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Amount {
    /// Segments, with or without payload.
    pub segments: u64,
    /// Those with payload.
    pub data_segments: u64,
    /// Payload, in bytes.
    pub bytes: u64,
}

/// What passed one end of the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Passed {
    /// Everything.
    pub all: Amount,
    /// Segments that carry a number below the highest before them, and the payload below it.
    pub repeated: Amount,
    /// Segments whose payload had passed before, all of it, and payload that had.
    pub known: Amount,
}

/// What became of one side's segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Witnessed {
    /// What the sender put into the path.
    pub entered: Passed,
    /// What the path lost.
    pub dropped: Amount,
    /// What the path added by delivering it twice.
    pub duplicated: Amount,
    /// What the path handed to the receiver's side, in this order.
    pub delivered: Passed,
}

impl Witnessed {
    /// Segments that are on their way still.
    pub fn under_way(&self) -> u64 {
        let came = self.entered.all.segments + self.duplicated.segments;
        came - self.dropped.segments - self.delivered.all.segments
    }
}

/// Counts one direction of the first connection it sees.
#[derive(Debug)]
pub(crate) struct Witness {
    direction: Direction,
    client: Option<SocketAddr>,
    entered: Numbers,
    delivered: Numbers,
    witnessed: Witnessed,
}

impl Witness {
    pub(crate) fn new(direction: Direction) -> Self {
        Self {
            direction,
            client: None,
            entered: Numbers::default(),
            delivered: Numbers::default(),
            witnessed: Witnessed::default(),
        }
    }

    pub(crate) fn witnessed(&self) -> Witnessed {
        self.witnessed
    }

    pub(crate) fn entered(&mut self, packet: &[u8]) {
        if let Some(seen) = self.of_connection(packet) {
            self.entered.pass(&seen, &mut self.witnessed.entered);
        }
    }

    pub(crate) fn dropped(&mut self, packet: &[u8]) {
        if let Some(seen) = self.of_connection(packet) {
            self.witnessed.dropped.add(seen.payload_length);
        }
    }

    pub(crate) fn duplicated(&mut self, packet: &[u8]) {
        if let Some(seen) = self.of_connection(packet) {
            self.witnessed.duplicated.add(seen.payload_length);
        }
    }

    pub(crate) fn delivered(&mut self, packet: &[u8]) {
        if let Some(seen) = self.of_connection(packet) {
            self.delivered.pass(&seen, &mut self.witnessed.delivered);
        }
    }

    fn of_connection(&mut self, packet: &[u8]) -> Option<Seen> {
        let seen = Seen::parse(packet)?;
        let client = match self.direction {
            Direction::FromClient => seen.source,
            Direction::FromServer => seen.destination,
        };
        (*self.client.get_or_insert(client) == client).then_some(seen)
    }
}

impl Amount {
    fn add(&mut self, payload: u32) {
        self.segments += 1;
        self.data_segments += u64::from(payload > 0);
        self.bytes += u64::from(payload);
    }
}

/// Sequence numbers that have passed: all below the highest, but for the holes. Positions are
/// counted from the first number, and don't wrap.
#[derive(Debug, Default)]
struct Numbers {
    highest: Option<(u32, i64)>,
    holes: Vec<(i64, i64)>,
}

impl Numbers {
    /// Counts a segment, and holds its numbers against those before.
    fn pass(&mut self, seen: &Seen, passed: &mut Passed) {
        passed.all.add(seen.payload_length);
        if seen.flags.contains(Flags::SYN) {
            self.highest.get_or_insert((seen.end(), 0));
            return;
        }
        let Some((number, highest)) = self.highest else {
            return;
        };
        if seen.payload_length == 0 {
            return;
        }
        let ahead = seen.sequence.wrapping_sub(number).cast_signed();
        let start = highest + i64::from(ahead);
        let end = start + i64::from(seen.payload_length);
        let below = (end.min(highest) - start).max(0);
        if below > 0 {
            passed.repeated.add(payload(below));
            let known = below - self.fill(start, end);
            if known == i64::from(seen.payload_length) {
                passed.known.add(seen.payload_length);
            } else {
                passed.known.bytes += u64::from(payload(known));
            }
        } else if start > highest {
            self.holes.push((highest, start));
        }
        if end > highest {
            self.highest = Some((seen.end(), end));
        }
    }

    /// Takes the stretch out of the holes; returns how much of them it filled.
    fn fill(&mut self, start: i64, end: i64) -> i64 {
        let mut filled = 0;
        let mut left = Vec::with_capacity(self.holes.len() + 1);
        for (from, to) in self.holes.drain(..) {
            let (inside_from, inside_to) = (from.max(start), to.min(end));
            if inside_from >= inside_to {
                left.push((from, to));
                continue;
            }
            filled += inside_to - inside_from;
            left.extend(
                [(from, inside_from), (inside_to, to)]
                    .iter()
                    .filter(|(a, b)| a < b),
            );
        }
        self.holes = left;
        filled
    }
}

/// Part of a segment, which is never longer than 64 KiB.
fn payload(length: i64) -> u32 {
    u32::try_from(length).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is counted of segments of 100 bytes at these numbers after the SYN's.
    fn passed(isn: u32, at: &[u32]) -> Passed {
        let mut numbers = Numbers::default();
        let mut passed = Passed::default();
        let mut seen = Seen {
            source: SocketAddr::from(([10, 0, 0, 1], 1)),
            destination: SocketAddr::from(([10, 0, 0, 2], 2)),
            sequence: isn,
            acknowledgment: 0,
            flags: Flags::SYN,
            window: 1,
            ttl: 64,
            payload_length: 0,
        };
        numbers.pass(&seen, &mut passed);
        for offset in at {
            seen.flags = Flags::ACK;
            seen.sequence = isn.wrapping_add(1).wrapping_add(*offset);
            seen.payload_length = 100;
            numbers.pass(&seen, &mut passed);
        }
        passed
    }

    #[test]
    fn a_hole_is_filled_once_and_known_then() {
        for isn in [5, u32::MAX - 150] {
            let passed = passed(isn, &[0, 300, 100, 250, 300]);
            assert_eq!((passed.all.segments, passed.all.bytes), (6, 500));
            assert_eq!((passed.repeated.segments, passed.repeated.bytes), (3, 300));
            assert_eq!((passed.known.segments, passed.known.bytes), (1, 150));
        }
    }

    #[test]
    fn a_segment_that_goes_beyond_the_highest_is_repeated_in_part() {
        let passed = passed(9, &[0, 50]);
        assert_eq!((passed.repeated.segments, passed.repeated.bytes), (1, 50));
        assert_eq!((passed.known.segments, passed.known.bytes), (0, 50));
    }
}
