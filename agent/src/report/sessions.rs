//! Sessions as the agent knows them: what it has told about each, and what is to come.
//!
//! A slot goes through [`Slot`]'s states. A session that has ended lingers a moment, so
//! that late segments still count and its totals are final; then its end is told, the
//! index forgets it, and a moment later, when no program can hold it any more, its slot
//! is free again.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    time::Duration,
};

use sstpulse_common::{DirectionRecord, Notice, SessionRecord, Told, record::SlotState};

use super::{
    Flows, InterfaceNames, Lines, Message, Opening, Teller,
    across::{End, SessionId},
    known::Known,
    nanoseconds,
    recent::{Like, Recent},
    watched::{LOOK_NS, Watched},
};
use crate::{
    diagnosis::{self, HostFacts, Interval, Thresholds},
    event::{
        About, Anomaly, CloseBy, CloseHow, Code, Counters, DirectionTotals, Ending, Endpoint,
        Event, Handshake, Network, SeenFrom, Session, SessionAnomaly, SessionEnd, SessionHealth,
        SessionStart, SessionStats, SessionTls, Verdict,
    },
    tls::Phase,
};

/// How long late segments are waited for.
const LINGER_NS: u64 = 500_000_000;

/// How long a program may hold a slot that the index has just forgotten; it runs for
/// microseconds.
const GRACE_NS: u64 = 100_000_000;

/// What makes a session suspicious.
const TROUBLE: Told =
    Told(Told::TIMEOUT.0 | Told::REPETITIONS.0 | Told::WINDOW_CLOSED.0 | Told::RTT_INFLATED.0);

/// What the agent knows of a slot.
#[derive(Debug, Default)]
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

/// All sessions.
pub struct Sessions {
    slots: Vec<Slot>,
    /// Random; makes identifiers differ between runs.
    run: u32,
    numbered: u64,
    ending: VecDeque<Due>,
    retired: VecDeque<Due>,
    /// Looks at single sessions that are planned, the next one first. A session may have gone
    /// meanwhile, or not need it any more.
    looks: BinaryHeap<Reverse<Due>>,
    stats: SessionStats,
    thresholds: Thresholds,
    recent: Recent,
    host: HostFacts,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Due {
    at_ns: u64,
    slot: u32,
}

impl Sessions {
    /// No sessions yet. `run` makes their identifiers differ from those of other runs.
    pub fn new(capacity: u32, run: u32, thresholds: Thresholds) -> Self {
        Self {
            slots: Vec::new(),
            run,
            numbered: 0,
            ending: VecDeque::new(),
            retired: VecDeque::new(),
            looks: BinaryHeap::new(),
            stats: SessionStats {
                capacity,
                ..SessionStats::default()
            },
            thresholds,
            recent: Recent::default(),
            host: HostFacts::default(),
        }
    }

    /// Takes in what the host knows, for the verdicts to come.
    pub(crate) const fn host_knows(&mut self, host: HostFacts) {
        self.host = host;
    }

    /// Counts of sessions.
    pub const fn stats(&self) -> SessionStats {
        self.stats
    }

    /// Takes in what a program told.
    pub fn take<F: Flows>(
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
            Message::Notice(notice) => self.notice(flows, teller, notice),
            Message::Opening(opening) => self.opening(flows, teller, opening),
        }
    }

    fn notice<F: Flows>(&mut self, flows: &mut F, teller: &mut Teller<'_>, notice: &Notice) {
        let record = flows.read(notice.slot);
        if let Slot::Live(known) = self.slot(notice.slot) {
            known.notice(notice, &record);
        }
        if notice.tells(TROUBLE) {
            self.watch(flows, notice.slot, notice.time_ns);
            self.look(flows, teller, notice.slot, notice.time_ns);
        }
        if notice.tells(Told::CLOSING) {
            self.closing(&record, notice.slot);
        }
        if notice.tells(Told::SESSION_END) && flows.pulse(notice.slot).ended {
            self.end_later(notice.slot, notice.time_ns);
        }
    }

