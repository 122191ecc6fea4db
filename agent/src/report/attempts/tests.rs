//! A table of attempts that counts how often it is asked.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
};

use sstpulse_common::{Address, Counters, SessionRecord};

use super::*;
use crate::{
    clock::Clock,
    diagnosis::{ClusterLimits, Thresholds},
    output::Output,
    report::{Across, Glance, InterfaceNames, Lines},
};

/// Attempts that the table gives at once.
const BATCH: usize = 100;

const SECOND_NS: u64 = 1_000_000_000;

/// By this time, those that were made in the first second have failed.
const NOW: u64 = 60 * SECOND_NS;

/// Attempts by the number of their client, in which order they are read.
#[derive(Default)]
struct Table {
    attempts: BTreeMap<u32, HalfOpen>,
    inserted: u64,
    completed: u64,
    /// Attempts that were read or asked for since the last step.
    looks: Cell<usize>,
    /// Those that the table was told to forget.
    forgotten: Vec<u32>,
}

impl Table {
    /// An attempt was made.
    fn insert(&mut self, client: u32, at_ns: u64) {
        let half_open = HalfOpen {
            first_ns: at_ns,
            last_ns: at_ns,
            syns: 1,
            ..HalfOpen::default()
        };
        self.inserted += 1;
        self.attempts.insert(client, half_open);
    }

    fn look(&self, times: usize) {
        self.looks.set(self.looks.get() + times);
    }
}

fn key(client: u32) -> FlowKey {
    FlowKey {
        client: Address::from_v4_word(client),
        server: Address::from_v4_word(u32::MAX),
        client_port: 40_000,
        server_port: 443,
    }
}

impl Flows for Table {
    type Error = Infallible;

    fn some_attempts(
        &self,
        from: Option<u32>,
        found: &mut Vec<(FlowKey, HalfOpen)>,
    ) -> Option<u32> {
        let mut rest = self.attempts.range(from.unwrap_or_default()..);
        let batch = rest.by_ref().take(BATCH);
        found.extend(batch.map(|(client, half_open)| (key(*client), *half_open)));
        self.look(found.len());
        rest.next().map(|(client, _)| *client)
    }

    fn attempt(&self, key: &FlowKey) -> Option<HalfOpen> {
        self.look(1);
        self.attempts.get(&key.client.0[3]).copied()
    }

    fn forget_attempt(&mut self, key: &FlowKey) -> bool {
        let client = key.client.0[3];
        let was_there = self.attempts.remove(&client).is_some();
        self.forgotten.extend(was_there.then_some(client));
        was_there
    }

    fn counters(&self) -> Result<Counters, Infallible> {
        let mut counters = Counters::default();
        counters.0[Counter::HalfOpenInserted as usize] = self.inserted;
        counters.0[Counter::HalfOpenCompleted as usize] = self.completed;
        Ok(counters)
    }

    fn capacity(&self) -> u32 {
        0
    }

    fn state(&self, _: u32) -> u8 {
        unreachable!("there are no sessions")
    }

    fn glance(&self, _: u32) -> Glance {
        unreachable!("there are no sessions")
    }

    fn stirred(&self, _: u32, _: u32) -> Option<u32> {
        None
    }

    fn rest(&mut self, _: u32) {}

    fn read(&self, _: u32) -> SessionRecord {
        unreachable!("there are no sessions")
    }

    fn attend(&mut self, _: u32, _: u8, _: u8) {}

    fn retire(&mut self, _: &[u32]) -> Result<(), Infallible> {
        Ok(())
    }

    fn release(&mut self, _: &[u32]) -> Result<(), Infallible> {
        Ok(())
    }
}

struct Nameless;

impl InterfaceNames for Nameless {
    fn name(&self, _: u32) -> Option<&str> {
        None
    }
}

/// Attempts, and what tells of them.
struct Stand {
    attempts: Attempts,
    lines: Lines,
    across: Across,
}

