//! The demo: real TLS sessions with real faults, watched by the agent.
//!
//! Events go to stdout as they come; what is done and what came of it, to stderr.

mod scenarios;
mod summary;

use std::{
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use lab::{Agent, Lab, SERVER_INTERFACE, require_root};

use crate::scenarios::{SCENARIOS, Stage};

/// Show sstpulse at work, in a lab of network namespaces.
#[derive(Debug, Parser)]
#[command(name = "demo")]
struct Cli {
    /// How long the sessions go on
    #[arg(long, default_value_t = 25)]
    seconds: u64,
    /// Leave the lab up at the end, and say how to enter it
    #[arg(long)]
    keep: bool,
}

/// What the agent may still need after the last session: an attempt counts as failed only
/// when no further SYN is to be expected.
const AFTERWARDS: Duration = Duration::from_secs(9);

fn main() -> Result<()> {
    let cli = Cli::parse();
    if !require_root() {
        bail!("the demo makes network namespaces, and needs root; run it with sudo");
    }
    eprintln!("demo: laying out server, router and client as network namespaces");
    // Exact, so that the healthy session shows what a clean path shows.
    let stage = Stage::set(Lab::builder().exact(true).build()?)?;
    let arguments = ["--interface", SERVER_INTERFACE, "--interval", "1s"];
    let agent = Agent::start_printed(&stage.lab.server, &arguments)?;
    eprintln!(
        "demo: sstpulse watches {SERVER_INTERFACE} of the server; {} sessions begin, for {} s",
        SCENARIOS.len(),
        cli.seconds
    );
    let outcome = play(&stage, Duration::from_secs(cli.seconds));
    wait_for_stragglers(&agent)?;
    let lines = agent.stop()?;
    eprintln!("\n{}", summary::table(&lines));
    for (name, error) in outcome {
        eprintln!("demo: {name}: {error:#}");
    }
    if cli.keep {
        wait_in(&stage.lab)?;
    }
    Ok(())
}

/// Leaves the lab up until Ctrl-C.
fn wait_in(lab: &Lab) -> Result<()> {
    eprintln!("the lab is left up; enter it with");
    for (what, namespace) in [
        ("server", &lab.server),
        ("router", &lab.router),
        ("client", &lab.client),
    ] {
        eprintln!("  ip netns exec {} bash    # the {what}", namespace.name());
    }
    eprintln!("Ctrl-C takes it down");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot wait for Ctrl-C")?;
    runtime
        .block_on(tokio::signal::ctrl_c())
        .context("cannot wait for Ctrl-C")
}

/// Plays all scenarios at once, and says how far they are. Returns what went wrong.
fn play(stage: &Stage, time: Duration) -> Vec<(&'static str, anyhow::Error)> {
    let start = Instant::now();
    let (ended, ends) = mpsc::channel();
    thread::scope(|scope| {
        for scenario in &SCENARIOS {
            let ended = ended.clone();
            scope.spawn(move || {
                let result = (scenario.play)(stage, scenario, time);
                // The other side outlives this scope.
                let _ = ended.send((scenario.name, result));
            });
        }
        drop(ended);
        let mut failures = Vec::new();
        for (name, result) in ends {
            eprintln!(
                "demo: {:>4.1} s  {name}: done",
                start.elapsed().as_secs_f64()
            );
            if let Err(error) = result {
                failures.push((name, error));
            }
        }
        failures
    })
}

/// Waits until the agent has told of every session and attempt.
fn wait_for_stragglers(agent: &Agent) -> Result<()> {
    let attempts = SCENARIOS.iter().filter(|scenario| scenario.fails).count();
    let ends = SCENARIOS.len() - attempts;
    agent.wait_for_count(AFTERWARDS, "session.end", ends, |line| {
        line.session_end().is_some()
    })?;
    agent.wait_for_count(AFTERWARDS, "attempt.failed", attempts, |line| {
        line.attempt_failed().is_some()
    })?;
    Ok(())
}
