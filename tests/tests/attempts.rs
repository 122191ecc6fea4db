//! The kernel's table of attempts is read in pieces: each attempt once, however many there are,
//! and whatever is forgotten meanwhile.

use std::{collections::BTreeSet, num::NonZeroU32};

use lab::{
    conversation::{Conversation, PORT},
    require_root,
};
use sstpulse::{
    kernel::{Kernel, Limits, PacketContext},
    report::Flows as _,
};

/// Attempts that are made.
const ATTEMPTS: u16 = 5_000;

/// No more are read at once, unless as many share a bucket.
const MOST_AT_ONCE: usize = 1_024;

fn kernel() -> Kernel {
    let limits = Limits {
        sessions: NonZeroU32::MIN,
        half_open: NonZeroU32::new(16_384).unwrap(),
    };
    let mut kernel = Kernel::load_for_test_runs(&BTreeSet::from([PORT]), limits).unwrap();
    for port in 0..ATTEMPTS {
        let mut conversation = Conversation::new(10_000 + port);
        conversation.syn();
        let packet = &conversation.packets()[0];
        kernel
            .run(
                conversation.framing(),
                packet.side,
                &packet.bytes,
                PacketContext::default(),
            )
            .unwrap();
    }
    kernel
}

#[tokio::test]
async fn each_attempt_is_read_once_though_those_that_were_read_are_forgotten() {
    if !require_root() {
        return;
    }
    for forget in [false, true] {
        let mut kernel = kernel();
        let mut clients = BTreeSet::new();
        let mut next = None;
        loop {
            let mut found = Vec::new();
            next = kernel.some_attempts(next, &mut found);
            assert!(found.len() <= MOST_AT_ONCE, "{} at once", found.len());
            for (key, _) in found {
                assert!(clients.insert(key.client_port), "{key:?} is read twice");
                assert!(!forget || kernel.forget_attempt(&key));
            }
            if next.is_none() {
                break;
            }
        }
        assert_eq!(clients.len(), usize::from(ATTEMPTS));
        let left = if forget { 0 } else { ATTEMPTS };
        assert_eq!(kernel.attempts().count(), usize::from(left));
    }
}
