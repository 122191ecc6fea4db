//! Why a count may differ from tshark's: rules with names, explained in `docs/counting.md`,
//! each checked on the frame where the two differ.
//!
//! The checks lean on the frames themselves (numbers, times, windows), and on the tracker for
//! the least round trip and for whether a segment was refused.

use sstpulse_common::{Side, sequence::after};

use super::{Kind, oracle::Stream, ours::Frame};

/// Why a count differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// From the server, where we stand at the sender, nothing is out of order.
    SenderVantage,
    /// Overtaken or sent again: told by the age of the gap, not of the newest segment.
    GapAge,
    /// All that is missing at a time counts as one gap, as old as its oldest hole.
    OneGap,
    /// Sent again because of duplicate ACKs it can't be, so soon after the gap appeared.
    TooSoon,
    /// A segment whose numbers no window allows is passed over.
    OutOfWindow,
    /// Numbers of segments that the receiver refuses were not sent by the client.
    RefusedNumbers,
    /// Data is sent again if it was seen, not if it was acknowledged ahead of being seen.
    AckAhead,
    /// Outside of a session, an attempt counts, or nothing does.
    NoSession,
    /// At SND.NXT − 1 while the other side's window is closed: a probe.
    ClosedWindow,
    /// One byte at SND.NXT − 1 that was never acknowledged is data sent again.
    UnacknowledgedByte,
    /// Without data right before SND.NXT, after a FIN: overtaken by the FIN.
    AfterFin,
    /// With nothing outstanding, an ACK duplicates none.
    NothingOutstanding,
    /// A buffer larger than the MSS is several segments.
    Buffer,
    /// Headers that contradict themselves are counted apart.
    Malformed,
}

impl Rule {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::SenderVantage,
        Self::GapAge,
        Self::OneGap,
        Self::TooSoon,
        Self::OutOfWindow,
        Self::RefusedNumbers,
        Self::AckAhead,
        Self::NoSession,
        Self::ClosedWindow,
        Self::UnacknowledgedByte,
        Self::AfterFin,
        Self::NothingOutstanding,
        Self::Buffer,
        Self::Malformed,
    ];

    /// Its name in the documentation.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SenderVantage => "sender-vantage",
            Self::GapAge => "gap-age",
            Self::OneGap => "one-gap",
            Self::TooSoon => "too-soon",
            Self::OutOfWindow => "out-of-window",
            Self::RefusedNumbers => "refused-numbers",
            Self::AckAhead => "ack-ahead",
            Self::NoSession => "no-session",
            Self::ClosedWindow => "closed-window",
            Self::UnacknowledgedByte => "unacknowledged-byte",
            Self::AfterFin => "after-fin",
            Self::NothingOutstanding => "nothing-outstanding",
            Self::Buffer => "buffer",
            Self::Malformed => "malformed",
        }
    }
}

/// A frame where the two differ.
pub(crate) struct Difference<'a> {
    pub(crate) frame: &'a Frame,
    /// The frames of the same flow before it, oldest first.
    pub(crate) earlier: &'a [&'a Frame],
    pub(crate) stream: &'a Stream,
    pub(crate) kind: Kind,
    pub(crate) ours: u64,
    pub(crate) theirs: u64,
}

