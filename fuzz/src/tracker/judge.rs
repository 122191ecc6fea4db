//! What a segment may change, and what it must.

use std::fmt::Debug;

use sstpulse_common::{
    Counters, DirectionRecord, Notice, Segment, SessionRecord, Side, Told, counters::Counter,
    record::SlotState, sequence::after, track::track,
};

use zerocopy::{Immutable, IntoBytes};

use super::{
    Records, SLOTS, World,
    record::{Growth, sound},
};

/// A segment, and the tables before and after it.
pub(super) struct Seen<'a> {
    pub(super) side: Side,
    pub(super) segment: &'a Segment,
    pub(super) now: u64,
    /// The flow's session before: its slot, and its record.
    pub(super) before: Option<(u32, SessionRecord)>,
    /// The slot of its session now.
    pub(super) after: Option<u32>,
    /// All records before.
    pub(super) records: &'a Records,
    /// All counters, before and after.
    pub(super) counted: (Counters, Counters),
    /// What was told meanwhile.
    pub(super) notices: &'a [Notice],
}

/// Whether a notice tells of a beginning.
pub(super) fn is_start(notice: &Notice) -> bool {
    notice.tells(Told::SESSION_START)
}

impl Seen<'_> {
    pub(super) fn judge(&self, world: &World, flow: usize) {
        let records = world.records();
        self.others(&records);
        let begun = self
            .notices
            .iter()
            .filter(|notice| is_start(notice))
            .count();
        assert!(begun <= 1);
        match (self.before, self.after) {
            (None, None) => assert!(self.notices.is_empty(), "told of nothing"),
            (None, Some(slot)) => {
                assert_eq!(begun, 1, "a session that was not told of");
                self.proved(world, flow);
                self.began(&records.0[slot as usize]);
            }
            (Some((slot, before)), Some(now)) => {
                assert_eq!(slot, now, "a session moved");
                assert_eq!(begun, 0);
                self.went_on(world, slot, &before, &records.0[slot as usize]);
            }
            (Some((slot, before)), None) => {
                self.superseded(slot, &before, &records.0[slot as usize]);
            }
        }
        self.totals(world, begun);
    }

    /// Whether a notice tells this.
    fn told(&self, what: Told) -> bool {
        self.notices.iter().any(|notice| notice.tells(what))
    }

    /// A segment touches no session but its own.
    fn others(&self, records: &Records) {
        for slot in 0..SLOTS {
            let own = self.before.map(|(slot, _)| slot as usize) == Some(slot)
                || self.after.map(|slot| slot as usize) == Some(slot);
            // A slot that was taken and given back holds what is left of the try.
            let free = records.0[slot].head.state == SlotState::FREE;
            if !own && !free {
                unchanged(&records.0[slot], &self.records.0[slot]);
            }
        }
    }

    /// Each session is counted once, by how it came to be known.
    fn totals(&self, world: &World, begun: usize) {
        let counters = &self.counted.1;
        let made =
            counters.get(Counter::SessionsFromHandshake) + counters.get(Counter::SessionsMidstream);
        assert_eq!(made, world.begun + begun as u64);
        assert_eq!(counters.get(Counter::NoticesLost), 0);
        assert_eq!(counters.get(Counter::IndexRefused), 0, "there is one CPU");
    }

    /// How much a counter has grown.
    fn counts(&self, counter: Counter) -> u64 {
        self.counted.1.get(counter) - self.counted.0.get(counter)
    }

    /// A session begins with a handshake that both ends completed, or with data that this
    /// host sends itself.
    fn proved(&self, world: &World, flow: usize) {
        let segment = self.segment;
        assert!(!segment.flags.syn() && !segment.flags.rst());
        let server_number = match self.side {
            Side::Client => segment.ack,
            Side::Server => segment.seq,
        };
        let answered = world
            .syn_acks
            .contains(&(flow, server_number.wrapping_sub(1)));
        let completed = segment.flags.ack() && answered;
        let ours = self.side == Side::Server && !segment.forwarded && segment.payload > 0;
        assert!(completed || ours, "a session without proof");
    }

    /// The first segment of a session.
    fn began(&self, record: &SessionRecord) {
        let segment = self.segment;
        let (own, _) = sides(record, self.side);
        assert_eq!(record.head.start_ns, self.now);
        assert_eq!(record.head.state, SlotState::LIVE);
        sound(record, self.now);
        let midstream = record.is_midstream();
        assert!(!midstream || self.side == Side::Server);
        assert_eq!(
            self.counts(Counter::SessionsMidstream),
            u64::from(midstream)
        );
        if self.passed_over() {
            assert_eq!(own.bytes, 0);
            return;
        }
        assert_eq!(own.bytes, u64::from(segment.payload));
        assert_eq!(own.last_seen_ns, self.now);
        assert!(u64::from(own.retransmits + own.out_of_order) <= u64::from(segment.segments));
        if midstream {
            assert_eq!(own.segments, u64::from(segment.segments));
            assert_eq!(own.retransmits, 0, "there was nothing to repeat");
        }
    }

    /// Whether the segment was not counted in the session.
    fn passed_over(&self) -> bool {
        self.counts(Counter::OtherInterface) + self.counts(Counter::OutOfWindow) > 0
    }

    /// A SYN-ACK with another number: the client began anew, and the server took it.
    fn superseded(&self, slot: u32, before: &SessionRecord, after: &SessionRecord) {
        assert_eq!(self.side, Side::Server);
        assert!(self.segment.flags.syn() && self.segment.flags.ack());
        assert_eq!(after.head.state, SlotState::SUPERSEDED);
        let [notice] = self.notices else {
            panic!("{} notices", self.notices.len());
        };
        assert_eq!(
            (notice.slot, notice.tells(Told::SESSION_END), notice.time_ns),
            (slot, true, self.now)
        );
        let mut expected = *before;
        expected.head.state = SlotState::SUPERSEDED;
        unchanged(after, &expected);
    }

    /// One more segment of a session.
    fn went_on(&self, world: &World, slot: u32, before: &SessionRecord, after: &SessionRecord) {
        sound(after, self.now);
        self.one_writer(before, after);
        let ends = after.ended() && !before.ended();
        assert!(self.notices.len() <= 1);
        assert_eq!(self.told(Told::SESSION_END), ends);
        assert!(self.segment.flags.rst() || !self.told(Told::RESET));
        assert!(self.side == Side::Server || !self.told(Told::TIMEOUT));
        assert!(
            !(ends && world.slots[slot as usize].ended),
            "it ended twice"
        );
        let (own_before, peer) = sides(before, self.side);
        let (own, _) = sides(after, self.side);
        let grown = Growth::of(own_before, own);
        if self.segment.flags.syn() {
            return self.handshake_repeated(before, after, &grown);
        }
        if self.passed_over() {
            return self.untouched(before, after);
        }
        self.counted(own_before, own, &grown);
        if !self.far(&own_before, &peer) {
            self.numbers(own_before, peer, own, &grown);
            self.repetitions(before, &grown);
            self.taken_apart(before, after);
        }
    }

    /// Whether its numbers are farther from the last than any window is wide (RFC 7323,
    /// section 2.3): of such, none is before the other.
    fn far(&self, own: &DirectionRecord, peer: &DirectionRecord) -> bool {
        let far = |a, b| after(a, b).unsigned_abs() >= 1 << 30;
        [own.seq_next, peer.ack]
            .iter()
            .any(|known| far(self.segment.seq, *known))
            || far(self.segment.ack, own.ack)
    }

    /// What the client sends changes no word of what the server sent, nor the other way.
    fn one_writer(&self, before: &SessionRecord, after: &SessionRecord) {
        let (_, peer_before) = sides(before, self.side);
        let (_, peer) = sides(after, self.side);
        unchanged(&peer, &peer_before);
        if self.side == Side::Server {
            unchanged(&after.head, &before.head);
        } else {
            let mut head = after.head;
            head.rtt = before.head.rtt;
            unchanged(&head, &before.head);
            assert_eq!(
                after.head.rtt.handshake_us, before.head.rtt.handshake_us,
                "the handshake is over"
            );
        }
    }

    /// Over a session, a SYN is at most the server's repeated answer.
    fn handshake_repeated(&self, before: &SessionRecord, after: &SessionRecord, grown: &Growth) {
        let (mut own, _) = sides(before, self.side);
        if grown.segments > 0 {
            assert_eq!(self.side, Side::Server);
            own.segments += 1;
            own.syn_retransmits = own.syn_retransmits.saturating_add(1);
            own.last_seen_ns = self.now;
            own.flags |= DirectionRecord::AFTERWARDS;
        }
        unchanged(&sides(after, self.side).0, &own);
    }

    /// What is passed over leaves no trace but in the counters, and in that of RSTs; of an
    /// owner that was silent, another interface may have taken over.
    fn untouched(&self, before: &SessionRecord, after: &SessionRecord) {
        let mut after = *after;
        if self.counts(Counter::OutOfWindow) > 0 {
            after.from_client.ifindex = before.from_client.ifindex;
            after.from_client.resets = before.from_client.resets;
        }
        unchanged(&after, before);
    }

    /// What every segment counts.
    fn counted(&self, before: DirectionRecord, own: DirectionRecord, grown: &Growth) {
        let segment = self.segment;
        let (segments, payload) = (u64::from(segment.segments), u64::from(segment.payload));
        assert_eq!((grown.segments, grown.bytes), (segments, payload));
        assert_eq!(own.last_seen_ns, self.now);
        assert_eq!(own.ifindex, segment.ifindex);
        assert_eq!(grown.resets, u64::from(segment.flags.rst()));
        let fin = segment.flags.fin() && !segment.flags.rst();
        assert_eq!(grown.fins, u64::from(fin));
        assert!(grown.retransmits + grown.out_of_order <= segments);
        assert!(grown.retransmitted_bytes <= payload);
        assert!(grown.spurious <= grown.retransmits);
        assert!(grown.keepalives + grown.window_probes <= 1);
        assert!(grown.duplicate_acks == 0 || (payload == 0 && segment.window != 0));
        let offers = segment.flags.ack() && !segment.flags.rst();
        // A hole stays until more is acknowledged.
        let filled = offers && after(segment.ack, before.ack) > 0;
        let stays = before.has(DirectionRecord::HOLE_REPORTED) && !filled;
        assert_eq!(
            own.has(DirectionRecord::HOLE_REPORTED),
            stays || (offers && segment.hole_reported)
        );
        let without_fin = segments - u64::from(segment.flags.fin());
        // The window of a segment that was overtaken is no more.
        let current = after(segment.ack, before.ack) >= 0;
        if offers && segment.window == 0 && without_fin > 0 {
            assert_eq!(grown.zero_window_segments, without_fin);
            assert!(own.stall_since_ms != 0 || !current, "the window is closed");
        } else {
            assert_eq!(grown.zero_window_segments, 0);
        }
        if offers && segment.window != 0 {
            assert!(own.stall_since_ms == 0 || !current, "the window is open");
            assert!(own.max_window >= segment.window);
        }
        assert_eq!(
            grown.stalls,
            u64::from(before.stall_since_ms == 0 && own.stall_since_ms != 0)
        );
        assert!(grown.stalled_ms == 0 || (before.stall_since_ms != 0 && offers));
        let largest = segment.segment_size.min(segment.payload).min(0xffff);
        assert_eq!(
            u32::from(own.largest_segment),
            largest.max(u32::from(before.largest_segment))
        );
    }

    /// Numbers go up, and as far as the segment says.
    fn numbers(
        &self,
        before: DirectionRecord,
        peer: DirectionRecord,
        own: DirectionRecord,
        grown: &Growth,
    ) {
        let segment = self.segment;
        let known = self.known(&before, &peer);
        assert!(after(own.seq_next, before.seq_next) >= 0);
        assert!(after(own.ack, before.ack) >= 0);
        assert!(own.max_window >= before.max_window);
        if segment.flags.rst() {
            assert_eq!((own.seq_next, own.ack), (known, before.ack));
            return;
        }
        let probe = grown.keepalives + grown.window_probes > 0;
        let says = (segment.payload > 0 || segment.flags.fin()) && !probe;
        if says && after(segment.end(), known) > 0 {
            assert_eq!(own.seq_next, segment.end());
        } else {
            assert_eq!(own.seq_next, known);
        }
        if segment.flags.ack() && after(segment.ack, before.ack) > 0 {
            assert_eq!(own.ack, segment.ack);
        } else {
            assert_eq!(own.ack, before.ack);
        }
    }

    /// SND.NXT as it is known when the segment comes: the server may have acknowledged
    /// more of the client's than passed here.
    fn known(&self, before: &DirectionRecord, peer: &DirectionRecord) -> u32 {
        if self.side == Side::Client && after(peer.ack, before.seq_next) > 0 {
            peer.ack
        } else {
            before.seq_next
        }
    }

    /// A number is a repetition if and only if it was seen before.
    fn repetitions(&self, before: &SessionRecord, grown: &Growth) {
        let segment = self.segment;
        let (own, peer) = sides(before, self.side);
        let known = self.known(&own, &peer);
        let repeated = grown.retransmits + grown.out_of_order;
        assert!(self.side == Side::Client || grown.out_of_order == 0);
        if segment.flags.rst() || after(segment.seq, known) >= 0 {
            assert_eq!((repeated, grown.retransmitted_bytes), (0, 0));
            return;
        }
        let probe = grown.keepalives + grown.window_probes > 0;
        if probe {
            assert_eq!((repeated, grown.retransmitted_bytes), (0, 0));
        } else if segment.payload > 0 && after(segment.end(), known) <= 0 {
            assert_eq!(repeated, u64::from(segment.segments), "all of it was seen");
        }
    }

    /// The counts are the same if the buffer's segments come one by one.
    fn taken_apart(&self, before: &SessionRecord, now: &SessionRecord) {
        let segment = self.segment;
        // One byte may be a probe, and is not if it is the end of a buffer.
        let probing = segment.payload % segment.segment_size.max(1) == 1;
        let single = segment.segments == 1 || segment.segment_size == 1;
        let (own, _) = sides(before, self.side);
        let many = segment.segments > 64;
        if single || many || probing || segment.flags.rst() || segment.duplicate != 0 {
            return;
        }
        let mut apart = *before;
        for piece in pieces(segment) {
            let told = track(&mut apart, self.side, &piece, &self.now);
            assert!(!told.has(Told::OTHER_INTERFACE), "the first took it over");
            if told.has(Told::OUT_OF_WINDOW) {
                // The buffer's numbers were judged as one.
                return;
            }
        }
        let merged = Growth::of(own, sides(now, self.side).0);
        let apart = Growth::of(own, sides(&apart, self.side).0);
        assert_eq!(merged, apart);
    }
}

