//! What is let go when sessions begin faster than their openings can be read: the oldest pieces
//! of these, whose sessions have to do with less detail. Notices and counts are never let go.

use sstpulse_common::ChunkHeader;

use crate::report::Message;

/// What is told of a session comes within a second or so; what an opening shows is too late for
/// that once it has waited for so long, in nanoseconds.
const LATE_NS: u64 = 2_000_000_000;

/// Pieces taken at once from which on more are likely to wait: there is time to read fewer than
/// these, however late they are.
const MANY: usize = 128;

/// How many of the pieces of openings that were taken at `now`, the oldest first, are to be let
/// go.
pub(super) fn late(openings: &[Message], now: u64) -> usize {
    if openings.len() < MANY {
        return 0;
    }
    let is_late = |message: &&Message| match message {
        Message::Opening(opening) => waited_ns(&opening.header, now) > LATE_NS,
        Message::Notice(_) => false,
    };
    openings.iter().take_while(is_late).count()
}

const fn waited_ns(header: &ChunkHeader, now: u64) -> u64 {
    now.saturating_sub(header.time_ns)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use sstpulse_common::Notice;
    use zerocopy::FromZeros as _;

    use super::*;
    use crate::report::Opening;

    const NOW: u64 = 10 * LATE_NS;

    /// Pieces of openings, of which the first are late.
    fn openings(late: usize, in_time: usize) -> Vec<Message> {
        let times = [(NOW - LATE_NS - 1, late), (NOW - LATE_NS, in_time)];
        let piece = |time_ns| {
            let mut header = ChunkHeader::new_zeroed();
            header.time_ns = time_ns;
            Message::Opening(Opening {
                header,
                bytes: Bytes::new(),
            })
        };
        times
            .into_iter()
            .flat_map(|(time_ns, count)| std::iter::repeat_n(piece(time_ns), count))
            .collect()
    }

    #[test]
    fn the_oldest_pieces_of_a_backlog_are_let_go() {
        assert_eq!(late(&openings(100, 156), NOW), 100);
        assert_eq!(late(&openings(256, 0), NOW), 256);
        assert_eq!(late(&openings(0, 256), NOW), 0);
    }

    #[test]
    fn a_few_that_are_late_are_no_backlog() {
        assert_eq!(late(&openings(MANY - 1, 0), NOW), 0);
    }

    #[test]
    fn notices_are_never_let_go() {
        let notices = vec![Message::Notice(Notice::new_zeroed()); 256];
        assert_eq!(late(&notices, NOW), 0);
    }
}
