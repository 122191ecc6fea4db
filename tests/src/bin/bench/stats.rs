//! What the programs cost on live traffic, by the kernel's own count of their runs and time
//! (`BPF_ENABLE_STATS`): iperf3 both ways through the lab, past the agent, past the floor, and
//! past programs that do nothing.
//!
//! They take turns on the same interface. The kernel reads its clock before and after each run,
//! and what that takes is in every figure; it goes away with the empty program's time.

use std::{
    path::Path,
    process::{self, Child},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use aya::{
    Ebpf,
    maps::HashMap,
    programs::{ProgramInfo, SchedClassifier, TcAttachType},
    sys::{Stats, enable_stats},
};
use lab::{Agent, Lab, SERVER_INTERFACE, events::Line};
use sstpulse::kernel::Hooks;
use sstpulse_common::Framing;

use crate::{driver, held, iperf, sample::Sample};

/// Connections at once, of which each sends one way.
const FLOWS: u32 = 64;
/// How long a client of iperf3 sends, and in it, when counting begins and how long it goes on.
const SECONDS: u32 = 5;
const SETTLED: Duration = Duration::from_millis(1_500);
const COUNTED: Duration = Duration::from_secs(3);
/// The default of `--max-sessions`: room in the map of the floor.
const ROOM: u32 = 100_000;

/// A kind of traffic, from one side.
#[derive(Debug)]
pub(crate) struct Figures {
    pub(crate) what: String,
    /// Runs of our program in a second.
    pub(crate) runs_per_s: Sample,
    /// The empty program; all in nanoseconds of a run.
    pub(crate) empty_ns: Sample,
    /// The floor, less the empty program.
    pub(crate) floor_ns: Sample,
    /// Ours, less the empty program.
    pub(crate) ours_ns: Sample,
}

/// What passes the interface.
#[derive(Clone, Copy)]
enum Traffic {
    /// Buffers of many segments, as segmentation offload hands them over.
    Large,
    /// Each segment by itself, of the least size that Linux sends.
    Small,
}

/// Who looks on.
#[derive(Clone, Copy, Debug)]
enum Subject {
    Empty,
    Floor,
    Ours,
}

/// The programs at work; detached when dropped.
enum Attached {
    Own(Ebpf),
    Agent(Agent),
}

/// What a program has cost in a turn.
#[derive(Clone, Copy)]
struct Cost {
    runs_per_s: f64,
    /// Nanoseconds of a run.
    ns: f64,
}

/// Measures everything in so many turns, with the bench object in the file `object`.
pub(crate) fn measure(object: &Path, turns: u32) -> Result<Vec<Figures>> {
    let _counting = enable_stats(Stats::RunTime).context("the kernel keeps no statistics")?;
    let mut figures = Vec::new();
    for traffic in [Traffic::Large, Traffic::Small] {
        figures.extend(traffic.measure(object, turns)?);
    }
    Ok(figures)
}

impl Traffic {
    fn measure(self, object: &Path, turns: u32) -> Result<[Figures; 2]> {
        let lab = self.lab()?;
        let _server = iperf::serve(&lab.server)?;
        let mut figures = ["from client", "from server"].map(|from| Figures::new(self, from));
        for turn in 1..=turns {
            eprintln!("bench: {}, turn {turn} of {turns}", self.name());
            let empty = self.past(&lab, Subject::Empty, object)?;
            let floor = self.past(&lab, Subject::Floor, object)?;
            let ours = self.past(&lab, Subject::Ours, object)?;
            for (side, figures) in figures.iter_mut().enumerate() {
                figures.runs_per_s.push(ours[side].runs_per_s);
                figures.empty_ns.push(empty[side].ns);
                figures.floor_ns.push(floor[side].ns - empty[side].ns);
                figures.ours_ns.push(ours[side].ns - empty[side].ns);
            }
        }
        Ok(figures)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Large => "large buffers",
            Self::Small => "small segments",
        }
    }

    fn lab(self) -> Result<Lab> {
        match self {
            Self::Large => Lab::new(),
            Self::Small => Lab::builder().tso(false).build(),
        }
    }

    fn options(self) -> &'static [&'static str] {
        match self {
            Self::Large => &[],
            Self::Small => &["--set-mss", "88"],
        }
    }

    /// What both programs of the subject cost while the traffic passes them.
    fn past(self, lab: &Lab, subject: Subject, object: &Path) -> Result<[Cost; 2]> {
        let attached = subject.attach(lab, object)?;
        let mut client = self.send(lab)?;
        thread::sleep(SETTLED);
        let before = subject.programs(&attached)?;
        thread::sleep(COUNTED);
        let after = subject.programs(&attached)?;
        ensure!(
            client.try_wait()?.is_none(),
            "iperf3 ended before it was counted"
        );
        iperf::told(&client.wait_with_output()?.stdout)?;
        let followed = subject.followed(attached)?;
        // iperf3 has one more to talk about the test.
        ensure!(
            followed > FLOWS as usize,
            "{subject:?} followed {followed} flows, and {FLOWS} were sent in"
        );
        Ok([0, 1].map(|side| Cost::between(&before[side], &after[side])))
    }

    fn send(self, lab: &Lab) -> Result<Child> {
        let parallel = (FLOWS / 2).to_string();
        let mut command = iperf::client(SECONDS, &["--bidir", "--parallel", &parallel]);
        command.args(self.options());
        lab.router
            .run(|| command.spawn())
            .context("can't run iperf3")
    }
}