impl Difference<'_> {
    /// The rule that explains it, if one does.
    pub(crate) fn explain(&self) -> Option<Rule> {
        use Kind::{
            DuplicateAcks, Keepalives, OutOfOrder, Retransmits, Segments, SpuriousRetransmits,
            WindowProbes,
        };
        let repeats = matches!(self.kind, Retransmits | SpuriousRetransmits | OutOfOrder);
        let more = self.ours > self.theirs;
        if self.frame.after.session.is_none() {
            return (!more && !self.is_proved()).then_some(Rule::NoSession);
        }
        if self.frame.is_passed_over() {
            return (!more && self.kind == Segments).then_some(Rule::OutOfWindow);
        }
        if self.is_buffer() && (repeats || self.kind == Segments) {
            let segments = u64::from(self.frame.segment.segments);
            let whole = self.kind == Segments && self.ours == segments;
            let part = self.theirs == 1 && self.ours <= segments;
            return (whole || part).then_some(Rule::Buffer);
        }
        match (self.kind, more) {
            (Retransmits, true) if self.is_keepalive_shaped() => {
                self.is_unacknowledged().then_some(Rule::UnacknowledgedByte)
            }
            (Keepalives, false) if self.is_after_fin() => Some(Rule::AfterFin),
            (Keepalives, false) if self.other_window() == Some(0) => Some(Rule::ClosedWindow),
            (Keepalives, false) => self.is_unacknowledged().then_some(Rule::UnacknowledgedByte),
            (WindowProbes, true) => (self.is_keepalive_shaped() && self.other_window() == Some(0))
                .then_some(Rule::ClosedWindow),
            (DuplicateAcks, false) => (!self.is_outstanding()).then_some(Rule::NothingOutstanding),
            (Retransmits | SpuriousRetransmits | OutOfOrder, false) if self.is_misled() => {
                Some(Rule::RefusedNumbers)
            }
            (Retransmits | SpuriousRetransmits, false) if self.is_acknowledged_ahead() => {
                Some(Rule::AckAhead)
            }
            (Retransmits, true) | (OutOfOrder, false) => self.sent_again(),
            (Retransmits, false) | (OutOfOrder, true) => self.came_late(),
            _ => None,
        }
    }

    /// There has been what a session is made of: an ACK that completes a handshake which the
    /// client has not taken back, or data of the server.
    fn is_proved(&self) -> bool {
        let frames = || self.earlier.iter().copied().chain([self.frame]);
        let completes = |frame: &Frame| {
            let answered = |syn_ack: &Frame| {
                syn_ack.side == Side::Server
                    && syn_ack.segment.flags.syn()
                    && syn_ack.segment.end() == frame.segment.ack
                    && syn_ack.segment.ack == frame.segment.seq
            };
            let taken_back = |reset: &Frame| {
                reset.side == Side::Client
                    && reset.segment.flags.rst()
                    && reset.segment.seq == frame.segment.seq
            };
            let mut before = frames().take_while(|earlier| !std::ptr::eq(*earlier, frame));
            frame.side == Side::Client
                && frame.is_data_or_ack()
                && frames().any(answered)
                && !before.any(taken_back)
        };
        let serves = |frame: &Frame| {
            frame.side == Side::Server && frame.is_data_or_ack() && frame.segment.payload > 0
        };
        frames().any(|frame| completes(frame) || serves(frame))
    }

    /// We say sent again, tshark says out of order.
    fn sent_again(&self) -> Option<Rule> {
        if !self.marked("out_of_order") || !self.is_repeated() {
            return None;
        }
        if self.frame.side == Side::Server {
            return Some(Rule::SenderVantage);
        }
        let limit_ns = self.overtaking_ns();
        if self.newest_age_ns()? >= self.first_round_trip_ns() {
            None
        } else if self.hole_age_ns()? >= limit_ns {
            Some(Rule::GapAge)
        } else {
            (self.gap_age_ns()? >= limit_ns).then_some(Rule::OneGap)
        }
    }

    /// We say out of order, tshark says sent again.
    fn came_late(&self) -> Option<Rule> {
        let young = self.frame.side == Side::Client && self.hole_age_ns()? < self.overtaking_ns();
        (young && self.marked("fast_retransmission")).then_some(Rule::TooSoon)
    }

    fn marked(&self, mark: &str) -> bool {
        self.stream
            .direction(self.frame.side)
            .has(mark, self.frame.number)
    }

    fn of(&self, side: Side) -> impl DoubleEndedIterator<Item = &Frame> {
        self.earlier
            .iter()
            .copied()
            .filter(move |frame| frame.side == side && !frame.is_refused())
    }

    /// Earlier segments of the same side that were not refused.
    fn own(&self) -> impl DoubleEndedIterator<Item = &Frame> {
        self.of(self.frame.side)
    }

    /// Earlier segments of the other side that were not refused.
    fn other(&self) -> impl DoubleEndedIterator<Item = &Frame> {
        self.of(match self.frame.side {
            Side::Client => Side::Server,
            Side::Server => Side::Client,
        })
    }

    /// The window field the other side sent last.
    fn other_window(&self) -> Option<u16> {
        self.other().next_back().map(|frame| frame.segment.window)
    }

    /// A segment of this side has gone beyond this one's first number.
    fn is_repeated(&self) -> bool {
        let seq = self.frame.segment.seq;
        self.own().any(|frame| after(frame.segment.end(), seq) > 0)
    }

    /// The shape of a keepalive: at most a byte, right before the highest number.
    fn is_keepalive_shaped(&self) -> bool {
        let segment = &self.frame.segment;
        let next = segment.seq.wrapping_add(1);
        segment.payload <= 1
            && self
                .own()
                .all(|frame| after(frame.segment.end(), next) <= 0)
    }

    /// It has no data, and this side has sent its FIN.
    fn is_after_fin(&self) -> bool {
        self.frame.segment.payload == 0 && self.own().any(|frame| frame.segment.flags.fin())
    }

    /// No segment of the other side has acknowledged all of this one.
    fn is_unacknowledged(&self) -> bool {
        let end = self.frame.segment.end();
        self.frame.segment.payload == 1
            && self.other().all(|frame| after(frame.segment.ack, end) < 0)
    }

    /// The other side has sent more than this segment acknowledges.
    fn is_outstanding(&self) -> bool {
        let ack = self.frame.segment.ack;
        self.other()
            .any(|frame| after(frame.segment.end(), ack) > 0)
    }

    fn is_buffer(&self) -> bool {
        self.frame.segment.segments > 1
            && self.frame.segment.segment_size < self.frame.segment.payload
    }

    /// tshark has taken numbers beyond this segment's for sent that the receiver refused.
    fn is_misled(&self) -> bool {
        let seq = self.frame.segment.seq;
        self.earlier.iter().any(|frame| {
            let beyond = after(frame.segment.end(), seq) >= 0;
            frame.side == self.frame.side && frame.is_refused() && beyond
        })
    }

    /// It was acknowledged, and none of its numbers had been seen.
    fn is_acknowledged_ahead(&self) -> bool {
        let segment = &self.frame.segment;
        !self.is_repeated()
            && self
                .other()
                .any(|frame| after(frame.segment.ack, segment.seq) > 0)
    }

    /// How long ago the first segment came that should have come after this one.
    fn hole_age_ns(&self) -> Option<u64> {
        let seq = self.frame.segment.seq;
        let beyond = |frame: &&Frame| after(frame.segment.seq, seq) > 0;
        self.own().find(beyond).map(|frame| self.since(frame))
    }

    /// For how long something or other has been missing, without a break.
    fn gap_age_ns(&self) -> Option<u64> {
        let (mut next, mut since) = (None, None);
        for frame in self.earlier.iter().filter(|frame| !frame.is_refused()) {
            let segment = &frame.segment;
            if frame.side == self.frame.side {
                if next.is_some_and(|next| after(segment.seq, next) > 0) {
                    since = since.or(Some(frame));
                }
                if next.is_none_or(|next| after(segment.end(), next) > 0) {
                    next = Some(segment.end());
                }
            } else if next.is_some_and(|next| after(segment.ack, next) >= 0) {
                since = None;
            }
        }
        since.map(|frame| self.since(frame))
    }

    /// How long ago the highest number came, which is what tshark looks at.
    fn newest_age_ns(&self) -> Option<u64> {
        let mut newest: Option<&Frame> = None;
        for frame in self.own() {
            let end = frame.segment.end();
            if newest.is_none_or(|newest| after(end, newest.segment.end()) > 0) {
                newest = Some(frame);
            }
        }
        newest.map(|frame| self.since(frame))
    }

    fn since(&self, frame: &Frame) -> u64 {
        self.frame.time_ns.saturating_sub(frame.time_ns)
    }

    /// Half the least round-trip time known so far.
    fn overtaking_ns(&self) -> u64 {
        let session = self.frame.before.session.as_ref();
        match session.map_or(0, |session| session.head.rtt.min_us) {
            0 => UNKNOWN_ROUND_TRIP_NS,
            min_us => u64::from(min_us) * 500,
        }
    }

    /// tshark's: from the first SYN to the end of the handshake.
    fn first_round_trip_ns(&self) -> u64 {
        let syn = |frame: &&&Frame| frame.segment.flags.syn();
        let first = self.earlier.iter().find(syn);
        let last = self.earlier.iter().rfind(syn);
        let done = self.earlier.iter().find(|frame| {
            frame.side == Side::Client
                && !frame.segment.flags.syn()
                && last.is_some_and(|last| frame.time_ns >= last.time_ns)
        });
        match (first, done) {
            (Some(first), Some(done)) => done.time_ns - first.time_ns,
            _ => UNKNOWN_ROUND_TRIP_NS,
        }
    }
}

/// What stands for a round trip while none is known, for both.
const UNKNOWN_ROUND_TRIP_NS: u64 = 3_000_000;
