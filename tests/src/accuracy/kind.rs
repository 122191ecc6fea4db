//! The counters that single frames add to.

use sstpulse_common::{DirectionRecord, Side};

use super::oracle::Stream;

/// A counter that single frames add to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Segments.
    Segments,
    /// SYNs, or SYN-ACKs, after the first.
    SynRetransmits,
    /// Segments that carry data or a FIN seen before.
    Retransmits,
    /// Those among them whose data had been acknowledged.
    SpuriousRetransmits,
    /// Segments that were overtaken.
    OutOfOrder,
    /// Acknowledgments that repeat the last one.
    DuplicateAcks,
    /// Segments with a zero window.
    ZeroWindow,
    /// Probes of a zero window.
    WindowProbes,
    /// Keepalives.
    Keepalives,
    /// Segments with RST.
    Resets,
    /// Segments with FIN.
    Fins,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Segments,
        Self::SynRetransmits,
        Self::Retransmits,
        Self::SpuriousRetransmits,
        Self::OutOfOrder,
        Self::DuplicateAcks,
        Self::ZeroWindow,
        Self::WindowProbes,
        Self::Keepalives,
        Self::Resets,
        Self::Fins,
    ];

    /// The counter's name in events.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Segments => "segments",
            Self::SynRetransmits => "syn_retransmits",
            Self::Retransmits => "retransmits",
            Self::SpuriousRetransmits => "spurious_retransmits",
            Self::OutOfOrder => "out_of_order",
            Self::DuplicateAcks => "duplicate_acks",
            Self::ZeroWindow => "zero_window.segments",
            Self::WindowProbes => "window_probes",
            Self::Keepalives => "keepalives",
            Self::Resets => "resets",
            Self::Fins => "fins",
        }
    }

    /// What a record has of it.
    pub(crate) fn of(self, own: &DirectionRecord) -> u64 {
        match self {
            Self::Segments => own.segments,
            Self::SynRetransmits => own.syn_retransmits.into(),
            Self::Retransmits => own.retransmits.into(),
            Self::SpuriousRetransmits => own.spurious_retransmits.into(),
            Self::OutOfOrder => own.out_of_order.into(),
            Self::DuplicateAcks => own.duplicate_acks.into(),
            Self::ZeroWindow => own.zero_window_segments.into(),
            Self::WindowProbes => own.window_probes.into(),
            Self::Keepalives => own.keepalives.into(),
            Self::Resets => own.resets.into(),
            Self::Fins => own.fins.into(),
        }
    }

    /// Whether tshark counts a frame as one.
    pub(crate) fn said_by(self, stream: &Stream, side: Side, frame: u64) -> bool {
        let has = |mark| stream.direction(side).has(mark, frame);
        // tshark marks a repeated SYN as any retransmission.
        let again = has("retransmission");
        match self {
            Self::Segments => has("all"),
            Self::SynRetransmits => again && has("syn"),
            Self::Retransmits => again && !has("syn"),
            Self::SpuriousRetransmits => has("spurious_retransmission"),
            Self::OutOfOrder => has("out_of_order"),
            Self::DuplicateAcks => has("duplicate_ack"),
            Self::ZeroWindow => has("zero_window"),
            Self::WindowProbes => has("zero_window_probe"),
            Self::Keepalives => has("keep_alive"),
            Self::Resets => has("reset"),
            Self::Fins => has("fin"),
        }
    }
}
