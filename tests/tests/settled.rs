//! How a tunnel came up is known until a server that refuses it would have said so, and closed.

use std::{collections::BTreeSet, fs::File, num::NonZeroUsize, ops::ControlFlow};

use lab::{Reporter, accuracy::captures_folder, reporter::IFINDEX};
use sstpulse::{
    replay::{Buffer, CaptureEvent, Limits, Tables, Watched, read},
    report::Flows as _,
};
use sstpulse_common::{Framing, record::Attention};

const SECOND_NS: u64 = 1_000_000_000;

/// Slots of the table.
const SLOTS: u32 = 4;

/// A real session from its first segment to its last.
const CAPTURE: &str = "sstp-clean.pcap";

/// Lines until it is known that its tunnel is up: `session.start` and `session.tls`.
const UP: u64 = 2;

#[test]
fn what_is_said_is_no_longer_wanted_once_a_tunnel_is_long_up() {
    let watched = Watched::new(&BTreeSet::from([443]), Vec::new());
    let mut tables = Tables::new(Limits {
        sessions: SLOTS,
        half_open: NonZeroUsize::MIN.saturating_add(3),
    });
    let mut reporter = Reporter::new(SLOTS);
    let packets = packets();
    let mut packets = packets.iter();
    let play = |(time_ns, bytes): &(u64, Vec<u8>), tables: &mut Tables| {
        let buffer = Buffer {
            time_ns: *time_ns,
            length: u32::try_from(bytes.len()).unwrap(),
            ifindex: IFINDEX,
            ..Buffer::default()
        };
        tables
            .take(&watched, Framing::Ethernet, bytes, &buffer)
            .unwrap();
        tables.take_messages()
    };

    let mut up_ns = 0;
    while reporter.written() < UP {
        let packet = packets.next().unwrap();
        let messages = play(packet, &mut tables);
        reporter.take(&mut tables, &messages);
        up_ns = packet.0;
    }
    for (after_ns, wanted) in [
        (0, true),
        (9 * SECOND_NS - 1, true),
        (10 * SECOND_NS, false),
    ] {
        let Ok(()) = reporter.settle(&mut tables, up_ns + after_ns);
        assert_eq!(wants_payload(&tables), wanted, "{after_ns} ns after");
    }

    // Nothing is lost of what comes then.
    for packet in packets {
        let messages = play(packet, &mut tables);
        reporter.take(&mut tables, &messages);
    }
    let Ok(()) = reporter.settle(&mut tables, up_ns + 3_600 * SECOND_NS);
    let stats = reporter.sessions().stats();
    assert_eq!((stats.started, stats.ended, stats.live), (1, 1, 0));
    assert_eq!(reporter.sessions().payloads_late(), 0);
}

/// Its packets, and when they came.
fn packets() -> Vec<(u64, Vec<u8>)> {
    let file = File::open(captures_folder().join(CAPTURE)).unwrap();
    let mut packets = Vec::new();
    read(file, |event| {
        if let CaptureEvent::Packet(packet) = event {
            packets.push((packet.time_ns.unwrap(), packet.bytes.to_vec()));
        }
        ControlFlow::Continue(())
    })
    .unwrap();
    packets
}

/// Whether the programs are to hand over what the only session says.
fn wants_payload(tables: &Tables) -> bool {
    let slots = (0..tables.capacity()).map(|slot| tables.read(slot).head);
    let session = slots.max_by_key(|head| head.start_ns).unwrap();
    session.attention & Attention::NO_PAYLOAD == 0
}
