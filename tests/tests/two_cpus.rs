//! Two CPUs with a segment each of one flow: whichever is faster, and wherever it overtakes the
//! other, there is one session, and it has both segments.

use std::num::NonZeroUsize;

use lab::conversation::{Conversation, Packet, c, s};
use sstpulse::{
    replay::{Limits, Tables},
    report::{Flows as _, Message},
};
use sstpulse_common::{
    FlowKey, HalfOpen, Notice, Parsed, Segment, SessionRecord, Side, Tables as _, Told,
    counters::Counter,
    observe::{self, Found, observe},
};

const LIMITS: Limits = Limits {
    sessions: 4,
    half_open: NonZeroUsize::new(4).unwrap(),
};

/// A segment that a CPU takes in.
struct Work {
    side: Side,
    parsed: Parsed,
    time_ns: u64,
}

impl Work {
    fn of(packet: &Packet, conversation: &Conversation) -> Self {
        let (side, parsed) = conversation.take(packet, &mut Tables::new(LIMITS)).unwrap();
        Self {
            side,
            parsed,
            time_ns: packet.buffer.time_ns,
        }
    }

    fn done_with<T: sstpulse_common::Tables<Payload = [u8]>>(&self, tables: &mut T) {
        let Parsed { key, segment, .. } = &self.parsed;
        observe(tables, self.side, key, segment, &[], &self.time_ns);
    }
}

/// The tables as a CPU sees them that another one overtakes: it takes in a whole segment before
/// one of the looks that this one takes.
struct Overtaken<'a> {
    tables: &'a mut Tables,
    /// Looks until then.
    looks: usize,
    other: Option<&'a Work>,
}

impl Overtaken<'_> {
    fn look(&mut self) -> &mut Tables {
        if self.looks == 0
            && let Some(work) = self.other.take()
        {
            work.done_with(self.tables);
        }
        self.looks = self.looks.saturating_sub(1);
        self.tables
    }
}

impl sstpulse_common::Tables for Overtaken<'_> {
    type Payload = [u8];

    fn find(&mut self, key: &FlowKey) -> Option<u32> {
        self.look().find(key)
    }

    fn record(&mut self, slot: u32) -> Option<&mut SessionRecord> {
        self.look().record(slot)
    }

    fn allocate(&mut self, key: &FlowKey) -> Option<u32> {
        self.look().allocate(key)
    }

    fn release(&mut self, key: &FlowKey, slot: u32) {
        sstpulse_common::Tables::release(self.look(), key, slot);
    }

    fn publish(&mut self, key: &FlowKey, slot: u32) -> bool {
        // In one piece: the index sees to that.
        let tables = self.look();
        tables.find(key).is_none() && tables.publish(key, slot)
    }

    fn withdraw(&mut self, key: &FlowKey, slot: u32) {
        self.look().withdraw(key, slot);
    }

    fn half_open(&mut self, key: &FlowKey) -> Option<&mut HalfOpen> {
        self.look().half_open(key)
    }

    fn record_and_half_open(
        &mut self,
        slot: u32,
        key: &FlowKey,
    ) -> Option<(&mut SessionRecord, &HalfOpen)> {
        self.look().record_and_half_open(slot, key)
    }

    fn insert_half_open(&mut self, key: &FlowKey, half_open: &HalfOpen) -> bool {
        self.look().insert_half_open(key, half_open)
    }

    fn remove_half_open(&mut self, key: &FlowKey) -> bool {
        self.look().remove_half_open(key)
    }

    fn notify(&mut self, notice: &Notice) -> bool {
        self.look().notify(notice)
    }

    fn afterwards(&mut self, found: Found, told: Told, segment: &Segment, payload: &[u8]) {
        observe::afterwards(self, found, told, segment, payload);
    }

    fn hand_over(&mut self, found: Found, segment: &Segment, payload: &[u8]) {
        self.look().hand_over(found, segment, payload);
    }

    fn note(&mut self, found: Found, segment: &Segment, payload: &[u8]) {
        self.look().note(found, segment, payload);
    }

    fn count(&mut self, counter: Counter) {
        self.look().count(counter);
    }
}

