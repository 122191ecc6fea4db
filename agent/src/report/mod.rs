//! From what tables hold to what events say.
//!
//! The tables may be the kernel's, filled by the programs, or a replay's, filled from a
//! capture: what is told of them is the same.

mod across;
mod alike;
mod attempts;
mod compact;
mod deadlines;
mod host;
mod known;
mod lately;
mod lines;
mod names;
mod prefix;
mod recent;
mod scan;
mod sessions;
mod table;
mod told;
mod watched;

pub use across::Across;
pub(crate) use attempts::Attempts;
pub(crate) use host::HostMemory;
pub use lines::Lines;
pub use scan::Scan;
pub use sessions::{Periods, Sessions};

use std::{
    error::Error,
    hash::{BuildHasher as _, RandomState},
    process,
    time::Duration,
};

use bytes::Bytes;
use nix::unistd::gethostname;
use sstpulse_common::{
    ChunkHeader, Counters, FlowKey, HalfOpen, Notice, SessionRecord, counters::Counter,
};

use crate::event::{LostStats, PassedOverStats, Totals};

/// Tables of sessions and attempts.
pub trait Flows {
    /// How a change of a table fails.
    type Error: Error + Send + Sync + 'static;

    /// How many slots for sessions there are.
    fn capacity(&self) -> u32;
    /// What a slot holds: a constant of [`SlotState`](sstpulse_common::record::SlotState).
    fn state(&self, slot: u32) -> u8;
    /// What tells which session a slot holds, from one cache line.
    fn glance(&self, slot: u32) -> Glance;
    /// The first slot from `from` on, and before `until`, that a scan is to look at: a segment has
    /// come since the slot was let [rest](Flows::rest), or it was looked at only once since.
    fn stirred(&self, from: u32, until: u32) -> Option<u32>;
    /// Lets a slot that is looked at rest until its next segment, or until it was looked at once
    /// more.
    fn rest(&mut self, slot: u32);
    /// A copy of the record in a slot.
    fn read(&self, slot: u32) -> SessionRecord;
    /// Sets what is to be told of a session, and how long its small segments are: see
    /// [`SessionHead`](sstpulse_common::record::SessionHead).
    fn attend(&mut self, slot: u32, attention: u8, small: u8);
    /// Lets the flows in these slots lead there no more, if they still do.
    fn retire(&mut self, slots: &[u32]) -> Result<(), Self::Error>;
    /// Gives slots back that were retired long enough ago for nobody to write to them.
    fn release(&mut self, slots: &[u32]) -> Result<(), Self::Error>;
    /// What was counted so far.
    fn counters(&self) -> Result<Counters, Self::Error>;
    /// Reads some of the attempts that are remembered into `found`, no more than take no long
    /// time: from where an earlier call says, or from the first. Says where the next ones
    /// begin, unless these were the last. One that is remembered all the while is found by one
    /// of the calls; one that comes or goes may be missing.
    fn some_attempts(&self, from: Option<u32>, found: &mut Vec<(FlowKey, HalfOpen)>)
    -> Option<u32>;
    /// All attempts that are remembered, likewise.
    fn attempts(&self) -> impl Iterator<Item = (FlowKey, HalfOpen)> {
        let mut found = Vec::new();
        let mut next = self.some_attempts(None, &mut found);
        while next.is_some() {
            next = self.some_attempts(next, &mut found);
        }
        found.into_iter()
    }
    /// One attempt, if it is still remembered.
    fn attempt(&self, key: &FlowKey) -> Option<HalfOpen>;
    /// Forgets an attempt; false if it was forgotten already.
    fn forget_attempt(&mut self, key: &FlowKey) -> bool;
}

/// What the programs tell.
#[derive(Clone, Debug)]
pub enum Message {
    /// A beginning, an ending, or the onset of trouble.
    Notice(Notice),
    /// A piece of a session's opening.
    Opening(Opening),
}

/// A piece of a session's opening.
#[derive(Clone, Debug)]
pub struct Opening {
    /// What it belongs to.
    pub header: ChunkHeader,
    /// Its bytes, as far as they were kept.
    pub bytes: Bytes,
}

/// What tells which session a slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Glance {
    /// A constant of [`SlotState`](sstpulse_common::record::SlotState).
    pub state: u8,
    /// When its record was made.
    pub start_ns: u64,
}

/// Names of interfaces.
pub trait InterfaceNames {
    /// The name of the interface with this index, if it has one.
    fn name(&self, index: u32) -> Option<&str>;
}

/// Where events go, how they name interfaces, and what they have in common.
pub struct Teller<'a> {
    /// Where they go.
    pub lines: &'a mut Lines,
    /// The names of interfaces.
    pub interfaces: &'a dyn InterfaceNames,
    /// What is told of one session also counts for all of them.
    pub across: &'a mut Across,
}

/// What a run has brought so far.
pub(crate) fn totals(
    counters: &Counters,
    sessions: &Sessions,
    attempts: &Attempts,
    across: &Across,
    lines: &Lines,
) -> Totals {
    Totals {
        sessions: sessions.stats(),
        attempts: attempts.stats(),
        lost: LostStats {
            table_full_segments: counters.get(Counter::TableFull),
            index_refused_segments: counters.get(Counter::IndexRefused),
            half_open_refused: counters.get(Counter::HalfOpenRefused),
            notices: counters.get(Counter::NoticesLost),
            payloads: counters.get(Counter::PayloadsLost),
            payloads_late: sessions.payloads_late(),
            clusters: across.displaced(),
            lines_dropped: lines.output().dropped(),
            lines_failed: lines.output().failed(),
        },
        passed_over: PassedOverStats {
            fragments: counters.get(Counter::Fragments),
            malformed: counters.get(Counter::Malformed),
            out_of_window: counters.get(Counter::OutOfWindow),
            other_interface: counters.get(Counter::OtherInterface),
            no_session: counters.get(Counter::NoSession),
        },
        lines: lines.written(),
    }
}

/// Name of this host.
pub(crate) fn host_name() -> String {
    gethostname().map_or_else(
        |_| "unknown".into(),
        |name| name.to_string_lossy().into_owned(),
    )
}

/// Whole milliseconds.
pub(crate) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Whole nanoseconds.
pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A number that differs from run to run.
pub(crate) fn run_number() -> u32 {
    // The standard library's way to randomness; identifiers need no more.
    let random = RandomState::new().hash_one(process::id());
    u32::try_from(random >> 32).unwrap_or_default()
}
