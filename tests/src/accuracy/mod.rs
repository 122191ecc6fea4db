//! How counts compare with what tshark says of the same captures.
//!
//! They are compared frame by frame. Where the two differ, a [rule](Rule) must say why,
//! and is checked on that very frame.

mod kind;
mod oracle;
mod ours;
mod rules;
mod table;

pub use kind::Kind;
pub use rules::Rule;
pub use table::table;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use sstpulse::replay::Watched;
use sstpulse_common::{FlowKey, Side};

use self::{
    oracle::{Oracle, Stream},
    ours::{Follow, Frame},
    rules::Difference,
};
use crate::Direction;

/// How a counter of a direction compares, over all of a capture.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    /// What we count.
    pub ours: u64,
    /// What tshark counts.
    pub tshark: u64,
    /// On how many frames each rule was needed.
    pub rules: BTreeMap<Rule, u64>,
}

/// The comparisons of a capture.
pub type Comparisons = BTreeMap<(Kind, Direction), Comparison>;

/// The folder of captures.
pub fn captures_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("captures")
}

/// All captures, by name.
pub fn captures() -> Result<Vec<PathBuf>> {
    let folder = captures_folder();
    let mut captures = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("no {}", folder.display()))? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|kind| kind == "pcap" || kind == "pcapng")
        {
            captures.push(path);
        }
    }
    captures.sort();
    Ok(captures)
}

/// The server's port in all captures.
pub fn watched() -> Watched {
    Watched::new(&BTreeSet::from([443]), Vec::new())
}

/// Compares all frames of a capture. Fails on a difference that no rule explains.
pub fn compare(capture: &Path) -> Result<Comparisons> {
    let oracle = Oracle::of(capture)?;
    let follow = ours::follow(capture, &watched())?;
    let mut comparisons = Comparisons::new();
    for stream in oracle.streams.values() {
        for side in [Side::Client, Side::Server] {
            broken(stream, side, &follow, &mut comparisons)?;
        }
    }
    let mut flows: BTreeMap<_, Vec<&Frame>> = BTreeMap::new();
    for frame in &follow.frames {
        let stream = stream_of(&oracle, frame)?;
        let earlier = flows.entry(order(&frame.key)).or_default();
        compare_frame(frame, earlier, stream, &mut comparisons)?;
        earlier.push(frame);
    }
    for stream in oracle.streams.values() {
        compare_stream(stream, &follow)?;
    }
    Ok(comparisons)
}

fn compare_frame(
    frame: &Frame,
    earlier: &[&Frame],
    stream: &Stream,
    comparisons: &mut Comparisons,
) -> Result<()> {
    for kind in Kind::ALL {
        let ours = frame.added(kind);
        let theirs = u64::from(kind.said_by(stream, frame.side, frame.number));
        let comparison = comparisons.entry((kind, frame.side.into())).or_default();
        comparison.ours += ours;
        comparison.tshark += theirs;
        if ours == theirs {
            continue;
        }
        let difference = Difference {
            frame,
            earlier,
            stream,
            kind,
            ours,
            theirs,
        };
        let Some(rule) = difference.explain() else {
            bail!(
                "frame {}, {}, {}: {ours} here and {theirs} by tshark, and no rule says why",
                frame.number,
                Direction::from(frame.side).name(),
                kind.name(),
            );
        };
        *comparison.rules.entry(rule).or_default() += 1;
    }
    Ok(())
}

/// Frames that tshark takes for segments, and we for broken.
fn broken(
    stream: &Stream,
    side: Side,
    follow: &Follow,
    comparisons: &mut Comparisons,
) -> Result<()> {
    for number in stream.direction(side).all() {
        if follow.frames.iter().any(|frame| frame.number == number) {
            continue;
        }
        ensure!(
            follow.broken.contains(&number),
            "frame {number} is missing here, and not broken"
        );
        let comparison = comparisons
            .entry((Kind::Segments, side.into()))
            .or_default();
        comparison.tshark += 1;
        *comparison.rules.entry(Rule::Malformed).or_default() += 1;
    }
    Ok(())
}

/// What belongs to a connection as a whole: bytes, and what each side announced.
fn compare_stream(stream: &Stream, follow: &Follow) -> Result<()> {
    for side in [Side::Client, Side::Server] {
        let theirs = stream.direction(side);
        let numbers: BTreeSet<u64> = theirs.all().collect();
        let frames = follow
            .frames
            .iter()
            .filter(|frame| numbers.contains(&frame.number));
        let mut payload = 0;
        for frame in frames.clone() {
            payload += u64::from(frame.segment.payload);
            if let Some(session) = &frame.after.session
                && !frame.is_passed_over()
                && frame.side == side
                && !frame.segment.flags.syn()
                && theirs.mss.is_some()
            {
                ensure!(
                    theirs.mss == Some(ours::own(session, side).mss),
                    "frame {}: tshark says MSS {:?}",
                    frame.number,
                    theirs.mss,
                );
            }
        }
        let whole = numbers.iter().all(|number| !follow.broken.contains(number));
        ensure!(
            !whole || payload == theirs.bytes,
            "{payload} bytes here, and {} by tshark",
            theirs.bytes
        );
    }
    Ok(())
}

fn stream_of<'a>(oracle: &'a Oracle, frame: &Frame) -> Result<&'a Stream> {
    oracle
        .streams
        .values()
        .find(|stream| {
            let direction = stream.direction(frame.side);
            direction.has("all", frame.number) && stream.key() == frame.key
        })
        .with_context(|| format!("tshark has no frame {}", frame.number))
}

/// Flow keys have no order of their own.
fn order(key: &FlowKey) -> (std::net::SocketAddr, std::net::SocketAddr) {
    (key.client(), key.server())
}
