//! Any segments of two sides, through a dialogue.
//!
//! An input is one segment after the other: a byte that says what is odd about it, two bytes
//! of its length (little-endian), a byte for each oddity, and its payload. Without oddities
//! it goes on where its side has stopped, and no time passes.

use sstpulse::tls::{Chunk, Dialogue, Milestone, Phase, TlsFacts};
use sstpulse_common::Side;

/// It is the server's.
const SERVER: u8 = 1;
/// It begins so many bytes earlier: some of them come again.
const BACK: u8 = 2;
/// It begins so many bytes later: some are missing.
const AHEAD: u8 = 4;
/// So many of its last bytes were not kept.
const CUT: u8 = 8;
/// So many times 100 ms have passed.
const LATER: u8 = 16;

/// Steps that come one after the other.
const STEPS: [Milestone; 6] = [
    Milestone::ClientHello,
    Milestone::HandshakeDone,
    Milestone::HttpRequest,
    Milestone::ConnectRequest,
    Milestone::ConnectAck,
    Milestone::Connected,
];

/// Feeds a dialogue, and checks what it says of itself.
pub fn check(input: &[u8]) {
    let mut reader = Reader {
        rest: input,
        next: [0; 2],
        time_ns: 1,
    };
    let mut dialogue = Dialogue::new();
    let mut again = Dialogue::new();
    while let Some(chunk) = reader.segment() {
        let before = dialogue.facts().clone();
        let was_done = dialogue.is_done();
        dialogue.take(&chunk);
        assert!(dialogue.held() <= Dialogue::MOST_HELD);
        let facts = dialogue.facts();
        if was_done {
            assert!(dialogue.is_done());
            assert_eq!(*facts, before);
        }
        // Only what turns out to be no TLS has not begun with it.
        assert!(facts.phase() >= before.phase() || facts.sstp == Some(false));
        consistent(facts);

        again.take(&chunk);
        again.take(&chunk);
    }
    assert_eq!(dialogue.facts(), again.facts());
    assert_eq!(dialogue.is_done(), again.is_done());
}

/// What is said fits together.
fn consistent(facts: &TlsFacts) {
    let phase = facts.phase();
    assert_ne!(phase, Phase::Closing);
    assert_eq!(facts.sstp == Some(true), phase >= Phase::SstpSetup);
    let times: Vec<u64> = STEPS.iter().filter_map(|step| facts.at(*step)).collect();
    assert!(times.is_sorted(), "{times:?}");
    assert!(facts.after_connected().next().is_none() || phase == Phase::Up);
    assert!(facts.owed_since().is_none() || phase >= Phase::Ppp);
    let name = facts.hellos.server_name.as_deref();
    let printable = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
    assert!(name.is_none_or(|name| (1..=255).contains(&name.len())));
    assert!(name.is_none_or(|name| name.bytes().all(printable)));
}

struct Reader<'a> {
    rest: &'a [u8],
    /// Where each side goes on.
    next: [u32; 2],
    time_ns: u64,
}

impl<'a> Reader<'a> {
    fn segment(&mut self) -> Option<Chunk<'a>> {
        let [odd, low, high] = *self.rest.split_off(..3)?.first_chunk()?;
        let mut oddity = |bit| {
            if odd & bit == 0 {
                return Some(0);
            }
            self.rest.split_off_first().copied().map(u32::from)
        };
        let (back, ahead) = (oddity(BACK)?, oddity(AHEAD)?);
        let (cut, later) = (oddity(CUT)?, oddity(LATER)?);
        let length = usize::from(u16::from_le_bytes([low, high])).min(self.rest.len());
        let bytes = self.rest.split_off(..length)?;
        let (side, next) = match odd & SERVER {
            0 => (Side::Client, &mut self.next[0]),
            _ => (Side::Server, &mut self.next[1]),
        };
        let offset = next.saturating_sub(back) + ahead;
        let length = u32::try_from(length).expect("it has two bytes");
        *next = offset + length;
        self.time_ns += u64::from(later) * 100_000_000;
        let kept = length.saturating_sub(cut) as usize;
        Some(Chunk {
            side,
            offset,
            length,
            bytes: &bytes[..kept],
            time_ns: self.time_ns,
        })
    }
}