impl Stand {
    fn new() -> Self {
        Self {
            attempts: Attempts::default(),
            lines: Lines::new(Output::discard(), Clock::of_day()),
            across: Across::new(&Thresholds::default(), &ClusterLimits::default()),
        }
    }

    fn step(&mut self, table: &mut Table, now: u64) {
        let mut teller = Teller {
            lines: &mut self.lines,
            interfaces: &Nameless,
            across: &mut self.across,
        };
        let Ok(()) = self.attempts.sweep_step(table, &mut teller, now);
    }

    /// Does a sweep, with something between each two steps.
    fn sweep(&mut self, table: &mut Table, now: u64, mut meanwhile: impl FnMut(&mut Table, u32)) {
        let Ok(()) = self.attempts.begin_sweep(table, || now);
        let mut steps = 0;
        while self.attempts.is_sweeping() {
            table.looks.set(0);
            self.step(table, now);
            let looks = table.looks.get();
            assert!(looks <= BATCH + STEP_FAILED, "{looks} looks in a step");
            steps += 1;
            meanwhile(table, steps);
        }
    }
}

#[test]
fn no_step_looks_at_many_and_none_is_told_twice_or_lost() {
    const MOST: u32 = 20_000;
    let mut table = Table::default();
    for client in 0..MOST {
        // Every third one goes on.
        let at_ns = if client % 3 == 0 { NOW } else { SECOND_NS };
        table.insert(client, at_ns);
    }
    let mut stand = Stand::new();
    stand.sweep(&mut table, NOW, |_, _| {});
    let failed = u64::from(MOST - MOST.div_ceil(3));
    let stats = stand.attempts.stats();
    assert_eq!(stats.failed, failed);
    assert_eq!(stats.unreported, failed - MOST_TOLD as u64);
    assert_eq!(stand.lines.written(), MOST_TOLD as u64);
    assert_eq!(stats.half_open, u64::from(MOST.div_ceil(3)));
    assert_eq!(stats.displaced, 0);
    let once: BTreeSet<_> = table.forgotten.iter().collect();
    assert_eq!(once.len(), table.forgotten.len());
    assert!(table.attempts.keys().all(|client| client % 3 == 0));
}

#[test]
fn what_changes_while_a_sweep_goes_on_is_left_alone() {
    let mut table = Table::default();
    for client in 0..1_000 {
        table.insert(client, SECOND_NS);
    }
    let mut stand = Stand::new();
    stand.sweep(&mut table, NOW, |table, step| {
        // The last ones go on, complete or are pushed out before it has come to them, and others
        // come.
        if step == 1 {
            for client in 970..980 {
                table.attempts.get_mut(&client).unwrap().last_ns = NOW;
                table.attempts.remove(&(client + 10));
                table.completed += 1;
                table.attempts.remove(&(client + 20));
                table.insert(client + 100, NOW + 1);
            }
        }
    });
    let stats = stand.attempts.stats();
    assert_eq!(stats.failed, 970);
    assert_eq!((stats.half_open, stats.displaced), (20, 10));
    stand.sweep(&mut table, NOW + 1, |_, _| {});
    let stats = stand.attempts.stats();
    assert_eq!(stats.failed, 970, "none is told again");
    assert_eq!((stats.half_open, stats.displaced), (20, 10));
}

#[test]
fn one_that_goes_on_between_reading_and_telling_has_not_failed() {
    let mut table = Table::default();
    for client in 0..100 {
        table.insert(client, SECOND_NS);
    }
    let mut stand = Stand::new();
    let Ok(()) = stand.attempts.begin_sweep(&table, || NOW);
    let mut sweep = stand.attempts.sweep.take().unwrap();
    sweep.read(&table, NOW);
    assert_eq!(sweep.failed.len(), 100);
    table.attempts.get_mut(&7).unwrap().last_ns = NOW;
    stand.attempts.sweep = Some(sweep);
    stand.sweep(&mut table, NOW, |_, _| {});
    let stats = stand.attempts.stats();
    assert_eq!((stats.failed, stats.half_open), (99, 1));
    assert_eq!(table.attempts.keys().collect::<Vec<_>>(), [&7]);
}
