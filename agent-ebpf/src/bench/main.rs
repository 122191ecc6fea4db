//! Programs to measure the others by.
//!
//! `drive` turns the packet of a test run into the next one of a great many flows, and hands
//! it on by a tail call to whatever is measured: the programs themselves, `floor`, or
//! `empty`. So the cost of the test is the same in all of them, and goes away in the
//! difference.

#![no_std]
#![no_main]
#![expect(
    clippy::inline_always,
    reason = "the programs are small, and a call costs registers and stack"
)]
#![expect(
    clippy::needless_pass_by_value,
    reason = "the shape that aya gives a program"
)]

#[expect(dead_code, reason = "shared with the benchmark, which uses the rest")]
mod drive;

use aya_ebpf::{
    bindings::{BPF_ANY, TC_ACT_SHOT, TC_ACT_UNSPEC},
    btf_maps::{Array, HashMap, ProgramArray},
    macros::{btf_map, classifier},
    programs::TcContext,
};

/// What the driver is told.
#[btf_map]
static DRIVE: Array<[u32; drive::WORDS], 1> = Array::new();

/// Whom it hands packets to: the program that sees what clients send, and the other.
#[btf_map]
static TARGETS: ProgramArray<2> = ProgramArray::new();

/// What `floor` looks flows up in.
#[btf_map]
static FLOWS: HashMap<FlowKey, Counts, 1> = HashMap::new();

/// The key of the floor program: 40 bytes.
#[derive(Clone, Copy)]
#[repr(C)]
struct FlowKey {
    client: [u32; 4],
    server: [u32; 4],
    client_port: u16,
    server_port: u16,
    protocol: u32,
}

/// Its value: four counters, and as much as makes it about 180 bytes.
#[derive(Clone, Copy)]
#[repr(C)]
struct Counts {
    packets: u64,
    bytes: u64,
    acknowledgments: u64,
    pushes: u64,
    rest: [u64; 18],
}

const ETHERNET: usize = 14;
const IPV4_ADDRESSES: usize = ETHERNET + 12;
const IPV4_TCP: usize = ETHERNET + 20;
const IPV6_ADDRESSES: usize = ETHERNET + 8;
const IPV6_TCP: usize = ETHERNET + 40;
/// As they stand on the wire.
const IPV4: u16 = 0x0800_u16.to_be();
const IPV6: u16 = 0x86dd_u16.to_be();
const TCP: u8 = 6;
const SERVER_PORT: u16 = 443_u16.to_be();
const CLIENT_PORT: u16 = 40_000_u16.to_be();
/// The server's address, and the first of the clients': 192.0.2.1 and 10.0.0.0, or with
/// `2001:db8::` before them.
const SERVER_ADDRESS: u32 = 0xc000_0201;
const CLIENT_ADDRESS: u32 = 0x0a00_0000;
const PREFIX: u32 = 0x2001_0db8_u32.to_be();

/// Does nothing: what it costs to run a program at all.
#[classifier]
pub fn empty(_: TcContext) -> i32 {
    TC_ACT_UNSPEC
}

/// The same once more: the kernel counts runs by program, and live traffic has two directions.
#[classifier]
pub fn empty_out(_: TcContext) -> i32 {
    TC_ACT_UNSPEC
}

/// Parses what a client sends, looks its flow up in a hash map of the kernel, and adds to four
/// counters.
#[classifier]
pub fn floor_in(context: TcContext) -> i32 {
    floor(&context, false)
}

/// The same of what the server sends.
#[classifier]
pub fn floor_out(context: TcContext) -> i32 {
    floor(&context, true)
}

#[inline(always)]
fn floor(context: &TcContext, from_server: bool) -> i32 {
    let packet = Packet::new(context);
    let Some((key, tcp)) = packet.parse(from_server) else {
        return TC_ACT_SHOT;
    };
    let Some(counts) = FLOWS.get_ptr_mut(key) else {
        return TC_ACT_SHOT;
    };
    let Some(flags) = packet.at::<u8>(tcp + 13) else {
        return TC_ACT_SHOT;
    };
    // SAFETY: a map's value; the test runs on one CPU.
    let counts = unsafe { &mut *counts };
    counts.packets += 1;
    counts.bytes += u64::from(context.len());
    counts.acknowledgments += u64::from(flags >> 4 & 1);
    counts.pushes += u64::from(flags >> 3 & 1);
    TC_ACT_UNSPEC
}

