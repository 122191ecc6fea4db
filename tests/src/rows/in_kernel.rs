//! The table in the kernel: each row leaves what it leaves in the native tracker.

use std::{collections::BTreeSet, num::NonZeroU32};

use anyhow::{Context as _, Result, ensure};
use sstpulse::{
    kernel::{Kernel, Limits, PacketContext},
    report::Flows as _,
};
use sstpulse_common::{Counters, Framing, Side};

use super::table;
use crate::conversation::{Conversation, PORT};

/// Leave the packet to whoever comes next (`TC_ACT_UNSPEC` of `linux/pkt_cls.h`).
const UNSPEC: i32 = -1;

/// How many rows went through the programs.
#[derive(Clone, Copy, Debug)]
pub struct Ran {
    /// Those that did.
    pub rows: usize,
    /// Those that can't in this kernel: what comes in by another interface can't be played
    /// before Linux 5.12.
    pub left_out: usize,
}

/// Runs every row through the programs in the kernel, packet by packet. Fails unless record,
/// attempt and counters are the native tracker's.
pub fn run_in_kernel() -> Result<Ran> {
    let limits = Limits {
        sessions: NonZeroU32::new(1_024).context("a number")?,
        half_open: NonZeroU32::new(1_024).context("a number")?,
    };
    let mut kernel = Kernel::load_for_test_runs(&BTreeSet::from([PORT]), limits)?;
    let plays_interfaces = plays_interfaces(&mut kernel);
    let mut ran = Ran {
        rows: 0,
        left_out: 0,
    };
    for (row, port) in table().iter().zip(40_000..) {
        println!("{}", row.what);
        let mut conversation = Conversation::new(port);
        (row.talk)(&mut conversation);
        let mut packets = conversation.packets().iter();
        if !plays_interfaces && packets.any(|packet| packet.buffer.forwarded) {
            ran.left_out += 1;
            continue;
        }
        compare(&mut kernel, &conversation).context(row.what)?;
        ran.rows += 1;
    }
    Ok(ran)
}

/// Whether a test run may say by which interface a packet came in.
fn plays_interfaces(kernel: &mut Kernel) -> bool {
    let context = PacketContext {
        ingress_ifindex: 1,
        ..PacketContext::default()
    };
    kernel
        .run(Framing::Ethernet, Side::Server, &[0; 60], context)
        .is_ok()
}

fn compare(kernel: &mut Kernel, conversation: &Conversation) -> Result<()> {
    let native = conversation.replay();
    let before = kernel.counters()?;
    run(kernel, conversation)?;

    let key = conversation.key();
    let session = kernel.slots.find(&key).map(|slot| kernel.table.read(slot));
    let expected = native.session(&key);
    ensure!(session.as_ref() == expected, "{session:#?}\n{expected:#?}");
    let attempt = kernel.attempts().find(|(flow, _)| *flow == key);
    let attempt = attempt.map(|(_, found)| found);
    let expected = native.attempt(&key);
    ensure!(attempt == expected, "{attempt:?}\n{expected:?}");
    let counted = difference(kernel.counters()?, before);
    let expected = native.counters()?;
    ensure!(counted == expected, "{counted:?}\n{expected:?}");
    Ok(())
}

fn difference(mut after: Counters, before: Counters) -> Counters {
    for (after, before) in after.0.iter_mut().zip(before.0) {
        *after -= before;
    }
    after
}

/// Runs each packet of a conversation through the program that would see it.
fn run(kernel: &mut Kernel, conversation: &Conversation) -> Result<()> {
    for packet in conversation.packets() {
        let context = PacketContext {
            time_ns: packet.buffer.time_ns,
            gso_segs: packet.buffer.gso.map_or(0, |(segments, _)| segments),
            gso_size: packet.buffer.gso.map_or(0, |(_, size)| size),
            ingress_ifindex: u32::from(packet.buffer.forwarded),
        };
        let verdict = kernel.run(conversation.framing(), packet.side, &packet.bytes, context)?;
        ensure!(verdict == UNSPEC, "the program returns {verdict}");
    }
    Ok(())
}
