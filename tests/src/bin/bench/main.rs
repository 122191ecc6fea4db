//! Measures what sstpulse costs, beside what it may cost.
//!
//! Timings differ from machine to machine and from day to day, so what matters are ratios
//! within one run: what is compared is measured in turn, and told as median and spread.

mod control;
mod driver;
mod events;
mod figures;
mod flood;
mod held;
mod iperf;
mod kernel;
mod live;
mod memory;
mod pace;
mod packets;
mod sample;
mod scan;
mod soak;
mod start;
mod stats;
mod table;
mod talks;
mod throughput;
mod traffic;
mod volley;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use clap::{Parser, ValueEnum};
use lab::require_root;

use crate::figures::Figures;

/// Measure what sstpulse costs, beside what it may cost.
#[derive(Debug, Parser)]
#[command(name = "bench")]
struct Cli {
    /// Only these sections; all of them if none is named
    #[arg(value_enum)]
    only: Vec<Section>,
    /// Write the figures to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The object with the programs that ours are measured beside
    #[arg(long, value_name = "FILE")]
    programs: Option<PathBuf>,
    /// How often each thing is measured
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    runs: u32,
    /// Sessions in the tables that are to be large
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1_000..=4_000_000))]
    sessions: u32,
    /// Measure nothing, but let sessions live for so many minutes, and tell how the agent does
    #[arg(long, value_name = "MINUTES", conflicts_with_all = ["only", "json"])]
    soak: Option<u64>,
    /// Sessions that have something to tell in each interval, of hundred
    #[arg(long, value_name = "PERCENT", default_value_t = 10, requires = "soak", value_parser = clap::value_parser!(u32).range(1..=100))]
    active: u32,
    /// Open and close so many in a second instead
    #[arg(long, value_name = "PER_SECOND", requires = "soak", value_parser = clap::value_parser!(u32).range(1..))]
    churn: Option<u32>,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Section {
    /// What a segment costs in the kernel
    Kernel,
    /// Reading the session table
    Scan,
    /// From records to lines
    Events,
    /// What a session takes, in the kernel and in the agent
    Memory,
    /// iperf3 through the watched interface
    Throughput,
    /// Loading and attaching
    Start,
    /// What a run takes on live traffic, by the kernel's own statistics
    Stats,
    /// A flood of SYNs beside real sessions
    Flood,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    if !require_root() {
        bail!("measuring takes root");
    }
    if let Some(minutes) = cli.soak {
        let time = Duration::from_mins(minutes);
        return match cli.churn {
            Some(per_second) => {
                let object = cli.programs.as_deref();
                let object = object.context("--churn takes --programs")?;
                soak::churn(object, cli.sessions, per_second, time)
            }
            None => soak::many(cli.sessions, cli.active, time),
        };
    }
    let mut figures = Figures::default();
    for section in Section::value_variants() {
        if cli.only.is_empty() || cli.only.contains(section) {
            eprintln!("bench: {section:?}");
            measure(*section, &cli, &mut figures).with_context(|| format!("{section:?}"))?;
        }
    }
    println!("{}", table::of(&figures));
    if let Some(path) = &cli.json {
        let json = serde_json::to_string_pretty(&figures)?;
        fs::write(path, json + "\n").with_context(|| format!("can't write {}", path.display()))?;
    }
    Ok(())
}

fn measure(section: Section, cli: &Cli, figures: &mut Figures) -> Result<()> {
    let programs = cli.programs.as_deref();
    match section {
        Section::Kernel => {
            figures.kernel = beside(programs, |object| kernel::measure(object, cli.runs))?;
        }
        Section::Scan => figures.scan = Some(scan::measure(cli.sessions, cli.runs)?),
        Section::Events => figures.events = Some(events::measure(cli.runs)?),
        Section::Memory => figures.memory = Some(memory::measure(cli.sessions)?),
        Section::Throughput => figures.throughput = Some(throughput::measure(cli.runs)?),
        Section::Start => figures.start = Some(start::measure(cli.runs)?),
        Section::Stats => {
            figures.stats = beside(programs, |object| stats::measure(object, cli.runs))?;
        }
        Section::Flood => figures.flood = beside(programs, flood::measure)?,
    }
    Ok(())
}

/// Measures what takes the bench object, if it was named.
fn beside<T>(
    programs: Option<&Path>,
    measure: impl FnOnce(&Path) -> Result<T>,
) -> Result<Option<T>> {
    let Some(object) = programs else {
        eprintln!("bench: left out, as --programs names none to measure beside");
        return Ok(None);
    };
    measure(object).map(Some)
}
