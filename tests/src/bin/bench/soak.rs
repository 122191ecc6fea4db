//! Long runs: many sessions that live, or many that come and go, and what becomes of the agent.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};

use crate::{
    control::Control,
    held::{self, CpuTime},
    live::{Lines, Live},
    memory,
    pace::Pace,
    traffic::Script,
    volley::Volley,
};

/// Time between two scans, unless the agent is told otherwise.
const INTERVAL: Duration = Duration::from_secs(INTERVAL_S as u64);
const INTERVAL_S: u32 = 10;

/// Volleys in a second, by which connections come and go: fewer of them take less time, and
/// each is more of a burst.
const VOLLEYS: u32 = 200;

/// How long the agent may take to write what waits to be written.
const PATIENCE: Duration = Duration::from_mins(2);

/// The worst that was seen of the agent.
struct Watch {
    began: Instant,
    cpu_at_first: CpuTime,
    wakeups_at_first: u64,
    driver_at_first: CpuTime,
    stolen_at_first: Duration,
    most_resident: u64,
    longest_step_us: u64,
    control: Control,
    longest_control_us: u64,
    longest_scan_ms: u64,
    late: u64,
}

/// What the agent took while there was something to do.
struct Taken {
    time: Duration,
    cpu: CpuTime,
    wakeups: u64,
    /// Of the thread that makes the traffic, the programs it runs included.
    driver: CpuTime,
    /// By the hypervisor, of all CPUs.
    stolen: Duration,
}

impl Watch {
    fn new(live: &Live) -> Result<Self> {
        Ok(Self {
            began: Instant::now(),
            cpu_at_first: live.cpu_time()?,
            wakeups_at_first: live.wakeups()?,
            driver_at_first: held::own_cpu_time()?,
            stolen_at_first: held::stolen()?,
            most_resident: 0,
            longest_step_us: 0,
            control: Control::start(),
            longest_control_us: 0,
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
        let control_us = self.control.longest_us();
        self.longest_control_us = self.longest_control_us.max(control_us);
        self.longest_scan_ms = self.longest_scan_ms.max(lines.number("/scan/last_ms"));
        self.late = lines.number("/scan/late");
        eprintln!(
            "bench: {:.0} s: {} sessions live, {} MB, longest step {} µs, control \
             {control_us} µs, {} ms stolen, lost {:?}",
            self.began.elapsed().as_secs_f64(),
            lines.number("/sessions/live"),
            live.resident_bytes()? / 1_000_000,
            lines.number("/scan/longest_step_us"),
            self.stolen()?.as_millis(),
            lines.lost(),
        );
        Ok(())
    }

    /// What the hypervisor has stolen until now.
    fn stolen(&self) -> Result<Duration> {
        Ok(held::stolen()?.saturating_sub(self.stolen_at_first))
    }

    /// What was taken until now.
    fn taken(&self, live: &Live) -> Result<Taken> {
        Ok(Taken {
            time: self.began.elapsed(),
            cpu: live.cpu_time()?.since(self.cpu_at_first),
            wakeups: live.wakeups()? - self.wakeups_at_first,
            driver: held::own_cpu_time()?.since(self.driver_at_first),
            stolen: self.stolen()?,
        })
    }

    fn table(&self, taken: &Taken, lines: &Lines) -> Table {
        let lost = lines.lost();
        let share = |cpu: CpuTime| {
            let percent = |time: Duration| time.div_duration_f64(taken.time) * 100.0;
            let (ran, waited) = (percent(cpu.ran), percent(cpu.waited));
            format!("{ran:.1} % of one, {waited:.1} % waiting for one")
        };
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED);
        for (what, figure) in [
            ("for", format!("{:.0} s", taken.time.as_secs_f64())),
            (
                "stolen by the hypervisor",
                format!("{} ms", taken.stolen.as_millis()),
            ),
            ("agent's CPU", share(taken.cpu)),
            ("driver's CPU", share(taken.driver)),
            (
                "agent's wakeups",
                format!("{} a second", taken.wakeups / taken.time.as_secs().max(1)),
            ),
            (
                "agent's memory, at most",
                format!("{} MB", self.most_resident / 1_000_000),
            ),
            (
                "longest step of a scan",
                format!("{} µs", self.longest_step_us),
            ),
            (
                "control: a fixed piece of work beside it, at worst",
                format!("{} µs", self.longest_control_us),
            ),
            ("longest scan", format!("{} ms", self.longest_scan_ms)),
            ("scans that were late", self.late.to_string()),
            ("session.start", lines.count("session.start").to_string()),
            ("session.tls", lines.count("session.tls").to_string()),
            ("session.health", lines.count("session.health").to_string()),
            ("session.anomaly", anomalies(lines)),
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
        table
    }
}

/// How many of each code began or were over.
fn anomalies(lines: &Lines) -> String {
    if lines.anomalies.is_empty() {
        return "0".into();
    }
    let each = lines.anomalies.iter();
    let each: Vec<_> = each
        .map(|(what, count)| format!("{count} {what}"))
        .collect();
    each.join(", ")
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
    let taken = watch.taken(&live)?;
    let lines = live.next_stats(PATIENCE)?;
    watch.look(&live)?;
    println!("{}", watch.table(&taken, &lines));
    Ok(())
}

/// Sessions that are opened and closed at once, so many in a second.
pub(crate) fn churn(object: &Path, capacity: u32, per_second: u32, time: Duration) -> Result<()> {
    let live = Live::start(capacity)?;
    let mut volley = Volley::new(object, &live.programs()?)?;
    let steps = Script::load()?.brief().steps();
    let at_once = (per_second / VOLLEYS).max(1);
    let mut watch = Watch::new(&live)?;
    let mut pace = Pace::new(per_second);
    let mut next_look = INTERVAL;
    let mut flows = 0;
    while watch.began.elapsed() < time {
        pace.wait_for(at_once);
        volley.play(&steps, flows..flows + at_once)?;
        flows += at_once;
        if watch.began.elapsed() >= next_look {
            watch.look(&live)?;
            next_look += INTERVAL;
        }
    }
    let taken = watch.taken(&live)?;
    let rate = f64::from(flows) / taken.time.as_secs_f64();
    let lines = live.next_stats(PATIENCE)?;
    watch.look(&live)?;
    println!("{flows} connections opened and closed, {rate:.0} a second");
    println!("{}", watch.table(&taken, &lines));
    let ended = lines.number("/sessions/ended");
    ensure!(
        ended == u64::from(flows),
        "the agent counts {ended} ends of {flows} connections"
    );
    Ok(())
}
