//! The tracker's tables in plain memory: what the kernel's maps are to the programs.

use std::{collections::HashMap, convert::Infallible, mem, num::NonZeroUsize};

use bytes::Bytes;
use foldhash::fast::RandomState;
use lru::LruCache;
use sstpulse_common::{
    ChunkHeader, Counters, FlowKey, Framing, HalfOpen, Notice, OptionReader, Parsed, Segment,
    SessionRecord, Side, Skip, Told,
    counters::Counter,
    observe::{self, Found, observe},
    payload::{self, looked_into},
    record::SlotState,
};

use super::watched::Watched;
use crate::report::{Flows, Glance, Message, Opening};

/// How much the tables may hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Sessions followed at once.
    pub sessions: u32,
    /// Half-open connections remembered at once; the oldest make room.
    pub half_open: NonZeroUsize,
}

/// Sessions, attempts and counters.
pub struct Tables {
    index: HashMap<FlowKey, u32, RandomState>,
    records: Vec<SessionRecord>,
    /// Slots that a scan has looked at once since a segment came.
    once_more: Vec<bool>,
    free: Vec<u32>,
    half_open: LruCache<FlowKey, HalfOpen, RandomState>,
    counters: Counters,
    messages: Vec<Message>,
    limits: Limits,
}

/// What a buffer brings besides its bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Buffer {
    /// When it passed, in nanoseconds.
    pub time_ns: u64,
    /// Its length on the wire, in bytes.
    pub length: u32,
    /// Segments in it, and the payload of each but the last in bytes; `None` if that is
    /// not known.
    pub gso: Option<(u32, u32)>,
    /// The interface it passed.
    pub ifindex: u32,
    /// The host passes it on for another.
    pub forwarded: bool,
    /// It was captured, and others may not have been.
    pub from_capture: bool,
}

impl Tables {
    /// Empty tables.
    pub fn new(limits: Limits) -> Self {
        Self {
            index: HashMap::default(),
            records: Vec::new(),
            once_more: Vec::new(),
            free: Vec::new(),
            half_open: LruCache::with_hasher(limits.half_open, RandomState::default()),
            counters: Counters::default(),
            messages: Vec::new(),
            limits,
        }
    }

    /// Takes in a packet, as the programs do, and tells whose segment it was and what it says.
    pub fn take(
        &mut self,
        watched: &Watched,
        framing: Framing,
        packet: &[u8],
        buffer: &Buffer,
    ) -> Result<(Side, Parsed), Skip> {
        let known = |key: &FlowKey| self.index.contains_key(key);
        let kept_whole = packet.len() as u64 >= u64::from(buffer.length);
        let result = match watched.parse(framing, packet, buffer.length, known) {
            Err(Skip::Truncated) if kept_whole => Err(Skip::Malformed),
            result => result,
        };
        match result {
            Err(Skip::Fragment) => self.counters.add(Counter::Fragments),
            Err(Skip::Malformed) => self.counters.add(Counter::Malformed),
            Ok(_) | Err(Skip::NotOurs | Skip::Truncated) => {}
        }
        let (side, mut parsed) = result?;
        self.complete(&mut parsed, side, packet, buffer);
        let headers = parsed.options + parsed.options_length as usize;
        let payload = packet.get(headers..).unwrap_or_default();
        // Frames are filled up to their least length.
        let payload = &payload[..payload.len().min(parsed.segment.payload as usize)];
        let Parsed { key, segment, .. } = &parsed;
        observe(self, side, key, segment, payload, &buffer.time_ns);
        Ok((side, parsed))
    }

