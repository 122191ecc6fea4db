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

/// Programs with room for so many sessions, if they can be loaded.
fn kernel(sessions: u32) -> Option<Kernel> {
    let sessions = NonZeroU32::new(sessions)?;
    let limits = Limits {
        sessions,
        half_open: sessions,
    };
    require_root().then(|| Kernel::load_for_test_runs(&BTreeSet::from([PORT]), limits).unwrap())
}

fn run(kernel: &mut Kernel, conversation: &Conversation, packet: usize) {
    let packet = &conversation.packets()[packet];
    let context = PacketContext {
        time_ns: packet.buffer.time_ns,
        ..PacketContext::default()
    };
    kernel
        .run(conversation.framing(), packet.side, &packet.bytes, context)
        .unwrap();
}

#[tokio::test]
async fn a_scan_of_the_kernels_table_does_so_too() {
    let Some(mut kernel) = kernel(SLOTS) else {
        return;
    };
    let conversation = conversation();
    check(&mut kernel, |kernel, packet| {
        run(kernel, &conversation, packet);
    });
}

#[tokio::test]
async fn of_many_slots_those_are_found_that_have_stirred() {
    /// More than there are marks in a few cache lines.
    const MANY: u16 = 300;

    let Some(mut kernel) = kernel(MANY.into()) else {
        return;
    };
    let conversations: Vec<_> = (0..MANY)
        .map(|number| {
            let mut conversation = Conversation::new(40_000 + number);
            conversation.handshake().send(c(0, 0, 100));
            conversation
        })
        .collect();
    let last = conversations[0].packets().len() - 1;
    for conversation in &conversations {
        (0..=last).for_each(|packet| run(&mut kernel, conversation, packet));
    }
    let mut scan = Scan::new(kernel.capacity());
    let all = looked_at(&mut scan, &mut kernel, 1_000);
    assert_eq!(all.len(), usize::from(MANY));
    assert_eq!(looked_at(&mut scan, &mut kernel, 7), all, "once more");
    for (step, every) in [(1, 1), (5, 7), (64, 64), (1_000, 300)] {
        let mut keys = BTreeSet::new();
        for conversation in conversations.iter().step_by(every) {
            run(&mut kernel, conversation, last);
            keys.insert(conversation.key().client_port);
        }
        for _ in ["at first", "once more"] {
            let slots = looked_at(&mut scan, &mut kernel, step);
            assert!(slots.is_sorted());
            let found = slots
                .iter()
                .map(|slot| kernel.read(*slot).head.key.client_port);
            assert_eq!(found.collect::<BTreeSet<_>>(), keys);
            assert_eq!(slots.len(), keys.len());
        }
        assert_eq!(looked_at(&mut scan, &mut kernel, step), NONE);
    }
}
