//! Payloads: openings of sessions, handed to the agent, and small records, noted.
//!
//! Functions of their own to the verifier, as in [`options`](crate::options).

use core::{hint::black_box, slice};

use aya_ebpf::{bindings::__sk_buff, helpers::bpf_skb_load_bytes, programs::TcContext};
use sstpulse_common::{
    Bytes as _, ChunkHeader, Parsed, Segment, Side, Told,
    counters::Counter,
    observe::{self, Found},
    payload::{self, looked_into},
};

use crate::{
    context::{Headers, Packet},
    maps::{self, Maps},
};

/// Where the payload of this CPU's segment is: in this packet.
pub struct Payload(pub *mut __sk_buff);

/// Where in it the payload begins, in bytes.
#[inline(always)]
fn start(parsed: &Parsed) -> u32 {
    parsed.options as u32 + parsed.options_length
}

/// How much of a buffer's payload goes to the agent: what a server's first flight takes,
/// and the headers of the records in it. A power of two.
const MOST: usize = 4096;

/// A piece of an opening.
#[repr(C)]
pub struct Chunk {
    header: ChunkHeader,
    bytes: [u8; MOST],
}

/// The session's slot, and who sent the segment, as one number.
const SERVER: u32 = 1 << 31;

/// What is to be done after a segment was counted, in a function of its own.
#[inline(always)]
pub fn afterwards(found: Found, told: Told, payload: &Payload) {
    let packed = match found.side {
        Side::Client => found.slot,
        Side::Server => found.slot | SERVER,
    };
    sstpulse_afterwards(payload.0, packed, told.0, found.now);
}

/// [`observe::afterwards`] of this CPU's segment.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sstpulse_afterwards(
    skb: *mut __sk_buff,
    packed: u32,
    told: u32,
    now: u64,
) -> u32 {
    let Some(parsed) = maps::parsed() else {
        return 0;
    };
    let side = if packed & SERVER == 0 {
        Side::Client
    } else {
        Side::Server
    };
    let slot = packed & !SERVER;
    let found = Found { slot, side, now };
    observe::afterwards(&mut Maps, found, Told(told), &parsed.segment, &Payload(skb));
    1
}

/// Hands the payload of a segment to the agent, as far as there is room.
#[inline(always)]
pub fn hand_over(found: Found, segment: &Segment, payload: &Payload) {
    let Found { slot, side, now } = found;
    let (Some(record), Some(chunk), Some(parsed)) =
        (maps::session(slot), maps::chunk(), maps::parsed())
    else {
        return;
    };
    let Some(beyond_first) = segment.payload.checked_sub(1) else {
        return;
    };
    // SAFETY: this CPU's room, and nothing interrupts a program on its CPU.
    let Chunk { header, bytes } = unsafe { &mut *chunk };
    *header = ChunkHeader::of(record, slot, side, segment, now);
    let beyond_first = (beyond_first as usize).min(MOST - 1);
    let kept = bounded(beyond_first) + 1;
    let room = bytes.as_mut_ptr().cast();
    // SAFETY: there is room for MOST bytes.
    let result = unsafe { bpf_skb_load_bytes(payload.0.cast(), start(parsed), room, kept as u32) };
    if result != 0 {
        return;
    }
    // Old kernels forget the bounds of what was put aside during the call.
    let length = size_of::<ChunkHeader>() + bounded(beyond_first) + 1;
    // SAFETY: the header and the bytes that were just written, in a row.
    if !maps::send_chunk(unsafe { slice::from_raw_parts(chunk.cast::<u8>(), length) }) {
        maps::count(Counter::PayloadsLost);
    }
}

/// The same number, below [`MOST`]: masked for the verifier, hidden from the compiler, which
/// would leave the mask out.
#[inline(always)]
fn bounded(number: usize) -> usize {
    black_box(number) & (MOST - 1)
}

/// Takes note of the small records at the end of a buffer.
#[inline(always)]
pub fn note(found: Found, segment: &Segment, payload: &Payload) {
    let from = looked_into(segment);
    let context = TcContext::new(payload.0);
    let packet = Packet::new(&context);
    let Some(bytes) =
        maps::parsed().and_then(|parsed| Headers::copy(&packet, start(parsed) + from))
    else {
        return;
    };
    let Some(record) = maps::session(found.slot) else {
        return;
    };
    let length = segment.payload - from;
    let first = sstpulse_first_whole(bytes.length() as u32, length);
    if let Some(at) = bytes.forget(first as usize) {
        payload::note(record, found.side, &bytes, at, length as usize, found.now);
    }
}

/// What [`sstpulse_first_whole`] says if there is none.
const NOWHERE: u32 = u32::MAX;

/// [`payload::first_whole`] of the bytes that were copied last, in a function of its own: the
/// verifier would follow what comes after for every place that a record can begin at.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sstpulse_first_whole(copied: u32, length: u32) -> u32 {
    let at = Headers::again(copied as usize)
        .and_then(|bytes| payload::first_whole(&bytes, length as usize));
    at.map_or(NOWHERE, |at| at as u32)
}
