//! What a segment costs in the kernel: our programs beside an empty one and the floor.
//!
//! All run on the same packets, which the driver of the bench object makes (`drive` in
//! `agent-ebpf/src/bench`). What is told of each is its time less that of the empty program;
//! they take turns, and each turn gives one figure.

use std::{collections::BTreeSet, num::NonZeroU32, path::Path, sync::Barrier, thread};

use anyhow::{Context as _, Result, ensure};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};
use serde::Serialize;
use sstpulse::{
    kernel::{Kernel, Limits},
    report::Flows as _,
};
use sstpulse_common::{Framing, Side, counters::Counter, record::Attention};

use crate::{
    driver::{Driver, Told, drive},
    packets::{Flags, Version, packet},
    sample::Sample,
};

/// Where conversations begin.
const CLIENT_ISN: u32 = 1_000;
const SERVER_ISN: u32 = 5_000_000;
/// Payload of each segment, in bytes.
const PAYLOAD: u32 = 1_000;
/// Attempts at once while sessions are opened: few against what their table holds, of which
/// each CPU may use a part only.
const OPENED_AT_ONCE: u32 = 4_096;
const ATTEMPTS: u32 = 65_536;
/// Few flows, and a million: two to the power of this.
const FEW_BITS: u32 = 4;
const MANY_BITS: u32 = 20;
/// Sessions that there is room for, at least: as many as an agent has that was not told.
const ROOM: u32 = 65_536;
/// Runs in a turn.
const RUNS: u32 = 1_000_000;

/// Nanoseconds of a run, less those of the empty program but for its own.
#[derive(Debug, Default, Serialize)]
#[expect(
    clippy::struct_field_names,
    reason = "the keys of the JSON tell their unit"
)]
pub(crate) struct Figures {
    /// The empty program, with the test around it.
    pub(crate) empty_ns: Sample,
    /// The floor, few flows.
    pub(crate) floor_ns: Sample,
    /// Segments with data of established sessions, both directions, few flows.
    pub(crate) established_v4_ns: Sample,
    pub(crate) established_v6_ns: Sample,
    /// A TCP segment of another port.
    pub(crate) not_ours_ns: Sample,
    /// The same with a million flows in an order that looks random.
    pub(crate) floor_1m_ns: Sample,
    pub(crate) established_1m_v4_ns: Sample,
    pub(crate) established_1m_v6_ns: Sample,
    /// A SYN of a new flow each, as in a flood.
    pub(crate) syn_ns: Sample,
    /// Segments of few flows while each CPU has some. Not part of the JSON.
    #[serde(skip)]
    pub(crate) on_all_cpus_ns: Sample,
}

/// Measures everything in so many turns, with the bench object in the file `object`.
pub(crate) fn measure(object: &Path, turns: u32) -> Result<Figures> {
    let few = established(object, turns, FEW_BITS, Version::V4)?;
    let few_v6 = established(object, turns, FEW_BITS, Version::V6)?;
    let many = established(object, turns, MANY_BITS, Version::V4)?;
    let many_v6 = established(object, turns, MANY_BITS, Version::V6)?;
    let not_ours = packet(Version::V4, PAYLOAD, Flags::Ack, 8_443)?;
    let syn = packet(Version::V4, 0, Flags::Syn, 443)?;
    Ok(Figures {
        empty_ns: few.empty,
        floor_ns: few.floor,
        established_v4_ns: few.ours,
        established_v6_ns: few_v6.ours,
        not_ours_ns: without_session(object, turns, &not_ours, drive::NOBODY)?,
        floor_1m_ns: many.floor,
        established_1m_v4_ns: many.ours,
        established_1m_v6_ns: many_v6.ours,
        syn_ns: without_session(object, turns, &syn, drive::CLIENT)?,
        on_all_cpus_ns: on_all_cpus(object, turns)?,
    })
}

struct Established {
    empty: Sample,
    floor: Sample,
    ours: Sample,
}

