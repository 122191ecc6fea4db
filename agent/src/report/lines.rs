//! From events to lines: what all lines share, and the buffer they are written to.

use std::borrow::Cow;

use crate::{
    clock::Clock,
    event::{Event, Head, SCHEMA, Time},
    output::Output,
};

/// Bytes handed over at once. What the output can't take is dropped by batches, so they
/// are small against all that may wait.
const BATCH: usize = 64 << 10;

/// Writes events, and numbers them.
pub struct Lines {
    output: Output,
    host: String,
    clock: Clock,
    buffer: Vec<u8>,
    written: u64,
}

impl Lines {
    /// Lines to an output, with times by a clock.
    pub fn new(output: Output, clock: Clock) -> Self {
        Self {
            output,
            host: super::host_name(),
            clock,
            buffer: Vec::new(),
            written: 0,
        }
    }

    /// The time of day at a monotonic time in nanoseconds.
    pub(crate) fn time(&self, ns: u64) -> Time {
        Time(self.clock.at(ns))
    }

    /// Follows the time of day, which may have been set.
    pub(crate) fn adjust_clock(&mut self) {
        self.clock = Clock::now();
    }

    /// How many lines there were.
    pub const fn written(&self) -> u64 {
        self.written
    }

    /// Where they go.
    pub(crate) const fn output(&self) -> &Output {
        &self.output
    }

    /// Writes one event of the monotonic time `ns`.
    pub(crate) fn write<'a>(
        &'a mut self,
        ns: u64,
        interface: Option<&'a str>,
        event: impl FnOnce(Head<'a>) -> Event<'a>,
    ) {
        if self.buffer.len() >= BATCH {
            self.flush();
        }
        self.written += 1;
        let head = Head {
            schema: SCHEMA,
            time: Time(self.clock.at(ns)),
            seq: self.written,
            host: &self.host,
            interface: interface.map(Cow::Borrowed),
        };
        let start = self.buffer.len();
        if let Err(error) = serde_json::to_writer(&mut self.buffer, &event(head)) {
            // Can't be: all keys are strings, and memory doesn't fail. The gap in `seq`
            // would show it.
            tracing::error!(%error, "can't write an event");
            self.buffer.truncate(start);
            return;
        }
        self.buffer.push(b'\n');
    }

    /// Hands over what was written.
    pub fn flush(&mut self) {
        if !self.buffer.is_empty() {
            self.output.send(&mut self.buffer);
        }
    }

    /// Hands over what was written, and waits until it is out.
    pub(crate) fn finish(mut self) -> anyhow::Result<()> {
        self.flush();
        self.output.finish()
    }
}
