//! What the programs tell of sessions, taken in: beginnings, endings, the onset of trouble, and
//! openings piece by piece.

use sstpulse_common::{Notice, SessionRecord, Told, record::SlotState};

use super::{Due, MOST_SETTLING, Sessions, about, by, has_ended, how, interface, seen_from};
use crate::{
    diagnosis,
    event::{Ending, Event, Handshake, SeenFrom, SessionStart, SessionTls},
    report::{
        Flows, Message, Opening, Teller, known::Known, nanoseconds, recent::Dismissed, table::State,
    },
    tls::Phase,
};

/// What makes a session suspicious.
const TROUBLE: Told =
    Told(Told::TIMEOUT.0 | Told::REPETITIONS.0 | Told::WINDOW_CLOSED.0 | Told::RTT_INFLATED.0);

impl Sessions {
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
            if let Message::Opening(_) = message {
                self.shed(1);
            }
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

    /// Takes up the session in a slot, if it is new.
    pub(super) fn begin<F: Flows>(&mut self, flows: &F, teller: &mut Teller<'_>, slot: u32) {
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

    /// So many pieces of openings were not read, since they came too late.
    pub(crate) const fn shed(&mut self, pieces: usize) {
        self.payloads_late += pieces as u64;
    }

    fn opening<F: Flows>(&mut self, flows: &mut F, teller: &mut Teller<'_>, opening: &Opening) {
        let slot = opening.header.slot;
        let Some(known) = self.table.live_mut(slot) else {
            return self.shed(1);
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
    pub(super) fn tell_tls(
        &mut self,
        teller: &mut Teller<'_>,
        record: &SessionRecord,
        slot: u32,
        now: u64,
    ) {
        let settles_after_ns = self.settles_after_ns();
        let most_settling = MOST_SETTLING * self.stats.capacity as usize;
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
            if self.settling.len() < most_settling {
                self.settling.push_back(Due {
                    at_ns: now + settles_after_ns,
                    slot,
                });
            }
        }
        let about = about(self.run, teller.lines, record, known, now);
        let interface = interface(teller.interfaces, record);
        teller.lines.write(now, interface, |head| {
            Event::SessionTls(SessionTls::of(head, about, &tls, record.head.start_ns))
        });
    }
}