/// [`floor_in`] for live traffic: passes on whatever comes, and makes the entries of flows that
/// are new.
#[classifier]
pub fn floor_live_in(context: TcContext) -> i32 {
    floor_live(&context, false)
}

/// The same of what the server sends.
#[classifier]
pub fn floor_live_out(context: TcContext) -> i32 {
    floor_live(&context, true)
}

#[inline(always)]
fn floor_live(context: &TcContext, from_server: bool) -> i32 {
    if floor(context, from_server) == TC_ACT_SHOT {
        fill(context, from_server);
    }
    TC_ACT_UNSPEC
}

/// Makes the entry that the floor will find, of what a client sends.
#[classifier]
pub fn floor_fill(context: TcContext) -> i32 {
    fill(&context, false)
}

#[inline(always)]
fn fill(context: &TcContext, from_server: bool) -> i32 {
    let counts = Counts {
        packets: 0,
        bytes: 0,
        acknowledgments: 0,
        pushes: 0,
        rest: [0; 18],
    };
    let Some((key, _)) = Packet::new(context).parse(from_server) else {
        return TC_ACT_SHOT;
    };
    match FLOWS.insert(key, counts, u64::from(BPF_ANY)) {
        Ok(()) => TC_ACT_UNSPEC,
        Err(_) => TC_ACT_SHOT,
    }
}

/// Makes the next packet, and hands it on.
#[classifier]
pub fn drive(context: TcContext) -> i32 {
    let Some(told) = DRIVE.get_ptr_mut(0) else {
        return TC_ACT_SHOT;
    };
    // SAFETY: a map's value; the test runs on one CPU.
    let told = unsafe { &mut *told };
    let turn = Turn::next(told);
    let packet = Packet::new(&context);
    if told[drive::SENDER] != drive::NOBODY && packet.write(&turn).is_none() {
        return TC_ACT_SHOT;
    }
    // SAFETY: nothing here wants to be dropped.
    unsafe { TARGETS.tail_call(&context, turn.from_server) };
    TC_ACT_SHOT
}

/// A segment: who sends it in which flow, and its numbers.
struct Turn {
    from_server: u32,
    flow: u32,
    seq: u32,
    ack: u32,
}

impl Turn {
    #[inline(always)]
    fn next(told: &mut [u32; drive::WORDS]) -> Self {
        let count = told[drive::COUNT];
        told[drive::COUNT] = count.wrapping_add(1);
        let bits = told[drive::BITS] & 31;
        let (from_server, flow, round) = match told[drive::SENDER] {
            drive::BOTH => {
                let from_server = count & 1;
                // A flow's two ends take their turns half a round apart, or the second would
                // find everything in the cache.
                let turn = (count >> 1).wrapping_add(from_server << ((bits - 1) & 31));
                (from_server, shuffle(turn, bits), turn >> bits)
            }
            drive::SERVER => (1, count, 0),
            drive::STRANGERS => (0, strange(count), 0),
            drive::ANSWERS => (1, strange(count), 0),
            _ => (0, count, 0),
        };
        let sent = round.wrapping_mul(told[drive::PAYLOAD]);
        let client = told[drive::CLIENT_SEQ].wrapping_add(sent);
        let server = told[drive::SERVER_SEQ].wrapping_add(sent);
        let (seq, ack) = if from_server == 0 {
            (client, server)
        } else {
            (server, client)
        };
        Self {
            from_server,
            flow: flow.wrapping_add(told[drive::FIRST]),
            seq,
            ack,
        }
    }
}

/// Another number for each, which looks random.
#[inline(always)]
fn strange(number: u32) -> u32 {
    number.wrapping_mul(0x9e37_79b1)
}

