//! The scan of all sessions: what each interval has brought of those that have changed.

use sstpulse_common::{SessionRecord, Side};

use super::{Sessions, about, has_ended, interface, last_seen_ns};
use crate::{
    diagnosis::{self, Interval},
    event::{Counters, Event, SessionHealth},
    report::{Flows, Teller, nanoseconds, table::State},
};

/// Slots that a step of a scan passes over at most, and sessions that it looks at. Either
/// takes less than a millisecond.
const STEP_SLOTS: u32 = 1 << 20;
const STEP_LOOKS: u32 = 256;

impl Sessions {
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
        if !all_told {
            self.health(teller, &record, slot, now);
        }
        // Also if something has just been told: this may be the last look, at a session that has
        // been silent for longer than its beginning was known of.
        if !ended {
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

        if has_ended(record) {
            // Its end will tell, and may have to wait for its turn.
            return;
        }
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
}
