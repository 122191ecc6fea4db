//! Any bytes as a packet of any length, through the parser and the reader of options.
//!
//! The first four bytes are the length that the packet claims to have on the wire, the
//! others are what was kept of it.

use std::net::IpAddr;

use etherparse::{NetSlice, SlicedPacket, TcpOptionElement, TcpSlice, TransportSlice};
use sstpulse_common::{
    FlowKey, Framing, OptionReader, Parsed, Segment, Side, Skip, TcpFlags, TcpOptions,
    options::MOST_OPTIONS, packet::MOST_OFFSET, parse,
};

/// The watched ports; two, so that both ends can be on one.
const PORTS: [u16; 2] = [443, 8443];

/// Reads a packet in all ways there are, and checks what comes of it.
pub fn check(input: &[u8]) {
    let Some((length, packet)) = input.split_first_chunk() else {
        return;
    };
    let claimed = u32::from_le_bytes(*length);
    let kept = u32::try_from(packet.len()).expect("libFuzzer keeps to its limit");
    for framing in [Framing::Ethernet, Framing::Ip] {
        for length in [claimed, kept] {
            from_both_sides(packet, framing, length);
        }
        shortened(packet, framing, claimed);
        beside_etherparse(packet, framing, kept);
    }
}

fn watched(port: u16) -> bool {
    PORTS.contains(&port)
}

/// The two directions differ in which port decides, and in who is who.
fn from_both_sides(packet: &[u8], framing: Framing, length: u32) {
    let client = parse(packet, framing, Side::Client, length, watched);
    let server = parse(packet, framing, Side::Server, length, watched);
    for parsed in [client, server].into_iter().flatten() {
        whole(packet, length, &parsed);
    }
    match (client, server) {
        (Ok(client), Ok(server)) => {
            assert_eq!(client.key, mirrored(&server.key));
            assert_eq!(client.segment, server.segment);
        }
        (Ok(one), Err(other)) | (Err(other), Ok(one)) => {
            assert_eq!(other, Skip::NotOurs, "the side decides on nothing else");
            assert!(!watched(one.key.client_port));
        }
        (Err(client), Err(server)) => {
            let ports = client == Skip::NotOurs || server == Skip::NotOurs;
            assert!(ports || client == server, "{client:?} and {server:?}");
        }
    }
}

fn mirrored(key: &FlowKey) -> FlowKey {
    FlowKey {
        client: key.server,
        server: key.client,
        client_port: key.server_port,
        server_port: key.client_port,
    }
}

/// What holds for every segment.
fn whole(packet: &[u8], length: u32, parsed: &Parsed) {
    let Parsed {
        key,
        segment,
        options,
        options_length,
        options_matter,
    } = parsed;
    assert!(watched(key.server_port));
    let headers = u32::try_from(*options).expect("headers are short") + options_length;
    assert!(
        u64::from(headers) + u64::from(segment.payload) <= u64::from(length),
        "{headers} bytes of headers and {} of payload in {length}",
        segment.payload,
    );
    assert!(*options <= packet.len(), "the TCP header was not there");
    assert!(*options_length as usize <= MOST_OPTIONS && options_length % 4 == 0);
    assert!(*options_matter || !segment.flags.syn() || *options_length == 0);
    assert_eq!(
        (segment.segments, segment.segment_size),
        (1, segment.payload)
    );
    assert_eq!(
        (segment.options, segment.duplicate),
        (TcpOptions::default(), 0)
    );
    read_options(packet, parsed);
}

/// Options tell of the handshake in a SYN, and of duplicates elsewhere.
fn read_options(packet: &[u8], parsed: &Parsed) {
    let Some(completed) = completed(packet, parsed) else {
        let end = parsed.options + parsed.options_length as usize;
        assert!(end > packet.len(), "all options were there");
        return;
    };
    let TcpOptions {
        mss: _,
        window_scale,
        present,
    } = completed.options;
    assert!(window_scale <= TcpOptions::MAX_WINDOW_SCALE);
    assert!(window_scale == 0 || present & TcpOptions::WINDOW_SCALE != 0);
    if completed.flags.syn() {
        assert_eq!(completed.duplicate, 0);
        assert!(!completed.hole_reported);
    } else {
        assert_eq!(completed.options, TcpOptions::default());
    }
    if !parsed.options_matter {
        assert_eq!(completed, parsed.segment, "they did matter");
    }
    let read = Segment {
        options: TcpOptions::default(),
        duplicate: 0,
        hole_reported: false,
        ..completed
    };
    assert_eq!(read, parsed.segment, "options changed something else");
}

/// The segment with its options; `None` if they are not all there.
fn completed(packet: &[u8], parsed: &Parsed) -> Option<Segment> {
    let mut reader = OptionReader::default();
    let mut segment = parsed.segment;
    reader
        .read(packet, parsed.options, parsed.options_length)
        .then(|| reader.complete(&mut segment))
        .map(|()| segment)
}

/// Of a packet kept in part, the parser says the same or that too little was kept.
fn shortened(packet: &[u8], framing: Framing, claimed: u32) {
    let cut = &packet[..claimed as usize % (packet.len() + 1)];
    for side in [Side::Client, Side::Server] {
        let all = parse(packet, framing, side, claimed, watched);
        match (parse(cut, framing, side, claimed, watched), all) {
            (Err(Skip::Truncated), _) => {}
            (Err(cut), Err(all)) => assert_eq!(cut, all),
            (Ok(cut), Ok(all)) => {
                assert_eq!((cut.key, cut.segment), (all.key, all.segment));
                assert_eq!(
                    (cut.options, cut.options_length),
                    (all.options, all.options_length)
                );
            }
            (cut, all) => panic!("{cut:?}, and uncut {all:?}"),
        }
    }
}

