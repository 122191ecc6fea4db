//! Both sides of a connection, until the tunnel is up or nothing more is to be learned.

use sstpulse_common::Side;

use super::{
    facts::{Phase, TlsFacts},
    stream::Stream,
    talk::{HalfOfTalk, Talk},
};

/// Bytes of the client that are looked at: no more are handed over while a session is
/// watched, and with a large ClientHello set-up takes half of them.
const FROM_CLIENT: u64 = 8 << 10;

/// Bytes of the server that are looked at: a chain of certificates, and set-up.
const FROM_SERVER: u64 = 16 << 10;

/// A segment of one side, as far as it was captured.
#[derive(Clone, Copy, Debug)]
pub struct Chunk<'a> {
    /// Who sent it.
    pub side: Side,
    /// Place of its first byte in what this side sends; 0 is the first after its SYN.
    pub offset: u32,
    /// Bytes of payload on the wire.
    pub length: u32,
    /// The first of them, as far as they were kept.
    pub bytes: &'a [u8],
    /// When it passed, in nanoseconds of a clock that never goes back.
    pub time_ns: u64,
}

/// What two sides have said so far.
///
/// It holds no more than [`MOST_HELD`](Self::MOST_HELD) bytes, whatever comes, and next to
/// none once the hellos are over.
#[derive(Debug, Default)]
pub struct Dialogue {
    from_client: Stream,
    from_server: Stream,
    talk: Talk,
}

impl Dialogue {
    /// Bytes that are held at most: of each side 16 KiB that came too early, and a handshake
    /// message of 16 KiB, for which there may be room for twice as much.
    pub const MOST_HELD: usize = 2 * (16 << 10) + 2 * (32 << 10);

    /// Before the first byte.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a segment in, in the order of capture. One may come again, be cut anew, be
    /// overtaken, or be missing.
    pub fn take(&mut self, chunk: &Chunk<'_>) {
        if chunk.length == 0 || self.is_done() {
            return;
        }
        let now_ns = chunk.time_ns.max(1);
        self.talk.hear(chunk.side, now_ns);
        let stream = match chunk.side {
            Side::Client => &mut self.from_client,
            Side::Server => &mut self.from_server,
        };
        let mut half = HalfOfTalk {
            talk: &mut self.talk,
            side: chunk.side,
        };
        let new = stream.take(chunk.offset, chunk.length, chunk.bytes, now_ns, &mut half);
        if new {
            self.talk.flight(chunk.side, self.from_server.end());
        }
    }

    /// How far the connection has come. Never [`Phase::Closing`].
    pub fn phase(&self) -> Phase {
        self.facts().phase()
    }

    /// Whether nothing more is to be learned: the tunnel is up, this is no SSTP, or the client
    /// has sent 8 KiB or the server 16 KiB. Further segments are not looked at.
    pub fn is_done(&self) -> bool {
        self.talk.is_over()
            || self.from_client.end() >= FROM_CLIENT
            || self.from_server.end() >= FROM_SERVER
    }

    /// What was learned.
    pub fn facts(&self) -> &TlsFacts {
        self.talk.facts()
    }

    /// What was learned, for keeps.
    pub fn into_facts(self) -> TlsFacts {
        self.talk.into_facts()
    }

    /// Bytes held for what is still to come.
    pub fn held(&self) -> usize {
        self.from_client.held() + self.from_server.held() + self.talk.held()
    }
}