impl Subject {
    fn attach(self, lab: &Lab, object: &Path) -> Result<Attached> {
        if matches!(self, Self::Ours) {
            let agent = Agent::start(&lab.server, &["--interface", SERVER_INTERFACE])?;
            return Ok(Attached::Agent(agent));
        }
        let mut own = driver::load(object, ROOM)?;
        for (name, hook) in self
            .names()
            .into_iter()
            .zip([TcAttachType::Ingress, TcAttachType::Egress])
        {
            let program = own
                .program_mut(name)
                .with_context(|| format!("no {name}"))?;
            let program: &mut SchedClassifier = program.try_into()?;
            lab.server.run(|| program.attach(SERVER_INTERFACE, hook))?;
        }
        Ok(Attached::Own(own))
    }

    /// What is on ingress, and what on egress.
    const fn names(self) -> [&'static str; 2] {
        match self {
            Self::Empty => ["empty", "empty_out"],
            Self::Floor => ["floor_live_in", "floor_live_out"],
            Self::Ours => {
                let Hooks { ingress, egress } = Hooks::of(Framing::Ethernet);
                [ingress, egress]
            }
        }
    }

    /// Ends it, and tells how many flows it has seen.
    fn followed(self, attached: Attached) -> Result<usize> {
        match (self, attached) {
            (Self::Empty, Attached::Own(_)) => Ok(usize::MAX),
            (_, Attached::Own(own)) => {
                let flows = own.map("FLOWS").context("no FLOWS")?;
                // The floor's key and value, as words.
                let flows = HashMap::<_, [u32; 10], [u64; 22]>::try_from(flows)?;
                Ok(flows.keys().count())
            }
            (_, Attached::Agent(agent)) => {
                let lines = agent.stop()?;
                Ok(lines.iter().filter_map(Line::session_start).count())
            }
        }
    }

    /// The programs, with what they have cost until now.
    fn programs(self, attached: &Attached) -> Result<[ProgramInfo; 2]> {
        let process = match attached {
            Attached::Own(_) => process::id(),
            Attached::Agent(agent) => agent.pid(),
        };
        held::programs(process, self.names())
    }
}

impl Cost {
    #[expect(clippy::cast_precision_loss, reason = "figures to be read by people")]
    fn between(before: &ProgramInfo, after: &ProgramInfo) -> Self {
        let runs = (after.run_count() - before.run_count()) as f64;
        let time = after.run_time().saturating_sub(before.run_time());
        Self {
            runs_per_s: runs / COUNTED.as_secs_f64(),
            ns: time.as_secs_f64() * 1e9 / runs,
        }
    }
}

impl Figures {
    fn new(traffic: Traffic, from: &str) -> Self {
        Self {
            what: format!("{FLOWS} live flows, {} {from}", traffic.name()),
            runs_per_s: Sample::default(),
            empty_ns: Sample::default(),
            floor_ns: Sample::default(),
            ours_ns: Sample::default(),
        }
    }
}
