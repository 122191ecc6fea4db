//! What tshark says of a capture, as `cargo xtask oracle` keeps it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::SocketAddr,
    num::ParseIntError,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde::Deserialize;
use sstpulse_common::{FlowKey, Side};

/// What tshark says of a capture.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Oracle {
    /// The version that said so.
    #[serde(rename = "tshark")]
    _tshark: String,
    /// Its streams: connections, told apart by the client's initial sequence number too.
    pub(crate) streams: BTreeMap<u32, Stream>,
}

/// A connection.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stream {
    client: SocketAddr,
    server: SocketAddr,
    from_client: Direction,
    from_server: Direction,
}

/// What one side sent.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Direction {
    /// Payload, in bytes.
    pub(crate) bytes: u64,
    pub(crate) mss: Option<u16>,
    /// Its frames, all of them and those with each mark.
    frames: BTreeMap<String, Frames>,
}

/// Numbers of frames, written as `1-4 7 9-12`.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct Frames(BTreeSet<u64>);

impl TryFrom<String> for Frames {
    type Error = ParseIntError;

    fn try_from(text: String) -> Result<Self, ParseIntError> {
        let mut frames = BTreeSet::new();
        for range in text.split_whitespace() {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            frames.extend(first.parse::<u64>()?..=last.parse()?);
        }
        Ok(Self(frames))
    }
}

impl Oracle {
    /// Reads what is kept of a capture.
    pub(crate) fn of(capture: &Path) -> Result<Self> {
        let name = capture.file_stem().context("a capture has a name")?;
        let path: PathBuf = capture.with_file_name("oracle").join(name);
        let path = path.with_extension("json");
        let text = fs::read_to_string(&path)
            .with_context(|| format!("can't read {}; run `cargo xtask oracle`", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is wrong", path.display()))
    }
}

impl Stream {
    /// Its flow.
    pub(crate) fn key(&self) -> FlowKey {
        FlowKey::new(self.client, self.server)
    }

    /// What a side sent.
    pub(crate) const fn direction(&self, side: Side) -> &Direction {
        match side {
            Side::Client => &self.from_client,
            Side::Server => &self.from_server,
        }
    }
}

impl Direction {
    /// Whether a frame has a mark.
    pub(crate) fn has(&self, mark: &str, frame: u64) -> bool {
        self.frames
            .get(mark)
            .is_some_and(|Frames(frames)| frames.contains(&frame))
    }

    /// The frames there are.
    pub(crate) fn all(&self) -> impl Iterator<Item = u64> {
        self.frames
            .get("all")
            .into_iter()
            .flat_map(|Frames(frames)| frames.iter().copied())
    }
}
