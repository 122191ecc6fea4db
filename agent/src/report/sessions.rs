//! Sessions as the agent knows them: what it has told about each, and what is to come.
//!
//! A slot goes through [`Slot`]'s states. A session that has ended lingers a moment, so
//! that late segments still count and its totals are final; then its end is told, the
//! index forgets it, and a moment later, when no program can hold it any more, its slot
//! is free again.

use std::{collections::VecDeque, time::Duration};

use sstpulse_common::{DirectionRecord, Notice, SessionRecord, Told, record::SlotState};

use super::{Flows, InterfaceNames, Lines, Message, Opening, Teller};
use crate::event::{
    About, CloseBy, CloseHow, Counters, DirectionTotals, Ending, Endpoint, Event, Handshake,
    Network, SeenFrom, Session, SessionEnd, SessionHealth, SessionStart, SessionStats,
};

/// How long late segments are waited for.
const LINGER_NS: u64 = 500_000_000;

/// How long a program may hold a slot that the index has just forgotten; it runs for
/// microseconds.
const GRACE_NS: u64 = 100_000_000;

/// What the agent knows of a slot.
#[derive(Clone, Debug, Default)]
enum Slot {
    /// Nothing.
    #[default]
    Empty,
    /// A scan has seen a record in it that no notice had told of. The next scan takes it
    /// up; by then it is complete, whatever order this CPU sees the kernel's stores in.
    Seen,
    /// A session that was told of.
    Live(Box<Known>),
    /// Its end was told; not yet free.
    Retired,
}

/// What was told of a session.
#[derive(Clone, Debug)]
struct Known {
    number: u64,
    start_ns: u64,
    from_client: Counters,
    from_server: Counters,
    segments: u64,
    changed_ns: u64,
    ending: bool,
}

/// All sessions.
pub(crate) struct Sessions {
    slots: Vec<Slot>,
    /// Random; makes identifiers differ between runs.
    run: u32,
    numbered: u64,
    ending: VecDeque<Due>,
    retired: VecDeque<Due>,
    stats: SessionStats,
}

#[derive(Clone, Copy, Debug)]
struct Due {
    at_ns: u64,
    slot: u32,
}

impl Sessions {
    pub(crate) fn new(capacity: u32, run: u32) -> Self {
        Self {
            slots: Vec::new(),
            run,
            numbered: 0,
            ending: VecDeque::new(),
            retired: VecDeque::new(),
            stats: SessionStats {
                capacity,
                ..SessionStats::default()
            },
        }
    }

    pub(crate) const fn stats(&self) -> SessionStats {
        self.stats
    }

    /// Takes in what a program told.
    pub(crate) fn take<F: Flows>(
        &mut self,
        flows: &mut F,
        teller: &mut Teller<'_>,
        message: &Message,
    ) {
        let (slot, start_ns) = match message {
            Message::Notice(notice) => (notice.slot, notice.start_ns),
            Message::Opening(opening) => (opening.header.slot, opening.header.start_ns),
        };
        if slot >= flows.capacity() {
            tracing::error!(slot, "a message about a slot that does not exist");
            return;
        }
        self.begin(flows, teller, slot);
        let Slot::Live(known) = self.slot(slot) else {
            return;
        };
        // It may be older than the session that is in the slot now.
        if known.start_ns != start_ns {
            return;
        }
        match message {
            Message::Notice(notice) => self.notice(flows, notice),
            Message::Opening(opening) => self.opening(flows, opening),
        }
    }

    fn notice<F: Flows>(&mut self, flows: &mut F, notice: &Notice) {
        if notice.tells(Told::SESSION_END) && flows.pulse(notice.slot).ended {
            self.end_later(notice.slot, notice.time_ns);
        }
    }

    fn opening<F: Flows>(&mut self, _flows: &mut F, _opening: &Opening) {}

    /// Takes up the session in a slot, if it is new.
    fn begin<F: Flows>(&mut self, flows: &F, teller: &mut Teller<'_>, slot: u32) {
        if !matches!(self.slot(slot), Slot::Empty | Slot::Seen) {
            return;
        }
        let record = flows.read(slot);
        if record.head.state == SlotState::FREE {
            return;
        }
        self.numbered += 1;
        let known = Known {
            number: self.numbered,
            start_ns: record.head.start_ns,
            from_client: Counters::default(),
            from_server: Counters::default(),
            segments: 0,
            changed_ns: record.head.start_ns,
            ending: false,
        };
        self.stats.live += 1;
        self.stats.started += 1;
        if seen_from(&record) == SeenFrom::Midstream {
            self.stats.started_midstream += 1;
        }
        let now = record.head.start_ns;
        let about = self.about(teller.lines, &record, known.number, now);
        let interface = interface(teller.interfaces, &record);
        teller.lines.write(now, interface, |head| {
            Event::SessionStart(SessionStart {
                head,
                about,
                handshake: Handshake::of(&record),
            })
        });
        *self.slot(slot) = Slot::Live(Box::new(known));
    }

