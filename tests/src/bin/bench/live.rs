//! An agent that runs as it does for operators, and packets that are played to its programs
//! without a network.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use aya::{maps::MapInfo, programs::ProgramFd};
use lab::{Lab, Process, SERVER_INTERFACE, agent::binary};
use nix::{
    fcntl::{FcntlArg, fcntl},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use sstpulse::kernel::{Hooks, PacketContext, RunningPrograms};
use sstpulse_common::{Framing, Side};
use tempfile::TempDir;

use crate::{
    held::{self, CpuTime},
    traffic::Stage,
};

/// How long the agent may take for what it does at once.
const PATIENCE: Duration = Duration::from_secs(30);

/// Bytes that wait to be read by us, at most: an agent that writes as fast as it can must not
/// wait for each 64 KiB to be read.
const PIPE: i32 = 1 << 20;

/// An agent that runs.
pub(crate) struct Live {
    process: Process,
    programs: RunningPrograms,
    heard: Arc<Heard>,
    _lab: Lab,
}

/// What it has written so far.
#[derive(Default)]
struct Heard {
    lines: Mutex<Lines>,
    more: Condvar,
}

/// The lines themselves are too many to be kept.
#[derive(Clone, Default)]
pub(crate) struct Lines {
    /// How many there were of each type.
    pub(crate) counts: BTreeMap<String, u64>,
    /// How many of `session.anomaly` there were of each code, begun or over.
    pub(crate) anomalies: BTreeMap<String, u64>,
    /// The last `agent.stats`.
    pub(crate) stats: Value,
    /// How many there were of these.
    stats_seen: u64,
}

/// A map that the agent holds.
pub(crate) struct HeldMap {
    pub(crate) name: String,
    pub(crate) bytes: u64,
}

impl Live {
    /// Starts one with room for so many sessions.
    pub(crate) fn start(sessions: u32) -> Result<Self> {
        let lab = Lab::new()?;
        let folder = TempDir::new()?;
        let configuration = folder.path().join("sstpulse.toml");
        // On a slow machine, it takes minutes until the first session is heard of again.
        fs::write(&configuration, "[thresholds]\nhello = \"10m\"\n")?;
        let mut command = Command::new(binary("sstpulse")?);
        command
            .args(["run", "--interface", SERVER_INTERFACE, "--max-sessions"])
            .arg(sessions.to_string())
            .arg("--config")
            .arg(&configuration)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut process = lab.server.spawn_process(&mut command)?;
        let stdout = process.take_stdout().context("the agent has no output")?;
        fcntl(stdout.get_ref(), FcntlArg::F_SETPIPE_SZ(PIPE))?;
        let stdout = BufReader::with_capacity(1 << 20, stdout.into_inner());
        let heard = Arc::new(Heard::default());
        thread::spawn({
            let heard = Arc::clone(&heard);
            move || heard.listen(stdout)
        });
        heard.wait(PATIENCE, |lines| lines.counts.contains_key("agent.start"))?;
        let programs = RunningPrograms::find(Framing::Ethernet, sessions)?
            .context("the agent's programs are not to be found")?;
        Ok(Self {
            process,
            programs,
            heard,
            _lab: lab,
        })
    }

    /// What it has written so far.
    pub(crate) fn lines(&self) -> Lines {
        self.heard.lines()
    }

    /// Waits until its next `agent.stats`, but one, which tell of all that has happened before.
    pub(crate) fn next_stats(&self, patience: Duration) -> Result<Lines> {
        let wanted = self.lines().stats_seen + 2;
        self.heard
            .wait(patience, |lines| lines.stats_seen >= wanted)
    }

    /// Memory of the process beyond what is mapped from the kernel's tables, in bytes.
    pub(crate) fn resident_bytes(&self) -> Result<u64> {
        let path = format!("/proc/{}/smaps", self.process.id());
        let text = fs::read_to_string(&path).with_context(|| format!("can't read {path}"))?;
        let mut of_table = false;
        let mut kilobytes = 0;
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("Rss:") if !of_table => {
                    let size = words.next().unwrap_or_default();
                    kilobytes += size.parse::<u64>().with_context(|| line.to_owned())?;
                }
                // A mapping begins with its addresses and ends with its name.
                Some(first) if !first.ends_with(':') => of_table = line.ends_with("bpf-map"),
                _ => {}
            }
        }
        Ok(kilobytes << 10)
    }

    /// CPU time of the process.
    pub(crate) fn cpu_time(&self) -> Result<CpuTime> {
        held::cpu_time(self.process.id())
    }

    /// Times that its threads went to sleep by themselves.
    pub(crate) fn wakeups(&self) -> Result<u64> {
        let mut wakeups = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.process.id()))? {
            let text = fs::read_to_string(task?.path().join("status"))?;
            let count = text
                .lines()
                .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))
                .context("no count of switches")?;
            wakeups += count.trim().parse::<u64>()?;
        }
        Ok(wakeups)
    }

    /// The maps that the process holds, each once.
    pub(crate) fn maps(&self) -> Result<Vec<HeldMap>> {
        let mut maps = BTreeMap::new();
        for entry in fs::read_dir(format!("/proc/{}/fdinfo", self.process.id()))? {
            // It may be closed by now.
            let Ok(text) = fs::read_to_string(entry?.path()) else {
                continue;
            };
            let field = |name: &str| {
                let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
                rest.trim().parse::<u64>().ok()
            };
            if let (Some(id), Some(bytes)) = (field("map_id:"), field("memlock:")) {
                maps.insert(id, bytes);
            }
        }
        maps.into_iter()
            .map(|(id, bytes)| {
                let info = MapInfo::from_id(u32::try_from(id)?)?;
                let name = info.name_as_str().unwrap_or_default().to_owned();
                Ok(HeldMap { name, bytes })
            })
            .collect()
    }

    /// The program that sees what clients send, and the one that sees what the server sends.
    pub(crate) fn programs(&self) -> Result<[ProgramFd; 2]> {
        let Hooks { ingress, egress } = Hooks::of(Framing::Ethernet);
        let [from_client, from_server] = held::programs(self.process.id(), [ingress, egress])?;
        Ok([from_client.fd()?, from_server.fd()?])
    }

    /// Ends it, and waits until it has written all.
    pub(crate) fn stop(mut self) -> Result<Lines> {
        let pid = i32::try_from(self.process.id()).context("an impossible process number")?;
        kill(Pid::from_raw(pid), Signal::SIGTERM)?;
        let status = self.process.wait()?;
        ensure!(status.success(), "the agent ended with {status}");
        self.heard
            .wait(PATIENCE, |lines| lines.counts.contains_key("agent.stop"))
    }
}

