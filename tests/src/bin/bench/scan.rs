//! Reading the kernel's session table: as the agent does it, and as one would read a hash map of
//! the kernel.

use std::{collections::BTreeSet, hint::black_box, num::NonZeroU32, time::Duration};

use anyhow::{Context as _, Result};
use lab::Reporter;
use sstpulse::{
    clock::{cpu_time_ns, monotonic_ns},
    kernel::{HashedRecords, Kernel, Limits, PacketContext},
    report::{Flows as _, Scan},
};
use sstpulse_common::{Framing, Side};

use crate::{
    figures,
    sample::Sample,
    traffic::{Script, Stage},
};

/// Shares of the sessions in which something has changed, of hundred.
const ACTIVE_PERCENT: [u32; 4] = [0, 1, 10, 100];

/// The programs in the kernel, and what the agent makes of their table.
struct Stand {
    kernel: Kernel,
    reporter: Reporter,
    script: Script,
    /// Beats of each session so far.
    beats: Vec<u32>,
}

/// Measures it with so many sessions.
pub(crate) fn measure(sessions: u32, runs: u32) -> Result<Vec<figures::Scan>> {
    let mut stand = Stand::new(sessions)?;
    let rival = stand.copy()?;
    let mut measured = ACTIVE_PERCENT.map(|active_percent| figures::Scan {
        sessions,
        active_percent,
        scan_ms: Sample::default(),
        batch_lookup_ms: Sample::default(),
        with_lines_ms: Sample::default(),
    });
    for run in 0..runs {
        eprintln!("bench: turn {} of {runs}", run + 1);
        for of in &mut measured {
            let mut scan = Scan::new(stand.kernel.capacity());
            stand.rest(&mut scan);
            stand.beat(of.active_percent)?;
            of.scan_ms.push(timed(|| {
                stand.read_changed(&mut scan);
                Ok(())
            })?);
            of.batch_lookup_ms.push(timed(|| read_all(&rival))?);
            stand.settle()?;
            stand.beat(of.active_percent)?;
            of.with_lines_ms.push(timed(|| stand.scan())?);
        }
    }
    Ok(measured.into())
}

impl Stand {
    fn new(sessions: u32) -> Result<Self> {
        let limits = Limits {
            sessions: NonZeroU32::new(sessions).context("a number")?,
            half_open: NonZeroU32::MIN.saturating_add(1_023),
        };
        let kernel = Kernel::load_for_test_runs(&BTreeSet::from([443]), limits)?;
        let mut stand = Self {
            reporter: Reporter::new(kernel.capacity()),
            kernel,
            script: Script::load()?,
            beats: vec![0; sessions as usize],
        };
        eprintln!("bench: opening {sessions} sessions");
        stand.beat(100)?;
        stand.settle()?;
        Ok(stand)
    }

    /// Something happens in so many of the sessions, which are strewn over the table.
    fn beat(&mut self, percent: u32) -> Result<()> {
        if percent == 0 {
            return Ok(());
        }
        let now = monotonic_ns();
        for (flow, beats) in (0_u32..)
            .zip(&mut self.beats)
            .step_by(100 / percent as usize)
        {
            self.script
                .beat(flow, *beats, now, &mut Programs(&mut self.kernel))?;
            *beats += 1;
        }
        Ok(())
    }

    /// Lets the agent's scan find what has changed, until nothing does.
    fn settle(&mut self) -> Result<()> {
        for _ in 0..3 {
            self.scan()?;
        }
        Ok(())
    }

    /// The agent's own scan, lines and all.
    fn scan(&mut self) -> Result<()> {
        self.reporter.scan(&mut self.kernel, monotonic_ns())?;
        Ok(())
    }

    /// Takes a scan to where every session rests.
    fn rest(&mut self, scan: &mut Scan) {
        for _ in 0..2 {
            self.read_changed(scan);
        }
    }

    /// Looks at each session, and reads those that have changed.
    fn read_changed(&mut self, scan: &mut Scan) {
        scan.begin();
        let mut budget = u32::MAX;
        while let Some(slot) = scan.next(&mut self.kernel, &mut budget) {
            black_box(self.kernel.read(slot));
        }
    }

    /// All records in a hash map.
    fn copy(&self) -> Result<HashedRecords> {
        let mut records = HashedRecords::new(self.kernel.capacity())?;
        for slot in 0..self.kernel.capacity() {
            let record = self.kernel.read(slot);
            records.insert(&record.head.key, &record)?;
        }
        Ok(records)
    }
}

fn read_all(rival: &HashedRecords) -> Result<()> {
    rival.for_each(|_, record| {
        black_box(record);
    })?;
    Ok(())
}

/// How long a job took a CPU, in milliseconds.
fn timed(job: impl FnOnce() -> Result<()>) -> Result<f64> {
    let began_ns = cpu_time_ns();
    job()?;
    let took = Duration::from_nanos(cpu_time_ns() - began_ns);
    Ok(took.as_secs_f64() * 1e3)
}

struct Programs<'a>(&'a mut Kernel);

impl Stage for Programs<'_> {
    fn play(&mut self, side: Side, packet: &[u8], time_ns: u64) -> Result<()> {
        let context = PacketContext {
            time_ns,
            ..PacketContext::default()
        };
        self.0.run(Framing::Ethernet, side, packet, context)?;
        Ok(())
    }
}