fn established(object: &Path, turns: u32, bits: u32, version: Version) -> Result<Established> {
    let flows = 1 << bits;
    eprintln!("bench: segments of {flows} flows, IP{version:?}");
    let mut kernel = kernel(flows.max(ROOM))?;
    let mut driver = Driver::new(object, flows.max(ROOM))?;
    open(&mut kernel, &mut driver, version, Flows { first: 0, bits })?;
    let data = packet(version, PAYLOAD, Flags::Ack, 443)?;
    let told = data_in(Flows { first: 0, bits }, drive::BOTH);
    let mut talks = [told; 3];
    let mut measured = Established {
        empty: Sample::default(),
        floor: Sample::default(),
        ours: Sample::default(),
    };
    for _ in 0..turns {
        let mut turn = |subject, told| {
            aim(&mut driver, subject, &mut kernel)?;
            driver.run(told, &data, RUNS)
        };
        let [with_empty, with_floor, with_ours] = &mut talks;
        let empty = turn(Subject::Empty, with_empty)?;
        measured.empty.push(empty);
        measured
            .floor
            .push(turn(Subject::Floor, with_floor)? - empty);
        measured.ours.push(turn(Subject::Ours, with_ours)? - empty);
    }
    all_counted(&kernel)?;
    Ok(measured)
}

/// What packets cost that belong to no session.
fn without_session(object: &Path, turns: u32, data: &[u8], sender: u32) -> Result<Sample> {
    let flows = Flows {
        first: 0,
        bits: FEW_BITS,
    };
    let mut kernel = kernel(ROOM)?;
    let mut driver = Driver::new(object, ROOM)?;
    let mut talks = [data_in(flows, sender); 2];
    let mut measured = Sample::default();
    for _ in 0..turns {
        let [with_empty, with_ours] = &mut talks;
        aim(&mut driver, Subject::Empty, &mut kernel)?;
        let empty = driver.run(with_empty, data, RUNS)?;
        aim(&mut driver, Subject::Ours, &mut kernel)?;
        measured.push(driver.run(with_ours, data, RUNS)? - empty);
    }
    Ok(measured)
}

/// What segments of few flows cost while each CPU has some of its own.
fn on_all_cpus(object: &Path, turns: u32) -> Result<Sample> {
    let cpus = u32::try_from(thread::available_parallelism()?.get())?;
    eprintln!("bench: segments on {cpus} CPUs at once");
    let mut kernel = kernel(ROOM)?;
    let data = packet(Version::V4, PAYLOAD, Flags::Ack, 443)?;
    let mut drivers = Vec::new();
    for cpu in 0..cpus {
        let flows = Flows {
            first: cpu << FEW_BITS,
            bits: FEW_BITS,
        };
        let mut empty = Driver::new(object, 1 << FEW_BITS)?;
        let mut ours = Driver::new(object, 1 << FEW_BITS)?;
        open(&mut kernel, &mut ours, Version::V4, flows)?;
        aim(&mut empty, Subject::Empty, &mut kernel)?;
        aim(&mut ours, Subject::Ours, &mut kernel)?;
        let told = data_in(flows, drive::BOTH);
        drivers.push((cpu, [(empty, told), (ours, told)]));
    }
    let barrier = Barrier::new(drivers.len());
    let turn = |cpu, pair: &mut [(Driver, Told); 2]| -> Result<f64> {
        pin_to(cpu)?;
        let mut ns = [0.0; 2];
        for ((driver, told), ns) in pair.iter_mut().zip(&mut ns) {
            barrier.wait();
            *ns = driver.run(told, &data, RUNS)?;
        }
        Ok(ns[1] - ns[0])
    };
    let mut measured = Sample::default();
    for _ in 0..turns {
        let figures = thread::scope(|scope| {
            let threads: Vec<_> = drivers
                .iter_mut()
                .map(|(cpu, pair)| scope.spawn(|| turn(*cpu, pair)))
                .collect();
            threads
                .into_iter()
                .map(|thread| {
                    thread
                        .join()
                        .unwrap_or_else(|_| anyhow::bail!("it panicked"))
                })
                .collect::<Result<Vec<_>>>()
        })?;
        for ns in figures {
            measured.push(ns);
        }
    }
    all_counted(&kernel)?;
    Ok(measured)
}

