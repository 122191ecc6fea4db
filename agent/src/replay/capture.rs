//! Captures: pcap and pcapng, read as a stream.

use std::{
    cell::RefCell,
    io::{self, Read},
    ops::ControlFlow,
    rc::Rc,
};

use pcap_parser::{
    Block, LegacyPcapReader, Linktype, PcapBlockOwned, PcapError, PcapHeader, PcapNGReader,
    pcapng::{EnhancedPacketBlock, InterfaceDescriptionBlock},
    traits::{PcapNGPacketBlock as _, PcapReaderIterator},
};
use thiserror::Error;

/// Bytes read at once.
const BUFFER: usize = 4 << 20;

/// Bytes of the largest block that is read.
const LARGEST_BLOCK: usize = 64 << 20;

/// The first bytes of a pcapng file: the type of its section header, the same in either
/// byte order.
const PCAPNG: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

/// Why a packet, or what comes in its place, can't be read.
const CONTRADICTION: &str = "its header contradicts itself";

/// The first bytes of what gzip, xz and zstd make.
const COMPRESSED: [&[u8]; 3] = [
    &[0x1f, 0x8b],
    &[0xfd, b'7', b'z', b'X', b'Z'],
    &[0x28, 0xb5, 0x2f, 0xfd],
];

/// Bytes of a pcap file's header.
const PCAP_HEADER: usize = 24;

/// The latest time that counts as one, in the year 2262. What is planned from it on has
/// room after it.
const LATEST_NS: u64 = i64::MAX as u64;

/// A packet as the capture has it.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// When it passed, in nanoseconds since 1970; `None` if the capture doesn't say, or says
    /// what is no time.
    pub time_ns: Option<u64>,
    /// Its link layer.
    pub link: Linktype,
    /// Number of the interface it passed, from 1 on.
    pub interface: u32,
    /// Its length on the wire, in bytes.
    pub length: u32,
    /// Its bytes, as far as they were kept.
    pub bytes: &'a [u8],
}

