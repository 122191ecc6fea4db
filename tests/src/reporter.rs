//! The agent without its kernel half: what it makes of tables that others fill.

use std::time::Duration;

use sstpulse::{
    clock::Clock,
    diagnosis::{ClusterLimits, Thresholds},
    output::Output,
    report::{Across, Flows, InterfaceNames, Lines, Message, Periods, Sessions, Teller},
};

/// What is usual.
pub const PERIODS: Periods = Periods {
    interval: Duration::from_secs(10),
    dead_after: Duration::from_mins(15),
};

/// The index of the only interface.
pub const IFINDEX: u32 = 1;

/// What tells of sessions; nobody reads its lines.
pub struct Reporter {
    sessions: Sessions,
    across: Across,
    lines: Lines,
}

impl Reporter {
    /// Knows of nothing yet, of a table of so many slots.
    pub fn new(capacity: u32) -> Self {
        Self {
            sessions: Sessions::new(capacity, 0x5357_0001, Thresholds::default(), PERIODS),
            across: Across::new(&Thresholds::default(), &ClusterLimits::default()),
            lines: Lines::new(Output::discard(), Clock::now()),
        }
    }

    /// Does something with the sessions, and has it told.
    pub fn tell<T>(&mut self, job: impl FnOnce(&mut Sessions, &mut Teller<'_>) -> T) -> T {
        let mut teller = Teller {
            lines: &mut self.lines,
            interfaces: &Eth0,
            across: &mut self.across,
        };
        let result = job(&mut self.sessions, &mut teller);
        self.lines.flush();
        result
    }

    /// Takes messages in.
    pub fn take(&mut self, flows: &mut impl Flows, messages: &[Message]) {
        self.tell(|sessions, teller| {
            for message in messages {
                sessions.take(flows, teller, message);
            }
        });
    }

    /// Does all that is due at `now`.
    pub fn settle<F: Flows>(&mut self, flows: &mut F, now: u64) -> Result<(), F::Error> {
        self.tell(|sessions, teller| {
            while sessions.next_due().is_some_and(|due| due <= now) {
                sessions.settle(flows, teller, now)?;
            }
            Ok(())
        })
    }

    /// Does a whole scan.
    pub fn scan<F: Flows>(&mut self, flows: &mut F, now: u64) -> Result<(), F::Error> {
        self.tell(|sessions, teller| sessions.scan(flows, teller, now))
    }

    /// What it knows of the sessions.
    pub const fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// Lines that were written so far.
    pub fn written(&self) -> u64 {
        self.lines.written()
    }
}

/// The interface `eth0`.
struct Eth0;

impl InterfaceNames for Eth0 {
    fn name(&self, index: u32) -> Option<&str> {
        (index == IFINDEX).then_some("eth0")
    }
}