    /// Completes a segment with its options, and with what the buffer knows.
    fn complete(&self, parsed: &mut Parsed, side: Side, packet: &[u8], buffer: &Buffer) {
        if parsed.options_matter {
            let mut reader = OptionReader::default();
            if reader.read(packet, parsed.options, parsed.options_length) {
                reader.complete(&mut parsed.segment);
            } else {
                OptionReader::complete_unread(&mut parsed.segment);
            }
        }
        parsed.segment.from_capture = buffer.from_capture;
        parsed.segment.ifindex = buffer.ifindex;
        parsed.segment.forwarded = buffer.forwarded;
        match buffer.gso {
            Some((segments, each)) if each != 0 && parsed.segment.payload > each => {
                parsed.segment.segments = segments;
                parsed.segment.segment_size = each;
            }
            Some(_) => {}
            None => self.split(parsed, side),
        }
    }

    /// Deduces the segments of a buffer that offload had merged, or had not cut yet, when it
    /// was captured: none can be larger than the MSS that the other side announced, less
    /// the options that each bears (RFC 9293, section 3.7.1).
    fn split(&self, parsed: &mut Parsed, side: Side) {
        /// What everyone must take (RFC 9293, section 3.7.1).
        const LEAST_MSS: u32 = 536;
        /// The smallest MSS that Linux takes (`TCP_MIN_MSS`), less timestamps.
        const LEAST_SEGMENT: u32 = 76;

        let Parsed {
            key,
            segment,
            options_length,
            ..
        } = parsed;
        if segment.payload <= LEAST_MSS {
            return;
        }
        let (client_mss, server_mss) = match (self.session(key), self.half_open.peek(key)) {
            (Some(record), _) => (record.from_client.mss, record.from_server.mss),
            (None, Some(attempt)) => (attempt.client_options.mss, attempt.server_options.mss),
            (None, None) => return,
        };
        let mss = match side {
            Side::Client => server_mss,
            Side::Server => client_mss,
        };
        let each = u32::from(mss).saturating_sub(*options_length);
        if each >= LEAST_SEGMENT && segment.payload > each {
            segment.segments = segment.payload.div_ceil(each);
            segment.segment_size = each;
        }
    }

    /// The session of a flow.
    pub fn session(&self, key: &FlowKey) -> Option<&SessionRecord> {
        let slot = *self.index.get(key)?;
        self.records.get(slot as usize)
    }

    /// What was to be told since this was last asked.
    pub fn take_messages(&mut self) -> Vec<Message> {
        mem::take(&mut self.messages)
    }

    /// Whether there is anything to tell.
    pub fn has_messages(&self) -> bool {
        !self.messages.is_empty()
    }
}

impl sstpulse_common::Tables for Tables {
    /// As far as it was kept.
    type Payload = [u8];

    fn find(&mut self, key: &FlowKey) -> Option<u32> {
        self.index.get(key).copied()
    }

    fn record(&mut self, slot: u32) -> Option<&mut SessionRecord> {
        self.records.get_mut(slot as usize)
    }

    fn allocate(&mut self, _: &FlowKey) -> Option<u32> {
        if let Some(slot) = self.free.pop() {
            return Some(slot);
        }
        let slot = u32::try_from(self.records.len()).ok()?;
        (slot < self.limits.sessions).then(|| {
            self.records.push(SessionRecord::FREE);
            self.once_more.push(false);
            slot
        })
    }

    fn release(&mut self, _: &FlowKey, slot: u32) {
        self.free.push(slot);
    }

    fn publish(&mut self, key: &FlowKey, slot: u32) -> bool {
        self.index.insert(*key, slot).is_none()
    }

    fn withdraw(&mut self, key: &FlowKey, slot: u32) {
        if self.index.get(key) == Some(&slot) {
            self.index.remove(key);
        }
    }

    fn half_open(&mut self, key: &FlowKey) -> Option<&mut HalfOpen> {
        self.half_open.get_mut(key)
    }

    fn record_and_half_open(
        &mut self,
        slot: u32,
        key: &FlowKey,
    ) -> Option<(&mut SessionRecord, &HalfOpen)> {
        self.records
            .get_mut(slot as usize)
            .zip(self.half_open.peek(key))
    }

