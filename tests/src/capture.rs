//! Captures, written from conversations: as any format and with any link layer.

use std::borrow::Cow;

use pcap_parser::{
    Block, EnhancedPacketBlock, InterfaceDescriptionBlock, LegacyPcapBlock, Linktype, OptionCode,
    PcapHeader, PcapNGOption, SectionHeaderBlock, ToVec,
};
use sstpulse_common::Framing;

use crate::{conversation::Conversation, rows};

/// A format of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// pcap, with times in microseconds.
    Microseconds,
    /// pcap, with times in nanoseconds.
    Nanoseconds,
    /// pcapng.
    Pcapng,
}

/// A link layer, and what it puts before IP.
#[derive(Clone, Copy, Debug)]
pub struct LinkLayer {
    /// Its number in the registry.
    pub link: Linktype,
    /// Its header, for IPv4.
    pub header: &'static [u8],
}

/// The link layers that are read.
pub const LINK_LAYERS: [LinkLayer; 8] = [
    LinkLayer {
        link: Linktype::ETHERNET,
        header: &[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0],
    },
    LinkLayer {
        link: Linktype::RAW,
        header: &[],
    },
    LinkLayer {
        link: Linktype::IPV4,
        header: &[],
    },
    // As a number of the machine that wrote it, and as one of the network.
    LinkLayer {
        link: Linktype::NULL,
        header: &[2, 0, 0, 0],
    },
    LinkLayer {
        link: Linktype::LOOP,
        header: &[0, 0, 0, 2],
    },
    LinkLayer {
        link: Linktype::LINUX_SLL,
        header: &[0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0, 8, 0],
    },
    LinkLayer {
        link: Linktype::LINUX_SLL2,
        header: &[8, 0, 0, 0, 0, 0, 0, 7, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0],
    },
    // 802.1Q, with the tag after the cooked header.
    LinkLayer {
        link: Linktype::LINUX_SLL2,
        header: &[
            0x81, 0, 0, 0, 0, 0, 0, 7, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0, 0, 9, 8, 0,
        ],
    },
];

/// A file that holds a conversation of bare IP packets, with `kept` bytes of each packet at
/// most, behind this link layer.
pub fn write(
    format: Format,
    layer: LinkLayer,
    kept: usize,
    conversation: &Conversation,
) -> Vec<u8> {
    let mut file = match format {
        Format::Pcapng => [section(), interface("eth0", layer.link)].concat(),
        Format::Microseconds => header(MICROSECONDS, layer.link),
        Format::Nanoseconds => header(NANOSECONDS, layer.link),
    };
    for packet in conversation.packets() {
        let bytes = [layer.header, &packet.bytes].concat();
        let recorded = Recorded {
            interface: 0,
            time_ns: packet.buffer.time_ns,
            length: bytes.len(),
            bytes: &bytes[..bytes.len().min(kept)],
            comment: None,
        };
        file.extend(match format {
            Format::Pcapng => recorded.block(),
            Format::Microseconds => recorded.record(1_000),
            Format::Nanoseconds => recorded.record(1),
        });
    }
    file
}

/// Marks of pcap files.
const MICROSECONDS: u32 = 0xa1b2_c3d4;
const NANOSECONDS: u32 = 0xa1b2_3c4d;

fn header(mark: u32, link: Linktype) -> Vec<u8> {
    let header = PcapHeader {
        magic_number: mark,
        snaplen: 262_144,
        network: link,
        ..PcapHeader::new()
    };
    header
        .to_vec_raw()
        .expect("writing to memory does not fail")
}

/// Name of the file that holds the table.
pub const ROWS: &str = "segments.pcapng";

/// The client's port in the first row; each further row has the next.
pub const FIRST_PORT: u16 = 40_000;

/// Time between the beginnings of two rows, in seconds: longer than any of them takes.
const APART_S: u64 = 3_600;

