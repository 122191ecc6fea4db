//! Ends of sessions: why they ended, told with their totals.

use std::mem;

use sstpulse_common::SessionRecord;

use super::{
    Due, GRACE_NS, LINGER_NS, MOST_ENDED, Sessions, about, by, how, interface, last_seen_ns,
    take_due,
};
use crate::{
    diagnosis,
    event::{CloseHow, Code, DirectionTotals, Ending, Event, SessionEnd, Verdict},
    report::{
        Flows, Teller,
        across::End,
        nanoseconds,
        recent::{Dismissed, Like},
        table::State,
    },
    tls::Phase,
};

impl Sessions {
    /// Lets a session linger, then end.
    pub(super) fn end_later(&mut self, slot: u32, since_ns: u64) {
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

    /// Takes the sessions in `together` from the index, and tells their ends.
    pub(super) fn end_together<F: Flows>(
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
}
