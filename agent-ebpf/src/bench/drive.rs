//! What the driver is told, by index of its words; shared with the benchmark that tells it.

/// How many runs there were, modulo 2³². The driver counts it.
pub(crate) const COUNT: usize = 0;
/// The flows: two to the power of this many.
pub(crate) const BITS: usize = 1;
/// Who sends: one of the constants below.
pub(crate) const SENDER: usize = 2;
/// The client's first sequence number.
pub(crate) const CLIENT_SEQ: usize = 3;
/// The server's first sequence number.
pub(crate) const SERVER_SEQ: usize = 4;
/// Payload of each segment, in bytes.
pub(crate) const PAYLOAD: usize = 5;
/// The first of the flows.
pub(crate) const FIRST: usize = 6;
/// How many words there are.
pub(crate) const WORDS: usize = 7;

/// The client sends, one segment in each flow, flow by flow.
pub(crate) const CLIENT: u32 = 0;
/// The server sends, in the same way.
pub(crate) const SERVER: u32 = 1;
/// Both send by turns, each in a flow of its own and in an order that looks random, round by
/// round, each acknowledging what the other sent the round before.
pub(crate) const BOTH: u32 = 2;
/// The packet is handed on as it is, to the program that sees what the client sends.
pub(crate) const NOBODY: u32 = 3;
/// The client sends, one segment in each flow, each of an address that looks random.
pub(crate) const STRANGERS: u32 = 4;
/// The server answers those, in the same order.
pub(crate) const ANSWERS: u32 = 5;
