//! What libFuzzer says, and what it comes to.

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use comfy_table::{CellAlignment, Table, presets::UTF8_FULL_CONDENSED};

use super::{Target, shown};

/// What came of a run.
#[derive(Default)]
pub(super) struct Outcome {
    executions: u64,
    took: Duration,
    /// Edges of the program that were reached.
    edges: u64,
    /// Features: edges by how often they were taken, and comparisons by how close they came.
    features: u64,
    /// The input that failed.
    pub(super) artifact: Option<PathBuf>,
}

/// Runs libFuzzer to its end.
pub(super) fn watch(fuzzer: &mut Command) -> anyhow::Result<Outcome> {
    let started = Instant::now();
    let mut child = fuzzer
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("can't run the target")?;
    let mut outcome = Outcome::default();
    let mut other = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        // What is printed of an input may be no text.
        for line in BufReader::new(stderr).split(b'\n') {
            let line = line.context("can't read what the target prints")?;
            let line = String::from_utf8_lossy(&line);
            if !outcome.take(&line) {
                other.push(line.into_owned());
            }
        }
    }
    let status = child.wait().context("can't wait for the target")?;
    outcome.took = started.elapsed();
    if !status.success() {
        eprintln!("{}", other.join("\n"));
        if outcome.artifact.is_none() {
            bail!("the target ended with {status}, and left no input that it failed on");
        }
    }
    Ok(outcome)
}

impl Outcome {
    /// Takes in a line such as `#4096 pulse cov: 570 ft: 1149 corp: 208/6389b ...` or
    /// `stat::number_of_executed_units: 4096`; false if it tells something else.
    fn take(&mut self, line: &str) -> bool {
        if line.starts_with('#') {
            let mut words = line.split_whitespace();
            while let Some(word) = words.next() {
                match word {
                    "cov:" => self.edges = number(words.next()),
                    "ft:" => self.features = number(words.next()),
                    _ => {}
                }
            }
            return true;
        }
        if let Some(executions) = line.strip_prefix("stat::number_of_executed_units:") {
            self.executions = number(Some(executions.trim()));
        } else if let Some((_, artifact)) = line.split_once("Test unit written to ") {
            self.artifact = Some(shown(Path::new(artifact)).to_owned());
        } else {
            return line.starts_with("stat::") || line.starts_with("INFO:");
        }
        true
    }

    fn row(&self, target: Target) -> [String; 6] {
        let rate = u128::from(self.executions) * 1_000 / self.took.as_millis().max(1);
        [
            target.name().into(),
            self.executions.to_string(),
            rate.to_string(),
            self.edges.to_string(),
            self.features.to_string(),
            u8::from(self.artifact.is_some()).to_string(),
        ]
    }
}

fn number(word: Option<&str>) -> u64 {
    word.and_then(|word| word.parse().ok()).unwrap_or_default()
}

/// A row for each target.
pub(super) fn table(outcomes: &[(Target, Outcome)]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header([
        "target",
        "executions",
        "per second",
        "edges",
        "features",
        "crashes",
    ]);
    for (target, outcome) in outcomes {
        table.add_row(outcome.row(*target));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
