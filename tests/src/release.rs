//! Packets that wait for their time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::sync::{Condvar, Mutex};
use std::time::Instant;

/// A packet, ordered by when it is due and then by arrival, so that equal delays keep the order.
type Held = Reverse<(Instant, u64, Vec<u8>)>;

#[derive(Default)]
struct State {
    held: BinaryHeap<Held>,
    arrivals: u64,
    closed: bool,
}

/// Packets held until they are due.
#[derive(Default)]
pub(crate) struct Release {
    state: Mutex<State>,
    changed: Condvar,
}

impl Release {
    /// Holds a packet until `due`.
    pub(crate) fn hold(&self, due: Instant, packet: Vec<u8>) {
        let mut state = self.state.lock().expect("no holder of this lock panics");
        state.arrivals += 1;
        let entry = Reverse((due, state.arrivals, packet));
        state.held.push(entry);
        // Only a packet due before all others changes how long the thread has to sleep.
        if state
            .held
            .peek()
            .is_some_and(|Reverse((first, ..))| *first == due)
        {
            self.changed.notify_one();
        }
    }

    /// Hands packets to `send` when they are due, until closed.
    pub(crate) fn run(&self, mut send: impl FnMut(&[u8])) {
        let mut due = Vec::new();
        while self.wait(&mut due) {
            for packet in due.drain(..) {
                send(&packet);
            }
        }
    }

    /// Ends `run`; packets still held are lost.
    pub(crate) fn close(&self) {
        self.state
            .lock()
            .expect("no holder of this lock panics")
            .closed = true;
        self.changed.notify_one();
    }

    /// Waits until packets are due and moves them to `due`; false once closed.
    fn wait(&self, due: &mut Vec<Vec<u8>>) -> bool {
        let mut state = self.state.lock().expect("no holder of this lock panics");
        loop {
            if state.closed {
                return false;
            }
            let now = Instant::now();
            take_due(&mut state, now, due);
            if !due.is_empty() {
                return true;
            }
            let next = state
                .held
                .peek()
                .map(|Reverse((at, ..))| at.duration_since(now));
            state = match next {
                None => self
                    .changed
                    .wait(state)
                    .expect("no holder of this lock panics"),
                Some(rest) => {
                    let woken = self.changed.wait_timeout(state, rest);
                    woken.expect("no holder of this lock panics").0
                }
            };
        }
    }
}

fn take_due(state: &mut State, now: Instant, due: &mut Vec<Vec<u8>>) {
    while let Some(first) = state.held.peek_mut() {
        if first.0.0 > now {
            break;
        }
        let Reverse((_, _, packet)) = PeekMut::pop(first);
        due.push(packet);
    }
}
