//! Sessions as the agent knows them: what it has told about each, and what is to come.
//!
//! A slot goes through [`State`]'s states. A session that has ended lingers a moment, so
//! that late segments still count and its totals are final; then its end is told, the
//! index forgets it, and a moment later, when no program can hold it any more, its slot
//! is free again.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    iter, mem,
    time::Duration,
};

use sstpulse_common::{DirectionRecord, Notice, SessionRecord, Side, Told, record::SlotState};

use super::{
    Flows, InterfaceNames, Lines, Message, Opening, Scan, Teller,
    across::End,
    deadlines::Deadlines,
    known::Known,
    names::Names,
    nanoseconds,
    recent::{Dismissed, Like, Recent},
    table::{State, Table},
    watched::{LOOK_NS, Watched},
};
use crate::{
    diagnosis::{self, HostFacts, Interval, Thresholds},
    event::{
        About, Anomaly, CloseBy, CloseHow, Code, Counters, DirectionTotals, Ending, Endpoint,
        Event, Handshake, Network, SeenFrom, Session, SessionAnomaly, SessionEnd, SessionHealth,
        SessionId, SessionStart, SessionStats, SessionTls, Verdict,
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

/// Slots that a step of a scan passes over at most, and sessions that it looks at. Either
/// takes less than a millisecond.
const STEP_SLOTS: u32 = 32_768;
const STEP_LOOKS: u32 = 256;

/// Sessions that are ended at once, and slots that are freed.
const MOST_ENDED: usize = 128;
const MOST_FREED: usize = 1_024;

/// Looks that are done at once.
const MOST_LOOKS: usize = 256;

/// How often sessions are looked at.
#[derive(Clone, Copy, Debug)]
pub struct Periods {
    /// Time between two scans.
    pub interval: Duration,
    /// Silence after which a session is dead.
    pub dead_after: Duration,
}

/// What makes identifiers.
#[derive(Clone, Copy, Debug)]
struct Run {
    /// Random: it differs between runs.
    number: u32,
    /// Sessions that have begun.
    begun: u64,
}

impl Run {
    /// The identifier of a session.
    const fn id(self, known: &Known) -> SessionId {
        SessionId {
            run: self.number,
            number: known.number(self.begun),
        }
    }
}

/// All sessions.
pub struct Sessions {
    table: Table,
    scan: Scan,
    /// Up to when deadlines belong to the scan that goes on; `None` between scans.
    scanning_ns: Option<u64>,
    periods: Periods,
    run: Run,
    ending: VecDeque<Due>,
    retired: VecDeque<Due>,
    /// Looks at single sessions that are planned, the next one first. A session may have gone
    /// meanwhile, or not need it any more.
    looks: BinaryHeap<Reverse<Due>>,
    /// When to look whether a session is silent, or dead.
    deadlines: Deadlines,
    /// Slots that are dealt with together.
    together: Vec<u32>,
    stats: SessionStats,
    thresholds: Thresholds,
    recent: Recent,
    names: Names,
    host: HostFacts,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Due {
    at_ns: u64,
    slot: u32,
}

impl Sessions {
    /// No sessions yet. `run` makes their identifiers differ from those of other runs.
    pub fn new(capacity: u32, run: u32, thresholds: Thresholds, periods: Periods) -> Self {
        Self {
            table: Table::new(capacity),
            scan: Scan::new(capacity),
            scanning_ns: None,
            periods,
            run: Run {
                number: run,
                begun: 0,
            },
            ending: VecDeque::new(),
            retired: VecDeque::new(),
            looks: BinaryHeap::new(),
            deadlines: Deadlines::new(capacity),
            together: Vec::new(),
            stats: SessionStats {
                capacity,
                ..SessionStats::default()
            },
            thresholds,
            recent: Recent::default(),
            names: Names::default(),
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
    pub fn take<F: Flows>(&mut self, flows: &mut F, teller: &mut Teller<'_>, message: &Message) {
        let (slot, start_ns) = match message {
            Message::Notice(notice) => (notice.slot, notice.start_ns),
            Message::Opening(opening) => (opening.header.slot, opening.header.start_ns),
        };
        if slot >= flows.capacity() {
            tracing::error!(slot, "a message about a slot that does not exist");
            return;
        }
        // It may be older than the session that is in the slot now.
        let glance = flows.glance(slot);
        if glance.state == SlotState::FREE || glance.start_ns != start_ns {
            return;
        }
        if matches!(self.table.state(slot), State::Empty | State::Seen) {
            self.begin(flows, teller, slot);
        }
        match message {
            Message::Notice(notice) => self.notice(flows, teller, notice),
            Message::Opening(opening) => self.opening(flows, teller, opening),
        }
    }

    fn notice<F: Flows>(&mut self, flows: &mut F, teller: &mut Teller<'_>, notice: &Notice) {
        let record = flows.read(notice.slot);
        let Some(known) = self.table.live_mut(notice.slot) else {
            return;
        };
        known.notice(notice, &record);
        if notice.tells(TROUBLE) {
            self.watch(flows, notice.slot, notice.time_ns);
            self.look(flows, teller, notice.slot, notice.time_ns);
        }
        if notice.tells(Told::CLOSING) {
            self.closing(&record, notice.slot);
        }
        if notice.tells(Told::SESSION_END) && has_ended(&record) {
            self.end_later(notice.slot, notice.time_ns);
        }
    }

    /// Begins to look at a session again and again.
    fn watch<F: Flows>(&mut self, flows: &mut F, slot: u32, now: u64) {
        let Some(known) = self.table.live_mut(slot) else {
            return;
        };
        if known.watched().is_some() {
            return;
        }
        known.watch(Some(Watched::new(now)));
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
        let Some(known) = self.table.live_mut(slot) else {
            return;
        };
        let record = flows.read(slot);
        known.look(&record, now, None);
        let look = known.to_look_at(&record, now, silence_ns);
        let Some(watched) = known.watched_mut() else {
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
        let Some(known) = self.table.live_mut(slot) else {
            return;
        };
        if known.ending {
            return;
        }
        let next_ns = if known.watched().is_some() {
            self.look(flows, teller, slot, now);
            let Some(known) = self.table.live_mut(slot) else {
                return;
            };
            let watched = known.watched();
            if watched.is_none_or(|watched| watched.is_calm(now)) {
                known.watch(None);
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

    /// Looks at a session whose deadline has come, or comes before `horizon_ns`: plans a look
    /// at the moment when it will have been silent for too long, finds out if it is dead, and
    /// sets the next deadline.
    fn deadline<F: Flows>(&mut self, flows: &F, slot: u32, now: u64, horizon_ns: u64) {
        let hello_ns = 2 * nanoseconds(self.thresholds.hello);
        let Some(known) = self.table.live_mut(slot) else {
            return;
        };
        if known.ending {
            return;
        }
        let seen_ns = last_seen_ns(&flows.read(slot));
        let dead_ns = seen_ns.saturating_add(nanoseconds(self.periods.dead_after));
        if dead_ns <= now {
            self.together.push(slot);
            return;
        }
        let silent_ns = seen_ns.saturating_add(hello_ns);
        let mut next_ns = silent_ns;
        if silent_ns <= horizon_ns {
            // What it hears meanwhile, it can't be silent after for less than that.
            next_ns = now.saturating_add(hello_ns);
            if !known.look_planned && known.watched().is_none() && known.is_up() {
                known.look_planned = true;
                self.looks.push(Reverse(Due {
                    at_ns: silent_ns,
                    slot,
                }));
            }
        }
        self.deadlines.plan(slot, next_ns.min(dead_ns), horizon_ns);
    }

    /// Remembers how a session closes, before verdicts on those that close with it.
    fn closing(&mut self, record: &SessionRecord, slot: u32) {
        let Some(known) = self.table.live(slot) else {
            return;
        };
        let end = Ending {
            by: by(record),
            how: how(record),
        };
        let tls = known.tls();
        let neighbours = diagnosis::Neighbours::default();
        let facts = known.facts(record, tls.as_deref(), end, neighbours, self.host);
        let closed_ns = facts.closed_ns();
        match diagnosis::ended_by_server(&facts, &self.thresholds) {
            Some(diagnosis::Word::None) => self.recent.died(closed_ns),
            Some(diagnosis::Word::Goodbye { idle_ns }) => {
                let age_ns = facts.age_ns();
                self.recent
                    .dismissed(closed_ns, Dismissed { age_ns, idle_ns });
            }
            None => {}
        }
    }

    fn opening<F: Flows>(&mut self, flows: &mut F, teller: &mut Teller<'_>, opening: &Opening) {
        let slot = opening.header.slot;
        let Some(known) = self.table.live_mut(slot) else {
            return;
        };
        let done = known.opening(opening);
        let is_up = known.reached() == Some(Phase::Up);
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
        let Some(known) = self.table.live_mut(slot) else {
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
            Event::SessionTls(SessionTls::of(head, about, &tls, record.head.start_ns))
        });
    }

    /// Takes up the session in a slot, if it is new.
    fn begin<F: Flows>(&mut self, flows: &F, teller: &mut Teller<'_>, slot: u32) {
        let record = flows.read(slot);
        if record.head.state == SlotState::FREE {
            return;
        }
        self.run.begun += 1;
        let known = Known::new(self.run.begun, &record);
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
        self.table.begin(slot, known);
    }

    /// Begins to look at every slot, unless that goes on already.
    pub fn begin_scan(&mut self, now: u64) {
        if self.scanning_ns.is_none() {
            self.scan.begin();
            self.scanning_ns = Some(now.saturating_add(nanoseconds(self.periods.interval)));
        }
    }

    /// Whether a scan goes on.
    pub const fn is_scanning(&self) -> bool {
        self.scanning_ns.is_some()
    }

    /// Does some of a scan: tells what has changed, finds what notices did not tell, and ends
    /// the sessions that are dead.
    pub fn scan_step<F: Flows>(
        &mut self,
        flows: &mut F,
        teller: &mut Teller<'_>,
        now: u64,
    ) -> Result<(), F::Error> {
        let (mut slots, mut looks) = (STEP_SLOTS, STEP_LOOKS);
        while looks > 0
            && let Some(slot) = self.scan.next(flows, &mut slots)
        {
            looks -= 1;
            self.visit(flows, teller, slot, now);
        }
        let Some(horizon_ns) = self.scanning_ns.filter(|_| self.scan.is_done(flows)) else {
            return Ok(());
        };
        while looks > 0 {
            looks -= 1;
            let Some(slot) = self.deadlines.pop(horizon_ns) else {
                self.scanning_ns = None;
                break;
            };
            self.deadline(flows, slot, now, horizon_ns);
        }
        self.end_together(flows, teller, now)
    }

    /// Does a whole scan.
    pub fn scan<F: Flows>(
        &mut self,
        flows: &mut F,
        teller: &mut Teller<'_>,
        now: u64,
    ) -> Result<(), F::Error> {
        self.begin_scan(now);
        while self.is_scanning() {
            self.scan_step(flows, teller, now)?;
        }
        Ok(())
    }

    /// Looks at a slot that may have changed.
    fn visit<F: Flows>(&mut self, flows: &F, teller: &mut Teller<'_>, slot: u32, now: u64) {
        match self.table.state(slot) {
            State::Empty => return self.table.see(slot),
            State::Retired => return,
            State::Seen => self.begin(flows, teller, slot),
            State::Live => {}
        }
        let record = flows.read(slot);
        let Some(known) = self.table.live(slot) else {
            return;
        };
        let (client, server) = (&record.from_client, &record.from_server);
        let all_told = known.told.is_all_of(Side::Client, client.segments)
            && known.told.is_all_of(Side::Server, server.segments);
        let ended = has_ended(&record);
        self.settle_down(slot, now);
        if !all_told {
            self.health(teller, &record, slot, now);
        } else if !ended {
            let hello_ns = 2 * nanoseconds(self.thresholds.hello);
            let dead_after_ns = nanoseconds(self.periods.dead_after);
            let quiet_ns = hello_ns.min(dead_after_ns);
            let at_ns = last_seen_ns(&record).saturating_add(quiet_ns);
            self.deadlines.plan(slot, at_ns, 0);
        }
        if ended {
            self.end_later(slot, now);
        }
    }

    /// Forgets of a tunnel how it came up, once a server that refuses it would have done so.
    fn settle_down(&mut self, slot: u32, now: u64) {
        /// What a server takes to refuse and to close, and the agent to be told.
        const AT_ONCE_NS: u64 = 3_000_000_000;

        let refusal_ns = nanoseconds(self.thresholds.goodbye).saturating_add(AT_ONCE_NS);
        if let Some(known) = self.table.live_mut(slot) {
            known.settle(now.saturating_sub(refusal_ns), &mut self.names);
        }
    }

    /// Tells what has changed in a session.
    fn health(&mut self, teller: &mut Teller<'_>, record: &SessionRecord, slot: u32, now: u64) {
        let run = self.run;
        let Some(known) = self.table.live_mut(slot) else {
            return;
        };
        known.look(record, now, None);
        let from_client = Counters::of(&record.from_client, &record.from_server, now);
        let from_server = Counters::of(&record.from_server, &record.from_client, now);
        let client_delta = known.tell(Side::Client, &from_client);
        let server_delta = known.tell(Side::Server, &from_server);
        let rtt = record.head.rtt;
        let timeouts = known.timeouts(record);
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

        let about = about(run, teller.lines, record, known, now);
        let interface = interface(teller.interfaces, record);
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
        if let Some(known) = self.table.live_mut(slot)
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

    /// Ends sessions that have lingered until `now`, frees slots of those that ended before, and
    /// looks at those that are due: as many of each as take no long time. If there are more,
    /// [`Self::next_due`] is not after `now`.
    pub fn settle<F: Flows>(
        &mut self,
        flows: &mut F,
        teller: &mut Teller<'_>,
        now: u64,
    ) -> Result<(), F::Error> {
        take_due(&mut self.ending, now, MOST_ENDED, &mut self.together);
        self.end_together(flows, teller, now)?;
        take_due(&mut self.retired, now, MOST_FREED, &mut self.together);
        if !self.together.is_empty() {
            flows.release(&self.together)?;
            for slot in self.together.drain(..) {
                self.table.free(slot);
            }
        }
        for _ in 0..MOST_LOOKS {
            let Some(Reverse(due)) = self
                .looks
                .peek()
                .copied()
                .filter(|next| next.0.at_ns <= now)
            else {
                break;
            };
            self.looks.pop();
            self.look_again(flows, teller, due.slot, now);
        }
        Ok(())
    }

    /// Takes the sessions in `together` from the index, and tells their ends.
    fn end_together<F: Flows>(
        &mut self,
        flows: &mut F,
        teller: &mut Teller<'_>,
        now: u64,
    ) -> Result<(), F::Error> {
        let mut together = mem::take(&mut self.together);
        together.retain(|slot| self.table.state(*slot) == State::Live);
        if !together.is_empty() {
            flows.retire(&together)?;
        }
        for slot in together.drain(..) {
            // What came until the index forgot it belongs to it, too.
            let record = flows.read(slot);
            self.retired.push_back(Due {
                at_ns: now + GRACE_NS,
                slot,
            });
            self.tell_end(teller, &record, slot);
            self.table.retire(slot);
        }
        self.together = together;
        Ok(())
    }

    /// Tells the totals of a session that goes on beyond the end of a capture.
    pub(crate) fn leave_open<F: Flows>(&mut self, flows: &F, teller: &mut Teller<'_>) {
        for slot in 0..flows.capacity() {
            if self.table.state(slot) == State::Live {
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
        let known = self.table.live(slot)?;
        let (client, heard_ns) = (record.head.key.client, record.from_client.last_seen_ns);
        let end = Ending {
            by: by(record),
            how,
        };
        let tls = known.tls();
        let neighbours = diagnosis::Neighbours::default();
        let mut facts = known.facts(record, tls.as_deref(), end, neighbours, self.host);
        let idle_ns = match diagnosis::ended_by_server(&facts, &self.thresholds) {
            Some(diagnosis::Word::Goodbye { idle_ns }) => idle_ns,
            _ => None,
        };
        let like = Like {
            closed_ns: facts.closed_ns(),
            dismissed: Dismissed {
                age_ns: facts.age_ns(),
                idle_ns,
            },
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
            self.recent.lost(client, self.run.id(known), heard_ns);
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
        let Some(known) = self.table.live(slot) else {
            return;
        };
        let Some(verdict) = verdict else {
            return;
        };
        teller.across.ended(&End {
            id: self.run.id(known),
            key: &record.head.key,
            verdict,
            closed_ns: known.closing_ns().unwrap_or(last_seen_ns(record)),
            heard_ns: record.from_client.last_seen_ns,
            was_up: known.reached().map_or_else(
                // One that found no room at first is seen from the middle on as well.
                || record.from_client.bytes > 0,
                |phase| phase >= Phase::Up,
            ),
            server_name: known.server_name(&self.names),
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
        let Some(known) = self.table.live(slot) else {
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
                reached: known.reached(),
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
        while !self.ending.is_empty() {
            take_due(&mut self.ending, u64::MAX, MOST_ENDED, &mut self.together);
            self.end_together(flows, teller, now)?;
        }
        Ok(())
    }
}

/// Which session a line of the time `now` is about.
fn about(run: Run, lines: &Lines, record: &SessionRecord, known: &Known, now: u64) -> About {
    let start_ns = record.head.start_ns;
    About {
        session: Session {
            id: run.id(known),
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

/// Takes the slots that are due from a queue, as many as `most`.
fn take_due(queue: &mut VecDeque<Due>, now: u64, most: usize, slots: &mut Vec<u32>) {
    let due = iter::from_fn(|| queue.pop_front_if(|due| due.at_ns <= now));
    slots.extend(due.take(most).map(|due| due.slot));
}

/// Whether a session has ended, or its ports belong to another.
fn has_ended(record: &SessionRecord) -> bool {
    record.ended() || record.head.state == SlotState::SUPERSEDED
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
