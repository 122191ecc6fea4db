//! The programs that run in the kernel: classifiers on tc's ingress and egress.
//!
//! They hold no decisions. Each takes the context, lets `sstpulse-common` parse and judge,
//! and keeps what comes of it in the maps. None changes, drops or redirects a packet:
//! all return `TC_ACT_UNSPEC`, which leaves the verdict to whoever comes next.

#![no_std]
#![no_main]
#![expect(
    clippy::inline_always,
    reason = "the programs are small, and a call costs registers and stack"
)]
#![expect(
    clippy::cast_possible_truncation,
    reason = "offsets and lengths within headers, as the helpers want them"
)]
#![expect(
    clippy::needless_pass_by_value,
    reason = "the shape that aya gives a program"
)]

mod config;
mod context;
mod index;
mod maps;
mod options;
mod payloads;

use aya_ebpf::{bindings::TC_ACT_UNSPEC, macros::classifier, programs::TcContext};
use sstpulse_common::{Framing, Parsed, Segment, Side, Skip, counters::Counter, observe, parse};

use crate::{
    context::{Headers, Packet, Time},
    maps::{Desk, Maps},
    payloads::Payload,
};

/// Ingress of an interface with Ethernet headers: what clients send.
#[classifier]
pub fn sstpulse_in(context: TcContext) -> i32 {
    watch(&context, Framing::Ethernet, Side::Client)
}

/// Egress of an interface with Ethernet headers: what the server sends.
#[classifier]
pub fn sstpulse_out(context: TcContext) -> i32 {
    watch(&context, Framing::Ethernet, Side::Server)
}

/// Ingress of an interface whose packets begin with the IP header.
#[classifier]
pub fn sstpulse_in_ip(context: TcContext) -> i32 {
    watch(&context, Framing::Ip, Side::Client)
}

/// Egress of an interface whose packets begin with the IP header.
#[classifier]
pub fn sstpulse_out_ip(context: TcContext) -> i32 {
    watch(&context, Framing::Ip, Side::Server)
}

/// Lets the flow of the next listed slot lead to it no more.
///
/// The agent runs it, and the next one, for many slots in one system call.
#[classifier]
pub fn sstpulse_retire(_: TcContext) -> i32 {
    if let Some(slot) = maps::next_chore()
        && let Some(record) = maps::session(slot)
    {
        index::withdraw(&record.head.key, slot);
    }
    TC_ACT_UNSPEC
}

/// Frees the next listed slot.
#[classifier]
pub fn sstpulse_release(_: TcContext) -> i32 {
    if let Some(slot) = maps::next_chore() {
        index::free(slot);
    }
    TC_ACT_UNSPEC
}

#[inline(always)]
fn watch(context: &TcContext, framing: Framing, side: Side) -> i32 {
    let packet = Packet::new(context);
    let desk = match parse(&packet, framing, side, packet.length(), config::watches) {
        Ok(parsed) => keep(&parsed),
        Err(Skip::Truncated) => parse_copy(&packet, framing, side).and_then(|()| desk()),
        Err(skip) => Err(skip),
    };
    match desk {
        Ok(Desk { parsed, tick }) => {
            packet.offload(&mut parsed.segment);
            if parsed.options_matter {
                options::complete(context, parsed);
            }
            let Parsed { key, segment, .. } = parsed;
            let payload = Payload(context.skb.skb);
            let time = Time::new(&packet, tick);
            observe(&mut Maps, side, key, segment, &payload, &time);
        }
        Err(Skip::NotOurs) => {}
        Err(Skip::Fragment) => maps::count(Counter::Fragments),
        Err(Skip::Malformed | Skip::Truncated) => maps::count(Counter::Malformed),
    }
    TC_ACT_UNSPEC
}

/// What this CPU works with.
#[inline(always)]
fn desk() -> Result<&'static mut Desk, Skip> {
    // It is there: the map has a value.
    maps::desk().ok_or(Skip::NotOurs)
}

/// Keeps what is to be judged. Not on the stack: it is small, and the verifier knows much of
/// what stands there, and would follow the tracker for all that headers can say.
///
/// Copies field by field. What lies between fields is not initialized, and old kernels let no
/// program read that.
#[inline(always)]
fn keep(parsed: &Parsed) -> Result<&'static mut Desk, Skip> {
    let desk = desk()?;
    let kept = &mut desk.parsed;
    let Parsed {
        key,
        segment:
            Segment {
                seq,
                ack,
                payload,
                segments,
                segment_size,
                ifindex,
                window,
                flags,
                ttl,
                forwarded,
                from_capture,
                options: announced,
                duplicate,
                hole_reported,
            },
        options,
        options_length,
        options_matter,
    } = *parsed;
    kept.key = key;
    kept.options = options;
    kept.options_length = options_length;
    kept.options_matter = options_matter;
    let segment = &mut kept.segment;
    segment.seq = seq;
    segment.ack = ack;
    segment.payload = payload;
    segment.segments = segments;
    segment.segment_size = segment_size;
    segment.ifindex = ifindex;
    segment.window = window;
    segment.flags = flags;
    segment.ttl = ttl;
    segment.forwarded = forwarded;
    segment.from_capture = from_capture;
    segment.options = announced;
    segment.duplicate = duplicate;
    segment.hole_reported = hole_reported;
    Ok(desk)
}

/// Parses headers that are not in the linear part of the buffer, from a copy (pulling them in
/// would change the buffer for everyone after us), and keeps what they say.
#[inline(never)]
fn parse_copy(packet: &Packet<'_>, framing: Framing, side: Side) -> Result<(), Skip> {
    let headers = Headers::copy(packet, 0).ok_or(Skip::Truncated)?;
    let parsed = parse(&headers, framing, side, packet.length(), config::watches)?;
    keep(&parsed).map(drop)
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
