//! libFuzzer's way to [`sstpulse_fuzz::tls`].

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| sstpulse_fuzz::tls::check(input));