    /// Looks at every slot: tells what has changed, and finds what notices did not tell.
    pub(crate) fn scan<F: Flows>(
        &mut self,
        flows: &F,
        teller: &mut Teller<'_>,
        now: u64,
        dead_after: Duration,
    ) -> Vec<u32> {
        let dead_after_ns = u64::try_from(dead_after.as_nanos()).unwrap_or(u64::MAX);
        let mut dead = Vec::new();
        for slot in 0..flows.capacity() {
            if flows.state(slot) == SlotState::FREE {
                continue;
            }
            match self.slot(slot) {
                Slot::Empty => *self.slot(slot) = Slot::Seen,
                Slot::Seen => self.begin(flows, teller, slot),
                Slot::Live(_) | Slot::Retired => {}
            }
            let pulse = flows.pulse(slot);
            let Slot::Live(known) = self.slot(slot) else {
                continue;
            };
            if known.segments != pulse.segments {
                known.segments = pulse.segments;
                known.changed_ns = now;
                self.health(flows, teller, slot, now);
            } else if !pulse.ended && now.saturating_sub(known.changed_ns) >= dead_after_ns {
                dead.push(slot);
            }
            if pulse.ended {
                self.end_later(slot, now);
            }
        }
        dead
    }

    /// Tells what has changed in a session.
    fn health<F: Flows>(&mut self, flows: &F, teller: &mut Teller<'_>, slot: u32, now: u64) {
        let record = flows.read(slot);
        let Slot::Live(known) = self.slot(slot) else {
            return;
        };
        let from_client = Counters::of(&record.from_client, &record.from_server, now);
        let from_server = Counters::of(&record.from_server, &record.from_client, now);
        let client_delta = from_client.since(&known.from_client);
        let server_delta = from_server.since(&known.from_server);
        known.from_client = from_client;
        known.from_server = from_server;
        let number = known.number;

        let about = self.about(teller.lines, &record, number, now);
        let interface = interface(teller.interfaces, &record);
        teller.lines.write(now, interface, |head| {
            Event::SessionHealth(SessionHealth {
                head,
                about,
                rtt_us: record.head.rtt.into(),
                from_client: client_delta,
                from_server: server_delta,
            })
        });
    }

    /// Lets a session linger, then end.
    fn end_later(&mut self, slot: u32, since_ns: u64) {
        if let Slot::Live(known) = self.slot(slot)
            && !known.ending
        {
            known.ending = true;
            self.ending.push_back(Due {
                at_ns: since_ns + LINGER_NS,
                slot,
            });
        }
    }

    /// When there is something to do next, on the monotonic clock in nanoseconds.
    pub(crate) fn next_due(&self) -> Option<u64> {
        let next = |queue: &VecDeque<Due>| queue.front().map(|due| due.at_ns);
        match (next(&self.ending), next(&self.retired)) {
            (Some(ending), Some(retired)) => Some(ending.min(retired)),
            (ending, retired) => ending.or(retired),
        }
    }

    /// Ends the sessions that have lingered until `now`, and frees the slots of those
    /// that ended before.
    pub(crate) fn settle<F: Flows>(
        &mut self,
        flows: &mut F,
        teller: &mut Teller<'_>,
        now: u64,
    ) -> Result<(), F::Error> {
        while let Some(due) = pop_due(&mut self.ending, now) {
            self.end(flows, teller, due.slot, now)?;
        }
        while let Some(due) = pop_due(&mut self.retired, now) {
            flows.release(due.slot)?;
            *self.slot(due.slot) = Slot::Empty;
        }
        Ok(())
    }

    /// Tells the end of a session, and takes it from the index.
    pub(crate) fn end<F: Flows>(
        &mut self,
        flows: &mut F,
        teller: &mut Teller<'_>,
        slot: u32,
        now: u64,
    ) -> Result<(), F::Error> {
        let Slot::Live(known) = self.slot(slot) else {
            return Ok(());
        };
        let number = known.number;
        *self.slot(slot) = Slot::Retired;
        let record = flows.read(slot);
        flows.retire(&record.head.key, slot)?;
        // What came until the index forgot it belongs to it, too.
        let record = flows.read(slot);
        self.retired.push_back(Due {
            at_ns: now + GRACE_NS,
            slot,
        });
        self.tell_end(teller, &record, number);
        Ok(())
    }

