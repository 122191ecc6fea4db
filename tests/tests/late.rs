//! Openings that are read after their session has ended: they change nothing, and are counted.

use lab::{
    Reporter,
    conversation::{Conversation, c, s},
};
use sstpulse::{replay::Tables, report::Message};
use sstpulse_common::TcpFlags;

const SECOND_NS: u64 = 1_000_000_000;

/// Slots of the table.
const SLOTS: u32 = 4;

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
    let mut reporter = Reporter::new(SLOTS);
    reporter.take(&mut tables, &notices);
    reporter.take(&mut tables, &openings[..1]);
    assert_eq!(reporter.sessions().payloads_late(), 0);

    // Its end is told; then its slot is free.
    for (after_s, late) in [(1, 1), (2, 2)] {
        let now = last_ns + after_s * SECOND_NS;
        let Ok(()) = reporter.settle(&mut tables, now);
        let before = reporter.written();
        reporter.take(&mut tables, &openings[late..=late]);
        assert_eq!(reporter.sessions().payloads_late(), late as u64);
        assert_eq!(reporter.written(), before);
    }
    let stats = reporter.sessions().stats();
    assert_eq!((stats.started, stats.ended, stats.live), (1, 1, 0));
}

fn time_ns(message: &Message) -> Option<u64> {
    match message {
        Message::Notice(notice) => Some(notice.time_ns),
        Message::Opening(_) => None,
    }
}