    /// Begins to look at a session again and again.
    fn watch<F: Flows>(&mut self, flows: &mut F, slot: u32, now: u64) {
        let Slot::Live(known) = self.slot(slot) else {
            return;
        };
        if known.watched.is_some() {
            return;
        }
        known.watched = Some(Box::new(Watched::new(now)));
        let (attention, small) = known.attention();
        flows.attend(slot, attention, small);
        self.looks.push(Reverse(Due {
            at_ns: now + LOOK_NS,
            slot,
        }));
    }

    /// Looks at a session, and tells what trouble began, or is over.
    fn look<F: Flows>(&mut self, flows: &F, teller: &mut Teller<'_>, slot: u32, now: u64) {
        let silence_ns = 2 * nanoseconds(self.thresholds.hello);
        let run = self.run;
        let Slot::Live(known) = self.slot(slot) else {
            return;
        };
        let record = flows.read(slot);
        known.look(&record, now, None);
        let look = known.to_look_at(&record, now, silence_ns);
        let Some(watched) = &mut known.watched else {
            return;
        };
        for change in watched.look(&look) {
            let anomaly = Anomaly {
                code: change.code,
                state: change.state,
                side: change.side.map_or(CloseBy::Unknown, CloseBy::from),
                since: teller.lines.time(change.since_ns),
                lasted_ms: change.lasted_ns / 1_000_000,
                evidence: change.evidence,
            };
            let about = about(run, teller.lines, &record, known, now);
            let interface = interface(teller.interfaces, &record);
            teller.lines.write(now, interface, |head| {
                Event::SessionAnomaly(SessionAnomaly {
                    head,
                    about,
                    anomaly,
                })
            });
        }
    }

    /// Does a look that was planned, and plans the next one.
    fn look_again<F: Flows>(
        &mut self,
        flows: &mut F,
        teller: &mut Teller<'_>,
        slot: u32,
        now: u64,
    ) {
        let silence_ns = 2 * nanoseconds(self.thresholds.hello);
        let Slot::Live(known) = self.slot(slot) else {
            return;
        };
        if known.ending {
            return;
        }
        let next_ns = if known.watched.is_some() {
            self.look(flows, teller, slot, now);
            let Slot::Live(known) = self.slot(slot) else {
                return;
            };
            let watched = known.watched.as_deref();
            if watched.is_none_or(|watched| watched.is_calm(now)) {
                known.watched = None;
                let (attention, small) = known.attention();
                flows.attend(slot, attention, small);
                return;
            }
            let unseen_ns = now.saturating_sub(known.seen_ns());
            now + watched.map_or(LOOK_NS, |watched| watched.pause_ns(unseen_ns))
        } else {
            // The look is for silence: it has lasted, or there is another to be waited for.
            known.look_planned = false;
            let silent_since_ns = last_seen_ns(&flows.read(slot));
            if known.is_up() && now.saturating_sub(silent_since_ns) >= silence_ns {
                self.watch(flows, slot, now);
                self.look(flows, teller, slot, now);
            }
            return;
        };
        self.looks.push(Reverse(Due {
            at_ns: next_ns,
            slot,
        }));
    }

    /// Plans a look at the moment when a session will have been silent for too long, if that
    /// comes before the next scan.
    fn expect_silence(&mut self, slot: u32, last_seen_ns: u64, now: u64, interval_ns: u64) {
        let at_ns = last_seen_ns.saturating_add(2 * nanoseconds(self.thresholds.hello));
        let Slot::Live(known) = self.slot(slot) else {
            return;
        };
        let soon = at_ns <= now.saturating_add(interval_ns);
        if !soon || known.look_planned || known.watched.is_some() || !known.is_up() {
            return;
        }
        known.look_planned = true;
        self.looks.push(Reverse(Due { at_ns, slot }));
    }