/// The lowest `bits` bits of a number, shuffled: another number for each.
#[inline(always)]
fn shuffle(number: u32, bits: u32) -> u32 {
    let mask = (1_u32 << bits).wrapping_sub(1);
    let mut number = number.wrapping_mul(0x9e37_79b1) & mask;
    number ^= number >> (bits / 2 + 1);
    number = number.wrapping_mul(0x85eb_ca6b) & mask;
    number ^ number >> (bits / 2 + 1)
}

/// The bytes of the packet.
struct Packet {
    data: usize,
    end: usize,
}

impl Packet {
    #[inline(always)]
    fn new(context: &TcContext) -> Self {
        Self {
            data: context.data(),
            end: context.data_end(),
        }
    }

    #[inline(always)]
    fn at<T: Copy>(&self, offset: usize) -> Option<T> {
        let start = self.data + offset;
        if start + size_of::<T>() > self.end {
            return None;
        }
        // SAFETY: within the packet, as just checked.
        Some(unsafe { *(start as *const T) })
    }

    #[inline(always)]
    fn put<T: Copy>(&self, offset: usize, value: T) -> Option<()> {
        let start = self.data + offset;
        if start + size_of::<T>() > self.end {
            return None;
        }
        // SAFETY: within the packet, as just checked.
        unsafe { *(start as *mut T) = value };
        Some(())
    }

    #[inline(always)]
    fn parse(&self, from_server: bool) -> Option<(FlowKey, usize)> {
        let kind = self.at::<u16>(12)?;
        let (source, destination, protocol, tcp): (_, _, u8, _) = if kind == IPV4 {
            let mapped = |word| [0, 0, 0xffff_u32.to_be(), word];
            let length = usize::from(self.at::<u8>(ETHERNET)? & 15) * 4;
            let source = self.at(IPV4_ADDRESSES)?;
            let destination = self.at(IPV4_ADDRESSES + 4)?;
            let protocol = self.at(ETHERNET + 9)?;
            (
                mapped(source),
                mapped(destination),
                protocol,
                ETHERNET + length,
            )
        } else if kind == IPV6 {
            let source = self.at(IPV6_ADDRESSES)?;
            let destination = self.at(IPV6_ADDRESSES + 16)?;
            (source, destination, self.at(ETHERNET + 6)?, IPV6_TCP)
        } else {
            return None;
        };
        if protocol != TCP {
            return None;
        }
        let (source_port, destination_port) = (self.at(tcp)?, self.at(tcp + 2)?);
        let ends = [(source, source_port), (destination, destination_port)];
        let (client, server) = if from_server {
            (ends[1], ends[0])
        } else {
            (ends[0], ends[1])
        };
        let key = FlowKey {
            client: client.0,
            server: server.0,
            client_port: client.1,
            server_port: server.1,
            protocol: u32::from(protocol),
        };
        Some((key, tcp))
    }

    #[inline(always)]
    fn write(&self, turn: &Turn) -> Option<()> {
        let client = CLIENT_ADDRESS.wrapping_add(turn.flow).to_be();
        let server = SERVER_ADDRESS.to_be();
        let ports = (CLIENT_PORT, SERVER_PORT);
        let (source, destination, ports) = if turn.from_server == 0 {
            (client, server, ports)
        } else {
            (server, client, (ports.1, ports.0))
        };
        let tcp = if self.at::<u16>(12)? == IPV4 {
            self.put(IPV4_ADDRESSES, source)?;
            self.put(IPV4_ADDRESSES + 4, destination)?;
            IPV4_TCP
        } else {
            self.put(IPV6_ADDRESSES, [PREFIX, 0, 0, source])?;
            self.put(IPV6_ADDRESSES + 16, [PREFIX, 0, 0, destination])?;
            IPV6_TCP
        };
        self.put(tcp, ports.0)?;
        self.put(tcp + 2, ports.1)?;
        self.put(tcp + 4, turn.seq.to_be())?;
        self.put(tcp + 8, turn.ack.to_be())
    }
}

/// Licence of the programs, as the kernel reads it.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
pub static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// Nothing here panics: the verifier has proved every access. The compiler wants one.
#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
