//! Plays every way in which a session ends, live through the kernel and again from the
//! capture taken in passing, and compares verdicts with what was done.

mod healthy;
mod report;
mod stage;
mod table;

use std::{
    collections::VecDeque,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Mutex, PoisonError},
    thread,
    time::Instant,
};

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use lab::require_root;

use crate::{
    report::Played,
    stage::Stage,
    table::{SCENARIOS, Scenario},
};

/// Play every way in which a session ends, and compare verdicts with what was done.
#[derive(Debug, Parser)]
#[command(name = "scenarios")]
struct Cli {
    /// Only those whose names contain one of these; all of them if none is named
    only: Vec<String>,
    /// How many are played at once; they mostly wait
    #[arg(long, default_value_t = 6)]
    at_once: usize,
    /// Tell the evidence of each verdict, too
    #[arg(long)]
    evidence: bool,
    /// Play so many healthy sessions over a path with a little loss and jitter instead
    #[arg(long, value_name = "SESSIONS")]
    healthy: Option<usize>,
    /// How long they last
    #[arg(long, default_value_t = 3, requires = "healthy")]
    minutes: u64,
    /// Keep the captures in this folder
    #[arg(long, value_name = "FOLDER")]
    captures: Option<PathBuf>,
}

fn main() -> Result<ExitCode> {
    let cli = Cli::parse();
    if !require_root() {
        bail!("the lab makes network namespaces, and needs root; run it with sudo");
    }
    if let Some(sessions) = cli.healthy {
        return healthy::play(sessions, cli.minutes);
    }
    let wanted = |name: &str| {
        cli.only.is_empty() || cli.only.iter().any(|part| name.contains(part.as_str()))
    };
    let chosen: Vec<&Scenario> = SCENARIOS
        .iter()
        .filter(|scenario| wanted(scenario.name))
        .collect();
    if chosen.is_empty() {
        bail!("no scenario has such a name");
    }
    if let Some(folder) = &cli.captures {
        fs::create_dir_all(folder)
            .with_context(|| format!("can't make the folder {}", folder.display()))?;
    }
    let played = play_all(&chosen, cli.at_once.max(1), cli.captures.as_deref());
    Ok(report::print(&played, cli.evidence))
}

/// Plays them, several at once, and returns them in the order of the table.
fn play_all(
    scenarios: &[&'static Scenario],
    at_once: usize,
    captures: Option<&Path>,
) -> Vec<Played> {
    let left: Mutex<VecDeque<_>> = Mutex::new(scenarios.iter().copied().enumerate().collect());
    let played = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                loop {
                    let next = left
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .pop_front();
                    let Some((number, scenario)) = next else {
                        return;
                    };
                    let one = play(scenario, captures);
                    eprintln!("{}", one.one_line());
                    played
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push((number, one));
                }
            });
        }
    });
    let mut played = played.into_inner().unwrap_or_else(PoisonError::into_inner);
    played.sort_by_key(|(number, _)| *number);
    played.into_iter().map(|(_, one)| one).collect()
}

fn play(scenario: &'static Scenario, captures: Option<&Path>) -> Played {
    let begun = Instant::now();
    let said = try_to_play(scenario, captures);
    Played {
        scenario,
        said,
        took: begun.elapsed(),
    }
}

fn try_to_play(scenario: &Scenario, captures: Option<&Path>) -> Result<(stage::Said, stage::Said)> {
    let stage = Stage::set()?;
    (scenario.play)(&stage)?;
    let kept = captures.map(|folder| folder.join(scenario.name).with_extension("pcap"));
    stage.end(scenario.ends(), kept.as_deref())
}
