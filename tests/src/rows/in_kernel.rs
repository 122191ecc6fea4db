//! The table in the kernel: each row leaves what it leaves in the native tracker.

use std::{collections::BTreeSet, num::NonZeroU32};

use anyhow::{Context as _, Result, ensure};
use sstpulse::{
    kernel::{Kernel, Limits, PacketContext},
    report::Flows as _,
};
use sstpulse_common::Counters;

use super::table;
use crate::conversation::{Conversation, PORT};

/// Leave the packet to whoever comes next (`TC_ACT_UNSPEC` of `linux/pkt_cls.h`).
const UNSPEC: i32 = -1;

/// Runs every row through the programs in the kernel, packet by packet. Fails unless record,
/// attempt and counters are the native tracker's. Returns the number of rows.
pub fn run_in_kernel() -> Result<usize> {
    let limits = Limits {
        sessions: NonZeroU32::new(1_024).context("a number")?,
        half_open: NonZeroU32::new(1_024).context("a number")?,
    };
    let mut kernel = Kernel::load_for_test_runs(&BTreeSet::from([PORT]), limits)?;
    let rows = table();
    for (row, port) in rows.iter().zip(40_000..) {
        println!("{}", row.what);
        let mut conversation = Conversation::new(port);
        (row.talk)(&mut conversation);
        compare(&mut kernel, &conversation).context(row.what)?;
    }
    Ok(rows.len())
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
