//! Records sessions of real SSTP peers: sstp-server, sstpc, and pppd behind both.

mod peers;
mod scenarios;

use std::{collections::BTreeMap, env, fs, net::SocketAddr, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};
use lab::{
    agent::binary,
    ends::ends,
    events::{Line, SessionEnd},
};
use nix::mount::{MsFlags, mount};
use serde_json::json;

use crate::Steps;
use peers::Recording;
use scenarios::SCENARIOS;

/// What the host shares; the recordings go there.
const OUT: &str = "/out";

/// Silence after which a session counts as dead. Longer than any that a peer which is there
/// lets pass.
const DEAD_AFTER: &str = "60s";

/// Plays and records the scenarios whose names are among the arguments, or all.
pub(crate) fn record_all(steps: &mut Steps) -> Result<()> {
    fit_out().context("cannot fit the machine out for pppd")?;
    let only: Vec<String> = env::args().skip(2).collect();
    let wanted = |name: &str| only.is_empty() || only.iter().any(|part| name.contains(part));
    let chosen: Vec<_> = SCENARIOS.iter().filter(|(name, _)| wanted(name)).collect();
    ensure!(!chosen.is_empty(), "no scenario has such a name");
    for (name, play) in chosen {
        steps.take(name, || record(name, *play))?;
    }
    steps.tell(&json!({ "failed": steps.failed }).to_string())?;
    Ok(())
}

/// What pppd, sstpc and the exchange with the host expect.
fn fit_out() -> Result<()> {
    let none = None::<&str>;
    for (kind, place, options) in [
        ("devpts", "/dev/pts", "gid=5,mode=620,ptmxmode=666"),
        ("9p", OUT, "trans=virtio,version=9p2000.L"),
    ] {
        fs::create_dir_all(place)?;
        let source = if kind == "9p" { "out" } else { kind };
        mount(
            Some(source),
            place,
            Some(kind),
            MsFlags::empty(),
            Some(options),
        )
        .with_context(|| format!("cannot mount {place}"))?;
    }
    fs::create_dir_all("/run/lock")?;
    nix::unistd::sethostname("vm")?;
    // Names are looked up here, and nowhere else: no packet of it is in the captures.
    fs::write(
        "/etc/hosts",
        "127.0.0.1 localhost vm\n10.77.0.1 vpn.example\n",
    )?;
    fs::write("/etc/resolv.conf", "")?;
    // Debian's options are for serial lines.
    fs::write("/etc/ppp/options", "")?;
    peers::write_secrets()?;
    mount(none, "/", none, MsFlags::MS_PRIVATE | MsFlags::MS_REC, none)?;
    Ok(())
}

/// Plays a scenario; the agent watches live, and must say what it says of the capture.
fn record(name: &str, play: fn() -> Result<Recording>) -> Result<String> {
    let recording = play()?;
    let out = Path::new(OUT);
    let lines = recording.lines.join("\n") + "\n";
    fs::write(out.join(format!("{name}.jsonl")), lines)?;
    let capture = out.join(format!("{name}.pcap"));
    fs::copy(&recording.capture, &capture).context("cannot hand over the capture")?;

    let live = parse(&recording.lines)?;
    let replayed = replay(&recording.capture)?;
    let mut same = ends(&live);
    let told = ends(&replayed);
    forgive_open_ends(&mut same, &live, &replayed);
    ensure!(same == told, "live {same:#?}\nreplayed {told:#?}");
    let end = live.iter().find_map(Line::session_end).context("no end")?;
    Ok(describe(end))
}

fn parse(lines: &[String]) -> Result<Vec<Line>> {
    let parsed: Result<_, _> = lines
        .iter()
        .map(|line| serde_json::from_str(line))
        .collect();
    Ok(parsed?)
}

fn replay(capture: &Path) -> Result<Vec<Line>> {
    let output = Command::new(binary("sstpulse")?)
        .args(["replay", "--dead-after", DEAD_AFTER])
        .arg(capture)
        .output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "replay: {errors}");
    let text = String::from_utf8(output.stdout)?;
    parse(&text.lines().map(str::to_owned).collect::<Vec<_>>())
}

/// A capture ends before the silence that makes a session dead is over.
fn forgive_open_ends(ends: &mut BTreeMap<SocketAddr, String>, live: &[Line], replayed: &[Line]) {
    let open = |line: &&Line| {
        line.session_end()
            .is_some_and(|end| end.end.how == "still_open")
    };
    if live
        .iter()
        .filter_map(Line::session_end)
        .any(|end| end.end.how == "dead")
        && let Some(end) = replayed.iter().find(open).and_then(Line::session_end)
    {
        for told in ends.values_mut() {
            *told = told
                .replace("how: \"dead\"", &format!("how: {:?}", end.end.how))
                .replace("by: \"unknown\"", &format!("by: {:?}", end.end.by));
        }
    }
}

fn describe(end: &SessionEnd) -> String {
    let (client, server) = (&end.from_client, &end.from_server);
    format!(
        "{} by {}; bytes {} + {}, retransmits {} + {}",
        end.end.how, end.end.by, client.bytes, server.bytes, client.retransmits, server.retransmits
    )
}