impl Stage for Live {
    fn play(&mut self, side: Side, packet: &[u8], _: u64) -> Result<()> {
        self.programs.run(side, packet, PacketContext::default())?;
        Ok(())
    }
}

impl Heard {
    fn listen(&self, mut stdout: impl BufRead) {
        let mut line = Vec::new();
        while matches!(stdout.read_until(b'\n', &mut line), Ok(length) if length > 0) {
            // `{"type":"agent.stats",…`
            let kind = line.split(|byte| *byte == b'"').nth(3).unwrap_or_default();
            let kind = str::from_utf8(kind).unwrap_or_default();
            let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
            if kind == "agent.stats" || kind == "agent.stop" {
                lines.stats = serde_json::from_slice(&line).unwrap_or_default();
                lines.stats_seen += 1;
                self.more.notify_all();
            }
            if kind == "session.anomaly" {
                let anomaly: Value = serde_json::from_slice(&line).unwrap_or_default();
                let word = |name: &str| anomaly["anomaly"][name].as_str().unwrap_or_default();
                let what = format!("{} {}", word("code"), word("state"));
                *lines.anomalies.entry(what).or_default() += 1;
            }
            match lines.counts.get_mut(kind) {
                Some(count) => *count += 1,
                None => drop(lines.counts.insert(kind.to_owned(), 1)),
            }
            if lines.counts.len() < 3 {
                self.more.notify_all();
            }
            line.clear();
        }
        self.more.notify_all();
    }

    fn lines(&self) -> Lines {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.clone()
    }

    fn wait(&self, patience: Duration, is: impl Fn(&Lines) -> bool) -> Result<Lines> {
        let deadline = Instant::now() + patience;
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        while !is(&lines) {
            let rest = deadline.saturating_duration_since(Instant::now());
            ensure!(!rest.is_zero(), "the agent says nothing for {patience:?}");
            lines = self
                .more
                .wait_timeout(lines, rest)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        Ok(lines.clone())
    }
}

impl Lines {
    /// A number of the last `agent.stats`, by its path.
    pub(crate) fn number(&self, pointer: &str) -> u64 {
        self.stats
            .pointer(pointer)
            .and_then(Value::as_u64)
            .unwrap_or_default()
    }

    /// The counters of losses that are not 0.
    pub(crate) fn lost(&self) -> Vec<String> {
        let lost = self.stats.get("lost").and_then(Value::as_object);
        lost.into_iter()
            .flatten()
            .filter(|(_, count)| count.as_u64() != Some(0))
            .map(|(name, count)| format!("{name} {count}"))
            .collect()
    }

    /// How many there were of a type.
    pub(crate) fn count(&self, kind: &str) -> u64 {
        self.counts.get(kind).copied().unwrap_or_default()
    }
}
