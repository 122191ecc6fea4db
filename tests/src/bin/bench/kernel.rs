//! What a segment costs in the kernel: our programs beside an empty one and the floor.
//!
//! All run on the same packets, which the driver of the bench object makes (`drive` in
//! `agent-ebpf/src/bench`); what is told of each is its time less that of the empty one,
//! measured in turns, and the median of the turns.

#[path = "../../../../agent-ebpf/src/bench/drive.rs"]
mod drive;

use std::{collections::BTreeSet, num::NonZeroU32, path::Path};

use anyhow::{Context as _, Result, ensure};
use aya::{
    Ebpf, EbpfLoader, TestRun as _, TestRunOptions,
    maps::{Array, MapData, ProgramArray},
    programs::{ProgramFd, SchedClassifier},
};
use etherparse::{PacketBuilder, TcpOptionElement};
use serde::Serialize;
use sstpulse::kernel::{Kernel, Limits};
use sstpulse::report::Flows as _;
use sstpulse_common::{Framing, Side, counters::Counter, record::Attention};

/// Where conversations begin.
const CLIENT_ISN: u32 = 1_000;
const SERVER_ISN: u32 = 5_000_000;
/// Payload of each segment, in bytes.
const PAYLOAD: u32 = 1_000;
/// Attempts at once while sessions are opened.
const OPENED_AT_ONCE: u32 = 4_096;

/// Nanoseconds a run, less those of the empty program but for its own.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Figures {
    /// The empty program, with the test around it.
    pub(crate) empty_ns: f64,
    /// The floor, few flows.
    pub(crate) floor_ns: f64,
    /// Segments with data of established sessions, both directions, few flows.
    pub(crate) established_v4_ns: f64,
    pub(crate) established_v6_ns: f64,
    /// A TCP segment of another port.
    pub(crate) not_ours_ns: f64,
    /// The same with a million flows in an order that looks random.
    pub(crate) floor_1m_ns: f64,
    pub(crate) established_1m_v4_ns: f64,
    pub(crate) established_1m_v6_ns: f64,
    /// A SYN of a new flow each, as in a flood.
    pub(crate) syn_ns: f64,
}

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// Turns of each, of which the median is taken.
    pub(crate) turns: usize,
    /// Runs in a turn.
    pub(crate) runs: u32,
    /// Many flows: two to the power of this.
    pub(crate) many_bits: u32,
}

/// Few flows: two to the power of this.
const FEW_BITS: u32 = 4;

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    V4,
    V6,
}

/// Measures everything, with the bench object in the file `object`.
pub(crate) fn measure(object: &Path, effort: Effort) -> Result<Figures> {
    let few = established(object, effort, FEW_BITS, Version::V4)?;
    let few_v6 = established(object, effort, FEW_BITS, Version::V6)?;
    let many = established(object, effort, effort.many_bits, Version::V4)?;
    let many_v6 = established(object, effort, effort.many_bits, Version::V6)?;
    let (not_ours_ns, syn_ns) = without_sessions(object, effort)?;
    Ok(Figures {
        empty_ns: few.empty_ns,
        floor_ns: few.floor_ns,
        established_v4_ns: few.ours_ns,
        established_v6_ns: few_v6.ours_ns,
        not_ours_ns,
        floor_1m_ns: many.floor_ns,
        established_1m_v4_ns: many.ours_ns,
        established_1m_v6_ns: many_v6.ours_ns,
        syn_ns,
    })
}

struct Established {
    empty_ns: f64,
    floor_ns: f64,
    ours_ns: f64,
}

fn established(object: &Path, effort: Effort, bits: u32, version: Version) -> Result<Established> {
    let mut stand = Stand::new(object, bits)?;
    stand.open(version)?;
    let data = packet(version, PAYLOAD, Flags::Ack, 443)?;
    let told = Told::data(bits);
    let mut subjects = [Subject::Empty, Subject::Floor, Subject::Ours].map(|subject| Measured {
        subject,
        told,
        turns: Vec::new(),
    });
    for _ in 0..effort.turns {
        for measured in &mut subjects {
            stand.turn(measured, &data, effort.runs)?;
        }
    }
    stand.check()?;
    let [empty, floor, ours] = subjects.map(|measured| measured.median());
    println!(
        "{version:?} 2^{bits}: empty {empty:.0} floor {:.1} ours {:.1}",
        floor - empty,
        ours - empty
    );
    Ok(Established {
        empty_ns: empty,
        floor_ns: floor - empty,
        ours_ns: ours - empty,
    })
}