    /// Remembers how a session closes, before verdicts on those that close with it.
    fn closing(&mut self, record: &SessionRecord, slot: u32) {
        let Some(Slot::Live(known)) = self.slots.get(slot as usize) else {
            return;
        };
        let end = Ending {
            by: by(record),
            how: how(record),
        };
        let facts = known.facts(record, end, diagnosis::Neighbours::default(), self.host);
        let closed_ns = facts.closed_ns();
        match diagnosis::closed_by_server(&facts, &self.thresholds) {
            Some(diagnosis::Word::None) => self.recent.died(closed_ns),
            Some(diagnosis::Word::Goodbye) => self.recent.aged(closed_ns, facts.age_ns()),
            None => {}
        }
    }

    fn opening<F: Flows>(&mut self, flows: &mut F, teller: &mut Teller<'_>, opening: &Opening) {
        let slot = opening.header.slot;
        let Slot::Live(known) = self.slot(slot) else {
            return;
        };
        let done = known.opening(opening);
        let is_up = known.tls().is_some_and(|tls| tls.phase() == Phase::Up);
        if !done && (!is_up || known.tls_told) {
            return;
        }
        let (attention, small) = known.attention();
        flows.attend(slot, attention, small);
        let record = flows.read(slot);
        if is_up {
            self.recent.is_back(record.head.key.client);
        }
        self.tell_tls(teller, &record, slot, opening.header.time_ns);
    }

