//! Captures: written from conversations.

use std::borrow::Cow;

use pcap_parser::{
    Block, EnhancedPacketBlock, InterfaceDescriptionBlock, Linktype, OptionCode, PcapNGOption,
    SectionHeaderBlock, ToVec,
};
use sstpulse_common::Framing;

use crate::{conversation::Conversation, rows};

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
    #[expect(clippy::cast_possible_truncation, reason = "the halves of a number")]
    fn block(&self) -> Vec<u8> {
        let length = u32::try_from(self.bytes.len()).expect("a packet is small");
        let comment = self
            .comment
            .map(|text| option(OptionCode::Comment, text.as_bytes()));
        bytes(Block::EnhancedPacket(EnhancedPacketBlock {
            block_type: 0,
            block_len1: 0,
            if_id: self.interface,
            ts_high: (self.time_ns >> 32) as u32,
            ts_low: self.time_ns as u32,
            caplen: length,
            origlen: length,
            data: self.bytes,
            options: comment.into_iter().collect(),
            block_len2: 0,
        }))
    }
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
