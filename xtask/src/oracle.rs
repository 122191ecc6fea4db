//! `cargo xtask oracle`: what tshark says of each capture, kept for the tests to compare with.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use clap::Args;
use serde::{Serialize, Serializer};

use crate::{
    programs,
    run::{command, output, root},
};

/// Arguments of `oracle`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Change nothing, and fail if tshark now says something else
    #[arg(long)]
    pub(crate) check: bool,
}

/// The captures, and the folder below for what is said of them.
pub(crate) const CAPTURES: &str = "tests/captures";
const ORACLE: &str = "tests/captures/oracle";

/// The version whose words are kept; others may judge differently.
const VERSION: &str = "4.0";

/// The server's port in all captures.
const PORT: u16 = 443;

/// What tshark marks segments with (`tcp.analysis.*`), as far as it is compared.
const MARKS: [&str; 13] = [
    "retransmission",
    "fast_retransmission",
    "spurious_retransmission",
    "out_of_order",
    "lost_segment",
    "ack_lost_segment",
    "duplicate_ack",
    "keep_alive",
    "keep_alive_ack",
    "zero_window",
    "zero_window_probe",
    "window_update",
    "reused_ports",
];

/// Fields before the marks; see [`Row`].
const FIELDS: [&str; 11] = [
    "frame.number",
    "tcp.stream",
    "ip.src",
    "ipv6.src",
    "tcp.srcport",
    "ip.dst",
    "ipv6.dst",
    "tcp.dstport",
    "tcp.len",
    "tcp.flags",
    "tcp.options.mss_val",
];

/// What tshark says of a capture.
#[derive(Serialize)]
struct Oracle {
    /// The version that said so.
    tshark: String,
    /// By tshark's number of the stream.
    streams: BTreeMap<u32, Stream>,
}

#[derive(Serialize)]
struct Stream {
    client: String,
    server: String,
    from_client: Direction,
    from_server: Direction,
}

#[derive(Default, Serialize)]
struct Direction {
    /// Payload, in bytes.
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    mss: Option<u16>,
    /// Numbers of all its frames, and of those with each flag or mark, from 1 on.
    frames: BTreeMap<String, Frames>,
}

/// Numbers of frames, written as `1-4 7 9-12`.
#[derive(Default)]
struct Frames(Vec<(u64, u64)>);

impl Frames {
    fn push(&mut self, frame: u64) {
        match self.0.last_mut() {
            Some((_, last)) if *last + 1 == frame => *last = frame,
            _ => self.0.push((frame, frame)),
        }
    }
}

impl Serialize for Frames {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let range = |&(first, last): &(u64, u64)| match last - first {
            0 => first.to_string(),
            _ => format!("{first}-{last}"),
        };
        let ranges: Vec<_> = self.0.iter().map(range).collect();
        serializer.serialize_str(&ranges.join(" "))
    }
}

/// Asks tshark about every capture, and writes or compares what it says.
pub(crate) fn oracle(arguments: &Arguments) -> anyhow::Result<()> {
    programs::install(&[("tshark", "tshark")], "to ask the oracle")?;
    let version = require_version()?;
    let folder = root().join(ORACLE);
    fs::create_dir_all(&folder).with_context(|| format!("can't make {}", folder.display()))?;
    for capture in captures()? {
        let name = capture.file_stem().unwrap_or_default().to_string_lossy();
        let file = folder.join(format!("{name}.json"));
        let text = serde_json::to_string_pretty(&ask(&capture, &version)?)? + "\n";
        if !arguments.check {
            fs::write(&file, text).with_context(|| format!("can't write {}", file.display()))?;
        } else if fs::read_to_string(&file).unwrap_or_default() != text {
            bail!(
                "tshark says something else of {name} than {ORACLE}/{name}.json; review what \
                 `cargo xtask oracle` changes there"
            );
        }
    }
    Ok(())
}

/// What is kept of tshark's words on a capture.
pub(crate) fn kept(name: &str) -> anyhow::Result<serde_json::Value> {
    let file = root().join(ORACLE).join(format!("{name}.json"));
    let text =
        fs::read_to_string(&file).with_context(|| format!("can't read {}", file.display()))?;
    Ok(serde_json::from_str(&text)?)
}

/// How many frames a list of their numbers has, such as `1-4 7 9-12`.
pub(crate) fn count(frames: &serde_json::Value) -> u64 {
    let frames = frames.as_str().unwrap_or_default();
    let length = |range: &str| -> Option<u64> {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(last.parse::<u64>().ok()? + 1 - first.parse::<u64>().ok()?)
    };
    frames.split_whitespace().filter_map(length).sum()
}

