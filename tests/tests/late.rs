//! Openings that are read after their session has ended: they change nothing, and are counted.

use std::time::Duration;

use lab::conversation::{Conversation, c, s};
use sstpulse::{
    clock::Clock,
    diagnosis::{ClusterLimits, Thresholds},
    output::Output,
    replay::Tables,
    report::{Across, InterfaceNames, Lines, Message, Periods, Sessions, Teller},
};
use sstpulse_common::TcpFlags;

const SECOND_NS: u64 = 1_000_000_000;

/// Slots of the table.
const SLOTS: u32 = 4;

struct Nameless;

impl InterfaceNames for Nameless {
    fn name(&self, _: u32) -> Option<&str> {
        None
    }
}

/// A session that says something and is reset, and what was told of it: notices and openings.
fn session(tables: &mut Tables) -> (Vec<Message>, Vec<Message>) {
    let mut conversation = Conversation::new(40_000);
    conversation.handshake().send(c(0, 0, 100));
    conversation.send(s(0, 100, 200)).send(c(100, 200, 50));
    conversation.send(c(150, 200, 0).flags(TcpFlags::RST | TcpFlags::ACK));
    for packet in conversation.packets() {
        conversation.take(packet, tables).unwrap();
    }
    let is_notice = |message: &Message| matches!(message, Message::Notice(_));
    tables.take_messages().into_iter().partition(is_notice)
}

#[test]
fn openings_that_come_after_the_end_are_counted_and_change_nothing() {
    let mut tables = Conversation::new(1).replay();
    let (notices, openings) = session(&mut tables);
    assert_eq!(openings.len(), 3);
    let last_ns = notices.iter().filter_map(time_ns).max().unwrap();
    let periods = Periods {
        interval: Duration::from_secs(10),
        dead_after: Duration::from_mins(15),
    };
    let mut sessions = Sessions::new(SLOTS, 0, Thresholds::default(), periods);
    let mut across = Across::new(&Thresholds::default(), &ClusterLimits::default());
    let mut lines = Lines::new(Output::discard(), Clock::now());
    let mut teller = Teller {
        lines: &mut lines,
        interfaces: &Nameless,
        across: &mut across,
    };
    for message in notices.iter().chain(&openings[..1]) {
        sessions.take(&mut tables, &mut teller, message);
    }
    assert_eq!(sessions.payloads_late(), 0);

    // Its end is told; then its slot is free.
    for (after_s, late) in [(1, 1), (2, 2)] {
        let now = last_ns + after_s * SECOND_NS;
        let Ok(()) = sessions.settle(&mut tables, &mut teller, now);
        let before = teller.lines.written();
        sessions.take(&mut tables, &mut teller, &openings[late]);
        assert_eq!(sessions.payloads_late(), late as u64);
        assert_eq!(teller.lines.written(), before);
    }
    let stats = sessions.stats();
    assert_eq!((stats.started, stats.ended, stats.live), (1, 1, 0));
}

fn time_ns(message: &Message) -> Option<u64> {
    match message {
        Message::Notice(notice) => Some(notice.time_ns),
        Message::Opening(_) => None,
    }
}
