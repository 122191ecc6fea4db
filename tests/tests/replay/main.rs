//! `sstpulse replay`: any capture, the same events, and a clear word on what can't be read.

mod clusters;
mod formats;
mod pipes;
mod real_peers;
mod usage;

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
};

use anyhow::{Context as _, Result};
use lab::{
    agent::binary,
    conversation::{Conversation, Link, c, s},
    events::Line,
};
use sstpulse_common::TcpFlags;
use tempfile::TempDir;

/// Runs `sstpulse replay` on a file to its end.
fn replay(file: &Path, arguments: &[&str]) -> Result<Output> {
    Command::new(binary("sstpulse")?)
        .arg("replay")
        .arg(file)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .context("can't run sstpulse")
}

/// Replays these bytes, and returns the lines and the exit code.
fn lines_of(capture: &[u8], arguments: &[&str]) -> Result<(Vec<Line>, Option<i32>)> {
    let folder = TempDir::new()?;
    let file = folder.path().join("capture");
    fs::write(&file, capture)?;
    let output = replay(&file, arguments)?;
    Ok((parse(&output.stdout)?, output.status.code()))
}

fn parse(stdout: &[u8]) -> Result<Vec<Line>> {
    String::from_utf8_lossy(stdout)
        .lines()
        .map(|line| serde_json::from_str(line).with_context(|| format!("no line: {line}")))
        .collect()
}

/// A session of bare IP packets with a bit of everything, and its end.
fn session() -> Conversation {
    const FIN: u8 = TcpFlags::FIN | TcpFlags::ACK;
    let mut talk = Conversation::new(40_000);
    talk.link(Link::None).handshake();
    talk.send(c(0, 0, 300)).wait_ms(5).send(s(0, 300, 1_200));
    talk.wait_ms(21).send(c(300, 1_200, 0));
    talk.send(s(1_200, 300, 700))
        .wait_ms(300)
        .send(s(1_200, 300, 700));
    talk.wait_ms(21).send(c(300, 1_900, 0));
    talk.send(c(300, 1_900, 0).flags(FIN)).wait_ms(1);
    talk.send(s(1_900, 301, 0).flags(FIN)).wait_ms(21);
    talk.send(c(301, 1_901, 0));
    talk
}