/// What another parser makes of the same bytes.
fn beside_etherparse(packet: &[u8], framing: Framing, length: u32) {
    let theirs = match framing {
        Framing::Ethernet => SlicedPacket::from_ethernet(packet),
        Framing::Ip => SlicedPacket::from_ip(packet),
    };
    let Ok(theirs) = theirs else {
        return;
    };
    let (Some(net), Some(TransportSlice::Tcp(tcp))) = (&theirs.net, &theirs.transport) else {
        return;
    };
    match parse(packet, framing, Side::Client, length, watched) {
        Ok(ours) => same(packet, &ours, net, tcp),
        Err(why) => excused(why, &theirs, net, tcp, packet),
    }
}

/// The numbers are the same.
fn same(packet: &[u8], ours: &Parsed, net: &NetSlice<'_>, tcp: &TcpSlice<'_>) {
    let Parsed { key, segment, .. } = ours;
    let (source, destination, ttl) = match net {
        NetSlice::Ipv4(ip) => {
            let header = ip.header();
            (
                IpAddr::from(header.source_addr()),
                IpAddr::from(header.destination_addr()),
                header.ttl(),
            )
        }
        NetSlice::Ipv6(ip) => {
            let header = ip.header();
            (
                IpAddr::from(header.source_addr()).to_canonical(),
                IpAddr::from(header.destination_addr()).to_canonical(),
                header.hop_limit(),
            )
        }
        NetSlice::Arp(_) => panic!("no TCP over ARP"),
    };
    assert_eq!(
        (key.client().ip(), key.server().ip(), segment.ttl),
        (source, destination, ttl)
    );
    assert_eq!(
        (key.client_port, key.server_port),
        (tcp.source_port(), tcp.destination_port())
    );
    assert_eq!(
        (segment.seq, segment.ack, segment.window),
        (
            tcp.sequence_number(),
            tcp.acknowledgment_number(),
            tcp.window_size()
        )
    );
    assert_eq!(segment.payload as usize, tcp.payload().len());
    assert_eq!(
        flags(segment.flags),
        [tcp.fin(), tcp.syn(), tcp.rst(), tcp.ack()]
    );
    if let Some(completed) = completed(packet, ours) {
        same_options(&completed, tcp);
    }
}

fn flags(flags: TcpFlags) -> [bool; 4] {
    [flags.fin(), flags.syn(), flags.rst(), flags.ack()]
}

/// What a SYN announces is the same, unless the other reader found an option it can't read.
fn same_options(ours: &Segment, tcp: &TcpSlice<'_>) {
    let mut options = TcpOptions::default();
    let mut blocks = None;
    for option in tcp.options_iterator() {
        match option {
            Err(_) => return,
            Ok(TcpOptionElement::MaximumSegmentSize(mss)) => options.mss = mss,
            Ok(TcpOptionElement::WindowScale(scale)) => {
                options.window_scale = scale.min(TcpOptions::MAX_WINDOW_SCALE);
                options.present |= TcpOptions::WINDOW_SCALE;
            }
            Ok(TcpOptionElement::SelectiveAcknowledgementPermitted) => {
                options.present |= TcpOptions::SACK_PERMITTED;
            }
            Ok(TcpOptionElement::Timestamp(..)) => options.present |= TcpOptions::TIMESTAMPS,
            Ok(TcpOptionElement::SelectiveAcknowledgement(first, rest)) => {
                blocks = Some((first, rest[0]));
            }
            Ok(TcpOptionElement::Noop) => {}
        }
    }
    if ours.flags.syn() {
        assert_eq!(ours.options, options);
    } else if let Some((first, second)) = blocks {
        assert_eq!(ours.duplicate, duplicate(ours.ack, first, second));
    } else {
        assert_eq!(ours.duplicate, 0, "no SACK block, and yet a duplicate");
    }
}

/// What RFC 2883 (section 4) has the first block report, in whole numbers: as distances
/// from the acknowledgment.
fn duplicate(ack: u32, first: (u32, u32), second: Option<(u32, u32)>) -> u32 {
    let size = first.1.wrapping_sub(first.0);
    // One byte before the acknowledgment is that of a keepalive.
    let keepalive = size == 1 && first.1 == ack;
    if size == 0 || size > i32::MAX as u32 || keepalive {
        return 0;
    }
    let below = (1..1 << 31).contains(&ack.wrapping_sub(first.0));
    let within = second.is_some_and(|(start, end)| {
        let before = first.0.wrapping_sub(start);
        let behind = end.wrapping_sub(first.1);
        before < 1 << 31 && behind < 1 << 31
    });
    if below || within { size } else { 0 }
}

/// Where the other parser finds TCP, ours has a reason to find none: tags and extension
/// headers that it does not look behind.
fn excused(
    why: Skip,
    theirs: &SlicedPacket<'_>,
    net: &NetSlice<'_>,
    tcp: &TcpSlice<'_>,
    packet: &[u8],
) {
    let plain = match net {
        NetSlice::Ipv4(ip) => ip.extensions().is_empty(),
        NetSlice::Ipv6(ip) => ip.extensions().is_empty(),
        NetSlice::Arp(_) => false,
    };
    // What came before 802.1ad (0x9100) is no tag to our parser.
    let old = [12, 16].map(|at| packet.get(at..at + 2) == Some(&[0x91, 0]));
    let tags = theirs.vlan_ids().len();
    let at = tcp.slice().as_ptr().addr() - packet.as_ptr().addr();
    assert!(
        !watched(tcp.destination_port())
            || !plain
            || tags > 2
            || old.contains(&true)
            || theirs.link_exts.len() != tags
            || at > MOST_OFFSET,
        "{why:?}, but there is TCP at {at}"
    );
}