    /// Tells what TLS and the set-up of SSTP showed, once, if there was anything.
    fn tell_tls(&mut self, teller: &mut Teller<'_>, record: &SessionRecord, slot: u32, now: u64) {
        let Some(Slot::Live(known)) = self.slots.get_mut(slot as usize) else {
            return;
        };
        if known.tls_told || known.tls().is_none_or(|tls| tls.phase() < Phase::Tls) {
            return;
        }
        known.tls_told = true;
        let known = &*known;
        let Some(tls) = known.tls() else {
            return;
        };
        if tls.phase() == Phase::Up {
            teller.across.came_up(tls.hellos.server_name.as_deref());
        }
        let about = about(self.run, teller.lines, record, known, now);
        let interface = interface(teller.interfaces, record);
        teller.lines.write(now, interface, |head| {
            Event::SessionTls(SessionTls::of(head, about, tls, known.start_ns))
        });
    }

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
        let known = Known::new(self.numbered, &record);
        self.stats.live += 1;
        self.stats.started += 1;
        if seen_from(&record) == SeenFrom::Midstream {
            self.stats.started_midstream += 1;
        }
        let now = record.head.start_ns;
        teller.across.opened(&record.head.key);
        let roaming_ns = nanoseconds(self.thresholds.roaming);
        let previous = self.recent.came(record.head.key.client, now, roaming_ns);
        let about = about(self.run, teller.lines, &record, &known, now);
        let interface = interface(teller.interfaces, &record);
        teller.lines.write(now, interface, |head| {
            Event::SessionStart(SessionStart {
                head,
                about,
                handshake: Handshake::of(&record),
                previous,
            })
        });
        *self.slot(slot) = Slot::Live(Box::new(known));
    }

    /// Looks at every slot: tells what has changed, and finds what notices did not tell.
    pub fn scan<F: Flows>(
        &mut self,
        flows: &F,
        teller: &mut Teller<'_>,
        now: u64,
        dead_after: Duration,
        interval: Duration,
    ) -> Vec<u32> {
        let interval_ns = nanoseconds(interval);
        let dead_after_ns = nanoseconds(dead_after);
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
            } else if !pulse.ended {
                let seen_ns = known.seen_ns();
                if now.saturating_sub(known.changed_ns) >= dead_after_ns {
                    dead.push(slot);
                }
                self.expect_silence(slot, seen_ns, now, interval_ns);
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
        let run = self.run;
        let Some(Slot::Live(known)) = self.slots.get_mut(slot as usize) else {
            return;
        };
        known.look(&record, now, None);
        let from_client = Counters::of(&record.from_client, &record.from_server, now);
        let from_server = Counters::of(&record.from_server, &record.from_client, now);
        let client_delta = from_client.since(&known.from_client);
        let server_delta = from_server.since(&known.from_server);
        known.from_client = from_client;
        known.from_server = from_server;
        let rtt = record.head.rtt;
        let timeouts = known.timeouts(&record);
        let interval = Interval {
            from_client: &client_delta,
            from_server: &server_delta,
            rtt_inflated: rtt.inflated(rtt.smoothed_us),
            path_stalled: timeouts.is_some_and(|timeouts| timeouts.count > 2),
        };
        let health = diagnosis::health(&interval, &self.thresholds);
        teller
            .across
            .sent(&client_delta, &server_delta, rtt.smoothed_us);

        let about = about(run, teller.lines, &record, known, now);
        let interface = interface(teller.interfaces, &record);
        teller.lines.write(now, interface, |head| {
            Event::SessionHealth(SessionHealth {
                head,
                about,
                health,
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
    pub fn next_due(&self) -> Option<u64> {
        let next = |queue: &VecDeque<Due>| queue.front().map(|due| due.at_ns);
        let look = self.looks.peek().map(|Reverse(due)| due.at_ns);
        [next(&self.ending), next(&self.retired), look]
            .into_iter()
            .flatten()
            .min()
    }

    /// Ends the sessions that have lingered until `now`, frees the slots of those that ended
    /// before, and looks at those that are due.
    pub fn settle<F: Flows>(
        &mut self,
        flows: &mut F,
        teller: &mut Teller<'_>,
        now: u64,
    ) -> Result<(), F::Error> {
        while let Some(due) = pop_due(&mut self.ending, now) {
            self.end(flows, teller, due.slot, now)?;
        }
        while let Some(due) = pop_due(&mut self.retired, now) {
            flows.release(&[due.slot])?;
            *self.slot(due.slot) = Slot::Empty;
        }
        while let Some(Reverse(due)) = self.looks.peek().copied()
            && due.at_ns <= now
        {
            self.looks.pop();
            self.look_again(flows, teller, due.slot, now);
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
        if !matches!(self.slot(slot), Slot::Live(_)) {
            return Ok(());
        }
        flows.retire(&[slot])?;
        // What came until the index forgot it belongs to it, too.
        let record = flows.read(slot);
        self.retired.push_back(Due {
            at_ns: now + GRACE_NS,
            slot,
        });
        self.tell_end(teller, &record, slot);
        *self.slot(slot) = Slot::Retired;
        Ok(())
    }

    /// Tells the totals of a session that goes on beyond the end of a capture.
    pub(crate) fn leave_open<F: Flows>(&mut self, flows: &F, teller: &mut Teller<'_>) {
        for slot in 0..flows.capacity() {
            if matches!(self.slot(slot), Slot::Live(_)) {
                let record = flows.read(slot);
                self.tell_tls(teller, &record, slot, last_seen_ns(&record));
                let verdict = self.judge(&record, slot, CloseHow::StillOpen);
                self.count(teller, &record, slot, verdict.as_ref());
                self.write_end(teller, &record, slot, CloseHow::StillOpen, verdict);
            }
        }
    }

    fn tell_end(&mut self, teller: &mut Teller<'_>, record: &SessionRecord, slot: u32) {
        let how = how(record);
        self.stats.live -= 1;
        self.stats.ended += 1;
        match how {
            CloseHow::Fin => self.stats.ended_fin += 1,
            CloseHow::Reset => self.stats.ended_reset += 1,
            CloseHow::Superseded => self.stats.ended_superseded += 1,
            CloseHow::Dead | CloseHow::StillOpen => self.stats.ended_dead += 1,
        }
        self.tell_tls(teller, record, slot, last_seen_ns(record));
        let verdict = self.judge(record, slot, how);
        self.count(teller, record, slot, verdict.as_ref());
        self.write_end(teller, record, slot, how, verdict);
    }

    /// Why a session ended.
    fn judge(&mut self, record: &SessionRecord, slot: u32, how: CloseHow) -> Option<Verdict> {
        let Some(Slot::Live(known)) = self.slots.get(slot as usize) else {
            return None;
        };
        let (client, heard_ns) = (record.head.key.client, record.from_client.last_seen_ns);
        let end = Ending {
            by: by(record),
            how,
        };
        let mut facts = known.facts(record, end, diagnosis::Neighbours::default(), self.host);
        let like = Like {
            closed_ns: facts.closed_ns(),
            age_ns: facts.age_ns(),
            idle_ns: facts.quiet.map(|quiet| quiet.lasted_ns()),
            client,
            heard_ns,
        };
        let together_ns = nanoseconds(self.thresholds.together);
        facts.neighbours = self.recent.neighbours(&like, together_ns);
        let verdict = if how == CloseHow::StillOpen {
            diagnosis::judge_ongoing(&facts, &self.thresholds)?
        } else {
            diagnosis::judge(&facts, &self.thresholds)
        };
        match verdict.code {
            Code::IdleTimeoutSuspect | Code::PathDead if like.idle_ns.is_some() => {
                self.recent
                    .idled(like.closed_ns, like.idle_ns.unwrap_or_default());
            }
            Code::ResetOnClientHello => self.recent.cut_off(like.closed_ns, client),
            _ => {}
        }
        if verdict.code.is_loss() {
            let id = id(self.run, known.number);
            self.recent.lost(client, id, heard_ns);
        }
        Some(verdict)
    }

    /// Has an end counted among all others.
    fn count(
        &self,
        teller: &mut Teller<'_>,
        record: &SessionRecord,
        slot: u32,
        verdict: Option<&Verdict>,
    ) {
        let Some(Slot::Live(known)) = self.slots.get(slot as usize) else {
            return;
        };
        let Some(verdict) = verdict else {
            return;
        };
        let tls = known.tls();
        teller.across.ended(&End {
            id: SessionId {
                run: self.run,
                number: known.number,
            },
            key: &record.head.key,
            verdict,
            closed_ns: known.closing_ns().unwrap_or(last_seen_ns(record)),
            heard_ns: record.from_client.last_seen_ns,
            was_up: tls.is_none_or(|tls| tls.phase() >= Phase::Up),
            server_name: tls.and_then(|tls| tls.hellos.server_name.as_deref()),
        });
    }

    fn write_end(
        &self,
        teller: &mut Teller<'_>,
        record: &SessionRecord,
        slot: u32,
        how: CloseHow,
        verdict: Option<Verdict>,
    ) {
        let Some(Slot::Live(known)) = self.slots.get(slot as usize) else {
            return;
        };
        let by = by(record);
        let now = last_seen_ns(record);
        let about = about(self.run, teller.lines, record, known, now);
        let interface = interface(teller.interfaces, record);
        teller.lines.write(now, interface, |head| {
            Event::SessionEnd(SessionEnd {
                head,
                about,
                end: Ending { by, how },
                verdict,
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

    fn slot(&mut self, slot: u32) -> &mut Slot {
        let index = slot as usize;
        if index >= self.slots.len() {
            // Slots are used from the lowest on, so this follows the most sessions ever
            // open at once, and not the table's size.
            self.slots.resize_with(index + 1, Slot::default);
        }
        &mut self.slots[index]
    }
}

/// Which session a line of the time `now` is about.
fn about(
    run: u32,
    lines: &Lines,
    record: &SessionRecord,
    known: &Known,
    now: u64,
) -> About<'static> {
    let start_ns = record.head.start_ns;
    About {
        session: Session {
            id: id(run, known.number),
            start: lines.time(start_ns),
            duration_ms: now.saturating_sub(start_ns) / 1_000_000,
            seen_from: seen_from(record),
        },
        client: Endpoint::client(&record.head.key),
        server: Endpoint::server(&record.head.key),
        network: Network::of(&record.head.key),
        phase: known.phase(),
    }
}

fn id(run: u32, number: u64) -> String {
    SessionId { run, number }.to_string()
}

fn pop_due(queue: &mut VecDeque<Due>, now: u64) -> Option<Due> {
    queue.pop_front_if(|due| due.at_ns <= now)
}

fn seen_from(record: &SessionRecord) -> SeenFrom {
    if record.is_midstream() {
        SeenFrom::Midstream
    } else {
        SeenFrom::Handshake
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
