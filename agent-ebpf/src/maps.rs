//! The maps, and the tables the tracker sees in them.
//!
//! Sizes are the smallest that load; the agent sets the real ones, from its
//! configuration, before it loads the programs.

use aya_ebpf::{
    bindings::{BPF_ANY, BPF_F_MMAPABLE},
    btf_maps::{Array, LruHashMap, PerCpuArray, RingBuf},
    macros::btf_map,
};
use sstpulse_common::{
    ChunkHeader, FlowKey, HalfOpen, Notice, OptionReader, Parsed, Segment, SessionRecord, Tables,
    Told,
    chores::{self, Chores},
    counters::Counter,
    marks::{self, Mark, Marks},
    observe::Found,
};

use crate::{
    config,
    context::{Scratch, Tick},
    index,
    payloads::{self, Chunk, Payload},
};

/// Session records, in memory that the agent maps.
#[btf_map]
static SESSIONS: Array<SessionRecord, 1, { BPF_F_MMAPABLE as usize }> = Array::new();

/// What a scan has to look at, in memory that the agent maps.
#[btf_map]
static MARKS: Array<Marks, 1, { BPF_F_MMAPABLE as usize }> = Array::new();

/// Slots that something is to be done with.
#[btf_map]
static CHORES: Array<Chores, 1, { BPF_F_MMAPABLE as usize }> = Array::new();

/// Attempts. A flood pushes out the oldest.
#[btf_map]
static HALF_OPEN: LruHashMap<FlowKey, HalfOpen, 1> = LruHashMap::new();

/// Beginnings and endings, for the agent.
#[btf_map]
static NOTICES: RingBuf<Notice, 4096> = RingBuf::new();

/// Openings of sessions, for the agent: a [`ChunkHeader`], and the bytes.
#[btf_map]
static PAYLOADS: RingBuf<ChunkHeader, 4096> = RingBuf::new();

/// Room for a piece of an opening.
#[btf_map]
static CHUNK: PerCpuArray<Chunk, 1> = PerCpuArray::new();

/// What a CPU works with.
#[repr(C)]
pub struct Desk {
    /// What is judged.
    pub parsed: Parsed,
    /// When.
    pub tick: Tick,
}

/// What each CPU works with.
#[btf_map]
static DESKS: PerCpuArray<Desk, 1> = PerCpuArray::new();

/// [`Counter`]s.
#[btf_map]
static COUNTERS: PerCpuArray<u64, { Counter::COUNT }> = PerCpuArray::new();

/// Room for headers that have to be copied.
#[btf_map]
static SCRATCH: PerCpuArray<Scratch, 1> = PerCpuArray::new();

/// Where options are read.
#[btf_map]
static OPTIONS: PerCpuArray<OptionReader, 1> = PerCpuArray::new();

/// This CPU's reader of options.
#[inline(always)]
pub fn option_reader() -> Option<&'static mut OptionReader> {
    // SAFETY: this CPU's value, and nothing interrupts a program on its CPU.
    OPTIONS.get_ptr_mut(0).map(|reader| unsafe { &mut *reader })
}

/// Counts one.
#[inline(always)]
pub fn count(counter: Counter) {
    if let Some(value) = COUNTERS.get_ptr_mut(counter as u32) {
        // SAFETY: this CPU's value, and nothing interrupts a program on its CPU.
        unsafe { *value += 1 };
    }
}

/// This CPU's room for headers.
#[inline(always)]
pub fn scratch() -> Option<*mut Scratch> {
    SCRATCH.get_ptr_mut(0)
}

/// This CPU's room for a piece of an opening.
#[inline(always)]
pub fn chunk() -> Option<*mut Chunk> {
    CHUNK.get_ptr_mut(0)
}

/// What this CPU works with.
#[inline(always)]
pub fn desk() -> Option<&'static mut Desk> {
    // SAFETY: this CPU's value, and nothing interrupts a program on its CPU.
    DESKS.get_ptr_mut(0).map(|desk| unsafe { &mut *desk })
}

/// What this CPU judges.
#[inline(always)]
pub fn parsed() -> Option<&'static mut Parsed> {
    desk().map(|desk| &mut desk.parsed)
}

/// Hands a piece of an opening to the agent; false if there is no room.
#[inline(always)]
pub fn send_chunk(bytes: &[u8]) -> bool {
    PAYLOADS.output_untyped::<[u8]>(bytes, 0).is_ok()
}

