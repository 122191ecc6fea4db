//! Long runs: many sessions that live, or many that come and go, and what becomes of the agent.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};

use crate::{
    live::{Lines, Live},
    memory,
    pace::Pace,
    traffic::Script,
};

/// Time between two scans, unless the agent is told otherwise.
const INTERVAL: Duration = Duration::from_secs(INTERVAL_S as u64);
const INTERVAL_S: u32 = 10;

/// How long the agent may take to write what waits to be written.
const PATIENCE: Duration = Duration::from_mins(2);

/// The worst that was seen of the agent.
struct Watch {
    began: Instant,
    cpu_at_first: Duration,
    wakeups_at_first: u64,
    most_resident: u64,
    longest_step_us: u64,
    longest_scan_ms: u64,
    late: u64,
}

impl Watch {
    fn new(live: &Live) -> Result<Self> {
        Ok(Self {
            began: Instant::now(),
            cpu_at_first: live.cpu_time()?,
            wakeups_at_first: live.wakeups()?,
            most_resident: 0,
            longest_step_us: 0,
            longest_scan_ms: 0,
            late: 0,
        })
    }

    fn look(&mut self, live: &Live) -> Result<()> {
        let lines = live.lines();
        self.most_resident = self.most_resident.max(live.resident_bytes()?);
        self.longest_step_us = self
            .longest_step_us
            .max(lines.number("/scan/longest_step_us"));
        self.longest_scan_ms = self.longest_scan_ms.max(lines.number("/scan/last_ms"));
        self.late = lines.number("/scan/late");
        eprintln!(
            "bench: {:.0} s: {} sessions live, {} MB, longest step {} µs, lost {:?}",
            self.began.elapsed().as_secs_f64(),
            lines.number("/sessions/live"),
            live.resident_bytes()? / 1_000_000,
            lines.number("/scan/longest_step_us"),
            lines.lost(),
        );
        Ok(())
    }

    fn table(&self, live: &Live, lines: &Lines) -> Result<Table> {
        let took = self.began.elapsed();
        let cpu = live
            .cpu_time()?
            .saturating_sub(self.cpu_at_first)
            .div_duration_f64(took);
        let wakeups = live.wakeups()? - self.wakeups_at_first;
        let lost = lines.lost();
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED);
        for (what, figure) in [
            ("for", format!("{:.0} s", took.as_secs_f64())),
            ("agent's CPU", format!("{:.1} % of one", cpu * 100.0)),
            (
                "agent's wakeups",
                format!("{} a second", wakeups / took.as_secs().max(1)),
            ),
            (
                "agent's memory, at most",
                format!("{} MB", self.most_resident / 1_000_000),
            ),
            (
                "longest step of a scan",
                format!("{} µs", self.longest_step_us),
            ),
            ("longest scan", format!("{} ms", self.longest_scan_ms)),
            ("scans that were late", self.late.to_string()),
            ("session.start", lines.count("session.start").to_string()),
            ("session.tls", lines.count("session.tls").to_string()),
            ("session.health", lines.count("session.health").to_string()),
            (
                "session.anomaly",
                lines.count("session.anomaly").to_string(),
            ),
            ("session.end", lines.count("session.end").to_string()),
            (
                "lost",
                if lost.is_empty() {
                    "nothing".into()
                } else {
                    lost.join(", ")
                },
            ),
        ] {
            table.add_row([what.to_owned(), figure]);
        }
        Ok(table)
    }
}

/// So many sessions for a time, of which some have something to tell in each interval: each
/// in its turn, as if by its hello.
pub(crate) fn many(sessions: u32, active_percent: u32, time: Duration) -> Result<()> {
    let mut live = Live::start(sessions)?;
    let mut script = Script::load()?;
    eprintln!("bench: opening {sessions} sessions");
    memory::open(&mut live, &mut script, sessions)?;
    live.next_stats(PATIENCE)?;
    let mut watch = Watch::new(&live)?;
    let mut pace = Pace::new(sessions / 100 * active_percent / INTERVAL_S);
    let (mut flow, mut beat) = (0, 0);
    let mut next_look = INTERVAL;
    while watch.began.elapsed() < time {
        pace.wait();
        script.beat(flow, beat, 0, &mut live)?;
        flow += 1;
        if flow == sessions {
            (flow, beat) = (0, beat + 1);
        }
        if watch.began.elapsed() >= next_look {
            watch.look(&live)?;
            next_look += INTERVAL;
        }
    }
    let lines = live.next_stats(PATIENCE)?;
    watch.look(&live)?;
    println!("{}", watch.table(&live, &lines)?);
    Ok(())
}

/// Sessions that are opened and closed at once, so many in a second.
pub(crate) fn churn(capacity: u32, per_second: u32, time: Duration) -> Result<()> {
    let mut live = Live::start(capacity)?;
    let mut script = Script::load()?.brief();
    let mut watch = Watch::new(&live)?;
    let mut pace = Pace::new(per_second);
    let mut next_look = INTERVAL;
    let mut flows = 0;
    while watch.began.elapsed() < time {
        pace.wait();
        script.open(flows, 0, &mut live)?;
        script.close(flows, 0, 0, &mut live)?;
        flows += 1;
        if watch.began.elapsed() >= next_look {
            watch.look(&live)?;
            next_look += INTERVAL;
        }
    }
    let rate = f64::from(flows) / watch.began.elapsed().as_secs_f64();
    let lines = live.next_stats(PATIENCE)?;
    watch.look(&live)?;
    println!("{flows} connections opened and closed, {rate:.0} a second");
    println!("{}", watch.table(&live, &lines)?);
    let ended = lines.number("/sessions/ended");
    ensure!(
        ended == u64::from(flows),
        "the agent counts {ended} ends of {flows} connections"
    );
    Ok(())
}
