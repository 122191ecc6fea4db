//! Counts on captures: beside what tshark says of each frame, and in the kernel as natively.

use std::{collections::BTreeSet, fs::File, num::NonZeroU32, ops::ControlFlow, path::Path};

use anyhow::{Context as _, Result, bail, ensure};
use lab::{
    accuracy::{Kind, Rule, captures, captures_folder, compare, table, watched},
    capture, require_root,
};
use sstpulse::{
    kernel::{Kernel, Limits, PacketContext},
    replay::{self, Buffer, CaptureEvent, Packet, Tables, Watched, inner, read},
    report::Flows as _,
};
use sstpulse_common::{FlowKey, Parsed, Side};
use zerocopy::IntoBytes;

/// Loopback's index, which the kernel gives packets of a test run.
const IFINDEX: u32 = 1;

/// Room for all flows of a capture.
const MOST: u32 = 1_024;

#[test]
fn the_table_of_segments_is_what_the_corpus_holds() -> Result<()> {
    let kept = std::fs::read(captures_folder().join(capture::ROWS))?;
    ensure!(
        kept == capture::of_rows(),
        "{} is not fresh; run `cargo xtask corpus {0}`, then `cargo xtask oracle`",
        capture::ROWS
    );
    Ok(())
}

#[test]
fn every_frame_counts_as_tshark_says_or_a_rule_tells_why() -> Result<()> {
    let mut all = Vec::new();
    for capture in captures()? {
        let name = name(&capture);
        let comparisons = compare(&capture).with_context(|| name.clone())?;
        all.push((name, comparisons));
    }
    println!(
        "{}",
        table(all.iter().map(|(name, compared)| (name.as_str(), compared)))
    );
    ensure!(all.len() >= 29, "there are only {} captures", all.len());
    for (name, comparisons) in &all {
        for ((kind, direction), comparison) in comparisons {
            // In a session these are exact, without exception.
            let exact = match kind {
                Kind::Fins | Kind::ZeroWindow | Kind::SynRetransmits | Kind::Resets => true,
                Kind::Segments
                | Kind::Retransmits
                | Kind::SpuriousRetransmits
                | Kind::OutOfOrder
                | Kind::DuplicateAcks
                | Kind::WindowProbes
                | Kind::Keepalives => false,
            };
            let excused = comparison.rules.keys().all(|rule| *rule == Rule::NoSession);
            ensure!(
                !exact || excused,
                "{name}: {} {} differs",
                direction.name(),
                kind.name()
            );
        }
    }
    Ok(())
}

#[test]
fn each_rule_is_explained() -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/counting.md");
    let text = std::fs::read_to_string(path)?;
    for rule in Rule::ALL {
        let entry = format!("**`{}`**", rule.name());
        ensure!(
            text.contains(&entry),
            "docs/counting.md says nothing of {}",
            rule.name()
        );
    }
    Ok(())
}

#[tokio::test]
async fn the_kernel_leaves_the_same_records_after_every_packet() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let limits = Limits {
        sessions: NonZeroU32::new(MOST).context("not zero")?,
        half_open: NonZeroU32::new(MOST).context("not zero")?,
    };
    let mut kernel = Kernel::load_for_test_runs(&BTreeSet::from([443]), limits)?;
    let mut packets = 0;
    for capture in captures()? {
        packets += run_beside(&mut kernel, &capture).with_context(|| name(&capture))?;
        forget_all(&mut kernel)?;
    }
    println!("{packets} packets");
    ensure!(packets > 3_000, "there were only {packets} packets");
    Ok(())
}

/// Runs each packet through the native tracker and through the programs.
fn run_beside(kernel: &mut Kernel, capture: &Path) -> Result<u64> {
    let mut tables = Tables::new(replay::Limits {
        sessions: MOST,
        half_open: (MOST as usize).try_into()?,
    });
    let watched = watched();
    let (mut number, mut result) = (0, Ok(()));
    read(File::open(capture)?, |event| {
        if let CaptureEvent::Packet(packet) = event {
            number += 1;
            result = run_packet(kernel, &mut tables, &watched, packet)
                .with_context(|| format!("packet {number}"));
        }
        match &result {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    })?;
    result.map(|()| number)
}

fn run_packet(
    kernel: &mut Kernel,
    tables: &mut Tables,
    watched: &Watched,
    packet: Packet<'_>,
) -> Result<()> {
    let Ok(inner) = inner(packet.link, packet.bytes, packet.length) else {
        return Ok(());
    };
    let buffer = Buffer {
        time_ns: packet.time_ns.context("the capture has no times")?,
        length: inner.length,
        ifindex: IFINDEX,
        ..Buffer::default()
    };
    let taken = tables.take(watched, inner.framing, inner.bytes, &buffer);
    // The kernel has all of a packet, of which the capture may have kept the headers only.
    let mut bytes = inner.bytes.to_vec();
    bytes.resize(inner.length as usize, 0);
    let side = taken.as_ref().map_or(Side::Client, |(side, _)| *side);
    let context = context(taken.as_ref().ok().map(|(_, parsed)| parsed), &buffer);
    kernel.run(inner.framing, side, &bytes, context)?;
    match taken {
        Ok((_, parsed)) => same(kernel, tables, &parsed.key),
        Err(_) => Ok(()),
    }
}

/// What the kernel would know of the buffer: segments of a super-packet, and the time.
fn context(parsed: Option<&Parsed>, buffer: &Buffer) -> PacketContext {
    let merged = parsed.filter(|parsed| parsed.segment.segments > 1);
    PacketContext {
        time_ns: buffer.time_ns,
        gso_segs: merged.map_or(0, |parsed| parsed.segment.segments),
        gso_size: merged.map_or(0, |parsed| parsed.segment.segment_size),
        ingress_ifindex: 0,
    }
}

/// Fails unless both have the same of a flow, to the byte.
fn same(kernel: &Kernel, tables: &Tables, key: &FlowKey) -> Result<()> {
    let ours = kernel.table.find(key);
    let native = tables.session(key);
    if ours.as_ref().map(IntoBytes::as_bytes) != native.map(IntoBytes::as_bytes) {
        bail!("the kernel has {ours:#?}, the native tracker {native:#?}");
    }
    let (ours, native) = (kernel.attempt(key), tables.attempt(key));
    ensure!(
        ours == native,
        "the kernel has {ours:?}, the native tracker {native:?}"
    );
    Ok(())
}

/// Empties the kernel's tables.
fn forget_all(kernel: &mut Kernel) -> Result<()> {
    for slot in 0..kernel.capacity() {
        let record = kernel.read(slot);
        if record.head.state != 0 {
            kernel.retire(&[slot])?;
            kernel.release(&[slot])?;
        }
    }
    let attempts: Vec<_> = kernel.attempts().map(|(key, _)| key).collect();
    for key in attempts {
        kernel.forget_attempt(&key);
    }
    Ok(())
}

fn name(capture: &Path) -> String {
    let name = capture.file_stem().unwrap_or_default();
    name.to_string_lossy().into_owned()
}
