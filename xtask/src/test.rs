//! `cargo xtask test`: all tests, and how many there were.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::Stdio,
};

use anyhow::{Context as _, bail};
use clap::Args;

use crate::{
    programs,
    run::{build_all, cargo, run, target},
    setup::setup,
};

/// Arguments of `test`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Fail if a test had to be skipped
    #[arg(long)]
    deny_skips: bool,
    /// Only tests whose names contain one of these
    filter: Vec<String>,
}

/// What cargo's lines add up to.
#[derive(Default)]
struct Counts {
    passed: u64,
    failed: u64,
    ignored: u64,
}

/// Runs the tests.
pub(crate) fn test(arguments: &Arguments) -> anyhow::Result<()> {
    setup()?;
    programs::install(&PROGRAMS, "for all tests to run")?;
    run(&mut build_all())?;
    let skipped = target("skipped-tests.txt");
    fs::write(&skipped, "").with_context(|| format!("can't write {}", skipped.display()))?;

    let mut child = cargo()
        .args(["test", "--locked", "--no-fail-fast", "--"])
        .args(&arguments.filter)
        .env("SSTPULSE_SKIPPED", &skipped)
        .stdout(Stdio::piped())
        .spawn()
        .context("can't run cargo test")?;
    let mut counts = Counts::default();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            let line = line.context("can't read what cargo test prints")?;
            println!("{line}");
            counts.add(&line);
        }
    }
    let status = child.wait().context("can't wait for cargo test")?;
    let reasons = fs::read_to_string(&skipped).unwrap_or_default();
    conclude(arguments, &counts, &reasons)?;
    if !status.success() {
        bail!("cargo test ended with {status}");
    }
    Ok(())
}

fn conclude(arguments: &Arguments, counts: &Counts, reasons: &str) -> anyhow::Result<()> {
    let skipped = reasons.lines().count() as u64;
    let Counts {
        passed,
        failed,
        ignored,
    } = counts;
    let run = passed - skipped;
    println!("\n{run} tests passed, {failed} failed, {skipped} skipped");
    for reason in reasons.lines() {
        println!("skipped: {reason}");
    }
    if *ignored > 0 {
        bail!("{ignored} tests are marked as ignored; no test may be");
    }
    if arguments.deny_skips && skipped > 0 {
        bail!("{skipped} tests were skipped, and may not be");
    }
    Ok(())
}

impl Counts {
    /// Adds a line such as `test result: ok. 12 passed; 0 failed; 0 ignored; ...`.
    fn add(&mut self, line: &str) {
        let Some(result) = line.strip_prefix("test result:") else {
            return;
        };
        for part in result.split([';', '.']) {
            let mut words = part.split_whitespace();
            let (Some(number), Some(what)) = (words.next(), words.next()) else {
                continue;
            };
            let Ok(number) = number.parse::<u64>() else {
                continue;
            };
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }
}

/// Programs of others that sstpulse is tested with, and their packages in Debian.
const PROGRAMS: [(&str, &str); 3] = [
    ("openssl", "openssl"),
    ("python3", "python3"),
    ("tc", "iproute2"),
];
