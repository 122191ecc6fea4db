//! `cargo xtask fuzz`: libFuzzer looks for inputs that break what must hold whatever comes.
//!
//! What holds is in the crate `fuzz`. This builds its targets with cargo-fuzz, runs one
//! after the other, and says what came of it. Everything that is written lies under
//! `target/fuzz`: corpora, from which the next run goes on, and inputs that failed.

mod coverage;
mod outcome;
mod seeds;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use anyhow::{Context as _, anyhow, bail};
use clap::{Args, ValueEnum};

use self::outcome::Outcome;
use crate::{
    programs,
    run::{command, root, run, target},
    setup::{self, setup},
};

/// The manifest of the targets, from the workspace's folder.
pub(crate) const MANIFEST: &str = "fuzz/Cargo.toml";

/// Arguments of `fuzz`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Only this target; several by repeating it [default: all, as many at once as there are CPUs]
    #[arg(long, value_enum, value_name = "NAME")]
    target: Vec<Target>,
    /// Executions of each target [default: as many as take about 25 seconds]
    #[arg(long, value_name = "N")]
    executions: Option<u64>,
    /// Go on for this long with each target
    #[arg(long, value_name = "M", conflicts_with = "executions")]
    minutes: Option<u64>,
    /// Look for nothing; tell which lines the inputs found so far reach
    #[arg(long, conflicts_with_all = ["executions", "minutes"])]
    coverage: bool,
}

/// What is fuzzed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Target {
    /// Packets, through the parser and the reader of options
    Parser,
    /// Segments, through the tracker
    Tracker,
    /// Captures, through the replay
    Replay,
    /// Segments of two sides, through what TLS shows
    Tls,
}

/// Builds the targets, and runs them or tells of their coverage.
pub(crate) fn fuzz(arguments: &Arguments) -> anyhow::Result<()> {
    setup()?;
    setup::cargo_fuzz()?;
    compiler()?;
    let targets = match &arguments.target[..] {
        [] => Target::value_variants(),
        some => some,
    };
    for target in targets {
        seeds::gather(*target)?;
        for folder in [target.corpus(), target.artifacts()] {
            fs::create_dir_all(&folder)
                .with_context(|| format!("can't make {}", folder.display()))?;
        }
    }
    if arguments.coverage {
        return coverage::tell(targets);
    }
    run(cargo_fuzz("build")
        .arg("--target-dir")
        .arg(target("fuzz/build")))?;
    conclude(&run_all(targets, arguments)?)
}

/// Runs the targets: each takes one CPU, so as many at once as there are.
fn run_all(targets: &[Target], arguments: &Arguments) -> anyhow::Result<Vec<(Target, Outcome)>> {
    let at_once = thread::available_parallelism().map_or(1, usize::from);
    let mut outcomes = Vec::new();
    for some in targets.chunks(at_once) {
        thread::scope(|scope| {
            let running: Vec<_> = some
                .iter()
                .map(|target| (*target, scope.spawn(|| target.run(arguments))))
                .collect();
            for (target, run) in running {
                let outcome = run
                    .join()
                    .map_err(|_| anyhow!("a target's run panicked"))??;
                outcomes.push((target, outcome));
            }
            anyhow::Ok(())
        })?;
    }
    Ok(outcomes)
}

/// libFuzzer is C++, and built from source.
pub(crate) fn compiler() -> anyhow::Result<()> {
    programs::install(&[("c++", "g++")], "for libFuzzer to be built")
}

/// A command of cargo-fuzz.
///
/// Sanitizers look for misuse of memory, need a nightly toolchain and cost half the speed.
/// What is fuzzed here has no `unsafe`: that is in the agent's `kernel` module alone. Checks
/// of overflow and debug assertions are on, as cargo-fuzz has it.
fn cargo_fuzz(subcommand: &str) -> Command {
    let mut cargo_fuzz = command(&target("tools/bin/cargo-fuzz").to_string_lossy());
    cargo_fuzz.args(["fuzz", subcommand, "--sanitizer", "none"]);
    cargo_fuzz
}

/// Tells what came of it, and fails if anything did.
fn conclude(outcomes: &[(Target, Outcome)]) -> anyhow::Result<()> {
    println!("{}", outcome::table(outcomes));
    let mut failures = Vec::new();
    for (target, outcome) in outcomes {
        if let Some(artifact) = &outcome.artifact {
            let program = target.program()?;
            failures.push(format!(
                "the {} fails on {}; reproduce it with `{} {1}`",
                target.name(),
                artifact.display(),
                shown(&program).display(),
            ));
        }
    }
    if failures.is_empty() {
        return Ok(());
    }
    bail!("{}", failures.join("\n       "))
}

/// A path from the workspace's folder.
fn shown(path: &Path) -> &Path {
    path.strip_prefix(root()).unwrap_or(path)
}

impl Target {
    fn name(self) -> &'static str {
        match self {
            Self::Parser => "parser",
            Self::Tracker => "tracker",
            Self::Replay => "replay",
            Self::Tls => "tls",
        }
    }

    /// The longest input, in bytes: all headers there can be; some 70 segments; a capture of
    /// a whole session; the set-up of one.
    fn longest(self) -> u32 {
        match self {
            Self::Parser => 640,
            Self::Tracker => 1_280,
            Self::Replay => 24_576,
            Self::Tls => 8_192,
        }
    }

    /// As many executions as take about 25 seconds.
    fn executions(self) -> u64 {
        match self {
            Self::Parser => 10_000_000,
            Self::Tracker => 800_000,
            Self::Replay => 100_000,
            Self::Tls => 1_000_000,
        }
    }

    /// Where libFuzzer keeps the inputs that reach something of their own.
    fn corpus(self) -> PathBuf {
        target("fuzz/corpus").join(self.name())
    }

    /// Where it keeps those that fail.
    fn artifacts(self) -> PathBuf {
        target("fuzz/artifacts").join(self.name())
    }

    /// The program that was built.
    fn program(self) -> anyhow::Result<PathBuf> {
        let folder = target("fuzz/build").join(setup::host()?);
        Ok(folder.join("release").join(self.name()))
    }

    /// Runs it as long as told.
    fn run(self, arguments: &Arguments) -> anyhow::Result<Outcome> {
        let mut fuzzer = command(&self.program()?.to_string_lossy());
        match (arguments.executions, arguments.minutes) {
            (_, Some(minutes)) => fuzzer.arg(format!("-max_total_time={}", minutes * 60)),
            (executions, _) => {
                let executions = executions.unwrap_or_else(|| self.executions());
                fuzzer.arg(format!("-runs={executions}"))
            }
        };
        let dictionary = root().join(format!("fuzz/dictionaries/{}.dict", self.name()));
        if dictionary.exists() {
            fuzzer.arg(format!("-dict={}", dictionary.display()));
        }
        // With a slash at its end: it goes before the names of the files.
        let artifacts = self.artifacts().join("");
        fuzzer
            .arg(format!("-max_len={}", self.longest()))
            .args(["-timeout=5", "-rss_limit_mb=2048", "-print_final_stats=1"])
            .arg(format!("-artifact_prefix={}", artifacts.display()))
            .args([self.corpus(), seeds::folder(self)])
            // The buffer of a capture is used to a small part. Mapped anew for each, it need
            // not be cleared as a whole.
            .env("MALLOC_MMAP_THRESHOLD_", "1048576");
        eprintln!("xtask: fuzzing the {}", self.name());
        outcome::watch(&mut fuzzer)
    }
}
