//! The tracker's tables in plain memory, to run it natively.

use std::collections::HashMap;

use sstpulse_common::{
    Counters, FlowKey, Framing, HalfOpen, NoticeKind, OptionReader, Segment, SessionRecord, Side,
    Skip, Tables, counters::Counter, observe, parse,
};

/// Sessions, attempts and counters of one run.
#[derive(Default)]
pub struct Memory {
    index: HashMap<FlowKey, u32>,
    records: Vec<SessionRecord>,
    half_open: HashMap<FlowKey, HalfOpen>,
    /// What was counted.
    pub counters: Counters,
}

/// What a buffer brings besides its bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Buffer {
    /// When it passed, in nanoseconds.
    pub time_ns: u64,
    /// Segments in it; 0 without offload.
    pub gso_segs: u32,
    /// Payload of each, in bytes.
    pub gso_size: u32,
    /// The interface it passed.
    pub ifindex: u32,
    /// The interface it came in by, of what the host forwards; 0 otherwise.
    pub ingress_ifindex: u32,
}

impl Memory {
    /// Takes in a packet that `side` sent, as the programs do.
    pub fn take(&mut self, framing: Framing, side: Side, port: u16, packet: &[u8], buffer: Buffer) {
        match read(framing, side, port, packet) {
            Ok((key, mut segment)) => {
                segment.ifindex = buffer.ifindex;
                segment.forwarded = buffer.ingress_ifindex != 0;
                if buffer.gso_size != 0 && segment.payload > buffer.gso_size {
                    segment.segments = buffer.gso_segs;
                    segment.segment_size = buffer.gso_size;
                }
                observe(self, side, &key, &segment, buffer.time_ns);
            }
            Err(Skip::NotOurs) => {}
            Err(Skip::Fragment) => self.counters.add(Counter::Fragments),
            Err(Skip::Malformed | Skip::Truncated) => self.counters.add(Counter::Malformed),
        }
    }

    /// The session of a flow.
    pub fn session(&self, key: &FlowKey) -> Option<&SessionRecord> {
        self.index
            .get(key)
            .map(|slot| &self.records[*slot as usize])
    }

    /// The attempt of a flow.
    pub fn attempt(&self, key: &FlowKey) -> Option<&HalfOpen> {
        self.half_open.get(key)
    }
}

fn read(
    framing: Framing,
    side: Side,
    port: u16,
    packet: &[u8],
) -> Result<(FlowKey, Segment), Skip> {
    let length = u32::try_from(packet.len()).map_err(|_| Skip::Malformed)?;
    let mut parsed = parse(packet, framing, side, length, |candidate| candidate == port)?;
    if parsed.segment.flags.syn() {
        parsed.segment.options = OptionReader::default()
            .read(packet, parsed.options, parsed.options_length)
            .unwrap_or_default();
    }
    Ok((parsed.key, parsed.segment))
}

impl Tables for Memory {
    fn find(&mut self, key: &FlowKey) -> Option<u32> {
        self.index.get(key).copied()
    }

    fn record(&mut self, slot: u32) -> Option<&mut SessionRecord> {
        self.records.get_mut(slot as usize)
    }

    fn allocate(&mut self) -> Option<u32> {
        self.records.push(SessionRecord::FREE);
        u32::try_from(self.records.len() - 1).ok()
    }

    fn release(&mut self, _: u32) {}

    fn publish(&mut self, key: &FlowKey, slot: u32) -> bool {
        self.index.insert(*key, slot).is_none()
    }

    fn withdraw(&mut self, key: &FlowKey) {
        self.index.remove(key);
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
            .zip(self.half_open.get(key))
    }

    fn insert_half_open(&mut self, key: &FlowKey, half_open: &HalfOpen) -> bool {
        self.half_open.insert(*key, *half_open);
        true
    }

    fn remove_half_open(&mut self, key: &FlowKey) {
        self.half_open.remove(key);
    }

    fn notify(&mut self, _: NoticeKind, _: u32, _: u64) -> bool {
        true
    }

    fn count(&mut self, counter: Counter) {
        self.counters.add(counter);
    }
}
