//! What must hold whatever comes.
//!
//! Each module takes any bytes, lets sstpulse make something of them, and panics if what
//! it makes contradicts what its documentation says. libFuzzer looks for such bytes:
//! `cargo xtask fuzz`.

pub mod parser;
pub mod replay;
pub mod tls;
pub mod tracker;
