//! What the first payloads of a connection show without being decrypted: who asks for which
//! server, what TLS agrees on, how far the set-up of SSTP comes, and where time is lost.
//!
//! A [`Dialogue`] takes the segments of one connection in as they were captured, and keeps
//! [`TlsFacts`]. Hellos are in clear, and up to TLS 1.2 the server's certificate. Of the rest
//! the lengths of records tell ([`RecordSize`]).

mod alert;
mod cipher;
mod dialogue;
mod facts;
mod handshake;
mod messages;
mod setup;
mod stream;
mod talk;
mod waiting;

pub use alert::alert_name;
pub use cipher::{Message, RecordSize, cipher_name};
pub use dialogue::{Chunk, Dialogue};
pub use facts::{
    Alert, AlertContent, Hellos, Milestone, Owed, Phase, PppExchange, Resumption, ServerRecord,
    Suite, TlsFacts, Validity,
};
