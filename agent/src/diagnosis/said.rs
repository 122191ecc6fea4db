//! What the sides said last, as far as the lengths of their records tell.

use sstpulse_common::{
    SessionRecord, Side,
    record::{SmallRecord, Trail},
    tls::ContentType,
};

use crate::{
    event::Goodbye,
    tls::{Message, RecordSize},
};

/// Two records that are no further apart may be pieces of one message.
const ONE_MESSAGE_NS: u64 = 50_000_000;

/// How soon an answer follows, at the server: it includes a round trip.
const ANSWER_NS: u64 = 3_000_000_000;

/// How soon a side closes that has its disconnect acknowledged.
const CLOSES_NS: u64 = 100_000_000;

/// A message of one side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    /// What it was; `None` if its length says nothing.
    pub message: Option<Message>,
    /// When, in nanoseconds, exact to 65.5 microseconds.
    pub time_ns: u64,
    /// The record that it ended with.
    record: SmallRecord,
}

/// What a side said goodbye with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parting {
    /// Who said it.
    pub side: Side,
    /// What it was.
    pub goodbye: Goodbye,
    /// When, in nanoseconds, exact to 65.5 microseconds.
    pub time_ns: u64,
    record: SmallRecord,
}

impl Parting {
    /// The other side had sent a FIN or RST by then.
    pub const fn after_close(&self) -> bool {
        self.record.other.closed
    }

    /// The first of what both sides said goodbye with. Neither had heard the other's if they
    /// passed here at the very same time: it is the client's then.
    pub fn first(client: Option<Self>, server: Option<Self>) -> Option<Self> {
        /// What is further apart than this, the clock tells well, and numbers of records may
        /// have gone round.
        const CLOSE_NS: u64 = 1_000_000_000;

        let (Some(from_client), Some(from_server)) = (client, server) else {
            return client.or(server);
        };
        let server_first = if from_client.time_ns.abs_diff(from_server.time_ns) > CLOSE_NS {
            from_server.time_ns < from_client.time_ns
        } else {
            from_server.record.was_noted_before(&from_client.record)
        };
        if server_first { server } else { client }
    }
}

/// The last messages of both sides, the last one first.
#[derive(Clone, Debug)]
pub struct Sayings {
    client: Vec<Said>,
    server: Vec<Said>,
    was_up: bool,
    closing_ns: Option<u64>,
}

impl Sayings {
    /// Reads the trails of a record, written by a cipher that makes records of these `sizes`.
    /// Times are told by `now`, a moment of the same clock about as late as the last. Short
    /// messages mean something else before the tunnel `was_up`, and right before the first FIN
    /// or RST.
    pub fn of(
        record: &SessionRecord,
        sizes: RecordSize,
        now: u64,
        was_up: bool,
        closing_ns: Option<u64>,
    ) -> Self {
        Self {
            client: messages(&record.client_trail, Side::Client, sizes, now),
            server: messages(&record.server_trail, Side::Server, sizes, now),
            was_up,
            closing_ns,
        }
    }

    /// What a side said last, the last one first.
    pub fn by(&self, side: Side) -> &[Said] {
        match side {
            Side::Client => &self.client,
            Side::Server => &self.server,
        }
    }

    /// What a side said goodbye with, and when: the first of the last messages that can be
    /// one. What it says after a goodbye can only be another.
    pub fn goodbye(&self, side: Side) -> Option<Parting> {
        let parting = |said: &Said| {
            Some(Parting {
                side,
                goodbye: self.as_goodbye(side, *said)?,
                time_ns: said.time_ns,
                record: said.record,
            })
        };
        self.by(side).iter().map_while(parting).last()
    }

    fn as_goodbye(&self, side: Side, said: Said) -> Option<Goodbye> {
        match said.message? {
            Message::Alert => Some(Goodbye::Alert),
            Message::AbortOrDisconnect => Some(Goodbye::DisconnectOrAbort),
            Message::EchoOrDisconnectAck if !self.is_echo(side, said.time_ns) => {
                Some(Goodbye::DisconnectAck)
            }
            _ => None,
        }
    }

    /// Whether a message of 8 bytes was an echo: it answers one, or was answered by one, and
    /// the tunnel went on.
    fn is_echo(&self, side: Side, time_ns: u64) -> bool {
        self.was_up
            && self.by(other(side)).iter().any(|said| {
                let last_ns = said.time_ns.max(time_ns);
                let closes = self
                    .closing_ns
                    .is_some_and(|closing_ns| closing_ns.saturating_sub(last_ns) <= CLOSES_NS);
                said.message == Some(Message::EchoOrDisconnectAck)
                    && said.time_ns.abs_diff(time_ns) <= ANSWER_NS
                    && !closes
            })
    }

