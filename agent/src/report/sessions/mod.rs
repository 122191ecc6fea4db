//! Sessions as the agent knows them: what it has told about each, and what is to come.
//!
//! A slot goes through [`State`](super::table::State)'s states. A session that has ended lingers a moment, so
//! that late segments still count and its totals are final; then its end is told, the
//! index forgets it, and a moment later, when no program can hold it any more, its slot
//! is free again.

mod ends;
mod looks;
mod messages;
mod scanning;

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    iter,
    time::Duration,
};

use sstpulse_common::{DirectionRecord, SessionRecord, record::SlotState};

use super::{
    Flows, InterfaceNames, Lines, Scan, Teller, deadlines::Deadlines, known::Known, names::Names,
    nanoseconds, recent::Recent, table::Table,
};
use crate::{
    diagnosis::{HostFacts, Thresholds},
    event::{
        About, CloseBy, CloseHow, Endpoint, Network, SeenFrom, Session, SessionId, SessionStats,
    },
};

/// How long late segments are waited for.
const LINGER_NS: u64 = 500_000_000;

/// How long a program may hold a slot that the index has just forgotten; it runs for
/// microseconds.
const GRACE_NS: u64 = 100_000_000;

/// Sessions that are ended at once, and slots that are freed.
const MOST_ENDED: usize = 128;
const MOST_FREED: usize = 1_024;

/// What a server takes to close what it refuses, and the agent to be told.
const CLOSES_NS: u64 = 3_000_000_000;

/// Tunnels that wait to be settled, for each slot: most are gone by then where so many come up.
const MOST_SETTLING: usize = 4;

/// Tunnels that settle at once, and how long they may wait for others.
const MOST_SETTLED: usize = 512;
const SETTLES_TOGETHER_NS: u64 = 1_000_000_000;

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
    /// Tunnels that have come up, until it does not matter any more how.
    settling: VecDeque<Due>,
    /// Looks at single sessions that are planned, the next one first. A session may have gone
    /// meanwhile, or not need it any more.
    looks: BinaryHeap<Reverse<Due>>,
    /// When to look whether a session is silent, or dead.
    deadlines: Deadlines,
    /// Slots that are dealt with together.
    together: Vec<u32>,
    stats: SessionStats,
    /// Pieces of openings that were not read, since they came too late.
    payloads_late: u64,
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
            settling: VecDeque::new(),
            looks: BinaryHeap::new(),
            deadlines: Deadlines::new(capacity),
            together: Vec::new(),
            stats: SessionStats {
                capacity,
                ..SessionStats::default()
            },
            payloads_late: 0,
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

    /// Pieces of openings that were not read, since they came too late.
    pub const fn payloads_late(&self) -> u64 {
        self.payloads_late
    }

    /// Counts of sessions.
    pub const fn stats(&self) -> SessionStats {
        self.stats
    }

    /// When there is something to do next, on the monotonic clock in nanoseconds.
    pub fn next_due(&self) -> Option<u64> {
        let next = |queue: &VecDeque<Due>| queue.front().map(|due| due.at_ns);
        let look = self.looks.peek().map(|Reverse(due)| due.at_ns);
        let settles = next(&self.settling).map(|at_ns| at_ns + SETTLES_TOGETHER_NS);
        [next(&self.ending), next(&self.retired), settles, look]
            .into_iter()
            .flatten()
            .min()
    }

    /// Ends sessions that have lingered until `now`, frees slots of those that ended before,
    /// forgets how tunnels came up that are long up, and looks at those that are due: as many of
    /// each as take no long time. If there are more, [`Self::next_due`] is not after `now`; only
    /// what is to be forgotten may wait a second longer.
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
        self.settle_down(flows, now);
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

    /// After what time it does not matter any more how a tunnel came up: a server that refuses
    /// it would have said so, and closed.
    fn settles_after_ns(&self) -> u64 {
        nanoseconds(self.thresholds.goodbye).saturating_add(CLOSES_NS)
    }

    /// Forgets how tunnels came up that are long up.
    fn settle_down<F: Flows>(&mut self, flows: &mut F, now: u64) {
        let then_ns = now.saturating_sub(self.settles_after_ns());
        take_due(&mut self.settling, now, MOST_SETTLED, &mut self.together);
        for slot in self.together.drain(..) {
            // Its slot may have another by now, which is no older than the rule wants.
            if let Some(known) = self.table.live_mut(slot) {
                known.settle(then_ns, &mut self.names);
                let (attention, small) = known.attention();
                flows.attend(slot, attention, small);
            }
        }
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
    is_over(record) || record.head.state == SlotState::SUPERSEDED
}

/// Whether its segments have ended a session, be it that neither CPU has noticed.
fn is_over(record: &SessionRecord) -> bool {
    record.ended() || record.is_closed()
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
    } else if is_over(record) {
        CloseHow::Fin
    } else if record.head.state == SlotState::SUPERSEDED {
        CloseHow::Superseded
    } else {
        CloseHow::Dead
    }
}
