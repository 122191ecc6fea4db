//! The table in the kernel: each row leaves what it leaves in the native tracker, and tells
//! the same.

use std::{collections::BTreeSet, num::NonZeroU32};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use sstpulse::{
    kernel::{Kernel, Limits, Messages, PacketContext},
    report::{Flows as _, Message, Opening},
};
use sstpulse_common::{ChunkHeader, Counters, Framing, Notice, Side};

use super::{Left, table};
use crate::conversation::{Conversation, PORT};

/// Leave the packet to whoever comes next (`TC_ACT_UNSPEC` of `linux/pkt_cls.h`).
const UNSPEC: i32 = -1;

/// The programs, and the rings they tell through.
struct Programs {
    kernel: Kernel,
    rings: [Messages; 2],
}

/// How many rows went through the programs.
#[derive(Clone, Copy, Debug)]
pub struct Ran {
    /// Those that did.
    pub rows: usize,
    /// Those that can't in this kernel: what comes in by another interface can't be played
    /// before Linux 5.12.
    pub left_out: usize,
}

/// Runs every row through the programs in the kernel, packet by packet, within a Tokio
/// runtime. Fails unless record, attempt, counters and what is told are the native tracker's.
pub fn run_in_kernel() -> Result<Ran> {
    let limits = Limits {
        sessions: NonZeroU32::new(1_024).context("a number")?,
        half_open: NonZeroU32::new(1_024).context("a number")?,
    };
    let mut kernel = Kernel::load_for_test_runs(&BTreeSet::from([PORT]), limits)?;
    let plays_interfaces = plays_interfaces(&mut kernel);
    let notices = kernel.notices()?.context("the notices are taken")?;
    let openings = kernel.openings()?.context("the openings are taken")?;
    let mut programs = Programs {
        kernel,
        rings: [notices, openings],
    };
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
        compare(&mut programs, &conversation).context(row.what)?;
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

fn compare(programs: &mut Programs, conversation: &Conversation) -> Result<()> {
    let Programs { kernel, rings } = programs;
    let native = Left::natively(conversation);
    let before = kernel.counters()?;
    run(kernel, conversation)?;

    let key = conversation.key();
    let session = kernel.table.find(&key);
    let expected = native.session;
    ensure!(session == expected, "{session:#?}\n{expected:#?}");
    let attempt = kernel.attempts().find(|(flow, _)| *flow == key);
    let attempt = attempt.map(|(_, found)| found);
    let expected = native.attempt;
    ensure!(attempt == expected, "{attempt:?}\n{expected:?}");
    let counted = difference(kernel.counters()?, before);
    let expected = native.counters;
    ensure!(counted == expected, "{counted:?}\n{expected:?}");
    let mut messages = Vec::new();
    for ring in rings {
        ring.take_all(|some| messages.extend_from_slice(some));
    }
    let told = Heard::of(messages);
    let expected = Heard::of(native.told);
    ensure!(told == expected, "{told:?}\n{expected:?}");
    Ok(())
}

/// What was told, in whichever slot the session is. Each kind has its ring, and its order.
#[derive(Debug, Default, PartialEq, Eq)]
struct Heard {
    notices: Vec<Notice>,
    openings: Vec<(ChunkHeader, Bytes)>,
}

impl Heard {
    fn of(messages: impl IntoIterator<Item = Message>) -> Self {
        let mut heard = Self::default();
        for message in messages {
            match message {
                Message::Notice(notice) => heard.notices.push(Notice { slot: 0, ..notice }),
                Message::Opening(Opening { header, bytes }) => {
                    let header = ChunkHeader { slot: 0, ..header };
                    heard.openings.push((header, bytes));
                }
            }
        }
        heard
    }
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