/// Lets this thread run on one CPU only.
fn pin_to(cpu: u32) -> Result<()> {
    let mut cpus = CpuSet::new();
    cpus.set(cpu as usize)?;
    sched_setaffinity(Pid::from_raw(0), &cpus)
        .with_context(|| format!("can't run a thread on CPU {cpu}"))
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    Empty,
    Floor,
    Ours,
}

/// Which flows: two to the power of `bits`, from `first` on.
#[derive(Clone, Copy, Debug)]
struct Flows {
    first: u32,
    bits: u32,
}

/// Lets a subject have the driver's packets.
fn aim(driver: &mut Driver, subject: Subject, kernel: &mut Kernel) -> Result<()> {
    for side in [Side::Client, Side::Server] {
        match (subject, side) {
            (Subject::Empty, _) => driver.hand_to_own(side, "empty")?,
            (Subject::Floor, Side::Client) => driver.hand_to_own(side, "floor_in")?,
            (Subject::Floor, Side::Server) => driver.hand_to_own(side, "floor_out")?,
            (Subject::Ours, _) => driver.hand_to(side, kernel.program(Framing::Ethernet, side)?)?,
        }
    }
    Ok(())
}

/// What a driver is told of data in these flows.
fn data_in(flows: Flows, sender: u32) -> Told {
    let mut told = Told::new(flows.first, sender, CLIENT_ISN + 1, SERVER_ISN + 1);
    told.0[drive::BITS] = flows.bits;
    told.0[drive::PAYLOAD] = PAYLOAD;
    told
}

fn kernel(sessions: u32) -> Result<Kernel> {
    let limits = Limits {
        sessions: NonZeroU32::new(sessions).context("no sessions")?,
        half_open: NonZeroU32::new(ATTEMPTS).context("no attempts")?,
    };
    Ok(Kernel::load(&BTreeSet::from([443]), limits)?)
}

/// Opens a session in each flow, and makes the floor's entries.
fn open(kernel: &mut Kernel, driver: &mut Driver, version: Version, flows: Flows) -> Result<()> {
    let syn = packet(version, 0, Flags::Syn, 443)?;
    let syn_ack = packet(version, 0, Flags::SynAck, 443)?;
    let ack = packet(version, 0, Flags::Ack, 443)?;
    let before = kernel.counters()?.get(Counter::SessionsFromHandshake);
    let all = 1 << flows.bits;
    for done in (0..all).step_by(OPENED_AT_ONCE as usize) {
        let count = OPENED_AT_ONCE.min(all - done);
        let (client, server) = (CLIENT_ISN, SERVER_ISN);
        let told = |sender, client_seq, server_seq| {
            Told::new(flows.first + done, sender, client_seq, server_seq)
        };
        aim(driver, Subject::Ours, kernel)?;
        driver.run(&mut told(drive::CLIENT, client, 0), &syn, count)?;
        driver.run(
            &mut told(drive::SERVER, client + 1, server),
            &syn_ack,
            count,
        )?;
        let acknowledged = told(drive::CLIENT, client + 1, server + 1);
        driver.run(&mut acknowledged.clone(), &ack, count)?;
        driver.hand_to_own(Side::Client, "floor_fill")?;
        driver.run(&mut acknowledged.clone(), &ack, count)?;
    }
    let opened = kernel.counters()?.get(Counter::SessionsFromHandshake) - before;
    ensure!(
        opened == u64::from(all),
        "{opened} sessions were opened, of {all}"
    );
    for slot in 0..kernel.capacity() {
        // As the agent does once it has seen enough of the opening.
        kernel.attend(slot, Attention::NO_PAYLOAD, 66);
    }
    Ok(())
}

/// Fails unless everything that was measured was counted in sessions.
fn all_counted(kernel: &Kernel) -> Result<()> {
    let counters = kernel.counters()?;
    for counter in [
        Counter::OutOfWindow,
        Counter::NoSession,
        Counter::OtherInterface,
        Counter::TableFull,
        Counter::Malformed,
    ] {
        let count = counters.get(counter);
        ensure!(count == 0, "{counter:?} was counted {count} times");
    }
    Ok(())
}
