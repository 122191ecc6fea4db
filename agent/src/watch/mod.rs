//! The main job: watch interfaces, and write events until stopped.

mod backlog;
mod host_looks;
mod interfaces;
mod pace;
mod warnings;

use std::{process, time::Duration};

use anyhow::Context as _;
use futures::StreamExt as _;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::coop::consume_budget,
    time::{Instant, Interval, MissedTickBehavior, interval_at, sleep},
};

use self::{host_looks::HostLooks, interfaces::Interfaces, pace::Pace, warnings::Warnings};
use crate::{
    clock::{Clock, cpu_time_ns, monotonic_ns},
    counted::counted,
    event::{
        AgentStart, AgentStats, AgentStop, Event, HostHealth, HostState, LostStats, ProcessStats,
        StopReason, Totals,
    },
    failure::Failure,
    host,
    host_health::HostWatch,
    interface,
    kernel::{Kernel, Messages, memory},
    output::{Output, WhenFull},
    report::{
        self, Across, Attempts, Flows as _, HostMemory, Lines, Message, Periods, Sessions, Teller,
    },
    settings::Config,
};

/// Watches as configured, until a signal or the end of the output.
pub async fn run(config: Config) -> Result<(), Failure> {
    memory::keep_together();
    // First what asks, and last what changes something.
    host::require_kernel().map_err(Failure::host)?;
    host::require_privileges().map_err(Failure::host)?;
    host::require_proc().map_err(Failure::host)?;
    host::lift_memory_limit();
    let mut signals = Signals::listen()?;
    let mut interfaces = Interfaces::claim(&config.interfaces, config.hook).await?;
    // Only now: an agent that has no business here leaves no empty file.
    let output = Output::open(config.output.as_deref(), WhenFull::Drop).map_err(Failure::usage)?;
    let mut kernel = Kernel::load(&config.ports, config.limits).map_err(Failure::host)?;
    let mut rings = Rings {
        notices: kernel.notices()?.context("the notices were taken")?,
        openings: kernel.openings()?.context("the openings were taken")?,
    };
    let host_watch = HostWatch::new(config.ports.iter().copied());
    let first = interface::statistics(&config.interfaces).await;
    let host = HostLooks::start(host_watch, first)?;
    interfaces.attach(&mut kernel).await?;

    let mut watch = Watch {
        sessions: Sessions::new(
            kernel.capacity(),
            report::run_number(),
            config.thresholds.clone(),
            Periods {
                interval: config.interval,
                dead_after: config.dead_after,
            },
        ),
        attempts: Attempts::default(),
        across: Across::new(&config.thresholds, &config.cluster_limits),
        host_memory: HostMemory::default(),
        lines: Lines::new(output, Clock::now()),
        config,
        kernel,
        interfaces,
        host,
        warnings: Warnings::default(),
        scan: Pace::default(),
    };
    watch.tell_start()?;
    // What loading took.
    memory::give_back();
    let result = watch.follow(&mut rings, &mut signals).await;
    let reason = result.as_ref().copied().unwrap_or(StopReason::Failure);
    let stopped = watch.stop(&mut rings, reason).await;
    result.and(stopped)
}

const NOTICES_UNREADABLE: &str = "can't read the ring buffer of notices";

/// What the programs tell.
struct Rings {
    notices: Messages,
    openings: Messages,
}

struct Watch {
    config: Config,
    kernel: Kernel,
    interfaces: Interfaces,
    host: HostLooks,
    sessions: Sessions,
    attempts: Attempts,
    across: Across,
    host_memory: HostMemory,
    lines: Lines,
    warnings: Warnings,
    scan: Pace,
}

impl Watch {
    async fn follow(
        &mut self,
        rings: &mut Rings,
        signals: &mut Signals,
    ) -> Result<StopReason, Failure> {
        let mut ticks = ticks(self.config.interval);
        let mut changes = interface::changes()?;
        loop {
            tokio::select! {
                _ = signals.interrupt.recv() => return Ok(StopReason::Signal),
                _ = signals.terminate.recv() => return Ok(StopReason::Signal),
                _ = signals.hangup.recv() => self.lines.output().reopen(),
                () = self.lines.output().closed() => return Ok(StopReason::OutputClosed),
                notices = rings.notices.wait() => {
                    self.take(notices.context(NOTICES_UNREADABLE)?);
                }
                openings = rings.openings.wait() => {
                    let openings = openings.context("can't read the ring buffer of openings")?;
                    self.take_first(&mut rings.notices);
                    self.take_openings(openings);
                }
                () = until(self.sessions.next_due()) => {
                    self.take_first(&mut rings.notices);
                    self.settle()?;
                }
                Some(interface) = changes.next() => {
                    if self.interfaces.concern(&interface) {
                        self.interfaces.reconcile(&mut self.kernel).await;
                    }
                }
                Some(state) = self.host.next() => self.tell_host(state),
                _ = ticks.tick() => self.tick().await?,
                () = self.scan.next_step(), if self.is_scanning() => {
                    self.take_first(&mut rings.notices);
                    self.scan_step()?;
                }
            }
            self.lines.flush();
        }
    }

