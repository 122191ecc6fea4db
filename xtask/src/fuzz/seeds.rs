//! What libFuzzer begins with: the few inputs that are kept with the targets, and the
//! captures of the tests, whole for the replay and packet by packet for the parser.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow};
use pcap_parser::{
    Block, PcapBlockOwned, PcapError, create_reader, traits::PcapNGPacketBlock as _,
};

use super::Target;
use crate::run::{root, target};

/// Captures that are there to be tested with.
const CAPTURES: &str = "tests/captures";

/// Bytes of a packet that matter to the parser: headers.
const HEADERS: usize = 128;

/// The folder that a target's seeds are gathered in.
pub(super) fn folder(of: Target) -> PathBuf {
    target("fuzz/seeds").join(of.name())
}

/// Gathers the seeds of a target.
pub(super) fn gather(of: Target) -> anyhow::Result<()> {
    let folder = folder(of);
    // There may be fewer than there were.
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).with_context(|| format!("can't make {}", folder.display()))?;
    for file in files(&root().join("fuzz/seeds").join(of.name())) {
        copy(&file, &folder)?;
    }
    for capture in files(&root().join(CAPTURES)) {
        let name = name(&capture);
        match of {
            _ if !name.contains(".pcap") => {}
            Target::Replay => copy(&capture, &folder)?,
            Target::Parser => {
                packets(&capture, &folder).with_context(|| format!("can't read {name}"))?;
            }
            Target::Tracker | Target::Tls => {}
        }
    }
    Ok(())
}

/// The files in a folder, if there is one.
fn files(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.is_file())
}

fn name(file: &Path) -> String {
    file.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

fn copy(file: &Path, folder: &Path) -> anyhow::Result<()> {
    fs::copy(file, folder.join(name(file)))
        .with_context(|| format!("can't copy {}", file.display()))?;
    Ok(())
}

/// Writes each packet of a capture as the parser's target wants it: its length, then its
/// first bytes, whatever its link layer is.
fn packets(capture: &Path, folder: &Path) -> anyhow::Result<()> {
    const BUFFER: usize = 1 << 20;

    let file = fs::File::open(capture)?;
    let mut reader = create_reader(BUFFER, file).map_err(|error| anyhow!("{error}"))?;
    let mut number = 0;
    loop {
        match reader.next() {
            Ok((length, block)) => {
                if let Some((length, bytes)) = packet(&block) {
                    let kept = &bytes[..bytes.len().min(HEADERS)];
                    let file = folder.join(format!("{}-{number}", name(capture)));
                    fs::write(file, [&length.to_le_bytes(), kept].concat())?;
                    number += 1;
                }
                reader.consume(length);
            }
            Err(PcapError::Eof) => return Ok(()),
            Err(PcapError::Incomplete(_)) => {
                reader.refill().map_err(|error| anyhow!("{error}"))?;
            }
            Err(error) => return Err(anyhow!("{error}")),
        }
    }
}

/// The length of a packet, and its bytes.
fn packet<'a>(block: &'a PcapBlockOwned<'_>) -> Option<(u32, &'a [u8])> {
    match block {
        PcapBlockOwned::Legacy(packet) => Some((packet.origlen, packet.data)),
        PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
            Some((packet.origlen, packet.packet_data()))
        }
        PcapBlockOwned::NG(Block::SimplePacket(packet)) => {
            Some((packet.origlen, packet.packet_data()))
        }
        _ => None,
    }
}
