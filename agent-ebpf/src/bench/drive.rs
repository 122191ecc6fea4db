//! What the driver is told, by index of its words; shared with the benchmark that tells it.

/// How many runs there were, modulo 2³². The driver counts it.
pub const COUNT: usize = 0;
/// The flows: two to the power of this many.
pub const BITS: usize = 1;
/// Who sends: one of the constants below.
pub const SENDER: usize = 2;
/// The client's first sequence number.
pub const CLIENT_SEQ: usize = 3;
/// The server's first sequence number.
pub const SERVER_SEQ: usize = 4;
/// Payload of each segment, in bytes.
pub const PAYLOAD: usize = 5;
/// How many words there are.
pub const WORDS: usize = 6;

/// The client sends, one segment in each flow, flow by flow.
pub const CLIENT: u32 = 0;
/// The server sends, in the same way.
pub const SERVER: u32 = 1;
/// Both send by turns, each in a flow of its own and in an order that looks random, round by
/// round, each acknowledging what the other sent the round before.
pub const BOTH: u32 = 2;
/// The packet is handed on as it is, to the program that sees what the client sends.
pub const NOBODY: u32 = 3;

/// Programs that get the packets: the one that sees what the client sends, and the other.
pub const TARGETS: usize = 2;
