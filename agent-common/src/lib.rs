//! What judges a segment, written once.
//!
//! The code here runs in three places: inside the kernel (called by the programs in
//! `agent-ebpf`), natively over captures, and under test. It allocates nothing, does no
//! I/O and has no clock: time is an argument, in nanoseconds of whatever monotonic clock
//! the caller has.
//!
//! The way of a packet:
//!
//! 1. [`parse`](parse::parse) turns bytes into a [`FlowKey`] and a [`Segment`].
//! 2. [`observe`](observe::observe) finds the flow in the caller's [`Tables`] and decides
//!    what the segment means for it: a step of a [handshake](half_open), the proof that
//!    makes a session, or
//! 3. one more segment of a session, which [`track`] counts in its [`SessionRecord`].
//!
//! Everything that crosses from kernel to agent (records, notices, counters) is plain old
//! data in native byte order, defined here and nowhere else.

#![no_std]
#![forbid(unsafe_code)]
#![expect(
    clippy::inline_always,
    reason = "the kernel half is one program: a call costs registers and stack there"
)]

#[cfg(test)]
extern crate std;

pub mod chores;
pub mod clock;
pub mod counters;
pub mod flow;
pub mod half_open;
pub mod index;
pub mod marks;
pub mod notice;
pub mod observe;
pub mod options;
pub mod packet;
pub mod parse;
pub mod payload;
pub mod record;
pub mod repeated;
pub mod segment;
pub mod sequence;
pub mod tls;
pub mod track;

pub use clock::Clock;
pub use counters::Counters;
pub use flow::{Address, FlowKey};
pub use half_open::HalfOpen;
pub use notice::{Notice, Told};
pub use observe::{Tables, observe};
pub use options::{OptionReader, TcpOptions};
pub use packet::{Bytes, View};
pub use parse::{Framing, Parsed, Skip, parse};
pub use payload::ChunkHeader;
pub use record::{DirectionRecord, SessionRecord};
pub use segment::{Segment, Side, TcpFlags};
