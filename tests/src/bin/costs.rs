//! Counts the instructions that sstpulse takes, and compares with what they were: of the
//! programs, as the kernel's verifier looks at them, and of a replay. Unlike times, they are
//! the same on every run.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser;
use lab::{
    capture,
    conversation::{Conversation, ISN_CLIENT, ISN_SERVER, c, s},
    require_root, verifier,
};
use serde::{Deserialize, Serialize};
use sstpulse::host;

/// Count the instructions that sstpulse takes, and compare with what they were.
#[derive(Debug, Parser)]
#[command(name = "costs")]
struct Cli {
    /// The binary that replays
    #[arg(long, value_name = "FILE")]
    sstpulse: PathBuf,
    /// What they were
    #[arg(long, value_name = "FILE")]
    baseline: PathBuf,
    /// Write what they are instead
    #[arg(long)]
    write: bool,
}

/// What was counted.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Costs {
    /// Instructions that the verifier looks at, of each program, by the kernel's version.
    verifier: BTreeMap<String, BTreeMap<String, u64>>,
    /// Instructions to replay a capture of many segments.
    replay: u64,
}

/// How much more than before may pass unnoticed, of hundred: hash tables are seeded anew in each
/// run.
const MOST_GROWTH: u64 = 3;

/// How much less should be told.
const MUCH_LESS: u64 = 10;

fn main() -> Result<()> {
    let cli = Cli::parse();
    if !require_root() {
        bail!("asking the verifier takes root");
    }
    let kernel = kernel_version()?;
    let mut baseline: Costs = match fs::read(&cli.baseline) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .with_context(|| format!("{} is not what it should be", cli.baseline.display()))?,
        Err(_) if cli.write => Costs::default(),
        Err(error) => {
            return Err(error).with_context(|| format!("can't read {}", cli.baseline.display()));
        }
    };
    let programs = of_programs()?;
    let replay = of_replay(&cli.sstpulse)?;
    if cli.write {
        baseline.verifier.insert(kernel, programs);
        baseline.replay = replay;
        let json = serde_json::to_string_pretty(&baseline)?;
        return fs::write(&cli.baseline, json + "\n")
            .with_context(|| format!("can't write {}", cli.baseline.display()));
    }
    let mut worse = compare("replay", replay, Some(baseline.replay));
    let before = baseline.verifier.get(&kernel);
    if before.is_none() {
        println!("nobody has counted on Linux {kernel}; `--write` keeps what is there");
    }
    for (program, count) in &programs {
        let before = before.and_then(|before| before.get(program)).copied();
        worse |= compare(program, *count, before);
    }
    ensure!(
        !worse,
        "more instructions than before; if they are worth it, `cargo xtask costs --write`"
    );
    Ok(())
}

/// Prints what was counted, and tells whether it is too much.
fn compare(what: &str, count: u64, before: Option<u64>) -> bool {
    let Some(before) = before else {
        println!("{what:16} {count:>12}");
        return false;
    };
    let worse = count * 100 > before * (100 + MOST_GROWTH);
    let better = count * 100 < before * (100 - MUCH_LESS);
    let word = match (worse, better) {
        (true, _) => "MORE",
        (_, true) => "less: `cargo xtask costs --write` keeps it so",
        _ => "",
    };
    println!("{what:16} {count:>12} {before:>12} {word}");
    worse
}

fn kernel_version() -> Result<String> {
    let release = host::kernel_release()?;
    let mut numbers = release.split(['.', '-']);
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) => Ok(format!("{major}.{minor}")),
        _ => bail!("the kernel's release {release} has no version"),
    }
}

fn of_programs() -> Result<BTreeMap<String, u64>> {
    let verified = verifier::measure()?;
    Ok(verified
        .into_iter()
        .map(|one| (one.program.to_owned(), u64::from(one.instructions)))
        .collect())
}

/// Counts what a replay takes, less what it takes to replay next to nothing.
fn of_replay(sstpulse: &Path) -> Result<u64> {
    let folder = tempfile::tempdir().context("can't make a folder")?;
    let count = |name: &str, sessions: u16, rounds: u32| {
        let path = folder.path().join(name);
        fs::write(&path, capture_of(sessions, rounds)).context("can't write a capture")?;
        instructions(sstpulse, &path)
    };
    let little = count("little.pcapng", 1, 1)?;
    let much = count("much.pcapng", 64, 256)?;
    Ok(much.saturating_sub(little))
}

/// Sessions side by side, in each of which both sides send by turns.
fn capture_of(sessions: u16, rounds: u32) -> Vec<u8> {
    const CLIENT: u32 = 100;
    const SERVER: u32 = 1_400;

    let mut conversations: Vec<_> = (0..sessions)
        .map(|session| Conversation::new(20_000 + session))
        .collect();
    for conversation in &mut conversations {
        conversation.handshake();
        for round in 0..rounds {
            let client = ISN_CLIENT + 1 + round * CLIENT;
            let server = ISN_SERVER + 1 + round * SERVER;
            conversation
                .wait_ms(5)
                .send(c(client, server, CLIENT as usize))
                .send(s(server, client + CLIENT, SERVER as usize));
        }
    }
    let packets = conversations.iter().flat_map(Conversation::packets);
    let mut frames: Vec<_> = packets
        .map(|packet| (packet.buffer.time_ns, packet.bytes.as_slice()))
        .collect();
    frames.sort_by_key(|(time_ns, _)| *time_ns);
    capture::of_frames(frames)
}

/// Instructions of a replay, as callgrind counts them.
fn instructions(sstpulse: &Path, capture: &Path) -> Result<u64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(sstpulse)
        .arg("replay")
        .arg(capture)
        .output()
        .context("can't run valgrind")?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the replay failed: {told}");
    told.lines()
        .find_map(|line| line.split_once("Collected :"))
        .and_then(|(_, count)| count.trim().parse().ok())
        .with_context(|| format!("valgrind does not tell how many instructions there were: {told}"))
}
