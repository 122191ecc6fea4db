//! What segments mean: each row of the table goes through the native tracker and, packet by
//! packet, through the programs in the kernel; both must leave the same record, the same
//! attempt, the same counters.

use std::{collections::BTreeSet, num::NonZeroU32};

use lab::{
    conversation::{Conversation, PORT},
    require_root,
    rows::{Left, table},
};
use sstpulse::{
    kernel::{Kernel, Limits, PacketContext},
    report::Flows as _,
};

#[test]
fn the_native_tracker_leaves_what_it_must() {
    for row in table() {
        println!("{}", row.what);
        let mut conversation = Conversation::new(40_000);
        (row.talk)(&mut conversation);
        let native = conversation.replay();
        (row.expect)(&Left {
            session: native.session(&conversation.key()),
            attempt: native.attempt(&conversation.key()).as_ref(),
            counters: native.counters().unwrap(),
        });
    }
}

#[tokio::test]
async fn the_kernel_leaves_the_same_as_the_native_tracker() {
    if !require_root() {
        return;
    }
    let limits = Limits {
        sessions: NonZeroU32::new(1_024).unwrap(),
        half_open: NonZeroU32::new(1_024).unwrap(),
    };
    let ports = BTreeSet::from([PORT]);
    let mut kernel = Kernel::load_for_test_runs(&ports, limits).unwrap();
    for (row, port) in table().into_iter().zip(40_000..) {
        println!("{}", row.what);
        let mut conversation = Conversation::new(port);
        (row.talk)(&mut conversation);
        let native = conversation.replay();
        let before = kernel.counters().unwrap();
        run(&mut kernel, &conversation);

        let key = conversation.key();
        let session = kernel.slots.find(&key).map(|slot| kernel.table.read(slot));
        let attempt = kernel.attempts().find(|(flow, _)| *flow == key);
        assert_eq!(session.as_ref(), native.session(&key), "{}", row.what);
        assert_eq!(
            attempt.map(|(_, found)| found),
            native.attempt(&key),
            "{}",
            row.what
        );
        let mut counted = kernel.counters().unwrap();
        for (now, before) in counted.0.iter_mut().zip(before.0) {
            *now -= before;
        }
        assert_eq!(counted, native.counters().unwrap(), "{}", row.what);
    }
}

/// Runs each packet of a conversation through the program that would see it.
fn run(kernel: &mut Kernel, conversation: &Conversation) {
    const LEAVE_IT_TO_OTHERS: i32 = -1;
    for packet in conversation.packets() {
        let context = PacketContext {
            time_ns: packet.buffer.time_ns,
            gso_segs: packet.buffer.gso.map_or(0, |(segments, _)| segments),
            gso_size: packet.buffer.gso.map_or(0, |(_, size)| size),
            ingress_ifindex: u32::from(packet.buffer.forwarded),
        };
        let verdict = kernel
            .run(conversation.framing(), packet.side, &packet.bytes, context)
            .unwrap();
        assert_eq!(verdict, LEAVE_IT_TO_OTHERS);
    }
}