/// A pcapng file with every row of the table of segments that a capture can hold, each
/// introduced by what it shows, as a comment of its first packet. What a buffer's offload
/// says is in no capture, so rows that lean on it are left out.
pub fn of_rows() -> Vec<u8> {
    let mut file = section();
    file.extend(interface("eth0", Linktype::ETHERNET));
    file.extend(interface("tun0", Linktype::RAW));
    for (index, row) in (0..).zip(rows::table()) {
        let mut conversation = Conversation::new(FIRST_PORT + index);
        conversation.wait_ms(u64::from(index) * APART_S * 1_000);
        (row.talk)(&mut conversation);
        if !conversation.is_plain() {
            continue;
        }
        let interface = match conversation.framing() {
            Framing::Ethernet => 0,
            Framing::Ip => 1,
        };
        let mut comment = Some(row.what);
        for said in conversation.packets() {
            let packet = Recorded {
                interface,
                time_ns: said.buffer.time_ns,
                length: said.bytes.len(),
                bytes: &said.bytes,
                comment: comment.take(),
            };
            file.extend(packet.block());
        }
    }
    file
}

/// A packet to be written.
struct Recorded<'a> {
    interface: u32,
    time_ns: u64,
    /// On the wire.
    length: usize,
    /// As far as they are kept.
    bytes: &'a [u8],
    comment: Option<&'a str>,
}

fn section() -> Vec<u8> {
    const UNKNOWN: i64 = -1;
    bytes(Block::SectionHeader(SectionHeaderBlock {
        block_type: 0,
        block_len1: 0,
        bom: 0,
        major_version: 1,
        minor_version: 0,
        section_len: UNKNOWN,
        options: Vec::new(),
        block_len2: 0,
    }))
}

fn interface(name: &str, link: Linktype) -> Vec<u8> {
    const NANOSECONDS: u8 = 9;
    bytes(Block::InterfaceDescription(InterfaceDescriptionBlock {
        block_type: 0,
        block_len1: 0,
        linktype: link,
        reserved: 0,
        snaplen: 0,
        options: vec![
            option(OptionCode::IfName, name.as_bytes()),
            option(OptionCode::IfTsresol, &[NANOSECONDS]),
        ],
        block_len2: 0,
        if_tsresol: NANOSECONDS,
        if_tsoffset: 0,
    }))
}

impl Recorded<'_> {
    /// As a record of a pcap file, whose times have units of so many nanoseconds.
    fn record(&self, unit_ns: u64) -> Vec<u8> {
        const SECOND: u64 = 1_000_000_000;
        let small = |number: u64| u32::try_from(number).expect("the time fits");
        let record = LegacyPcapBlock {
            ts_sec: small(self.time_ns / SECOND),
            ts_usec: small(self.time_ns % SECOND / unit_ns),
            caplen: length(self.bytes.len()),
            origlen: length(self.length),
            data: self.bytes,
        };
        record
            .to_vec_raw()
            .expect("writing to memory does not fail")
    }

    /// As a block of a pcapng file, whose times are in nanoseconds.
    #[expect(clippy::cast_possible_truncation, reason = "the halves of a number")]
    fn block(&self) -> Vec<u8> {
        let comment = self
            .comment
            .map(|text| option(OptionCode::Comment, text.as_bytes()));
        bytes(Block::EnhancedPacket(EnhancedPacketBlock {
            block_type: 0,
            block_len1: 0,
            if_id: self.interface,
            ts_high: (self.time_ns >> 32) as u32,
            ts_low: self.time_ns as u32,
            caplen: length(self.bytes.len()),
            origlen: length(self.length),
            data: self.bytes,
            options: comment.into_iter().collect(),
            block_len2: 0,
        }))
    }
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("a packet is small")
}

fn option(code: OptionCode, value: &[u8]) -> PcapNGOption<'_> {
    PcapNGOption {
        code,
        len: u16::try_from(value.len()).expect("an option is short"),
        value: Cow::Borrowed(value),
    }
}

fn bytes(mut block: Block<'_>) -> Vec<u8> {
    block.to_vec().expect("writing to memory does not fail")
}

/// A pcap file that holds these Ethernet frames, each with its time in nanoseconds.
pub fn of_frames<'a>(frames: impl IntoIterator<Item = (u64, &'a [u8])>) -> Vec<u8> {
    let mut file = header(NANOSECONDS, Linktype::ETHERNET);
    for (time_ns, bytes) in frames {
        let recorded = Recorded {
            interface: 0,
            time_ns,
            length: bytes.len(),
            bytes,
            comment: None,
        };
        file.extend(recorded.record(1));
    }
    file
}
