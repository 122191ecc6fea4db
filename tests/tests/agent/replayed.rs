//! Captures sent past a live agent, and the same captures replayed: the same ends of
//! sessions, but for ids and times.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    net::SocketAddr,
    ops::ControlFlow,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use lab::{
    Agent, Lab, ROUTER_INTERFACE, SERVER_INTERFACE,
    accuracy::{captures_folder, watched},
    agent::binary,
    capture::of_frames,
    ends::ends,
    events::Line,
    raw::RawSender,
    require_root,
};
use sstpulse::replay::{CaptureEvent, Packet, Watched, read};
use sstpulse_common::{Framing, Side};
use tempfile::TempDir;

use crate::WATCH;

/// Captures that take less than this are played more slowly, so that what depends on time,
/// as overtaken or sent again does, does not depend on the scheduler.
const SHORT: Duration = Duration::from_millis(500);
const SLOWER: u32 = 10;

/// How late a frame may be sent. A round trip takes 200 ms at that pace.
const PUNCTUAL: Duration = Duration::from_millis(3);
const TRIES: u32 = 20;

/// What is played: Ethernet, no longer than four seconds, and no larger than the MTU.
const CAPTURES: [&str; 18] = [
    "lab-abort",
    "lab-black-hole",
    "lab-burst-loss",
    "lab-duplicates",
    "lab-forged-resets",
    "lab-half-close",
    "lab-keepalives",
    "lab-loss-from-client",
    "lab-loss-from-server",
    "lab-loss-of-acks",
    "lab-lost-handshake",
    "lab-midstream",
    "lab-reordering-from-client",
    "lab-reordering-from-server",
    "lab-reordering-with-loss",
    "lab-stall",
    "softether-tls12-client-rejects-cert",
    "softether-tls13-wrong-password",
];

/// A frame, and when it is due.
struct Frame {
    due_ns: u64,
    side: Side,
    bytes: Vec<u8>,
}

#[test]
fn a_capture_ends_alike_live_and_replayed() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let mut frames = Vec::new();
    for name in CAPTURES {
        let path = captures_folder().join(format!("{name}.pcap"));
        frames.extend(frames_of(&path).with_context(|| name)?);
    }
    frames.sort_by_key(|frame| frame.due_ns);
    let replayed = replayed(&frames)?;
    ensure!(replayed.len() == CAPTURES.len(), "{} ends", replayed.len());
    for _ in 0..TRIES {
        if let Some(live) = live(&frames, replayed.len())? {
            for (client, told) in &replayed {
                let live = live.get(client).context("no such session live")?;
                assert_eq!(live, told, "of {client}");
            }
            return Ok(());
        }
    }
    anyhow::bail!("this machine is too busy to send frames on time")
}

/// The frames of a capture, as slowly as they are to be sent, the first at once.
fn frames_of(path: &Path) -> Result<Vec<Frame>> {
    let watched = watched();
    let mut frames = Vec::new();
    read(File::open(path)?, |event| {
        if let CaptureEvent::Packet(packet) = event {
            frames.extend(frame(&watched, &packet));
        }
        ControlFlow::Continue(())
    })?;
    let first = frames.first().context("no frame")?.due_ns;
    let last = frames.last().context("no frame")?.due_ns;
    let short = Duration::from_nanos(last - first) < SHORT;
    for frame in &mut frames {
        frame.due_ns = (frame.due_ns - first) * u64::from(if short { SLOWER } else { 1 });
    }
    Ok(frames)
}

/// A frame of a watched port, with all of its bytes, to a host that is not there: whoever
/// gets it sees it, and leaves it alone.
fn frame(watched: &Watched, packet: &Packet<'_>) -> Option<Frame> {
    const NOBODY: [u8; 6] = [2, 0, 0, 0, 0, 0x99];
    let parsed = watched.parse(Framing::Ethernet, packet.bytes, packet.length, |_| false);
    let (side, _) = parsed.ok()?;
    let mut bytes = packet.bytes.to_vec();
    bytes.resize(packet.length as usize, 0);
    bytes[..6].copy_from_slice(&NOBODY);
    Some(Frame {
        due_ns: packet.time_ns?,
        side,
        bytes,
    })
}

/// What `sstpulse replay` says of the frames, by client.
fn replayed(frames: &[Frame]) -> Result<BTreeMap<SocketAddr, String>> {
    const BEGINNING_NS: u64 = 1_000_000_000;
    let folder = TempDir::new()?;
    let file = folder.path().join("frames.pcap");
    let timed = |frame: &'_ Frame| BEGINNING_NS + frame.due_ns;
    fs::write(
        &file,
        of_frames(frames.iter().map(|frame| (timed(frame), &frame.bytes[..]))),
    )?;
    let output = Command::new(binary("sstpulse")?)
        .arg("replay")
        .arg(file)
        .stdin(Stdio::null())
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    let lines: Result<Vec<Line>, _> = text.lines().map(serde_json::from_str).collect();
    Ok(ends(&lines?))
}

/// What a live agent says of them; `None` if they could not be sent on time.
fn live(frames: &[Frame], count: usize) -> Result<Option<BTreeMap<SocketAddr, String>>> {
    let lab = Lab::new()?;
    let agent = Agent::start(&lab.server, &WATCH)?;
    let from_client = RawSender::open(&lab.router, ROUTER_INTERFACE)?;
    let from_server = RawSender::open(&lab.server, SERVER_INTERFACE)?;
    let begun = Instant::now();
    for frame in frames {
        let due = begun + Duration::from_nanos(frame.due_ns);
        thread::sleep(due.saturating_duration_since(Instant::now()));
        match frame.side {
            Side::Client => from_client.send(&frame.bytes)?,
            Side::Server => from_server.send(&frame.bytes)?,
        }
        if due.elapsed() > PUNCTUAL {
            return Ok(None);
        }
    }
    agent.wait_for_count(Duration::from_secs(20), "all ends", count, |line| {
        line.session_end().is_some()
    })?;
    Ok(Some(ends(&agent.stop()?)))
}