fn without_sessions(object: &Path, effort: Effort) -> Result<(f64, f64)> {
    let mut stand = Stand::new(object, FEW_BITS)?;
    let mut net = |data: &[u8], told: Told| -> Result<f64> {
        let mut subjects = [Subject::Empty, Subject::Ours].map(|subject| Measured {
            subject,
            told,
            turns: Vec::new(),
        });
        for _ in 0..effort.turns {
            for measured in &mut subjects {
                stand.turn(measured, data, effort.runs)?;
            }
        }
        let [empty, ours] = subjects.map(|measured| measured.median());
        Ok(ours - empty)
    };
    let not_ours = net(
        &packet(Version::V4, PAYLOAD, Flags::Ack, 8_443)?,
        Told::new(FEW_BITS, drive::NOBODY),
    )?;
    let syn = net(
        &packet(Version::V4, 0, Flags::Syn, 443)?,
        Told::new(FEW_BITS, drive::CLIENT),
    )?;
    println!("not ours {not_ours:.1} syn {syn:.1}");
    Ok((not_ours, syn))
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    Empty,
    Floor,
    Ours,
}

/// A subject, how far its conversations have come, and what its turns took.
#[derive(Debug)]
struct Measured {
    subject: Subject,
    told: Told,
    turns: Vec<f64>,
}

impl Measured {
    fn median(mut self) -> f64 {
        self.turns.sort_by(f64::total_cmp);
        self.turns[self.turns.len() / 2]
    }
}

/// What the driver is told.
#[derive(Clone, Copy, Debug)]
struct Told([u32; drive::WORDS]);

impl Told {
    fn new(bits: u32, sender: u32) -> Self {
        let mut words = [0; drive::WORDS];
        words[drive::BITS] = bits;
        words[drive::SENDER] = sender;
        words[drive::CLIENT_SEQ] = CLIENT_ISN + 1;
        words[drive::SERVER_SEQ] = SERVER_ISN + 1;
        words[drive::PAYLOAD] = PAYLOAD;
        Self(words)
    }

    fn data(bits: u32) -> Self {
        Self::new(bits, drive::BOTH)
    }
}

/// The bench object and our programs, side by side.
struct Stand {
    bench: Ebpf,
    drive: Array<MapData, [u32; drive::WORDS]>,
    targets: ProgramArray<MapData>,
    kernel: Kernel,
    flows: u32,
}

impl Stand {
    fn new(object: &Path, bits: u32) -> Result<Self> {
        let flows = 1_u32 << bits;
        let mut bench = EbpfLoader::new()
            .map_max_entries("FLOWS", flows)
            .load_file(object)
            .with_context(|| format!("can't load {}", object.display()))?;
        for (name, program) in bench.programs_mut() {
            let program: &mut SchedClassifier = program.try_into()?;
            program
                .load()
                .with_context(|| format!("can't load {name}"))?;
        }
        let drive = Array::try_from(bench.take_map("DRIVE").context("no DRIVE")?)?;
        let targets = ProgramArray::try_from(bench.take_map("TARGETS").context("no TARGETS")?)?;
        let limits = Limits {
            sessions: NonZeroU32::new(flows).context("no flows")?,
            half_open: NonZeroU32::new(65_536).context("no attempts")?,
        };
        let kernel = Kernel::load(&BTreeSet::from([443]), limits)?;
        Ok(Self {
            bench,
            drive,
            targets,
            kernel,
            flows,
        })
    }

    /// Opens a session in each flow, and makes the floor's entries.
    fn open(&mut self, version: Version) -> Result<()> {
        let syn = packet(version, 0, Flags::Syn, 443)?;
        let syn_ack = packet(version, 0, Flags::SynAck, 443)?;
        let ack = packet(version, 0, Flags::Ack, 443)?;
        for first in (0..self.flows).step_by(OPENED_AT_ONCE as usize) {
            let count = OPENED_AT_ONCE.min(self.flows - first);
            let mut told = Told::new(self.flows.ilog2(), drive::CLIENT);
            told.0[drive::COUNT] = first;
            told.0[drive::CLIENT_SEQ] = CLIENT_ISN;
            told.0[drive::SERVER_SEQ] = 0;
            self.run(Subject::Ours, &mut told.clone(), &syn, count)?;
            told.0[drive::SENDER] = drive::SERVER;
            told.0[drive::CLIENT_SEQ] = CLIENT_ISN + 1;
            told.0[drive::SERVER_SEQ] = SERVER_ISN;
            self.run(Subject::Ours, &mut told.clone(), &syn_ack, count)?;
            told.0[drive::SENDER] = drive::CLIENT;
            told.0[drive::SERVER_SEQ] = SERVER_ISN + 1;
            self.run(Subject::Ours, &mut told.clone(), &ack, count)?;
            self.fill_floor(told, &ack, count)?;
        }
        let opened = self.kernel.counters()?.get(Counter::SessionsFromHandshake);
        ensure!(
            opened == u64::from(self.flows),
            "{opened} sessions were opened, of {}",
            self.flows
        );
        for slot in 0..self.flows {
            self.kernel.attend(slot, Attention::NO_PAYLOAD, 66);
        }
        Ok(())
    }

