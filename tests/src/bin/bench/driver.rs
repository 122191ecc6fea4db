//! What makes packets in the kernel, and hands them to whatever is measured: the driver of the
//! bench object (`drive` in `agent-ebpf/src/bench`).

#[path = "../../../../agent-ebpf/src/bench/drive.rs"]
pub(crate) mod drive;

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use aya::{
    Ebpf, EbpfLoader, TestRun as _, TestRunOptions,
    maps::{Array, MapData, ProgramArray},
    programs::{ProgramFd, SchedClassifier},
};
use sstpulse_common::Side;

/// What a driver is told, and how far its conversations have come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told(pub(crate) [u32; drive::WORDS]);

impl Told {
    /// To send one segment in flow after flow, from `first` on, with these numbers.
    pub(crate) fn new(first: u32, sender: u32, client_seq: u32, server_seq: u32) -> Self {
        let mut words = [0; drive::WORDS];
        words[drive::FIRST] = first;
        words[drive::SENDER] = sender;
        words[drive::CLIENT_SEQ] = client_seq;
        words[drive::SERVER_SEQ] = server_seq;
        Self(words)
    }
}

/// The bench object: what makes packets, and what is compared with.
pub(crate) struct Driver {
    object: Ebpf,
    drive: Array<MapData, [u32; drive::WORDS]>,
    targets: ProgramArray<MapData>,
}

impl Driver {
    /// Loads it from a file, with room for so many flows in the map of the floor.
    pub(crate) fn new(object: &Path, flows: u32) -> Result<Self> {
        let mut object = load(object, flows)?;
        let mut map = |name| object.take_map(name).with_context(|| format!("no {name}"));
        Ok(Self {
            drive: Array::try_from(map("DRIVE")?)?,
            targets: ProgramArray::try_from(map("TARGETS")?)?,
            object,
        })
    }

    /// Lets a program have what this side sends.
    pub(crate) fn hand_to(&mut self, side: Side, program: &ProgramFd) -> Result<()> {
        Ok(self.targets.set(side as u32, program, 0)?)
    }

    /// The same with a program of the bench object.
    pub(crate) fn hand_to_own(&mut self, side: Side, name: &str) -> Result<()> {
        let program = classifier(&self.object, name)?.fd()?;
        Ok(self.targets.set(side as u32, program, 0)?)
    }

    /// Runs so often, and tells how many nanoseconds a run took.
    pub(crate) fn run(&mut self, told: &mut Told, data: &[u8], runs: u32) -> Result<f64> {
        /// What all programs return.
        const UNSPEC: i32 = -1;

        self.drive.set(0, told.0, 0)?;
        let result = classifier(&self.object, "drive")?.test_run(TestRunOptions {
            data_in: Some(data),
            repeat: runs,
            ..TestRunOptions::new()
        })?;
        ensure!(
            result.return_value.cast_signed() == UNSPEC,
            "a program did not do what it is measured for"
        );
        told.0 = self.drive.get(&0, 0)?;
        Ok(result.duration.as_secs_f64() * 1e9)
    }
}

/// Loads the bench object and all its programs.
pub(crate) fn load(object: &Path, flows: u32) -> Result<Ebpf> {
    let mut object = EbpfLoader::new()
        .map_max_entries("FLOWS", flows)
        .load_file(object)
        .with_context(|| format!("can't load {}", object.display()))?;
    for (name, program) in object.programs_mut() {
        let program: &mut SchedClassifier = program.try_into()?;
        program
            .load()
            .with_context(|| format!("can't load {name}"))?;
    }
    Ok(object)
}

fn classifier<'a>(object: &'a Ebpf, name: &str) -> Result<&'a SchedClassifier> {
    let program = object.program(name);
    Ok(program
        .with_context(|| format!("no program {name}"))?
        .try_into()?)
}