    /// The server's hellos after `since_ns` that the client did not answer.
    pub fn unanswered_echoes(&self, since_ns: u64) -> u32 {
        let unanswered = self.server.iter().filter(|said| {
            said.message == Some(Message::EchoOrDisconnectAck)
                && said.time_ns > since_ns
                && !self.is_echo(Side::Server, said.time_ns)
        });
        u32::try_from(unanswered.count()).unwrap_or(u32::MAX)
    }
}

const fn other(side: Side) -> Side {
    match side {
        Side::Client => Side::Server,
        Side::Server => Side::Client,
    }
}

/// The messages of one side, the last one first.
fn messages(trail: &Trail, side: Side, sizes: RecordSize, now: u64) -> Vec<Said> {
    let records: Vec<_> = trail
        .newest_first()
        .filter(|record| record.content_type != ContentType::CHANGE_CIPHER_SPEC)
        .collect();
    let mut messages = Vec::new();
    let mut rest = records.as_slice();
    while let [last, before @ ..] = rest {
        let whole = before
            .first()
            .and_then(|header| Some((joined(*header, *last, sizes)?, &before[1..])));
        let (Joined(message), next) = whole.unwrap_or((Joined(single(*last, side, sizes)), before));
        messages.push(Said {
            message,
            time_ns: time_ns(*last, now),
            record: *last,
        });
        rest = next;
    }
    messages
}

fn single(record: SmallRecord, side: Side, sizes: RecordSize) -> Option<Message> {
    sizes.message(side, record.content_type, u16::from(record.length))
}

/// Two records that are one message; the message, if it is a known one.
struct Joined(Option<Message>);

/// The message whose header and rest are two records, if they are that, and if it is a known
/// one. sorz's sstp-server writes them so; nobody else's record is as short as its header's.
fn joined(header: SmallRecord, rest: SmallRecord, sizes: RecordSize) -> Option<Joined> {
    /// Bytes of an SSTP header, and of what follows it in each message.
    const HEADER: u16 = 4;
    const ECHO: u16 = 4;
    const ABORT: [u16; 2] = [12, 16];

    let apart_ns = u64::from(rest.seen.wrapping_sub(header.seen)) << Trail::CLOCK_SHIFT;
    let is_data = |record: SmallRecord| record.content_type == ContentType::APPLICATION_DATA;
    // Block ciphers leave it in doubt.
    let distinct = sizes.sealed(HEADER) != sizes.sealed(HEADER + ECHO);
    let is_header = distinct && u16::from(header.length) == sizes.sealed(HEADER);
    if apart_ns > ONE_MESSAGE_NS || !is_header || !is_data(header) || !is_data(rest) {
        return None;
    }
    let length = u16::from(rest.length);
    let abort = ABORT.iter().any(|abort| length == sizes.sealed(*abort));
    Some(Joined(if length == sizes.sealed(ECHO) {
        Some(Message::EchoOrDisconnectAck)
    } else {
        abort.then_some(Message::AbortOrDisconnect)
    }))
}

/// When a record was seen, by a moment of the same clock. That may be a little before it: segments
/// are timed by a clock that stands still for some milliseconds, records are not.
fn time_ns(record: SmallRecord, now: u64) -> u64 {
    let ago = Trail::clock(now).wrapping_sub(record.seen).cast_signed();
    now.saturating_add_signed(-(i64::from(ago) << Trail::CLOCK_SHIFT))
}

#[cfg(test)]
mod tests {
    use sstpulse_common::record::OtherSide;

    use super::*;

    #[test]
    fn times_are_told_by_a_moment_before_or_after() {
        const NOW: u64 = 300_000_000_000_000;
        for seen_ns in [NOW - 3_600_000_000_000, NOW - 1, NOW, NOW + 4_000_000] {
            let record = SmallRecord {
                seen: Trail::clock(seen_ns),
                content_type: ContentType::ALERT,
                length: 19,
                number: 0,
                other: OtherSide::default(),
            };
            let told_ns = time_ns(record, NOW);
            assert!(
                told_ns.abs_diff(seen_ns) < 1 << Trail::CLOCK_SHIFT,
                "{seen_ns}"
            );
        }
    }
}