/// Two records, or parts of them, are the same. Compared as bytes, since libFuzzer would
/// take each field's comparison for something to be solved.
fn unchanged<T: IntoBytes + Immutable + Debug>(now: &T, before: &T) {
    assert!(
        now.as_bytes() == before.as_bytes(),
        "{now:?} and {before:?}"
    );
}

/// The segments of a buffer.
fn pieces(segment: &Segment) -> impl Iterator<Item = Segment> {
    use sstpulse_common::TcpFlags;

    let size = segment.segment_size;
    (0..segment.segments).map(move |index| {
        let start = index * size;
        let payload = size.min(segment.payload - start);
        let last = index + 1 == segment.segments;
        let flags = if last {
            segment.flags
        } else {
            TcpFlags(segment.flags.0 & !(TcpFlags::FIN | TcpFlags::PSH))
        };
        Segment {
            seq: segment.seq.wrapping_add(start),
            payload,
            segments: 1,
            segment_size: payload,
            flags,
            ..*segment
        }
    })
}

/// What this side sent, and what the other did.
fn sides(record: &SessionRecord, side: Side) -> (DirectionRecord, DirectionRecord) {
    match side {
        Side::Client => (record.from_client, record.from_server),
        Side::Server => (record.from_server, record.from_client),
    }
}
