//! What a scan looks at: a slot in which a segment has come, that slot once more, and then
//! nothing until the next one. In plain memory and in the kernel's.

use std::{collections::BTreeSet, num::NonZeroU32};

use lab::{
    conversation::{Conversation, PORT, c, s},
    require_root,
};
use sstpulse::{
    kernel::{Kernel, Limits, PacketContext},
    report::{Flows, Scan},
};

/// Slots of the table.
const SLOTS: u32 = 16;

const NONE: [u32; 0] = [];

/// The slots that one scan looks at, in steps of `step` slots.
fn looked_at(scan: &mut Scan, flows: &mut impl Flows, step: u32) -> Vec<u32> {
    let mut slots = Vec::new();
    scan.begin();
    while !scan.is_done(flows) {
        let mut budget = step;
        while let Some(slot) = scan.next(flows, &mut budget) {
            slots.push(slot);
        }
    }
    slots
}

/// A handshake, and some data later.
fn conversation() -> Conversation {
    let mut conversation = Conversation::new(40_000);
    conversation.handshake().send(c(0, 0, 100));
    conversation.send(s(0, 100, 100));
    conversation
}

/// Plays a conversation but for its last segment, then that one, and checks what a scan finds.
fn check<F: Flows>(flows: &mut F, mut play: impl FnMut(&mut F, usize)) {
    let last = conversation().packets().len() - 1;
    (0..last).for_each(|packet| play(flows, packet));
    for step in [1, SLOTS] {
        let mut scan = Scan::new(SLOTS);
        play(flows, last);
        let slots = looked_at(&mut scan, flows, step);
        assert_eq!(slots.len(), 1, "there is one session");
        assert_eq!(looked_at(&mut scan, flows, step), slots, "once more");
        assert_eq!(looked_at(&mut scan, flows, step), NONE);
        play(flows, last);
        assert_eq!(looked_at(&mut scan, flows, step), slots, "it has stirred");
        assert_eq!(looked_at(&mut scan, flows, step), slots, "once more");
        assert_eq!(looked_at(&mut scan, flows, step), NONE);
    }
}

#[test]
fn a_scan_looks_at_what_has_changed_and_once_more() {
    let conversation = conversation();
    let packets = conversation.packets();
    let mut tables = Conversation::new(1).replay();
    check(&mut tables, |tables, packet| {
        conversation.take(&packets[packet], tables).unwrap();
    });
}

#[tokio::test]
async fn a_scan_of_the_kernels_table_does_so_too() {
    if !require_root() {
        return;
    }
    let sessions = NonZeroU32::new(SLOTS).unwrap();
    let limits = Limits {
        sessions,
        half_open: sessions,
    };
    let mut kernel = Kernel::load_for_test_runs(&BTreeSet::from([PORT]), limits).unwrap();
    let conversation = conversation();
    let packets = conversation.packets();
    check(&mut kernel, |kernel, packet| {
        let packet = &packets[packet];
        let context = PacketContext {
            time_ns: packet.buffer.time_ns,
            ..PacketContext::default()
        };
        kernel
            .run(conversation.framing(), packet.side, &packet.bytes, context)
            .unwrap();
    });
}
