//! What the tracker counts for each frame of a capture.

use std::{collections::BTreeSet, fs::File, num::NonZeroUsize, ops::ControlFlow, path::Path};

use anyhow::{Context as _, Result};
use sstpulse::{
    replay::{Buffer, CaptureEvent, Limits, Packet, Tables, Watched, inner, read},
    report::Flows as _,
};
use sstpulse_common::{DirectionRecord, FlowKey, HalfOpen, Segment, SessionRecord, Side, Skip};

use super::Kind;

/// A segment of a watched port, and what came of it.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    /// Its number in the capture, from 1 on.
    pub(crate) number: u64,
    /// When it passed, in nanoseconds.
    pub(crate) time_ns: u64,
    pub(crate) key: FlowKey,
    pub(crate) side: Side,
    pub(crate) segment: Segment,
    /// Its flow before.
    pub(crate) before: Flow,
    /// Its flow after.
    pub(crate) after: Flow,
}

/// What is known of a flow.
#[derive(Clone, Debug)]
pub(crate) struct Flow {
    pub(crate) session: Option<SessionRecord>,
    pub(crate) attempt: Option<HalfOpen>,
}

/// Room for all flows of any capture of the corpus.
const LIMITS: Limits = Limits {
    sessions: 1_000,
    half_open: NonZeroUsize::new(1_000).unwrap(),
};

/// A capture, followed frame by frame.
pub(crate) struct Follow {
    /// Its segments.
    pub(crate) frames: Vec<Frame>,
    /// Numbers of frames that are fragments, or whose headers contradict themselves.
    pub(crate) broken: BTreeSet<u64>,
}

/// Reads a capture, and follows each of its segments.
pub(crate) fn follow(capture: &Path, watched: &Watched) -> Result<Follow> {
    let file = File::open(capture).with_context(|| format!("can't open {}", capture.display()))?;
    let mut tables = Tables::new(LIMITS);
    let mut follow = Follow {
        frames: Vec::new(),
        broken: BTreeSet::new(),
    };
    let mut number = 0;
    read(file, |event| {
        if let CaptureEvent::Packet(packet) = event {
            number += 1;
            match take(&mut tables, watched, number, packet) {
                Ok(frame) => follow.frames.push(frame),
                Err(Skip::Fragment | Skip::Malformed) => {
                    follow.broken.insert(number);
                }
                Err(Skip::NotOurs | Skip::Truncated) => {}
            }
        }
        ControlFlow::Continue(())
    })
    .with_context(|| format!("can't read {}", capture.display()))?;
    Ok(follow)
}

fn take(
    tables: &mut Tables,
    watched: &Watched,
    number: u64,
    packet: Packet<'_>,
) -> Result<Frame, Skip> {
    let time_ns = packet.time_ns.unwrap_or_default();
    let inner = inner(packet.link, packet.bytes, packet.length).map_err(|_| Skip::NotOurs)?;
    let known = |key: &FlowKey| tables.session(key).is_some();
    let key = watched
        .parse(inner.framing, inner.bytes, inner.length, known)
        .map(|(_, parsed)| parsed.key);
    let before = key.map(|key| Flow::of(tables, &key));
    let buffer = Buffer {
        time_ns,
        length: inner.length,
        ifindex: inner.ifindex.unwrap_or(packet.interface),
        from_capture: true,
        ..Buffer::default()
    };
    let (side, parsed) = tables.take(watched, inner.framing, inner.bytes, &buffer)?;
    Ok(Frame {
        number,
        time_ns,
        key: parsed.key,
        side,
        segment: parsed.segment,
        before: before?,
        after: Flow::of(tables, &parsed.key),
    })
}

impl Flow {
    fn of(tables: &Tables, key: &FlowKey) -> Self {
        Self {
            session: tables.session(key).copied(),
            attempt: tables.attempt(key),
        }
    }

    /// The client's initial sequence number of an attempt.
    fn isn(&self) -> Option<u32> {
        self.attempt.map(|attempt| attempt.client_isn)
    }

    fn start_ns(&self) -> Option<u64> {
        self.session.map(|session| session.head.start_ns)
    }
}

impl Frame {
    /// What it added to a counter.
    pub(crate) fn added(&self, kind: Kind) -> u64 {
        let session = |flow: &Flow| {
            let session = flow.session.as_ref();
            session.map_or(0, |session| kind.of(own(session, self.side)))
        };
        let attempt = |flow: &Flow| {
            let attempt = flow.attempt.as_ref();
            attempt.map_or(0, |attempt| of_attempt(kind, attempt, self.side))
        };
        let same_attempt = self.before.isn() == self.after.isn();
        if self.before.attempt != self.after.attempt && self.after.attempt.is_some() {
            // A step of a handshake.
            let before = if same_attempt {
                attempt(&self.before)
            } else {
                0
            };
            attempt(&self.after) - before
        } else if self.before.start_ns() == self.after.start_ns() {
            session(&self.after) - session(&self.before)
        } else {
            // The session begins, and takes over what its attempt has counted.
            session(&self.after) - attempt(&self.before)
        }
    }

    /// Whether it belongs to a session, and was not counted in it.
    pub(crate) fn is_passed_over(&self) -> bool {
        self.after.session.is_some() && self.added(Kind::Segments) == 0
    }

    /// Whether it has an acknowledgment, and neither SYN nor RST.
    pub(crate) const fn is_data_or_ack(&self) -> bool {
        let flags = self.segment.flags;
        flags.ack() && !flags.syn() && !flags.rst()
    }

    /// Whether the receiver refuses it: outside of its window, or a RST with a number it
    /// does not expect.
    pub(crate) fn is_refused(&self) -> bool {
        let ended = |flow: &Flow| flow.session.is_some_and(|session| session.ended());
        let reset_in_vain = self.segment.flags.rst() && !ended(&self.after);
        self.is_passed_over() || reset_in_vain
    }
}

/// What an attempt counts.
fn of_attempt(kind: Kind, attempt: &HalfOpen, side: Side) -> u64 {
    let segments = match side {
        Side::Client => attempt.syns,
        Side::Server => attempt.syn_acks,
    };
    match kind {
        Kind::Segments => segments.into(),
        Kind::SynRetransmits => segments.saturating_sub(1).into(),
        _ => 0,
    }
}

/// The half of a record that belongs to a side.
pub(crate) const fn own(record: &SessionRecord, side: Side) -> &DirectionRecord {
    match side {
        Side::Client => &record.from_client,
        Side::Server => &record.from_server,
    }
}
