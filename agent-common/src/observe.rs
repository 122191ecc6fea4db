//! What a segment means for its flow: a step of a handshake, the proof of a peer, or one
//! more segment of a session.

use crate::{
    Clock, DirectionRecord, FlowKey, HalfOpen, Notice, Segment, SessionRecord, Side, Told,
    counters::Counter,
    payload,
    record::{Attention, SlotState},
    track::track,
};

/// Where flows are kept: the kernel's maps, or the like of them in memory.
///
/// A slot is named by its number, so that no record is borrowed while another is made.
pub trait Tables {
    /// How the payload of a segment can be got at.
    type Payload: ?Sized;

    /// The slot of a session.
    fn find(&mut self, key: &FlowKey) -> Option<u32>;
    /// The record in a slot.
    fn record(&mut self, slot: u32) -> Option<&mut SessionRecord>;
    /// Takes a free slot for `key`.
    fn allocate(&mut self, key: &FlowKey) -> Option<u32>;
    /// Gives back a slot that [`Tables::allocate`] gave for `key` and nobody has seen.
    fn release(&mut self, key: &FlowKey, slot: u32);
    /// Leaves a [mark](crate::marks) for a slot, if these tables have marks besides the records.
    #[inline(always)]
    fn stirred(_slot: u32) {}
    /// Lets `key` lead to `slot`; false if it leads elsewhere already, or if that is refused, which
    /// is counted.
    fn publish(&mut self, key: &FlowKey, slot: u32) -> bool;
    /// Lets `key` lead to `slot` no more.
    fn withdraw(&mut self, key: &FlowKey, slot: u32);
    /// An attempt.
    fn half_open(&mut self, key: &FlowKey) -> Option<&mut HalfOpen>;
    /// A record, and the attempt it is to be made from.
    fn record_and_half_open(
        &mut self,
        slot: u32,
        key: &FlowKey,
    ) -> Option<(&mut SessionRecord, &HalfOpen)>;
    /// Keeps an attempt; false if it was refused.
    fn insert_half_open(&mut self, key: &FlowKey, half_open: &HalfOpen) -> bool;
    /// Forgets an attempt; false if there is none.
    fn remove_half_open(&mut self, key: &FlowKey) -> bool;
    /// Tells the agent; false if it can't be told.
    fn notify(&mut self, notice: &Notice) -> bool;
    /// Does what is to be done after a segment was counted: [`afterwards`].
    ///
    /// Inside the kernel, that is a function of its own, which the verifier looks into once,
    /// and not once for each way through the tracker.
    fn afterwards(&mut self, found: Found, told: Told, segment: &Segment, payload: &Self::Payload);
    /// Hands the payload of a segment of the opening to the agent.
    fn hand_over(&mut self, found: Found, segment: &Segment, payload: &Self::Payload);
    /// [Notes](payload::note) the small records at the end of a buffer.
    fn note(&mut self, found: Found, segment: &Segment, payload: &Self::Payload);
    /// The same value, of which the kernel's verifier knows nothing.
    #[inline(always)]
    fn forget(told: Told) -> Told {
        told
    }
    /// Counts one.
    fn count(&mut self, counter: Counter);
}

/// A segment's place: which session, who sent it, and when.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// The session's slot.
    pub slot: u32,
    /// Who sent it.
    pub side: Side,
    /// When it was seen, in nanoseconds, monotonic.
    pub now: u64,
}

/// Takes in a segment that `side` sent at the time of `clock`.
#[inline(always)]
pub fn observe<T: Tables>(
    tables: &mut T,
    side: Side,
    key: &FlowKey,
    segment: &Segment,
    payload: &T::Payload,
    clock: &impl Clock,
) {
    if segment.flags.syn() {
        return handshake(tables, side, key, segment, clock.exact_ns());
    }
    let slot = match tables.find(key) {
        Some(slot) => slot,
        None => match prove(tables, side, key, segment, clock.exact_ns()) {
            Some(slot) => slot,
            None => return,
        },
    };
    let Some(record) = tables.record(slot) else {
        return;
    };
    stir::<T>(record, slot);
    let of_payload = T::forget(payload::told(record, side, segment));
    let told = T::forget(track(record, side, segment, clock)) | of_payload;
    if told != Told::NOTHING {
        let now = clock.exact_ns();
        tables.afterwards(Found { slot, side, now }, told, segment, payload);
    }
}

