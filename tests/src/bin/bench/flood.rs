//! A flood of SYNs beside real sessions: how many a second the machine makes, what one costs,
//! and what becomes of the sessions.
//!
//! The driver in the kernel makes the SYNs, on every CPU, and hands them to the programs of an
//! agent that runs; the sessions are connections through the lab.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread::{self, ScopedJoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use lab::{
    Agent, DirectionFaults, Faults, Lab, SERVER_INTERFACE,
    events::{Line, SessionEnd, Totalled, Totals},
};
use sstpulse::kernel::Hooks;
use sstpulse_common::{Framing, Side};

use crate::{
    driver::{Driver, Told, drive},
    held,
    packets::{Flags, Version, packet},
    talks::{Carried, Echo, Talk},
};

/// Sessions that begin before the flood and send until it is over.
const STEADY: usize = 100;
/// How often each that begins in the flood says something, and how many of them there are at
/// once.
const TIMES: u32 = 3;
const AT_ONCE: usize = 10;
/// What is tried.
const SCENES: [Scene; 3] = [
    Scene {
        answered: false,
        round_trip: Duration::from_millis(20),
    },
    Scene {
        answered: true,
        round_trip: Duration::from_millis(20),
    },
    Scene {
        answered: true,
        round_trip: Duration::from_millis(100),
    },
];
/// How long the flood lasts.
const TIME: Duration = Duration::from_secs(10);
/// SYNs by one system call, and how many if as many answers follow.
const RUNS: u32 = 100_000;
const ANSWERED_RUNS: u32 = 1_000;
/// Where the numbers of those that flood, and of the server, begin.
const CLIENT_ISN: u32 = 7;
const SERVER_ISN: u32 = 70_000;
/// How long the agent may take to tell of everything.
const PATIENCE: Duration = Duration::from_mins(1);

/// A flood.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scene {
    /// Whether the server answers each SYN, as it does with SYN cookies. For the kernel's table
    /// of attempts, one that was answered is one that is in use.
    pub(crate) answered: bool,
    /// Between server and clients. So long an attempt has to be remembered.
    pub(crate) round_trip: Duration,
}

/// What became of it all.
#[derive(Debug)]
pub(crate) struct Figures {
    pub(crate) scene: Scene,
    pub(crate) cpus: usize,
    pub(crate) syns_per_s: f64,
    /// Nanoseconds of a SYN, less those of the empty program.
    pub(crate) syn_ns: f64,
    /// The same of the answer to it, if there is one.
    pub(crate) answer_ns: Option<f64>,
    /// CPUs that the agent kept busy meanwhile.
    pub(crate) agent_cpu: f64,
    /// Sessions that were there before, and those that came in it.
    pub(crate) steady: Fate,
    pub(crate) new: Fate,
    /// Sessions that the agent tells of and nobody made.
    pub(crate) false_sessions: usize,
    pub(crate) totals: Totals,
}

/// What the agent tells of some sessions.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fate {
    pub(crate) sessions: usize,
    /// Those with one `session.end` and all their bytes in it.
    pub(crate) exact: usize,
    /// Those that the agent saw from the server's first data on: the flood had pushed out what
    /// was known of their handshake.
    pub(crate) midstream: usize,
    /// Those without one `session.end`.
    pub(crate) lost: usize,
}

/// What a driver has done.
#[derive(Clone, Copy, Debug, Default)]
struct Driven {
    /// SYNs.
    runs: f64,
    ns: f64,
    ns_of_answers: f64,
}

/// Measures it, with the bench object in the file `object`.
pub(crate) fn measure(object: &Path) -> Result<Vec<Figures>> {
    SCENES
        .into_iter()
        .map(|scene| beside_sessions(object, scene))
        .collect()
}

fn beside_sessions(object: &Path, scene: Scene) -> Result<Figures> {
    eprintln!("bench: {scene:?}");
    let lab = Lab::new()?;
    let delay = DirectionFaults {
        delay: scene.round_trip / 2,
        ..DirectionFaults::default()
    };
    lab.path.set(Faults {
        from_client: delay.clone(),
        from_server: delay,
    });
    let agent = Agent::start(&lab.server, &["--interface", SERVER_INTERFACE])?;
    let _echo = Echo::start(&lab.server)?;
    let mut drivers = drivers(object, &agent)?;
    let talks = lab.client.run(|| {
        (0..STEADY)
            .map(|_| Talk::open())
            .collect::<Result<Vec<_>>>()
    })?;
    agent.wait_for_count(PATIENCE, "session.start", STEADY, |line| {
        line.session_start().is_some()
    })?;

    let enough = AtomicBool::new(false);
    let cpu_before = held::cpu_time(agent.pid())?;
    let began = Instant::now();
    // Each has clients of its own, as many as there are addresses for.
    let share = u32::MAX / u32::try_from(drivers.len())?;
    let (driven, flooded, agent_cpu, steady, new) = thread::scope(|scope| {
        let steady = scope.spawn(|| lab.client.run(|| Talk::go_on(talks, &enough)));
        let comers: Vec<_> = (0..AT_ONCE)
            .map(|_| scope.spawn(|| lab.client.run(|| Talk::come_and_go(TIMES, &enough))))
            .collect();
        let floods: Vec<_> = (0..)
            .zip(&mut drivers)
            .map(|(cpu, driver)| {
                let enough = &enough;
                scope.spawn(move || flood(driver, scene, cpu * share, enough))
            })
            .collect();
        thread::sleep(TIME);
        let cpu = held::cpu_time(agent.pid()).map(|cpu| cpu.since(cpu_before).ran);
        let cpu = cpu.map(|cpu| cpu.div_duration_f64(began.elapsed()));
        enough.store(true, Ordering::Relaxed);
        let driven = floods.into_iter().map(join).collect::<Result<Vec<_>>>()?;
        let flooded = began.elapsed();
        let new = comers.into_iter().map(join).collect::<Result<Vec<_>>>()?;
        anyhow::Ok((driven, flooded, cpu?, join(steady)?, new.concat()))
    })?;
    let lines = stop(agent)?;

    let runs: f64 = driven.iter().map(|driven| driven.runs).sum();
    let ns: f64 = driven.iter().map(|driven| driven.ns).sum();
    let ns_of_answers: f64 = driven.iter().map(|driven| driven.ns_of_answers).sum();
    let empty = empty_ns(&mut drivers)?;
    let stopped = lines.iter().find_map(Line::agent_stop);
    Ok(Figures {
        scene,
        cpus: drivers.len(),
        syns_per_s: runs / flooded.as_secs_f64(),
        syn_ns: ns / runs - empty,
        answer_ns: scene.answered.then_some(ns_of_answers / runs - empty),
        agent_cpu,
        false_sessions: strangers(&lines, steady.iter().chain(&new)),
        steady: Fate::of(&steady, &lines),
        new: Fate::of(&new, &lines),
        totals: stopped.context("no agent.stop")?.totals.clone(),
    })
}

