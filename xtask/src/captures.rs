//! `cargo xtask captures`: sessions of real SSTP peers, recorded in a virtual machine.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use clap::Args;
use comfy_table::{Table, presets::ASCII_MARKDOWN};
use serde_json::Value;

use crate::{
    debian::{Archive, empty},
    oracle, programs,
    run::{command, root, run, target},
    vm::{
        self,
        image::{self, Image},
        kernels::WITH_PPP,
        machine::{Machine, pack},
    },
};

/// Arguments of `captures`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Only captures whose names contain one of these
    only: Vec<String>,
}

/// Longest that all scenarios may take.
const PATIENCE: Duration = Duration::from_mins(40);

/// Debian's packages in the machine, besides the essential ones.
const PACKAGES: &str = "python3,ppp,sstp-client,tcpdump";

/// The server, built for the Python that this Debian has.
const SERVER: &str = "sstp-server==0.7.2";
const PYTHON: [&str; 6] = [
    "--python-version=3.13",
    "--implementation=cp",
    "--abi=cp313",
    "--platform=manylinux_2_28_x86_64",
    "--only-binary=:all:",
    "--no-deps",
];

/// Records the sessions, asks tshark about them, and prints what the agent said beside it.
pub(crate) fn captures(arguments: &Arguments) -> anyhow::Result<()> {
    vm::install_programs()?;
    programs::install(&PROGRAMS, "to record real peers")?;
    oracle::require_version()?;
    let mut archive = None;
    let fetched = WITH_PPP.fetch(&mut archive, &[WITH_PPP.suite])?;
    let debian = debian(archive)?;
    let [agent, guest] = image::binaries()?;
    let files = [agent, guest, root().join("tests/sstp/server.py")];
    let image = image::build(&WITH_PPP, fetched, &files)?;
    let out = image.folder.join("out");
    empty(&out)?;

    let failed = boot(&image, &debian, &out, arguments)?;
    ensure!(
        failed == 0,
        "{failed} scenarios failed; the captures that were kept stay as they are"
    );
    let recorded = keep(&out)?;
    oracle::oracle(&oracle::Arguments { check: false })?;
    println!("{}", table(&out, &recorded)?);
    Ok(())
}

/// Boots the machine; returns how many scenarios failed.
fn boot(image: &Image, debian: &Path, out: &Path, arguments: &Arguments) -> anyhow::Result<u64> {
    // The kernel unpacks one after the other.
    let both = image.folder.join("both.cpio");
    let mut joined = File::create(&both)?;
    for part in [debian, &image.root] {
        io::copy(&mut File::open(part)?, &mut joined)?;
    }
    let share = format!(
        "local,path={},mount_tag=out,security_model=none",
        out.display()
    );
    let machine = Machine {
        kernel: &image.kernel,
        root: &both,
        job: &format!("sstp {}", arguments.only.join(" ")),
        memory: 2048,
        console: image.folder.join("console"),
        options: vec!["-virtfs".into(), share],
        patience: PATIENCE,
    };
    eprintln!("xtask: recording; all scenarios take about 10 minutes");
    let mut failed = None;
    machine.run(|line| match serde_json::from_str::<Value>(&line) {
        Ok(report) => failed = report["failed"].as_u64(),
        Err(_) => eprintln!("  {line}"),
    })?;
    failed.with_context(|| format!("the machine went off early\n{}", machine.last_words()))
}

/// A root with Debian and the peers, packed; made once.
fn debian(archive: Option<Archive>) -> anyhow::Result<PathBuf> {
    // What it holds is in its name, so that another is made when that changes.
    let folder = target("vm/debian").join(format!("{}-{SERVER}", WITH_PPP.suite));
    let packed = folder.join("root.cpio");
    if packed.exists() {
        return Ok(packed);
    }
    let archive = match archive {
        Some(archive) => archive,
        None => Archive::open(&[WITH_PPP.suite])?,
    };
    let root = folder.join("root");
    empty(&folder)?;
    eprintln!("xtask: laying out a Debian for the peers; takes about a minute");
    run(command("mmdebstrap")
        .args(["--mode=root", "--variant=essential", "--quiet"])
        .arg(format!("--include={PACKAGES}"))
        .arg("--aptopt=APT::Install-Recommends \"false\"")
        .args(
            ["doc", "man", "locale"]
                .map(|part| format!("--dpkgopt=path-exclude=/usr/share/{part}/*")),
        )
        .arg(WITH_PPP.suite)
        .arg(&root)
        .arg(archive.sources()))?;
    for spare in ["var/cache/apt", "var/lib/apt/lists"] {
        fs::remove_dir_all(root.join(spare))?;
    }
    let wheels = folder.join("wheels");
    let pip = ["-m", "pip", "download", "--quiet", "--dest"];
    run(command("python3")
        .args(pip)
        .arg(&wheels)
        .args(PYTHON)
        .arg(SERVER))?;
    let wheel = fs::read_dir(&wheels)?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .next()
        .context("pip downloaded nothing")?;
    run(command("python3")
        .args(["-m", "zipfile", "--extract"])
        .arg(wheel)
        .arg(root.join("usr/local/lib/sstp")))?;
    pack(&root, &packed)?;
    Ok(packed)
}

/// Copies the captures to where tests find them; returns their names.
fn keep(out: &Path) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(out)? {
        let path = entry?.path();
        if path.extension().is_some_and(|kind| kind == "pcap") {
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            fs::copy(
                &path,
                root().join(oracle::CAPTURES).join(format!("{name}.pcap")),
            )?;
            names.push(name.into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// How each session ended, by the agent that watched it live, and its counts beside tshark's.
fn table(out: &Path, names: &[String]) -> anyhow::Result<Table> {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header([
        "capture",
        "end",
        "by",
        "direction",
        "bytes",
        "tshark",
        "segments",
        "tshark",
        "retransmits",
        "tshark",
        "zero windows",
        "tshark",
        "FINs",
        "tshark",
        "RSTs",
        "tshark",
    ]);
    for name in names {
        let lines = fs::read_to_string(out.join(format!("{name}.jsonl")))?;
        let end = lines
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .find(|line| line["type"] == "session.end")
            .with_context(|| format!("{name} has no session.end"))?;
        let judged = oracle::kept(name)?;
        for direction in ["from_client", "from_server"] {
            let (ours, theirs) = (&end[direction], &judged["streams"]["0"][direction]);
            let marked = |marks: &[&str]| -> String {
                let count = |mark: &&str| oracle::count(&theirs["frames"][*mark]);
                marks.iter().map(count).sum::<u64>().to_string()
            };
            let said = |value: &Value| value.to_string().replace('"', "");
            table.add_row([
                name.clone(),
                said(&end["end"]["how"]),
                said(&end["end"]["by"]),
                direction.to_owned(),
                said(&ours["bytes"]),
                said(&theirs["bytes"]),
                said(&ours["segments"]),
                marked(&["all"]),
                said(&ours["retransmits"]),
                marked(&["retransmission", "out_of_order"]),
                said(&ours["zero_window"]["segments"]),
                marked(&["zero_window"]),
                said(&ours["fins"]),
                marked(&["fin"]),
                said(&ours["resets"]),
                marked(&["reset"]),
            ]);
        }
    }
    Ok(table)
}

/// Programs of others that this takes, and their packages in Debian.
const PROGRAMS: [(&str, &str); 3] = [
    ("mmdebstrap", "mmdebstrap"),
    ("pip3", "python3-pip"),
    ("tshark", "tshark"),
];