/// A segment of a session has come: the first in a while leaves a mark.
#[inline(always)]
fn stir<T: Tables>(record: &mut SessionRecord, slot: u32) {
    if record.head.stir() {
        T::stirred(slot);
    }
}

/// Counts, tells and looks at what is worth it in a segment of a session, which the tracker
/// has counted.
#[inline(always)]
pub fn afterwards<T: Tables>(
    tables: &mut T,
    found: Found,
    told: Told,
    segment: &Segment,
    payload: &T::Payload,
) {
    let Some(record) = tables.record(found.slot) else {
        return;
    };
    let watched = record.head.attention & Attention::WATCHED != 0;
    let start_ns = record.head.start_ns;
    if told.for_notice(watched) != Told::NOTHING {
        notify(tables, told.for_notice(watched), found, start_ns, segment);
    }
    if told.has(Told::OTHER_INTERFACE) {
        return tables.count(Counter::OtherInterface);
    }
    if told.has(Told::OUT_OF_WINDOW) {
        return tables.count(Counter::OutOfWindow);
    }
    if told.has(Told::OPENING) {
        tables.hand_over(found, segment, payload);
    }
    if told.has(Told::SMALL) {
        tables.note(found, segment, payload);
    }
}

#[inline(always)]
fn notify<T: Tables>(tables: &mut T, told: Told, found: Found, start_ns: u64, segment: &Segment) {
    let Found { slot, side, now } = found;
    if !tables.notify(&Notice::of(told, slot, start_ns, side, segment, now)) {
        tables.count(Counter::NoticesLost);
    }
}

/// A SYN from the client, or a SYN-ACK from the server. The other two shapes belong to
/// simultaneous open, which a server on a well-known port never does.
#[inline(never)]
fn handshake<T: Tables>(tables: &mut T, side: Side, key: &FlowKey, segment: &Segment, now: u64) {
    match (side, segment.flags.ack()) {
        (Side::Client, false) => syn(tables, key, segment, now),
        (Side::Server, true) => syn_ack(tables, key, segment, now),
        _ => tables.count(Counter::NoSession),
    }
}

#[inline(always)]
fn syn<T: Tables>(tables: &mut T, key: &FlowKey, segment: &Segment, now: u64) {
    if let Some(half_open) = tables.half_open(key)
        && half_open.client_isn == segment.seq
    {
        if !half_open.syn(segment, now) {
            tables.count(Counter::OtherInterface);
        }
        return;
    }
    // Over a live session, it is a late copy, a forgery, or the client beginning anew:
    // the server's answer will tell.
    let session = tables.find(key).and_then(|slot| tables.record(slot));
    let over_session = session.is_some_and(|record| !record.ended());
    let half_open = HalfOpen::from_syn(segment, over_session, now);
    insert(tables, key, &half_open);
}

#[inline(always)]
fn syn_ack<T: Tables>(tables: &mut T, key: &FlowKey, segment: &Segment, now: u64) {
    if let Some(slot) = tables.find(key)
        && !supersede(tables, slot, key, segment, now)
    {
        return;
    }
    if let Some(half_open) = tables.half_open(key)
        && half_open.answered_by(segment)
    {
        if !half_open.syn_ack(segment, now) {
            tables.count(Counter::OtherInterface);
        }
        return;
    }
    // Another CPU may have completed the handshake since, and this repeats what was answered.
    if tables.find(key).is_some() {
        return;
    }
    let half_open = HalfOpen::from_syn_ack(segment, now);
    insert(tables, key, &half_open);
}

/// A SYN-ACK on the ports of a session: a repetition, if the session has just begun, or
/// else the server's word that the old connection is gone. True in the latter case.
#[inline(always)]
fn supersede<T: Tables>(
    tables: &mut T,
    slot: u32,
    key: &FlowKey,
    segment: &Segment,
    now: u64,
) -> bool {
    let Some(record) = tables.record(slot) else {
        return true;
    };
    stir::<T>(record, slot);
    let server = &mut record.from_server;
    // It may pass behind the server's first data: a timer on another CPU sent it.
    let first_seq = segment.seq.wrapping_add(1);
    if server.seq_next == first_seq || record.server_trail.first_seq == first_seq {
        // Through a second interface it is the same SYN-ACK again, and not counted.
        if server.ifindex == segment.ifindex {
            server.segments += 1;
            server.syn_retransmits = server.syn_retransmits.saturating_add(1);
            server.last_seen_ns = now;
            server.flags |= DirectionRecord::AFTERWARDS;
        } else {
            tables.count(Counter::OtherInterface);
        }
        return false;
    }
    record.head.state = SlotState::SUPERSEDED;
    let start_ns = record.head.start_ns;
    tables.withdraw(key, slot);
    let found = Found {
        slot,
        side: Side::Server,
        now,
    };
    notify(tables, Told::SESSION_END, found, start_ns, segment);
    true
}