/// The record in a slot.
#[inline(always)]
pub fn session(slot: u32) -> Option<&'static mut SessionRecord> {
    // SAFETY: array values never move. Another CPU may write the other direction's half
    // meanwhile; see the record's documentation.
    SESSIONS
        .get_ptr_mut(slot)
        .map(|record| unsafe { &mut *record })
}

/// Leaves a mark for a slot. Few segments do, so the verifier looks into it once, and not with
/// each.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sstpulse_stirred(slot: u32) -> u32 {
    let (line, place) = marks::place(slot);
    if let Some(marks) = MARKS.get_ptr_mut(line) {
        // SAFETY: array values never move, and the place is within the line. Volatile: others
        // read and write meanwhile, a byte at a time.
        unsafe { marks.cast::<u8>().add(place).write_volatile(Mark::STIRRED) };
    }
    0
}

/// The next of the slots that the agent has listed.
#[inline(always)]
pub fn next_chore() -> Option<u32> {
    // SAFETY: array values never move, and the agent runs one program at a time on it.
    let chores = unsafe { &mut *CHORES.get_ptr_mut(0)? };
    let slot = chores.slots[chores.done as usize & (chores::MOST - 1)];
    chores.done += 1;
    Some(slot)
}

/// The maps as the tracker's tables.
pub struct Maps;

impl Tables for Maps {
    type Payload = Payload;

    #[inline(always)]
    fn find(&mut self, key: &FlowKey) -> Option<u32> {
        index::find(key)
    }

    #[inline(always)]
    fn record(&mut self, slot: u32) -> Option<&mut SessionRecord> {
        session(slot)
    }

    #[inline(always)]
    fn stirred(slot: u32) {
        sstpulse_stirred(slot);
    }

    #[inline(always)]
    fn allocate(&mut self, key: &FlowKey) -> Option<u32> {
        index::take(key)
    }

    #[inline(always)]
    fn release(&mut self, key: &FlowKey, slot: u32) {
        index::give_back(key, slot);
    }

    #[inline(always)]
    fn publish(&mut self, _: &FlowKey, slot: u32) -> bool {
        // The key is this CPU's.
        index::publish(slot)
    }

    #[inline(always)]
    fn withdraw(&mut self, key: &FlowKey, slot: u32) {
        index::withdraw(key, slot);
    }

    #[inline(always)]
    fn half_open(&mut self, key: &FlowKey) -> Option<&mut HalfOpen> {
        // SAFETY: an entry that is evicted meanwhile stays readable until the program
        // ends (RCU); what is written to it then is lost with it.
        HALF_OPEN
            .get_ptr_mut(key)
            .map(|half_open| unsafe { &mut *half_open })
    }

    #[inline(always)]
    fn record_and_half_open(
        &mut self,
        slot: u32,
        key: &FlowKey,
    ) -> Option<(&mut SessionRecord, &HalfOpen)> {
        // SAFETY: as for each of the two; they are in different maps.
        let half_open = unsafe { &*HALF_OPEN.get_ptr(key)? };
        Some((self.record(slot)?, half_open))
    }

    #[inline(always)]
    fn insert_half_open(&mut self, key: &FlowKey, half_open: &HalfOpen) -> bool {
        HALF_OPEN.insert(key, half_open, u64::from(BPF_ANY)).is_ok()
    }

    #[inline(always)]
    fn remove_half_open(&mut self, key: &FlowKey) -> bool {
        HALF_OPEN.remove(key).is_ok()
    }

    #[inline(always)]
    fn notify(&mut self, notice: &Notice) -> bool {
        let Some(mut entry) = NOTICES.reserve(0) else {
            return false;
        };
        entry.write(*notice);
        entry.submit(0);
        true
    }

    #[inline(always)]
    fn afterwards(&mut self, found: Found, told: Told, _: &Segment, payload: &Payload) {
        // It is this CPU's.
        payloads::afterwards(found, told, payload);
    }

    #[inline(always)]
    fn hand_over(&mut self, found: Found, segment: &Segment, payload: &Payload) {
        payloads::hand_over(found, segment, payload);
    }

    #[inline(always)]
    fn note(&mut self, found: Found, segment: &Segment, payload: &Payload) {
        payloads::note(found, segment, payload);
    }

    #[inline(always)]
    fn forget(told: Told) -> Told {
        config::forget_told(told)
    }

    #[inline(always)]
    fn count(&mut self, counter: Counter) {
        count(counter);
    }
}