    fn take(&mut self, messages: &[Message]) {
        for message in messages {
            let mut teller = Teller {
                lines: &mut self.lines,
                interfaces: &self.interfaces,
                across: &mut self.across,
            };
            self.sessions.take(&mut self.kernel, &mut teller, message);
        }
    }

    /// Takes notices that wait before something else is done, as many as take no long time: so
    /// they never wait for more than one such thing.
    fn take_first(&mut self, notices: &mut Messages) {
        self.take(notices.take_some());
    }

    /// Takes pieces of openings in, but for those that have waited too long.
    fn take_openings(&mut self, openings: &[Message]) {
        let late = backlog::late(openings, monotonic_ns());
        let (shed, read) = openings.split_at(late);
        self.sessions.shed(shed.len());
        self.take(read);
    }

    fn settle(&mut self) -> Result<(), Failure> {
        let mut teller = Teller {
            lines: &mut self.lines,
            interfaces: &self.interfaces,
            across: &mut self.across,
        };
        let now = monotonic_ns();
        self.sessions.settle(&mut self.kernel, &mut teller, now)?;
        Ok(())
    }

    /// What each interval brings.
    async fn tick(&mut self) -> Result<(), Failure> {
        self.lines.adjust_clock();
        self.interfaces.reconcile(&mut self.kernel).await;
        self.host
            .ask(interface::statistics(&self.config.interfaces).await);
        if self.is_scanning() {
            // What it has not come to yet, the next one will tell with it.
            self.scan.late();
        } else {
            self.scan.begin();
            self.sessions.begin_scan(monotonic_ns());
        }
        Ok(())
    }

    /// Whether a scan goes on, of sessions or then of attempts.
    const fn is_scanning(&self) -> bool {
        self.sessions.is_scanning() || self.attempts.is_sweeping()
    }

    /// Does some of a scan, and after the last of it what else each interval brings.
    fn scan_step(&mut self) -> Result<(), Failure> {
        let mut teller = Teller {
            lines: &mut self.lines,
            interfaces: &self.interfaces,
            across: &mut self.across,
        };
        let (kernel, now) = (&mut self.kernel, monotonic_ns());
        let began_ns = cpu_time_ns();
        let lines = teller.lines.written();
        if self.sessions.is_scanning() {
            self.sessions.scan_step(kernel, &mut teller, now)?;
            if !self.sessions.is_scanning() {
                self.attempts.begin_sweep(kernel, monotonic_ns)?;
            }
        } else {
            self.attempts.sweep_step(kernel, &mut teller, now)?;
        }
        let told = teller.lines.written() - lines;
        let took = Duration::from_nanos(cpu_time_ns().saturating_sub(began_ns));
        self.scan.step(took, told);
        if !self.is_scanning() {
            self.scan.end();
            self.across.tell(&mut self.lines, monotonic_ns());
            self.tell_stats()?;
        }
        Ok(())
    }

    fn totals(&self) -> Result<Totals, Failure> {
        Ok(report::totals(
            &self.kernel.counters()?,
            &self.sessions,
            &self.attempts,
            &self.across,
            &self.lines,
        ))
    }

    fn tell_start(&mut self) -> Result<(), Failure> {
        let release = host::kernel_release()?;
        let interfaces = self.interfaces.attached();
        for interface in &interfaces {
            tracing::info!(
                "watching {} through {}, port {}",
                interface.name,
                interface.hook,
                list(self.config.ports.iter()),
            );
        }
        self.lines.write(monotonic_ns(), None, |head| {
            Event::AgentStart(AgentStart {
                head,
                version: env!("CARGO_PKG_VERSION"),
                kernel: &release,
                pid: process::id(),
                interfaces,
                ports: self.config.ports.iter().copied().collect(),
                capacity: self.kernel.capacity(),
                kernel_bytes: self.config.limits.bytes(),
                interval_ms: report::milliseconds(self.config.interval),
                dead_after_ms: report::milliseconds(self.config.dead_after),
            })
        });
        self.lines.flush();
        Ok(())
    }

