//! Segments of a few flows in any order, with numbers near those that decide, through
//! `observe` on the tables of the replay.
//!
//! A step of zeros is the client's next plain acknowledgment, so that a few bytes make a
//! session and most inputs say something. With `EXPLAIN` in the environment, each segment
//! is printed with the record that it meets.

mod judge;
mod record;
mod step;

use std::{env, num::NonZeroUsize, sync::LazyLock};

use arbitrary::{Arbitrary as _, Unstructured};
use sstpulse::{
    replay::{Limits, Tables},
    report::{Flows, Message},
};
use sstpulse_common::{
    Counters, FlowKey, Notice, SessionRecord, Side, Tables as _, Told, observe, record::SlotState,
};

use self::{
    judge::Seen,
    step::{Act, Step},
};

/// Slots; fewer than flows, so that the table gets full.
const SLOTS: usize = LIMITS.sessions as usize;

/// Flows.
const FLOWS: usize = 4;

/// The tables' sizes. Attempts push each other out.
const LIMITS: Limits = Limits {
    sessions: 3,
    half_open: NonZeroUsize::new(2).unwrap(),
};

/// Whether to print what happens.
static EXPLAIN: LazyLock<bool> = LazyLock::new(|| env::var_os("EXPLAIN").is_some());

/// Lets the tracker take in what the input says, and looks at everything after each step.
pub fn check(input: &[u8]) {
    let mut input = Unstructured::new(input);
    let mut world = World::new();
    while !input.is_empty() {
        let Ok(step) = Step::arbitrary(&mut input) else {
            return;
        };
        world.take(&step);
    }
}

/// The flow with this number.
fn key(flow: usize) -> FlowKey {
    const SERVER: u32 = 0x0a00_0001;
    let number = u16::try_from(flow).expect("there are few flows");
    FlowKey {
        client: sstpulse_common::Address::from_v4_word(0x0a01_0000 + u32::from(number)),
        server: sstpulse_common::Address::from_v4_word(SERVER),
        client_port: 50_000 + number,
        server_port: 443,
    }
}

/// The tables, and what is known of them from outside.
struct World {
    tables: Tables,
    keys: [FlowKey; FLOWS],
    now: u64,
    slots: [Slot; SLOTS],
    /// Sequence numbers of the server's SYN-ACKs, by flow.
    syn_acks: Vec<(usize, u32)>,
    begun: u64,
}

/// What was told of a slot, and how far the agent is with it.
#[derive(Clone, Copy, Default)]
struct Slot {
    /// A segment ended its session.
    ended: bool,
    /// The index was told to forget it.
    retired: bool,
}

/// All records as they are now.
#[derive(Clone, Copy)]
struct Records([SessionRecord; SLOTS]);

impl World {
    fn new() -> Self {
        Self {
            tables: Tables::new(LIMITS),
            keys: std::array::from_fn(key),
            now: 3_600_000_000_000,
            slots: [Slot::default(); SLOTS],
            syn_acks: Vec::new(),
            begun: 0,
        }
    }

    fn take(&mut self, step: &Step) {
        self.now += step.wait_ns();
        match step.act() {
            Act::Segment => self.segment(step),
            Act::Retire(slot) => self.retire(slot),
            Act::Release(slot) => self.release(slot),
            Act::Forget(flow) => {
                self.tables.forget_attempt(&self.keys[flow]);
            }
        }
        self.index();
    }

    fn segment(&mut self, step: &Step) {
        let flow = step.flow();
        let key = self.keys[flow];
        let records = self.records();
        let slot = self.tables.find(&key);
        let record = slot.map(|slot| &records.0[slot as usize]);
        let segment = step.segment(flow, record, self.tables.attempt(&key).as_ref());
        if *EXPLAIN {
            eprintln!("{} {:?} {segment:?} to {record:?}", self.now, step.side());
        }
        let before = self.counters();
        observe(
            &mut self.tables,
            step.side(),
            &key,
            &segment,
            &[],
            &self.now,
        );
        let notices = self.notices();
        if step.side() == Side::Server && segment.flags.syn() && segment.flags.ack() {
            self.syn_acks.push((flow, segment.seq));
        }
        let seen = Seen {
            side: step.side(),
            segment: &segment,
            now: self.now,
            before: slot.map(|slot| (slot, records.0[slot as usize])),
            after: self.tables.find(&key),
            records: &records,
            counted: (before, self.counters()),
            notices: &notices,
        };
        seen.judge(self, flow);
        self.note(&notices);
    }

    fn notices(&mut self) -> Vec<Notice> {
        self.tables
            .take_messages()
            .into_iter()
            .filter_map(|message| match message {
                Message::Notice(notice) => Some(notice),
                Message::Opening(_) => None,
            })
            .collect()
    }

    /// Remembers what was told.
    fn note(&mut self, notices: &[Notice]) {
        for notice in notices {
            let slot = notice.slot as usize;
            if judge::is_start(notice) {
                self.slots[slot] = Slot::default();
                self.begun += 1;
            } else if notice.tells(Told::SESSION_END) {
                self.slots[slot].ended = true;
            }
        }
    }

    /// What the agent does with a session that is over, or that it takes for dead.
    fn retire(&mut self, slot: usize) {
        if self.state(slot) != SlotState::FREE {
            let Ok(()) = self.tables.retire(&[slot_number(slot)]);
            self.slots[slot].retired = true;
        }
    }

    /// What it does a moment later.
    fn release(&mut self, slot: usize) {
        if self.slots[slot].retired {
            let Ok(()) = Flows::release(&mut self.tables, &[slot_number(slot)]);
            self.slots[slot] = Slot::default();
        }
    }

    /// The index leads to sessions that live, and to each from its own key.
    fn index(&mut self) {
        for key in self.keys {
            if let Some(slot) = self.tables.find(&key) {
                let record = self.tables.read(slot);
                assert_eq!(record.head.state, SlotState::LIVE, "slot {slot} is found");
                assert_eq!(record.head.key, key, "slot {slot} is another's");
                assert!(!self.slots[slot as usize].retired);
            }
        }
    }

    fn state(&self, slot: usize) -> u8 {
        if slot_number(slot) < self.tables.capacity() {
            self.tables.state(slot_number(slot))
        } else {
            SlotState::FREE
        }
    }

    fn records(&self) -> Records {
        let mut records = Records([SessionRecord::FREE; SLOTS]);
        for (slot, record) in (0..self.tables.capacity()).zip(&mut records.0) {
            *record = self.tables.read(slot);
        }
        records
    }

    fn counters(&self) -> Counters {
        let Ok(counters) = Flows::counters(&self.tables);
        counters
    }
}

fn slot_number(slot: usize) -> u32 {
    u32::try_from(slot).expect("there are few slots")
}
