//! TCP options: those of a SYN, and SACK blocks.
//!
//! A function of its own to the verifier too, which looks into it once: it takes plain
//! numbers and the context, as a global function must (Linux 5.6).

use aya_ebpf::{bindings::__sk_buff, programs::TcContext};
use sstpulse_common::{OptionReader, Parsed};

use crate::{
    context::{Headers, Packet},
    maps,
};

/// Completes a segment with its options; what can't be read is as if it were not there.
#[inline(always)]
pub fn complete(context: &TcContext, parsed: &mut Parsed) {
    let (at, length) = (parsed.options as u32, parsed.options_length);
    if sstpulse_options(context.skb.skb, at, length) != 0
        && let Some(reader) = maps::option_reader()
    {
        reader.complete(&mut parsed.segment);
    } else {
        OptionReader::complete_unread(&mut parsed.segment);
    }
}

/// Reads the `length` bytes of options at `at` into this CPU's reader; 0 if it can't.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sstpulse_options(skb: *mut __sk_buff, at: u32, length: u32) -> u32 {
    let context = TcContext::new(skb);
    let packet = Packet::new(&context);
    match maps::option_reader().zip(Headers::copy(&packet, at)) {
        Some((reader, bytes)) => u32::from(reader.read(&bytes, 0, length)),
        None => 0,
    }
}
