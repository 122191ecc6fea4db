//! The options of a SYN.
//!
//! A function of its own to the verifier too, which looks into it once: it takes plain
//! numbers and the context, as a global function must (Linux 5.6).

use aya_ebpf::{bindings::__sk_buff, programs::TcContext};
use sstpulse_common::{Parsed, TcpOptions};

use crate::{context::Headers, context::Packet, maps};

/// Reads the options of a SYN; what can't be read is as if it were not there.
#[inline(always)]
pub fn read(context: &TcContext, parsed: &Parsed) -> TcpOptions {
    let packed = sstpulse_options(
        context.skb.skb,
        parsed.options as u32,
        parsed.options_length,
    );
    TcpOptions {
        mss: packed as u16,
        window_scale: (packed >> 16) as u8,
        present: (packed >> 24) as u8,
    }
}

/// The `length` bytes of options at `at`, packed into a number.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sstpulse_options(skb: *mut __sk_buff, at: u32, length: u32) -> u32 {
    let context = TcContext::new(skb);
    let packet = Packet::new(&context);
    let options = maps::option_reader()
        .zip(Headers::copy(&packet, at))
        .and_then(|(reader, bytes)| reader.read(&bytes, 0, length))
        .unwrap_or_default();
    u32::from(options.mss)
        | u32::from(options.window_scale) << 16
        | u32::from(options.present) << 24
}