/// One for each CPU, which hands its packets to the agent's programs.
fn drivers(object: &Path, agent: &Agent) -> Result<Vec<Driver>> {
    let Hooks { ingress, egress } = Hooks::of(Framing::Ethernet);
    let [from_client, from_server] = held::programs(agent.pid(), [ingress, egress])?;
    let (from_client, from_server) = (from_client.fd()?, from_server.fd()?);
    (0..thread::available_parallelism()?.get())
        .map(|_| {
            let mut driver = Driver::new(object, 1)?;
            driver.hand_to(Side::Client, &from_client)?;
            driver.hand_to(Side::Server, &from_server)?;
            Ok(driver)
        })
        .collect()
}

/// Sends SYNs until it is enough.
fn flood(driver: &mut Driver, scene: Scene, first: u32, enough: &AtomicBool) -> Result<Driven> {
    let syn = packet(Version::V4, 0, Flags::Syn, 443)?;
    let answer = packet(Version::V4, 0, Flags::SynAck, 443)?;
    let mut syns = Told::new(0, drive::STRANGERS, CLIENT_ISN, 0);
    let mut answers = Told::new(0, drive::ANSWERS, CLIENT_ISN + 1, SERVER_ISN);
    syns.0[drive::COUNT] = first;
    answers.0[drive::COUNT] = first;
    let at_once = if scene.answered { ANSWERED_RUNS } else { RUNS };
    let runs = f64::from(at_once);
    let mut done = Driven::default();
    while !enough.load(Ordering::Relaxed) {
        done.ns += driver.run(&mut syns, &syn, at_once)? * runs;
        done.runs += runs;
        if scene.answered {
            done.ns_of_answers += driver.run(&mut answers, &answer, at_once)? * runs;
        }
    }
    Ok(done)
}

/// What is not the programs' in a run, in nanoseconds.
fn empty_ns(drivers: &mut [Driver]) -> Result<f64> {
    let driver = drivers.first_mut().context("no CPU")?;
    let syn = packet(Version::V4, 0, Flags::Syn, 443)?;
    driver.hand_to_own(Side::Client, "empty")?;
    let mut told = Told::new(0, drive::STRANGERS, CLIENT_ISN, 0);
    driver.run(&mut told, &syn, RUNS * 10)
}

/// Ends the agent once it has told of all that was before.
fn stop(agent: Agent) -> Result<Vec<Line>> {
    let stats = |line: &Line| line.agent_stats().is_some();
    let seen = agent.lines()?.iter().filter(|line| stats(line)).count();
    // The next one may be under way already.
    agent.wait_for_count(PATIENCE, "agent.stats", seen + 2, stats)?;
    agent.stop()
}

fn join<T>(thread: ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|_| bail!("a thread panicked"))
}

/// How many clients the agent tells of that were none.
fn strangers<'a>(lines: &[Line], real: impl Iterator<Item = &'a Carried>) -> usize {
    let real: BTreeSet<_> = real.map(|carried| carried.client).collect();
    lines
        .iter()
        .filter_map(Line::session_start)
        .filter(|start| {
            let client = SocketAddr::new(start.client.address, start.client.port);
            !real.contains(&client)
        })
        .count()
}

impl Fate {
    fn of(sessions: &[Carried], lines: &[Line]) -> Self {
        let mut ends: BTreeMap<SocketAddr, Vec<&SessionEnd>> = BTreeMap::new();
        for end in lines.iter().filter_map(Line::session_end) {
            let client = SocketAddr::new(end.client.address, end.client.port);
            ends.entry(client).or_default().push(end);
        }
        let mut fate = Self {
            sessions: sessions.len(),
            ..Self::default()
        };
        for session in sessions {
            let &[end] = ends.get(&session.client).map_or(&[][..], Vec::as_slice) else {
                fate.lost += 1;
                continue;
            };
            let carried = [&end.from_client, &end.from_server].map(new_bytes);
            fate.exact += usize::from(carried == [session.bytes; 2]);
            fate.midstream += usize::from(end.session.seen_from == "midstream");
        }
        fate
    }
}

/// What a side sent, without what it sent again.
fn new_bytes(side: &Totalled) -> u64 {
    side.bytes.saturating_sub(side.retransmitted_bytes)
}