    fn fill_floor(&mut self, told: Told, data: &[u8], count: u32) -> Result<()> {
        let program = bench_program(&self.bench, "floor_fill")?;
        self.targets.set(drive::CLIENT, program, 0)?;
        self.drive.set(0, told.0, 0)?;
        self.driven(data, count).map(drop)
    }

    /// One turn of a subject; takes note of its nanoseconds a run.
    fn turn(&mut self, measured: &mut Measured, data: &[u8], runs: u32) -> Result<()> {
        let ns = self.run(measured.subject, &mut measured.told, data, runs)?;
        measured.turns.push(ns);
        Ok(())
    }

    fn run(&mut self, subject: Subject, told: &mut Told, data: &[u8], runs: u32) -> Result<f64> {
        for side in [Side::Client, Side::Server] {
            let program = match (subject, side) {
                (Subject::Empty, _) => bench_program(&self.bench, "empty")?,
                (Subject::Floor, Side::Client) => bench_program(&self.bench, "floor_in")?,
                (Subject::Floor, Side::Server) => bench_program(&self.bench, "floor_out")?,
                (Subject::Ours, side) => self.kernel.program(Framing::Ethernet, side)?,
            };
            self.targets.set(side as u32, program, 0)?;
        }
        self.drive.set(0, told.0, 0)?;
        let ns = self.driven(data, runs)?;
        told.0 = self.drive.get(&0, 0)?;
        Ok(ns)
    }

    fn driven(&mut self, data: &[u8], runs: u32) -> Result<f64> {
        const UNSPEC: i32 = -1;
        let program: &SchedClassifier = self
            .bench
            .program("drive")
            .context("no driver")?
            .try_into()?;
        let before = std::time::Instant::now();
        let result = program.test_run(TestRunOptions {
            data_in: Some(data),
            repeat: runs,
            ..TestRunOptions::new()
        })?;
        let _ = before;
        ensure!(
            result.return_value.cast_signed() == UNSPEC,
            "a program did not do what it is measured for"
        );
        Ok(result.duration.as_secs_f64() * 1e9)
    }

    /// Fails unless everything that was measured was counted in sessions.
    fn check(&self) -> Result<()> {
        let counters = self.kernel.counters()?;
        for counter in [
            Counter::OutOfWindow,
            Counter::NoSession,
            Counter::OtherInterface,
            Counter::TableFull,
            Counter::Malformed,
        ] {
            ensure!(
                counters.get(counter) == 0,
                "{counter:?}: {}",
                counters.get(counter)
            );
        }
        let record = self.kernel.read(0);
        println!("{record:?}");
        Ok(())
    }
}

fn bench_program<'a>(bench: &'a Ebpf, name: &str) -> Result<&'a ProgramFd> {
    let program: &SchedClassifier = bench
        .program(name)
        .with_context(|| format!("no program {name}"))?
        .try_into()?;
    Ok(program.fd()?)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flags {
    Syn,
    SynAck,
    Ack,
}

/// A segment to or from a port; the driver sets addresses and numbers.
fn packet(version: Version, payload: u32, flags: Flags, port: u16) -> Result<Vec<u8>> {
    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
    let ethernet = PacketBuilder::ethernet2(MAC, MAC);
    let internet = match version {
        Version::V4 => ethernet.ipv4([10, 0, 0, 0], [192, 0, 2, 1], 64),
        Version::V6 => ethernet.ipv6([0; 16], [0; 16], 64),
    };
    let tcp = internet.tcp(40_000, port, CLIENT_ISN, u16::MAX);
    let options = [
        TcpOptionElement::Noop,
        TcpOptionElement::Noop,
        TcpOptionElement::Timestamp(1, 1),
    ];
    let tcp = match flags {
        Flags::Syn => tcp.syn().options(&options)?,
        Flags::SynAck => tcp.syn().ack(1).options(&options)?,
        Flags::Ack => tcp.ack(1).options(&options)?,
    };
    let payload = vec![0; payload as usize];
    let mut bytes = Vec::new();
    tcp.write(&mut bytes, &payload)?;
    Ok(bytes)
}

pub(crate) fn quick(object: &Path, effort: Effort) -> Result<()> {
    established(object, effort, FEW_BITS, Version::V4)?;
    established(object, effort, effort.many_bits, Version::V4)?;
    Ok(())
}
