//! Captures that come through a pipe, as `tcpdump -w -` writes them.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result};
use lab::{
    agent::binary,
    capture::{Format, LINK_LAYERS, write},
    events::Line,
    wait_until,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{parse, session};

const PATIENCE: Duration = Duration::from_secs(10);

fn piped() -> Result<Child> {
    Command::new(binary("sstpulse")?)
        .args(["replay", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("can't run sstpulse")
}

fn capture(format: Format) -> Vec<u8> {
    write(format, LINK_LAYERS[0], usize::MAX, &session())
}

#[test]
fn a_pipe_may_bring_a_capture_byte_by_byte() -> Result<()> {
    for format in [Format::Nanoseconds, Format::Pcapng] {
        let mut child = piped()?;
        let mut pipe = child.stdin.take().context("no input")?;
        for byte in capture(format) {
            pipe.write_all(&[byte])?;
        }
        drop(pipe);
        let output = child.wait_with_output()?;
        let lines = parse(&output.stdout)?;
        assert!(output.status.success());
        assert!(lines.iter().any(|line| line.session_end().is_some()));
    }
    Ok(())
}

#[test]
fn lines_come_while_the_capture_goes_on() -> Result<()> {
    let mut child = piped()?;
    let mut pipe = child.stdin.take().context("no input")?;
    let whole = capture(Format::Nanoseconds);
    // All but the last packets.
    pipe.write_all(&whole[..whole.len() - 200])?;
    let mut lines = BufReader::new(child.stdout.take().context("no output")?).lines();
    let first: Line = serde_json::from_str(&lines.next().context("no line")??)?;
    let second: Line = serde_json::from_str(&lines.next().context("no second line")??)?;
    assert!(first.replay_start().is_some());
    assert!(second.session_start().is_some());
    pipe.write_all(&whole[whole.len() - 200..])?;
    drop(pipe);
    let last = lines.last().context("no more lines")??;
    assert_eq!(reason(&last)?, "end_of_capture");
    assert!(child.wait()?.success());
    Ok(())
}

#[test]
fn an_interrupt_ends_a_pipe_with_all_that_was_seen() -> Result<()> {
    let mut child = piped()?;
    let mut pipe = child.stdin.take().context("no input")?;
    let whole = capture(Format::Pcapng);
    pipe.write_all(&whole[..whole.len() - 200])?;
    let mut lines = BufReader::new(child.stdout.take().context("no output")?).lines();
    let begun = lines.nth(1).context("no second line")??;
    assert!(
        serde_json::from_str::<Line>(&begun)?
            .session_start()
            .is_some()
    );
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT)?;
    // The pipe stays open: the end is not the writer's.
    let last = lines.last().context("no more lines")??;
    assert_eq!(reason(&last)?, "signal");
    assert!(child.wait()?.success());
    drop(pipe);
    Ok(())
}

#[test]
fn a_reader_that_goes_away_is_a_normal_end() -> Result<()> {
    let mut child = piped()?;
    drop(child.stdout.take());
    let mut pipe = child.stdin.take().context("no input")?;
    let whole = capture(Format::Nanoseconds);
    // The header once, and then packets without end.
    let (header, packets) = whole.split_at(24);
    let _ = pipe.write_all(header);
    let mut status = None;
    wait_until(PATIENCE, "replay ends", || {
        // Fails once nobody reads the capture any more.
        let _ = pipe.write_all(packets);
        status = child.try_wait().ok().flatten();
        status.is_some()
    })?;
    assert!(status.is_some_and(|status| status.success()), "{status:?}");
    Ok(())
}

#[test]
fn a_slow_reader_loses_nothing() -> Result<()> {
    // More lines than a pipe and the batches that may wait take at once.
    let many = crate::usage::sessions(20_000);
    let mut child = piped()?;
    let mut pipe = child.stdin.take().context("no input")?;
    let written = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&written);
    let length = many.len();
    let writer = std::thread::spawn(move || {
        for piece in many.chunks(4_096) {
            pipe.write_all(piece)?;
            counted.fetch_add(piece.len(), Ordering::Relaxed);
        }
        std::io::Result::Ok(())
    });
    let mut stdout = child.stdout.take().context("no output")?;
    let mut text = vec![0; 1_000];
    stdout.read_exact(&mut text)?;
    // Until the writer of the capture has to wait for the reader of the lines: nothing is
    // read any more, and there is more to read.
    let mut before = usize::MAX;
    wait_until(PATIENCE, "the output is full", || {
        let now = written.load(Ordering::Relaxed);
        let stuck = now == before && is_asleep(child.id()).unwrap_or_default();
        before = now;
        stuck
    })?;
    assert!(written.load(Ordering::Relaxed) < length, "all was read");
    stdout.read_to_end(&mut text)?;
    writer.join().ok().context("the writer panicked")??;
    let lines = parse(&text)?;
    let ends = lines.iter().filter(|line| line.session_end().is_some());
    assert_eq!(ends.count(), 20_000);
    assert!(lines.iter().map(Line::seq).eq(1..=lines.len() as u64));
    assert!(child.wait()?.success());
    Ok(())
}

/// Whether no thread of a process runs.
fn is_asleep(process: u32) -> Result<bool> {
    for thread in std::fs::read_dir(format!("/proc/{process}/task"))? {
        let stat = std::fs::read_to_string(thread?.path().join("stat"))?;
        let state = stat.rsplit(')').next().unwrap_or_default().trim_start();
        if !state.starts_with('S') {
            return Ok(false);
        }
    }
    Ok(true)
}

fn reason(line: &str) -> Result<String> {
    let line: Line = serde_json::from_str(line)?;
    let stop = line.replay_stop().context("the last line is no end")?;
    Ok(stop.reason.clone())
}
