//! From records to JSON, as the agent does it: what is not measured is only who made the
//! records, and where the bytes go.

use std::{collections::BTreeSet, num::NonZeroUsize, time::Duration};

use anyhow::Result;
use sstpulse::{
    clock::{Clock, cpu_time_ns},
    diagnosis::{ClusterLimits, Thresholds},
    output::Output,
    replay::{Buffer, Limits, Tables, Watched},
    report::{Across, InterfaceNames, Lines, Periods, Sessions, Teller},
};
use sstpulse_common::{Framing, Side};

use crate::{
    figures::Events,
    sample::Sample,
    traffic::{Script, Stage},
};

/// Sessions open at once.
const SESSIONS: u32 = 20_000;

/// The only interface.
const IFINDEX: u32 = 1;

const SECOND_NS: u64 = 1_000_000_000;

/// What is usual.
pub(crate) const PERIODS: Periods = Periods {
    interval: Duration::from_secs(10),
    dead_after: Duration::from_mins(15),
};

/// Time between two scans.
const INTERVAL_NS: u64 = 10 * SECOND_NS;

/// Scans of a run in which every session has changed.
const SCANS: u32 = 3;

/// The agent without its kernel half.
struct Agent {
    watched: Watched,
    tables: Tables,
    sessions: Sessions,
    across: Across,
    lines: Lines,
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
            sessions: Sessions::new(SESSIONS, 0x5357_0001, Thresholds::default(), PERIODS),
            across: Across::new(&Thresholds::default(), &ClusterLimits::default()),
            lines: Lines::new(Output::discard(), Clock::now()),
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
        // It tells what the opening has brought, and is none of those measured.
        self.scan(&mut Took::default())?;
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
        self.timed(took, |sessions, tables, teller, _| {
            for message in &messages {
                sessions.take(tables, teller, message);
            }
        });
    }

    fn scan(&mut self, took: &mut Took) -> Result<()> {
        self.timed(took, |sessions, tables, teller, now| {
            sessions.scan(tables, teller, now)
        })?;
        Ok(())
    }

    fn settle(&mut self, took: &mut Took) -> Result<()> {
        self.timed(took, |sessions, tables, teller, now| {
            while sessions.next_due().is_some_and(|due| due <= now) {
                sessions.settle(tables, teller, now)?;
            }
            Ok(())
        })
    }

    fn timed<T>(
        &mut self,
        took: &mut Took,
        job: impl FnOnce(&mut Sessions, &mut Tables, &mut Teller<'_>, u64) -> T,
    ) -> T {
        let before = self.lines.written();
        let mut teller = Teller {
            lines: &mut self.lines,
            interfaces: &Eth0,
            across: &mut self.across,
        };
        let began_ns = cpu_time_ns();
        let result = job(
            &mut self.sessions,
            &mut self.tables,
            &mut teller,
            self.now_ns,
        );
        self.lines.flush();
        took.seconds += Duration::from_nanos(cpu_time_ns() - began_ns).as_secs_f64();
        took.lines += self.lines.written() - before;
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

/// The interface `eth0`.
pub(crate) struct Eth0;

impl InterfaceNames for Eth0 {
    fn name(&self, index: u32) -> Option<&str> {
        (index == IFINDEX).then_some("eth0")
    }
}
