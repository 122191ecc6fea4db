//! From records to JSON, as the agent does it: what is not measured is only who made the
//! records, and where the bytes go.

use std::{collections::BTreeSet, num::NonZeroUsize, time::Duration};

use anyhow::Result;
use lab::{
    Reporter,
    reporter::{IFINDEX, PERIODS},
};
use sstpulse::{
    clock::cpu_time_ns,
    replay::{Buffer, Limits, Tables, Watched},
};
use sstpulse_common::{Framing, Side};

use crate::{
    figures::Events,
    sample::Sample,
    traffic::{Script, Stage},
};

/// Sessions open at once.
const SESSIONS: u32 = 20_000;

const SECOND_NS: u64 = 1_000_000_000;

/// Time between two scans.
const INTERVAL_NS: u64 = PERIODS.interval.as_secs() * SECOND_NS;

/// Scans of a run in which every session has changed.
const SCANS: u32 = 3;

/// The agent without its kernel half.
struct Agent {
    watched: Watched,
    tables: Tables,
    reporter: Reporter,
    now_ns: u64,
}

/// Measures it.
pub(crate) fn measure(runs: u32) -> Result<Events> {
    let mut script = Script::load()?;
    let mut events = Events {
        health_lines_per_s: Sample::default(),
        end_lines_per_s: Sample::default(),
        opening_us: Sample::default(),
    };
    for run in 0..=runs {
        let (opening, health, end) = Agent::new().run(&mut script)?;
        // The first one warms up.
        if run > 0 {
            events
                .opening_us
                .push(opening.seconds * 1e6 / f64::from(SESSIONS));
            events.health_lines_per_s.push(health.rate());
            events.end_lines_per_s.push(end.rate());
        }
    }
    Ok(events)
}

/// Lines, and how long they took a CPU.
#[derive(Default)]
struct Took {
    lines: u64,
    seconds: f64,
}

impl Took {
    #[expect(clippy::cast_precision_loss, reason = "a figure to be read by people")]
    fn rate(&self) -> f64 {
        self.lines as f64 / self.seconds
    }
}

impl Agent {
    fn new() -> Self {
        let limits = Limits {
            sessions: SESSIONS,
            half_open: NonZeroUsize::MIN.saturating_add(SESSIONS as usize),
        };
        Self {
            watched: Watched::new(&BTreeSet::from([443]), Vec::new()),
            tables: Tables::new(limits),
            reporter: Reporter::new(SESSIONS),
            now_ns: SECOND_NS,
        }
    }

    /// Sessions from beginning to end.
    fn run(mut self, script: &mut Script) -> Result<(Took, Took, Took)> {
        let mut opening = Took::default();
        for flow in 0..SESSIONS {
            script.open(flow, self.now_ns, &mut self)?;
            // As often as the agent would take them from the rings.
            if flow % 16 == 15 {
                self.take_messages(&mut opening);
            }
        }
        self.take_messages(&mut opening);
        self.now_ns += INTERVAL_NS;
        // They tell what the opening has brought and forget it, and are none of those measured.
        self.scan(&mut Took::default())?;
        self.settle(&mut Took::default())?;
        let mut health = Took::default();
        for beat in 0..SCANS {
            for flow in 0..SESSIONS {
                script.beat(flow, beat, self.now_ns, &mut self)?;
            }
            self.now_ns += INTERVAL_NS;
            self.scan(&mut health)?;
        }
        let mut end = Took::default();
        for flow in 0..SESSIONS {
            script.close(flow, SCANS, self.now_ns, &mut self)?;
        }
        self.take_messages(&mut end);
        self.now_ns += SECOND_NS;
        self.settle(&mut end)?;
        Ok((opening, health, end))
    }

    fn take_messages(&mut self, took: &mut Took) {
        let messages = self.tables.take_messages();
        self.timed(took, |reporter, tables, _| reporter.take(tables, &messages));
    }

    fn scan(&mut self, took: &mut Took) -> Result<()> {
        self.timed(took, Reporter::scan)?;
        Ok(())
    }

    fn settle(&mut self, took: &mut Took) -> Result<()> {
        self.timed(took, Reporter::settle)?;
        Ok(())
    }

    fn timed<T>(
        &mut self,
        took: &mut Took,
        job: impl FnOnce(&mut Reporter, &mut Tables, u64) -> T,
    ) -> T {
        let before = self.reporter.written();
        let began_ns = cpu_time_ns();
        let result = job(&mut self.reporter, &mut self.tables, self.now_ns);
        took.seconds += Duration::from_nanos(cpu_time_ns() - began_ns).as_secs_f64();
        took.lines += self.reporter.written() - before;
        result
    }
}

impl Stage for Agent {
    fn play(&mut self, _: Side, packet: &[u8], time_ns: u64) -> Result<()> {
        let buffer = Buffer {
            time_ns,
            length: u32::try_from(packet.len())?,
            gso: Some((1, 0)),
            ifindex: IFINDEX,
            ..Buffer::default()
        };
        self.tables
            .take(&self.watched, Framing::Ethernet, packet, &buffer)
            .map_err(|skip| anyhow::anyhow!("a packet was passed over: {skip:?}"))?;
        Ok(())
    }
}