/// All captures there are, by name.
fn captures() -> anyhow::Result<Vec<PathBuf>> {
    let folder = root().join(CAPTURES);
    let entries =
        fs::read_dir(&folder).with_context(|| format!("can't read {}", folder.display()))?;
    let mut captures: Vec<_> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| {
            path.extension()
                .is_some_and(|kind| kind == "pcap" || kind == "pcapng")
        })
        .collect();
    captures.sort();
    Ok(captures)
}

/// Fails if tshark is of another version than the one whose words are kept.
pub(crate) fn require_version() -> anyhow::Result<String> {
    let version = version()?;
    if !version.starts_with(VERSION) {
        bail!(
            "this is tshark {version}, and what is kept was said by {VERSION}; run it where that \
             is installed (Debian 12)"
        );
    }
    Ok(version)
}

fn version() -> anyhow::Result<String> {
    let text = output(command("tshark").arg("--version"))?;
    let word = text.split_whitespace().nth(2).unwrap_or_default();
    Ok(word.trim_end_matches('.').to_owned())
}

fn ask(capture: &Path, version: &str) -> anyhow::Result<Oracle> {
    let mut tshark = command("tshark");
    tshark
        .args(["-n", "-r"])
        .arg(capture)
        // Not the segments that ICMP errors quote.
        .args(["-Y", "tcp && !icmp && !icmpv6"])
        .args(["-o", "tcp.desegment_tcp_streams:FALSE"])
        .args(["-o", "tcp.analyze_sequence_numbers:TRUE"])
        .args(["-T", "fields", "-E", "separator=/t", "-E", "occurrence=f"])
        // Nobody's own settings.
        .env("WIRESHARK_CONFIG_DIR", root().join("target/tshark"));
    for field in FIELDS {
        tshark.args(["-e", field]);
    }
    for mark in MARKS {
        tshark.args(["-e", &format!("tcp.analysis.{mark}")]);
    }
    let mut oracle = Oracle {
        tshark: version.to_owned(),
        streams: BTreeMap::new(),
    };
    for line in output(&mut tshark)?.lines() {
        let row = Row(line.split('\t').collect());
        row.add_to(&mut oracle)
            .with_context(|| format!("tshark says {line:?} of {}", capture.display()))?;
    }
    Ok(oracle)
}

/// A segment, as tshark prints its fields.
struct Row<'a>(Vec<&'a str>);

impl Row<'_> {
    fn add_to(&self, oracle: &mut Oracle) -> anyhow::Result<()> {
        let source_port: u16 = self.0[4].parse().context("no source port")?;
        let destination_port: u16 = self.0[7].parse().context("no destination port")?;
        if source_port != PORT && destination_port != PORT {
            return Ok(());
        }
        let source = (self.either(2, 3), source_port);
        let destination = (self.either(5, 6), destination_port);
        let from_client = destination_port == PORT;
        let (client, server) = if from_client {
            (source, destination)
        } else {
            (destination, source)
        };
        let number = self.0[1].parse().context("no stream")?;
        let stream = oracle.streams.entry(number).or_insert_with(|| Stream {
            client: end(client),
            server: end(server),
            from_client: Direction::default(),
            from_server: Direction::default(),
        });
        let direction = if from_client {
            &mut stream.from_client
        } else {
            &mut stream.from_server
        };
        self.count(direction)
    }

    fn count(&self, direction: &mut Direction) -> anyhow::Result<()> {
        const FLAGS: [(&str, u32); 3] = [("fin", 1), ("syn", 2), ("reset", 4)];

        let frame = self.0[0].parse().context("no frame number")?;
        // A segment that is cut short has none.
        direction.bytes += self.0[8].parse::<u64>().unwrap_or_default();
        direction.mss = self.0[10].parse().ok().or(direction.mss);
        let flags = self.0[9].trim_start_matches("0x");
        let flags = u32::from_str_radix(flags, 16).unwrap_or_default();
        let mut mark = |name: &str| {
            let frames = direction.frames.entry(name.to_owned()).or_default();
            frames.push(frame);
        };
        mark("all");
        for (name, bit) in FLAGS {
            if flags & bit != 0 {
                mark(name);
            }
        }
        for (name, value) in MARKS.iter().zip(&self.0[FIELDS.len()..]) {
            if !value.is_empty() {
                mark(name);
            }
        }
        Ok(())
    }

    fn either(&self, first: usize, second: usize) -> &str {
        if self.0[first].is_empty() {
            self.0[second]
        } else {
            self.0[first]
        }
    }
}

fn end((address, port): (&str, u16)) -> String {
    if address.contains(':') {
        format!("[{address}]:{port}")
    } else {
        format!("{address}:{port}")
    }
}