/// What a capture holds.
#[derive(Clone, Copy, Debug)]
pub enum CaptureEvent<'a> {
    /// An interface with this number has this name.
    Interface(u32, &'a str),
    /// A packet.
    Packet(Packet<'a>),
}

/// Why a capture can't be read to its end.
#[derive(Debug, Error)]
pub enum CaptureError {
    /// There is nothing in it.
    #[error("it is empty")]
    Empty,
    /// It is no capture.
    #[error("it is neither pcap nor pcapng")]
    NotACapture,
    /// It is packed.
    #[error("it is compressed; pipe it in, as in `zcat FILE | sstpulse replay -`")]
    Compressed,
    /// It contradicts itself, or ends too early.
    #[error("it is damaged at packet {packet}: {why}")]
    Damaged {
        /// Number of the packet, from 1 on, that can't be read.
        packet: u64,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Reading failed.
    #[error("reading fails: {0}")]
    Read(io::Error),
}

/// What a capture says of an interface.
struct Interface {
    link: Linktype,
    /// Units of its timestamps in a second.
    resolution: u64,
    /// What is to be added to its timestamps, in seconds.
    offset_s: i64,
}

/// A capture, as far as it was read.
#[derive(Default)]
struct State {
    /// Packets so far.
    packets: u64,
    interfaces: Vec<Interface>,
    /// Interfaces of earlier sections of a pcapng file.
    earlier: u32,
    /// Timestamps of a pcap file are in nanoseconds.
    nanoseconds: bool,
    /// How this section of a pcapng file writes numbers; `None` in a pcap file.
    number: Option<fn([u8; 4]) -> u32>,
}

/// Reads a capture to its end, or until `take` breaks off.
pub fn read(
    input: impl Read,
    mut take: impl FnMut(CaptureEvent<'_>) -> ControlFlow<()>,
) -> Result<(), CaptureError> {
    let failure = Rc::new(RefCell::new(None));
    let input = Input {
        inner: input,
        head: Vec::new(),
        failure: Rc::clone(&failure),
    };
    let result = read_blocks(input, &mut take);
    match failure.take() {
        Some(error) => Err(CaptureError::Read(error)),
        None => result,
    }
}

fn read_blocks(
    input: Input<impl Read>,
    take: &mut impl FnMut(CaptureEvent<'_>) -> ControlFlow<()>,
) -> Result<(), CaptureError> {
    let mut reader = open(input)?;
    let mut state = State::default();
    loop {
        if state.too_short(reader.data()) {
            return Err(state.damaged(CONTRADICTION));
        }
        match reader.next() {
            Ok((length, block)) => {
                let flow = state.block(&block, take);
                drop(block);
                reader.consume(length);
                match flow {
                    Ok(ControlFlow::Continue(())) => {}
                    Ok(ControlFlow::Break(())) => return Ok(()),
                    Err(error) => return Err(error),
                }
            }
            Err(PcapError::Eof) => return Ok(()),
            // Blocks that hold no packet may be larger than any packet.
            Err(PcapError::BufferTooSmall) => {
                let length = state.block_length(reader.data()).unwrap_or(usize::MAX);
                if length > LARGEST_BLOCK || !reader.grow(length + BUFFER) {
                    return Err(state.damaged(explain(&PcapError::BufferTooSmall)));
                }
            }
            Err(PcapError::Incomplete(_)) => {
                if let Err(error) = reader.refill() {
                    return Err(state.damaged(explain(&error)));
                }
            }
            Err(error) => return Err(state.damaged(explain(&error))),
        }
    }
}

/// Finds out the format, and begins to read.
fn open<'a, R: Read + 'a>(
    mut input: Input<R>,
) -> Result<Box<dyn PcapReaderIterator + 'a>, CaptureError> {
    input.read_head().map_err(CaptureError::Read)?;
    if input.head.is_empty() {
        return Err(CaptureError::Empty);
    }
    if COMPRESSED.iter().any(|mark| input.head.starts_with(mark)) {
        return Err(CaptureError::Compressed);
    }
    let pcapng = input.head.starts_with(&PCAPNG);
    let reader: Result<Box<dyn PcapReaderIterator>, _> = if pcapng {
        PcapNGReader::new(BUFFER, input).map(|reader| Box::new(reader) as _)
    } else {
        LegacyPcapReader::new(BUFFER, input).map(|reader| Box::new(reader) as _)
    };
    reader.map_err(|error| match error {
        PcapError::HeaderNotRecognized => CaptureError::NotACapture,
        error => CaptureError::Damaged {
            packet: 1,
            why: match error {
                PcapError::Incomplete(_) => "the file ends within its header",
                _ => "the file's header contradicts itself",
            },
        },
    })
}

/// What an error means for the packet that was to be read.
fn explain(error: &PcapError<&[u8]>) -> &'static str {
    match error {
        PcapError::UnexpectedEof | PcapError::Eof | PcapError::Incomplete(_) => {
            "the file ends within it"
        }
        PcapError::BufferTooSmall => "it claims to be larger than any packet",
        _ => CONTRADICTION,
    }
}

impl State {
    /// Whether the block that `data` begins with claims to be shorter than any can be. The
    /// crate takes 12 bytes off the length of some blocks before it looks at it.
    fn too_short(&self, data: &[u8]) -> bool {
        /// Type, length, and the length again.
        const LEAST: usize = 12;

        self.block_length(data).is_some_and(|length| length < LEAST)
    }

    /// The length that the block of a pcapng file claims which `data` begins with.
    fn block_length(&self, data: &[u8]) -> Option<usize> {
        let length = data.get(4..)?.first_chunk()?;
        Some(self.number?(*length) as usize)
    }

    fn damaged(&self, why: &'static str) -> CaptureError {
        CaptureError::Damaged {
            packet: self.packets + 1,
            why,
        }
    }

    fn block(
        &mut self,
        block: &PcapBlockOwned<'_>,
        take: &mut impl FnMut(CaptureEvent<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, CaptureError> {
        let packet = match block {
            PcapBlockOwned::LegacyHeader(header) => {
                self.header(header);
                return Ok(ControlFlow::Continue(()));
            }
            PcapBlockOwned::Legacy(packet) => {
                let unit = if self.nanoseconds { 1 } else { 1_000 };
                let fraction_ns = u64::from(packet.ts_usec) * unit;
                Packet {
                    time_ns: Some(u64::from(packet.ts_sec) * 1_000_000_000 + fraction_ns),
                    link: self.interface(0)?.link,
                    interface: 1,
                    length: packet.origlen,
                    bytes: packet.data,
                }
            }
            PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
                let interface = self.interface(packet.if_id)?;
                Packet {
                    time_ns: interface.time_ns(packet),
                    link: interface.link,
                    interface: self.number_of(packet.if_id),
                    length: packet.origlen,
                    bytes: packet.packet_data(),
                }
            }
            PcapBlockOwned::NG(Block::SimplePacket(packet)) => Packet {
                time_ns: None,
                link: self.interface(0)?.link,
                interface: 1,
                length: packet.origlen,
                bytes: packet.packet_data(),
            },
            PcapBlockOwned::NG(Block::InterfaceDescription(interface)) => {
                return Ok(self.describe(interface, take));
            }
            PcapBlockOwned::NG(Block::SectionHeader(section)) => {
                self.earlier = self.earlier.saturating_add(length_of(&self.interfaces));
                self.interfaces.clear();
                self.number = Some(if section.big_endian() {
                    u32::from_be_bytes
                } else {
                    u32::from_le_bytes
                });
                return Ok(ControlFlow::Continue(()));
            }
            // Names, statistics, keys, comments.
            PcapBlockOwned::NG(_) => return Ok(ControlFlow::Continue(())),
        };
        self.packets += 1;
        Ok(take(CaptureEvent::Packet(packet)))
    }

    /// The number of an interface of this section, from 1 on, and unlike any other's.
    const fn number_of(&self, index: u32) -> u32 {
        self.earlier.saturating_add(index).saturating_add(1)
    }

    fn interface(&self, index: u32) -> Result<&Interface, CaptureError> {
        self.interfaces
            .get(index as usize)
            .ok_or_else(|| self.damaged("it names an interface that the file does not describe"))
    }

    fn header(&mut self, header: &PcapHeader) {
        self.nanoseconds = header.is_nanosecond_precision();
        self.interfaces = vec![Interface {
            // The upper half tells of frame check sequences.
            link: Linktype(header.network.0 & 0xffff),
            resolution: 1,
            offset_s: 0,
        }];
    }

    fn describe(
        &mut self,
        interface: &InterfaceDescriptionBlock<'_>,
        take: &mut impl FnMut(CaptureEvent<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        self.interfaces.push(Interface {
            link: interface.linktype,
            resolution: resolution(interface.if_tsresol),
            offset_s: interface.if_tsoffset,
        });
        match interface.if_name() {
            Some(Ok(name)) => {
                let number = self.number_of(length_of(&self.interfaces) - 1);
                take(CaptureEvent::Interface(number, name))
            }
            _ => ControlFlow::Continue(()),
        }
    }
}

fn length_of(interfaces: &[Interface]) -> u32 {
    u32::try_from(interfaces.len()).unwrap_or(u32::MAX)
}

/// Units in a second: a negative power of ten, or of two with the highest bit set; beyond
/// what a number holds, the finest it does.
fn resolution(code: u8) -> u64 {
    let power = u32::from(code & 0x7f);
    let base: u64 = if code & 0x80 == 0 { 10 } else { 2 };
    base.checked_pow(power).unwrap_or(u64::MAX)
}

impl Interface {
    /// When a packet passed; `None` if that is before 1970 or after [`LATEST_NS`].
    fn time_ns(&self, packet: &EnhancedPacketBlock<'_>) -> Option<u64> {
        const SECOND: u64 = 1_000_000_000;

        let units = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
        let (seconds, rest) = (units / self.resolution, units % self.resolution);
        let fraction_ns = u128::from(rest) * u128::from(SECOND) / u128::from(self.resolution);
        let time_ns = seconds
            .checked_add_signed(self.offset_s)?
            .checked_mul(SECOND)?
            // Less than a second.
            .checked_add(u64::try_from(fraction_ns).ok()?)?;
        (time_ns <= LATEST_NS).then_some(time_ns)
    }
}

/// Reads so that the first piece holds the whole header of the file, as the crate wants it,
/// and keeps the reason of a failure, which the crate does not.
struct Input<R> {
    inner: R,
    head: Vec<u8>,
    failure: Rc<RefCell<Option<io::Error>>>,
}

impl<R: Read> Input<R> {
    /// Reads the header. A pipe may bring it in pieces.
    fn read_head(&mut self) -> io::Result<()> {
        self.read_until(PCAP_HEADER)?;
        if let Some((&PCAPNG, rest)) = self.head.split_first_chunk()
            && let Some((length, rest)) = rest.split_first_chunk::<4>()
        {
            /// The byte order mark, little-endian.
            const LITTLE: [u8; 4] = [0x4d, 0x3c, 0x2b, 0x1a];
            let section = if rest.starts_with(&LITTLE) {
                u32::from_le_bytes(*length)
            } else {
                u32::from_be_bytes(*length)
            };
            self.read_until((section as usize).min(BUFFER / 2))?;
        }
        Ok(())
    }

    fn read_until(&mut self, length: usize) -> io::Result<()> {
        let missing = length.saturating_sub(self.head.len()) as u64;
        (&mut self.inner)
            .take(missing)
            .read_to_end(&mut self.head)
            .map(drop)
    }
}

impl<R: Read> Read for Input<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.head.is_empty() {
            let length = self.head.len().min(buffer.len());
            buffer[..length].copy_from_slice(&self.head[..length]);
            self.head.drain(..length);
            return Ok(length);
        }
        loop {
            match self.inner.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.failure.replace(Some(error));
                    return Err(io::ErrorKind::Other.into());
                }
                result => return result,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The beginning of a pcapng file whose clock counts seconds.
    fn capture() -> Vec<u8> {
        const SECTION: [u32; 4] = [0x1a2b_3c4d, 1, u32::MAX, u32::MAX];
        const ETHERNET: [u32; 2] = [1, 0];
        const RESOLUTION: [u32; 3] = [0x0001_0009, 0, 0];

        let mut file = block(0x0a0d_0d0a, &SECTION);
        file.extend(block(1, &[&ETHERNET[..], &RESOLUTION].concat()));
        file
    }

    fn block(kind: u32, body: &[u32]) -> Vec<u8> {
        let length = u32::try_from(4 * body.len() + 12).unwrap();
        let words = [&[kind, length], body, &[length]].concat();
        words.into_iter().flat_map(u32::to_le_bytes).collect()
    }

    /// The times of a capture's packets, and how reading it ended.
    fn times(file: &[u8]) -> (Vec<Option<u64>>, Result<(), CaptureError>) {
        let mut times = Vec::new();
        let result = read(file, |event| {
            if let CaptureEvent::Packet(packet) = event {
                times.push(packet.time_ns);
            }
            ControlFlow::Continue(())
        });
        (times, result)
    }

    #[test]
    fn a_time_that_nothing_can_follow_is_none() {
        let last_s = LATEST_NS / 1_000_000_000;
        let mut file = capture();
        for time in [1_700_000_000, last_s, last_s + 1, u64::MAX] {
            let high = u32::try_from(time >> 32).unwrap();
            let low = u32::try_from(time & u64::from(u32::MAX)).unwrap();
            file.extend(block(6, &[0, high, low, 0, 0]));
        }
        let (times, result) = times(&file);
        let seconds = |s: u64| Some(s * 1_000_000_000);
        assert_eq!(times, [seconds(1_700_000_000), seconds(last_s), None, None]);
        result.unwrap();
    }

    #[test]
    fn a_block_shorter_than_any_is_damaged() {
        const PROCESS_INFORMATION: u32 = 0x8000_0001;
        let mut file = capture();
        file.extend(PROCESS_INFORMATION.to_le_bytes());
        file.extend(4_u32.to_le_bytes());
        let (_, result) = times(&file);
        let damaged = matches!(result, Err(CaptureError::Damaged { packet: 1, .. }));
        assert!(damaged, "{result:?}");
    }
}