    fn insert_half_open(&mut self, key: &FlowKey, half_open: &HalfOpen) -> bool {
        self.half_open.put(*key, *half_open);
        true
    }

    fn remove_half_open(&mut self, key: &FlowKey) -> bool {
        self.half_open.pop(key).is_some()
    }

    fn notify(&mut self, notice: &Notice) -> bool {
        self.messages.push(Message::Notice(*notice));
        true
    }

    fn afterwards(&mut self, found: Found, told: Told, segment: &Segment, payload: &[u8]) {
        observe::afterwards(self, found, told, segment, payload);
    }

    fn hand_over(&mut self, found: Found, segment: &Segment, payload: &[u8]) {
        let Found { slot, side, now } = found;
        if let Some(record) = self.records.get(slot as usize) {
            self.messages.push(Message::Opening(Opening {
                header: ChunkHeader::of(record, slot, side, segment, now),
                bytes: Bytes::copy_from_slice(payload),
            }));
        }
    }

    fn note(&mut self, found: Found, segment: &Segment, payload: &[u8]) {
        let from = looked_into(segment);
        let bytes = payload.get(from as usize..).unwrap_or_default();
        let length = (segment.payload - from) as usize;
        if let Some(record) = self.records.get_mut(found.slot as usize)
            && let Some(at) = payload::first_whole(bytes, length)
        {
            payload::note(record, found.side, bytes, at, length, found.now);
        }
    }

    fn count(&mut self, counter: Counter) {
        self.counters.add(counter);
    }
}

impl Flows for Tables {
    type Error = Infallible;

    /// As many as were ever in use at once.
    fn capacity(&self) -> u32 {
        u32::try_from(self.records.len()).unwrap_or(u32::MAX)
    }

    fn state(&self, slot: u32) -> u8 {
        self.records[slot as usize].head.state
    }

    fn glance(&self, slot: u32) -> Glance {
        let head = &self.records[slot as usize].head;
        Glance {
            state: head.state,
            start_ns: head.start_ns,
        }
    }

    fn stirred(&self, from: u32, until: u32) -> Option<u32> {
        (from..until).find(|slot| {
            let slot = *slot as usize;
            self.records[slot].head.idle == 0 || self.once_more[slot]
        })
    }

    fn rest(&mut self, slot: u32) {
        let idle = &mut self.records[slot as usize].head.idle;
        self.once_more[slot as usize] = *idle == 0;
        *idle = 1;
    }

    fn read(&self, slot: u32) -> SessionRecord {
        self.records[slot as usize]
    }

    fn attend(&mut self, slot: u32, attention: u8, small: u8) {
        let head = &mut self.records[slot as usize].head;
        head.attention = attention;
        head.small = small;
    }

    fn retire(&mut self, slots: &[u32]) -> Result<(), Infallible> {
        for &slot in slots {
            let key = self.records[slot as usize].head.key;
            sstpulse_common::Tables::withdraw(self, &key, slot);
        }
        Ok(())
    }

    fn release(&mut self, slots: &[u32]) -> Result<(), Infallible> {
        for &slot in slots {
            self.records[slot as usize].head.state = SlotState::FREE;
            self.free.push(slot);
        }
        Ok(())
    }

    fn counters(&self) -> Result<Counters, Infallible> {
        Ok(self.counters)
    }

    /// All of them: nobody waits meanwhile.
    fn some_attempts(&self, _: Option<u32>, found: &mut Vec<(FlowKey, HalfOpen)>) -> Option<u32> {
        let all = self.half_open.iter();
        found.extend(all.map(|(key, half_open)| (*key, *half_open)));
        None
    }

    fn attempt(&self, key: &FlowKey) -> Option<HalfOpen> {
        self.half_open.peek(key).copied()
    }

    fn forget_attempt(&mut self, key: &FlowKey) -> bool {
        self.half_open.pop(key).is_some()
    }
}