#[inline(always)]
fn insert<T: Tables>(tables: &mut T, key: &FlowKey, half_open: &HalfOpen) {
    let counter = if tables.insert_half_open(key, half_open) {
        Counter::HalfOpenInserted
    } else {
        Counter::HalfOpenRefused
    };
    tables.count(counter);
}

/// Makes a session if this segment proves a real peer: it completes a handshake with the
/// right number, or carries data of our own server. Returns the session it belongs to.
#[inline(never)]
fn prove<T: Tables>(
    tables: &mut T,
    side: Side,
    key: &FlowKey,
    segment: &Segment,
    now: u64,
) -> Option<u32> {
    let complete = match tables.half_open(key) {
        Some(half_open) if segment.flags.rst() => {
            if half_open.reset(side, segment, now) {
                // Or of the session that another CPU has begun since.
                return tables.find(key);
            }
            false
        }
        Some(half_open) => half_open.proved_by(side, segment),
        None => false,
    };
    // What this host forwards proves nothing: whoever sent it may talk to himself.
    let ours = side == Side::Server && !segment.forwarded;
    let midstream = ours && segment.payload > 0 && !segment.flags.rst();
    if !complete && !midstream {
        return begun_meanwhile(tables, key);
    }
    let opened = tables.allocate(key).map(|slot| {
        let opened = open(tables, slot, side, key, segment, complete, now);
        (slot, opened)
    });
    // Also if there was no room for a session: as an attempt, it has not failed.
    if complete && tables.remove_half_open(key) {
        tables.count(Counter::HalfOpenCompleted);
    }
    let Some((slot, opened)) = opened else {
        tables.count(Counter::TableFull);
        return None;
    };
    if !opened {
        return begun_meanwhile(tables, key);
    }
    tables.count(if complete {
        Counter::SessionsFromHandshake
    } else {
        Counter::SessionsMidstream
    });
    let found = Found { slot, side, now };
    notify(tables, Told::SESSION_START, found, now, segment);
    Some(slot)
}

/// The session of a segment that could not begin it: another CPU may have done so with the
/// segment before this one, and used up the proof, after this CPU looked for it. The client's
/// first data and the ACK before it are sent by different CPUs of the client, and where there is
/// no queue of a NIC between (veth), they come in on these.
#[inline(always)]
fn begun_meanwhile<T: Tables>(tables: &mut T, key: &FlowKey) -> Option<u32> {
    let slot = tables.find(key);
    if slot.is_none() {
        tables.count(Counter::NoSession);
    }
    slot
}

/// Fills a slot and publishes it. False if the session lives elsewhere, since another CPU was
/// faster, or if its proof is gone; the slot is given back then.
#[inline(always)]
fn open<T: Tables>(
    tables: &mut T,
    slot: u32,
    side: Side,
    key: &FlowKey,
    segment: &Segment,
    complete: bool,
    now: u64,
) -> bool {
    let from_handshake = match tables.record_and_half_open(slot, key) {
        Some((record, half_open)) if complete => {
            record.open_from_handshake(side, key, half_open, now);
            // What was read must prove it as well: the attempt can be pushed out at any time, and
            // its memory be another's.
            half_open.proved_by(side, segment)
        }
        _ => false,
    };
    // If the attempt is gone since it was looked at, data of the server will do.
    if !from_handshake && side == Side::Client {
        tables.release(key, slot);
        return false;
    }
    let Some(record) = tables.record(slot) else {
        return false;
    };
    if !from_handshake {
        record.open_midstream(key, segment, now);
    }
    record.head.state = SlotState::LIVE;
    if tables.publish(key, slot) {
        return true;
    }
    if let Some(record) = tables.record(slot) {
        record.head.state = SlotState::FREE;
    }
    tables.release(key, slot);
    false
}