    fn tell_stats(&mut self) -> Result<(), Failure> {
        let totals = self.totals()?;
        self.warnings.tell(&totals, self.lines.output());
        let process = process_stats()?;
        let rates = self.across.rates();
        let missing_interfaces = self.interfaces.missing();
        self.lines.write(monotonic_ns(), None, |head| {
            Event::AgentStats(AgentStats {
                head,
                totals,
                rates,
                missing_interfaces,
                scan: self.scan.stats(),
                process,
            })
        });
        Ok(())
    }

    fn tell_host(&mut self, state: HostState) {
        let facts = self.host_memory.take(&state, monotonic_ns());
        self.sessions.host_knows(facts);
        self.attempts.host_knows(facts);
        self.lines.write(monotonic_ns(), None, |head| {
            Event::HostHealth(HostHealth { head, state })
        });
    }

    /// Detaches, tells what is left to tell, and ends.
    async fn stop(mut self, rings: &mut Rings, reason: StopReason) -> Result<(), Failure> {
        self.interfaces.detach(&mut self.kernel).await;
        rings.openings.take_all(|openings| self.take(openings));
        rings.notices.take_all(|notices| self.take(notices));
        let mut teller = Teller {
            lines: &mut self.lines,
            interfaces: &self.interfaces,
            across: &mut self.across,
        };
        let (kernel, now) = (&mut self.kernel, monotonic_ns());
        if self.sessions.is_scanning() {
            // One that began before all messages were taken.
            self.sessions.scan(kernel, &mut teller, now)?;
        }
        // The first finds sessions that no message has told of, and the second tells of them.
        for _ in 0..2 {
            self.sessions.scan(kernel, &mut teller, now)?;
        }
        if self.attempts.is_sweeping() {
            self.attempts.sweep(kernel, &mut teller, now)?;
        }
        self.attempts.sweep(kernel, &mut teller, now)?;
        self.sessions.end_lingering(kernel, &mut teller, now)?;
        self.across.tell_last(&mut self.lines, monotonic_ns());
        let totals = self.totals()?;
        self.lines.write(monotonic_ns(), None, |head| {
            Event::AgentStop(AgentStop {
                head,
                reason,
                totals,
            })
        });
        let lines = self.lines.written();
        self.lines.finish()?;
        let lost = totals.lost.lines_dropped + totals.lost.lines_failed;
        log_end(reason, &totals, lines.saturating_sub(lost));
        Ok(())
    }
}

/// The log's last word.
fn log_end(reason: StopReason, totals: &Totals, lines: u64) {
    let why = match reason {
        StopReason::Signal => "a signal or `sstpulse detach` asked for it",
        StopReason::OutputClosed => "nobody reads the output any more",
        StopReason::Failure => "it failed",
    };
    let lost = if totals.lost == LostStats::default() {
        "nothing was lost"
    } else {
        "what was lost is under `lost` in agent.stop"
    };
    tracing::info!(
        "ended, since {why}; {} seen, {} written; {lost}",
        counted(totals.sessions.started, "session"),
        counted(lines, "line"),
    );
}

/// The signals that mean something.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn listen() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("can't listen to signals");
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }
}

fn ticks(interval: Duration) -> Interval {
    let mut ticks = interval_at(Instant::now() + interval, interval);
    // After a pause (a suspended machine), one look is enough.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Waits for a time on the monotonic clock; forever if there is none.
async fn until(ns: Option<u64>) {
    let Some(ns) = ns else {
        return std::future::pending().await;
    };
    match ns.checked_sub(monotonic_ns()) {
        Some(left) if left > 0 => sleep(Duration::from_nanos(left)).await,
        // No timer: it would go off only once there is nothing else to do. Of the turns that a
        // task has before others have theirs, this takes one.
        _ => consume_budget().await,
    }
}

fn process_stats() -> anyhow::Result<ProcessStats> {
    let stat = procfs::process::Process::myself()
        .and_then(|process| process.stat())
        .context("can't read what this process takes from /proc")?;
    Ok(ProcessStats {
        cpu_ms: (stat.utime + stat.stime) * 1_000 / procfs::ticks_per_second(),
        rss_bytes: stat.rss * procfs::page_size(),
    })
}

fn list<T: ToString>(items: impl Iterator<Item = T>) -> String {
    items
        .map(|item| item.to_string())
        .collect::<Vec<_>>()
        .join(", ")
}