/// Takes in the first `before` packets of a conversation one after the other, and of the next
/// two the second before each look in turn that the first takes, and the other way round. Each
/// time, `check` is given what became of it.
fn overtake(conversation: &Conversation, before: usize, check: impl Fn(&mut Tables, &str)) {
    let work: Vec<_> = conversation
        .packets()
        .iter()
        .map(|packet| Work::of(packet, conversation))
        .collect();
    let (before, [first, second]) = work.split_at(before) else {
        panic!("two packets are to be taken in at once");
    };
    for (overtaken, other, which) in [(first, second, "first"), (second, first, "second")] {
        for looks in 0.. {
            let mut tables = Tables::new(LIMITS);
            for work in before {
                work.done_with(&mut tables);
            }
            let mut cpu = Overtaken {
                tables: &mut tables,
                looks,
                other: Some(other),
            };
            overtaken.done_with(&mut cpu);
            if cpu.other.is_some() {
                assert!(looks > 1, "nothing could be overtaken");
                break;
            }
            check(&mut tables, &format!("{which}, after {looks} looks"));
        }
    }
}

/// What a side's record says: segments, and bytes.
type Counts = (u64, u64);

/// Fails unless there is one session, begun once, from a handshake or without, and nothing else.
fn one_session(
    tables: &mut Tables,
    key: &FlowKey,
    from_handshake: bool,
    what: &str,
) -> [Counts; 2] {
    let record = *tables.session(key).expect(what);
    let counters = tables.counters().unwrap();
    let counted = [
        Counter::SessionsFromHandshake,
        Counter::HalfOpenCompleted,
        Counter::SessionsMidstream,
        Counter::NoSession,
        Counter::TableFull,
    ]
    .map(|counter| counters.get(counter));
    let begun = u64::from(from_handshake);
    assert_eq!(counted, [begun, begun, 1 - begun, 0, 0], "{what}");
    let messages = tables.take_messages();
    let starts = messages.iter().filter(|message| match message {
        Message::Notice(notice) => notice.tells(Told::SESSION_START),
        Message::Opening(_) => false,
    });
    assert_eq!(starts.count(), 1, "{what}");
    for _ in 1..LIMITS.sessions {
        assert!(tables.allocate(key).is_some(), "{what}: a slot is lost");
    }
    [record.from_client, record.from_server].map(|side| (side.segments, side.bytes))
}

#[test]
fn the_ack_of_a_handshake_and_the_first_data() {
    let mut conversation = Conversation::new(40_000);
    conversation.handshake().send(c(0, 0, 500));
    let key = conversation.key();
    overtake(&conversation, 2, |tables, what| {
        let counts = one_session(tables, &key, true, what);
        assert_eq!(counts, [(3, 500), (1, 0)], "{what}");
    });
}

#[test]
fn the_ack_of_a_handshake_and_the_servers_greeting() {
    let mut conversation = Conversation::new(40_000);
    conversation.handshake().send(s(0, 0, 100));
    let key = conversation.key();
    overtake(&conversation, 2, |tables, what| {
        let counts = one_session(tables, &key, true, what);
        assert_eq!(counts, [(2, 0), (2, 100)], "{what}");
    });
}

#[test]
fn the_ack_of_a_handshake_and_the_syn_ack_once_more() {
    let mut conversation = Conversation::new(40_000);
    conversation.syn().syn_ack().send(c(0, 0, 0)).syn_ack();
    let key = conversation.key();
    overtake(&conversation, 2, |tables, what| {
        let [_, (segments, bytes)] = one_session(tables, &key, true, what);
        // A repetition that comes to nothing is told of nowhere: it is no attempt of its own.
        assert!((1..=2).contains(&segments) && bytes == 0, "{what}");
        assert_eq!(tables.attempts().count(), 0, "{what}");
    });
}

#[test]
fn a_servers_first_data_and_its_syn_ack_once_more() {
    let mut conversation = Conversation::new(40_000);
    conversation.handshake().send(s(0, 0, 100)).syn_ack();
    let key = conversation.key();
    overtake(&conversation, 3, |tables, what| {
        let counts = one_session(tables, &key, true, what);
        assert_eq!(counts, [(2, 0), (3, 100)], "{what}");
    });
}

#[test]
fn data_of_a_server_whose_handshake_was_not_seen() {
    let mut conversation = Conversation::new(40_000);
    conversation.send(s(0, 0, 100)).send(s(100, 0, 100));
    let key = conversation.key();
    overtake(&conversation, 0, |tables, what| {
        let counts = one_session(tables, &key, false, what);
        assert_eq!(counts[1], (2, 200), "{what}");
    });
}
