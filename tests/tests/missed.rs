//! What no message tells the agent of, since its ring was full or two CPUs were at it at once, the
//! scans find.

use std::time::Duration;

use lab::{
    Reporter,
    conversation::{Conversation, Said, c, s},
    reporter::PERIODS,
};
use sstpulse::{event::SessionStats, replay::Tables, report::Flows as _};
use sstpulse_common::{DirectionRecord, FlowKey, Tables as _, TcpFlags, record::SlotState};

const SECOND_NS: u64 = 1_000_000_000;

/// Slots of the table.
const SLOTS: u32 = 4;

/// The tables after a conversation, of which no message has told, and when it was over.
fn unheard(conversation: &Conversation) -> (Tables, u64) {
    let mut tables = conversation.replay();
    assert!(!tables.take_messages().is_empty());
    let last = conversation.packets().last().unwrap();
    (tables, last.buffer.time_ns)
}

/// What becomes of its sessions by scans alone, as they come, for so long.
fn scanned(tables: &mut Tables, from_ns: u64, lasts: Duration) -> SessionStats {
    let mut reporter = Reporter::new(SLOTS);
    for second in 1..=lasts.as_secs() {
        let now = from_ns + second * SECOND_NS;
        if second % PERIODS.interval.as_secs() == 0 {
            let Ok(()) = reporter.scan(tables, now);
        }
        let Ok(()) = reporter.settle(tables, now);
    }
    reporter.sessions().stats()
}

#[test]
fn a_session_that_begins_and_falls_silent_is_dead_in_the_end() {
    let mut conversation = Conversation::new(40_000);
    conversation.handshake().send(c(0, 0, 100));
    let (mut tables, now) = unheard(&conversation);
    let before = scanned(
        &mut tables,
        now,
        PERIODS.dead_after.saturating_sub(PERIODS.interval),
    );
    assert_eq!((before.started, before.live), (1, 1));

    let (mut tables, now) = unheard(&conversation);
    let later = PERIODS.dead_after + 3 * PERIODS.interval;
    let after = scanned(&mut tables, now, later);
    assert_eq!((after.started, after.ended_dead, after.live), (1, 1, 0));
    // Its slot is free again.
    let free = (0..tables.capacity()).all(|slot| tables.state(slot) == SlotState::FREE);
    assert!(free);
}

#[test]
fn sides_that_are_done_in_the_same_instant_have_ended() {
    let mut conversation = Conversation::new(40_000);
    let fin = |said: Said| said.flags(TcpFlags::FIN | TcpFlags::ACK);
    conversation
        .handshake()
        .send(fin(c(0, 0, 0)))
        .send(fin(s(0, 0, 0)));
    conversation.send(c(1, 1, 0)).send(s(1, 1, 0));
    let key = conversation.key();
    let (mut tables, now) = unheard(&conversation);
    // Each CPU has read the other side's acknowledgment before it was there.
    for side in sides(&mut tables, &key) {
        side.flags &= !DirectionRecord::ENDED;
    }
    let stats = scanned(&mut tables, now, 3 * PERIODS.interval);
    assert_eq!((stats.ended_fin, stats.live), (1, 0));
}

/// Both sides of a session's record.
fn sides<'a>(tables: &'a mut Tables, key: &FlowKey) -> [&'a mut DirectionRecord; 2] {
    let slot = tables.find(key).unwrap();
    let record = tables.record(slot).unwrap();
    [&mut record.from_client, &mut record.from_server]
}
