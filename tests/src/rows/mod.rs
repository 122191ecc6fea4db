//! What segments mean: a table of conversations, each with what it must leave behind.

mod data;
mod endings;
mod handshakes;
mod hostile;
mod in_kernel;
mod notices;
mod probes;
mod records;
mod wires;

use sstpulse::{
    replay::Tables,
    report::{Flows as _, Message},
};
use sstpulse_common::{
    Counters, DirectionRecord, HalfOpen, Notice, SessionRecord, Side, TcpFlags, Told,
    record::SmallRecord,
};

pub use in_kernel::{Ran, run_in_kernel};

use crate::conversation::Conversation;

const FIN: u8 = TcpFlags::FIN;
const ACK: u8 = TcpFlags::ACK;
const RST: u8 = TcpFlags::RST;

/// What a conversation leaves behind.
pub struct Left {
    session: Option<SessionRecord>,
    attempt: Option<HalfOpen>,
    counters: Counters,
    told: Vec<Message>,
}

impl Left {
    /// What a conversation leaves in the native tracker.
    pub fn natively(conversation: &Conversation) -> Self {
        let mut native: Tables = conversation.replay();
        let key = conversation.key();
        Self {
            session: native.session(&key).copied(),
            attempt: native.attempt(&key),
            counters: native.counters().unwrap_or_else(|never| match never {}),
            told: native.take_messages(),
        }
    }

    fn session(&self) -> &SessionRecord {
        self.session.as_ref().expect("there is a session")
    }

    fn notices(&self) -> impl Iterator<Item = &Notice> {
        self.told.iter().filter_map(|message| match message {
            Message::Notice(notice) => Some(notice),
            Message::Opening(_) => None,
        })
    }

    /// How many notices about what a side sent tell this.
    fn told(&self, side: Side, told: Told) -> usize {
        self.notices()
            .filter(|notice| notice.side() == side && notice.tells(told))
            .count()
    }

    /// What a side sent of the session's opening: where in its stream each piece belongs, and
    /// how long it is.
    fn opening(&self, side: Side) -> Vec<(u32, usize)> {
        let mut pieces = Vec::new();
        for message in &self.told {
            if let Message::Opening(opening) = message
                && opening.header.side() == side
            {
                pieces.push((opening.header.offset, opening.bytes.len()));
            }
        }
        pieces
    }

    fn client(&self) -> &DirectionRecord {
        &self.session().from_client
    }

    fn server(&self) -> &DirectionRecord {
        &self.session().from_server
    }

    /// The small records of a side, as type and length, the last one first.
    fn small_records(&self, side: Side) -> Vec<(u8, u8)> {
        self.session()
            .trail_of(side)
            .newest_first()
            .map(|record| (record.content_type, record.length))
            .collect()
    }

    /// The small record of a side that came so many before its last one.
    fn small_record(&self, side: Side, before: usize) -> SmallRecord {
        let mut records = self.session().trail_of(side).newest_first();
        records.nth(before).expect("there are not so many")
    }
}

/// A conversation, and what it must leave behind.
pub struct Row {
    /// What it shows, in a sentence.
    pub what: &'static str,
    /// Who says what.
    pub talk: fn(&mut Conversation),
    /// Panics unless what is left is right.
    pub expect: fn(&Left),
}

macro_rules! rows {
    ($($what:literal: |$talk:ident| $conversation:block => |$left:ident| $expect:block)*) => {
        vec![$($crate::rows::Row {
            what: $what,
            talk: |$talk| $conversation,
            expect: |$left| $expect,
        }),*]
    };
}
use rows;

/// All rows.
pub fn table() -> Vec<Row> {
    [
        handshakes::handshakes(),
        data::data(),
        probes::probes(),
        records::records(),
        notices::notices(),
        endings::endings(),
        hostile::hostile(),
        wires::wires(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
