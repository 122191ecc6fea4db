//! What segments mean: a table of conversations, each with what it must leave behind.

mod data;
mod endings;
mod handshakes;
mod hostile;
mod in_kernel;
mod probes;
mod wires;

use sstpulse_common::{Counters, DirectionRecord, HalfOpen, SessionRecord, TcpFlags};

pub use in_kernel::{Ran, run_in_kernel};

use crate::conversation::Conversation;

const FIN: u8 = TcpFlags::FIN;
const ACK: u8 = TcpFlags::ACK;
const RST: u8 = TcpFlags::RST;

/// What a conversation must leave behind.
pub struct Left<'a> {
    /// The session of its flow.
    pub session: Option<&'a SessionRecord>,
    /// The attempt of its flow.
    pub attempt: Option<&'a HalfOpen>,
    /// What was counted besides.
    pub counters: Counters,
}

impl Left<'_> {
    fn session(&self) -> &SessionRecord {
        self.session.expect("there is a session")
    }

    fn client(&self) -> &DirectionRecord {
        &self.session().from_client
    }

    fn server(&self) -> &DirectionRecord {
        &self.session().from_server
    }
}

/// A conversation, and what it must leave behind.
pub struct Row {
    /// What it shows, in a sentence.
    pub what: &'static str,
    /// Who says what.
    pub talk: fn(&mut Conversation),
    /// Panics unless what is left is right.
    pub expect: fn(&Left<'_>),
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
        endings::endings(),
        hostile::hostile(),
        wires::wires(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
