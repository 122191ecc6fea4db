//! Looks at single sessions: again and again while there is trouble, and when they may have
//! been silent for too long.

use std::cmp::Reverse;

use super::{Due, Sessions, about, interface, last_seen_ns};
use crate::{
    event::{Anomaly, CloseBy, Event, SessionAnomaly},
    report::{
        Flows, Teller, nanoseconds,
        watched::{LOOK_NS, Watched},
    },
};

impl Sessions {
    /// Begins to look at a session again and again.
    pub(super) fn watch<F: Flows>(&mut self, flows: &mut F, slot: u32, now: u64) {
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
    pub(super) fn look<F: Flows>(
        &mut self,
        flows: &F,
        teller: &mut Teller<'_>,
        slot: u32,
        now: u64,
    ) {
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
    pub(super) fn look_again<F: Flows>(
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
    pub(super) fn deadline<F: Flows>(&mut self, flows: &F, slot: u32, now: u64, horizon_ns: u64) {
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
}
