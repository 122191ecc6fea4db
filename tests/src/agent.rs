//! The agent as a process in a namespace, and what it says.

use std::{
    env,
    io::BufRead,
    path::PathBuf,
    process::{Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{Namespace, Process, events::Line};

/// How long the agent may take for what it does at once.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A running agent.
pub struct Agent {
    process: Process,
    heard: Arc<Heard>,
    listener: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Heard {
    lines: Mutex<Vec<String>>,
    more: Condvar,
    /// Whether lines are also printed as they come.
    printed: bool,
}

/// A command of the agent that has ended.
#[derive(Debug)]
pub struct Ended {
    /// How.
    pub status: ExitStatus,
    /// All of stdout.
    pub stdout: String,
    /// All of stderr.
    pub stderr: String,
}

/// Names another `sstpulse` than the one that was built along with the tests, to be tried in its
/// place.
const INSTEAD: &str = "SSTPULSE_BINARY";

/// A program that was built along with the tests.
pub fn binary(name: &str) -> Result<PathBuf> {
    if name == "sstpulse"
        && let Some(path) = env::var_os(INSTEAD)
    {
        return Ok(path.into());
    }
    let me = env::current_exe().context("cannot find out where this program is")?;
    // Tests are one folder below the programs.
    me.ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
        .with_context(|| format!("{name} is not built; run the tests with `cargo xtask test`"))
}

/// Runs a command of the agent in a namespace, to its end.
pub fn execute(namespace: &Namespace, arguments: &[&str]) -> Result<Ended> {
    let mut command = Command::new(binary("sstpulse")?);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let output = namespace
        .run(|| command.output())
        .context("cannot run sstpulse")?;
    Ok(Ended {
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

impl Agent {
    /// Starts `sstpulse run` with these arguments, and waits until it watches.
    pub fn start(namespace: &Namespace, arguments: &[&str]) -> Result<Self> {
        Self::start_heard(namespace, arguments, Heard::default())
    }

    /// The same, and its lines are printed on stdout as they come.
    pub fn start_printed(namespace: &Namespace, arguments: &[&str]) -> Result<Self> {
        let heard = Heard {
            printed: true,
            ..Heard::default()
        };
        Self::start_heard(namespace, arguments, heard)
    }

    fn start_heard(namespace: &Namespace, arguments: &[&str], heard: Heard) -> Result<Self> {
        let mut command = Command::new(binary("sstpulse")?);
        command.arg("run").args(arguments);
        Self::start_command_heard(namespace, &mut command, heard)
    }

    /// Starts it by a command of the caller's, and waits until it watches.
    pub fn start_command(namespace: &Namespace, command: &mut Command) -> Result<Self> {
        Self::start_command_heard(namespace, command, Heard::default())
    }

    fn start_command_heard(
        namespace: &Namespace,
        command: &mut Command,
        heard: Heard,
    ) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut process = namespace.spawn_process(command)?;
        let stdout = process.take_stdout().context("the agent has no output")?;
        let heard = Arc::new(heard);
        let listener = thread::spawn({
            let heard = Arc::clone(&heard);
            move || heard.listen(stdout)
        });
        let agent = Self {
            process,
            heard,
            listener: Some(listener),
        };
        agent.wait_for("agent.start", |line| line.agent_start().is_some())?;
        Ok(agent)
    }

    /// The process's number.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> Result<bool> {
        let status = self
            .process
            .try_wait()
            .context("cannot ask for the agent")?;
        Ok(status.is_none())
    }

    /// All lines so far.
    pub fn lines(&self) -> Result<Vec<Line>> {
        self.heard.lines().iter().map(|line| parse(line)).collect()
    }

    /// All lines so far, as they were written.
    pub fn raw_lines(&self) -> Vec<String> {
        self.heard.lines().clone()
    }

    /// Waits for a line that has been or will be written.
    pub fn wait_for(&self, what: &str, is: impl Fn(&Line) -> bool) -> Result<Line> {
        self.wait_for_count(PATIENCE, what, 1, is)?
            .pop()
            .context("no line was found")
    }

    /// Waits until at least `count` lines have been written for which `is` holds, and
    /// returns those there are.
    pub fn wait_for_count(
        &self,
        patience: Duration,
        what: &str,
        count: usize,
        is: impl Fn(&Line) -> bool,
    ) -> Result<Vec<Line>> {
        let deadline = Instant::now() + patience;
        let mut found = Vec::new();
        let mut seen = 0;
        let mut lines = self.heard.lines();
        loop {
            for text in &lines[seen..] {
                let line = parse(text)?;
                if is(&line) {
                    found.push(line);
                }
            }
            seen = lines.len();
            if found.len() >= count {
                return Ok(found);
            }
            let rest = deadline.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                let last = lines.iter().rev().take(20).rev().cloned();
                bail!(
                    "the agent wrote {} of {count} lines {what} within {patience:?}; its last:\n{}",
                    found.len(),
                    last.collect::<Vec<_>>().join("\n")
                );
            }
            lines = self
                .heard
                .more
                .wait_timeout(lines, rest)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Asks it to end, and returns all it wrote.
    pub fn stop(self) -> Result<Vec<Line>> {
        self.stop_raw()?.iter().map(|line| parse(line)).collect()
    }

    /// Asks it to end, and returns all lines as they were written.
    pub fn stop_raw(mut self) -> Result<Vec<String>> {
        self.signal(Signal::SIGTERM)?;
        let status = self.end()?;
        if !status.success() {
            bail!("the agent ended with {status}");
        }
        Ok(self.raw_lines())
    }

    /// Kills it on the spot.
    pub fn kill(mut self) -> Result<()> {
        self.process.kill().context("cannot kill the agent")?;
        self.end()?;
        Ok(())
    }

    /// Waits until it has ended by itself.
    pub fn wait(mut self) -> Result<ExitStatus> {
        self.end()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.process.id()).context("an impossible process number")?;
        kill(Pid::from_raw(pid), signal).with_context(|| format!("cannot send {signal}"))
    }

    fn end(&mut self) -> Result<ExitStatus> {
        let status = self.process.wait().context("cannot wait for the agent")?;
        if let Some(listener) = self.listener.take() {
            // It panics only if this process is out of memory.
            let _ = listener.join();
        }
        Ok(status)
    }
}

impl Heard {
    fn listen(&self, mut stdout: impl BufRead) {
        let mut line = String::new();
        while matches!(stdout.read_line(&mut line), Ok(length) if length > 0) {
            if self.printed {
                print!("{line}");
            }
            self.lines().push(line.trim_end().to_owned());
            self.more.notify_all();
            line.clear();
        }
    }

    fn lines(&self) -> MutexGuard<'_, Vec<String>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn parse(line: &str) -> Result<Line> {
    serde_json::from_str(line).with_context(|| format!("not a line of the contract: {line}"))
}