    /// Tells the totals of a session that goes on beyond the end of a capture.
    pub(crate) fn leave_open<F: Flows>(&mut self, flows: &F, teller: &mut Teller<'_>) {
        for slot in 0..flows.capacity() {
            let Slot::Live(known) = self.slot(slot) else {
                continue;
            };
            let number = known.number;
            let record = flows.read(slot);
            self.write_end(teller, &record, number, CloseHow::StillOpen);
        }
    }

    fn tell_end(&mut self, teller: &mut Teller<'_>, record: &SessionRecord, number: u64) {
        let how = how(record);
        self.stats.live -= 1;
        self.stats.ended += 1;
        match how {
            CloseHow::Fin => self.stats.ended_fin += 1,
            CloseHow::Reset => self.stats.ended_reset += 1,
            CloseHow::Superseded => self.stats.ended_superseded += 1,
            CloseHow::Dead | CloseHow::StillOpen => self.stats.ended_dead += 1,
        }
        self.write_end(teller, record, number, how);
    }

    fn write_end(
        &self,
        teller: &mut Teller<'_>,
        record: &SessionRecord,
        number: u64,
        how: CloseHow,
    ) {
        let by = by(record);
        let now = last_seen_ns(record);
        let about = self.about(teller.lines, record, number, now);
        let interface = interface(teller.interfaces, record);
        teller.lines.write(now, interface, |head| {
            Event::SessionEnd(SessionEnd {
                head,
                about,
                end: Ending { by, how },
                rtt_us: record.head.rtt.into(),
                from_client: DirectionTotals::of(&record.from_client, &record.from_server, now),
                from_server: DirectionTotals::of(&record.from_server, &record.from_client, now),
            })
        });
    }

    /// Ends all sessions that linger, without waiting longer.
    pub(crate) fn end_lingering<F: Flows>(
        &mut self,
        flows: &mut F,
        teller: &mut Teller<'_>,
        now: u64,
    ) -> Result<(), F::Error> {
        while let Some(due) = self.ending.pop_front() {
            self.end(flows, teller, due.slot, now)?;
        }
        Ok(())
    }

    fn about(
        &self,
        lines: &Lines,
        record: &SessionRecord,
        number: u64,
        now: u64,
    ) -> About<'static> {
        let start_ns = record.head.start_ns;
        About {
            session: Session {
                id: format!("{:08x}{number:08x}", self.run),
                start: lines.time(start_ns),
                duration_ms: now.saturating_sub(start_ns) / 1_000_000,
                seen_from: seen_from(record),
            },
            client: Endpoint::client(&record.head.key),
            server: Endpoint::server(&record.head.key),
            network: Network::of(&record.head.key),
        }
    }

    fn slot(&mut self, slot: u32) -> &mut Slot {
        let index = slot as usize;
        if index >= self.slots.len() {
            // Slots are used from the lowest on, so this follows the most sessions ever
            // open at once, and not the table's size.
            self.slots.resize(index + 1, Slot::Empty);
        }
        &mut self.slots[index]
    }
}

fn pop_due(queue: &mut VecDeque<Due>, now: u64) -> Option<Due> {
    queue.pop_front_if(|due| due.at_ns <= now)
}

fn seen_from(record: &SessionRecord) -> SeenFrom {
    match record.head.seen_from {
        sstpulse_common::record::SeenFrom::HANDSHAKE => SeenFrom::Handshake,
        _ => SeenFrom::Midstream,
    }
}

fn interface<'a>(interfaces: &'a dyn InterfaceNames, record: &SessionRecord) -> Option<&'a str> {
    interfaces
        .name(record.from_client.ifindex)
        .or_else(|| interfaces.name(record.from_server.ifindex))
}

fn last_seen_ns(record: &SessionRecord) -> u64 {
    let client = record.from_client.last_seen_ns;
    client.max(record.from_server.last_seen_ns)
}

/// Who ended a session.
fn by(record: &SessionRecord) -> CloseBy {
    if record.from_client.has(DirectionRecord::FIRST_TO_CLOSE) {
        CloseBy::Client
    } else if record.from_server.has(DirectionRecord::FIRST_TO_CLOSE) {
        CloseBy::Server
    } else {
        CloseBy::Unknown
    }
}

/// How a session ended that nothing more is expected of.
fn how(record: &SessionRecord) -> CloseHow {
    let (client, server) = (&record.from_client, &record.from_server);
    if client.has(DirectionRecord::RESET_ENDED) || server.has(DirectionRecord::RESET_ENDED) {
        CloseHow::Reset
    } else if record.ended() {
        CloseHow::Fin
    } else if record.head.state == SlotState::SUPERSEDED {
        CloseHow::Superseded
    } else {
        CloseHow::Dead
    }
}
