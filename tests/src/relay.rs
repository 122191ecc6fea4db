//! One direction of the path: packets read from the sender's TUN device, judged, and written to
//! the receiver's.

use std::collections::HashMap;
use std::io::{self, ErrorKind, PipeReader};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tun_rs::SyncDevice;

use crate::craft::too_big;
use crate::faults::Direction;
use crate::judge::{Judge, Verdict};
use crate::path::DirectionCounts;
use crate::release::Release;
use crate::segment::Seen;
use crate::witness::{Witness, Witnessed};

/// Largest packet a TUN device without offload hands over, in bytes.
const PACKET: usize = 65_536;

/// Clients remembered per direction; forged floods would otherwise fill the memory.
const CLIENTS: usize = 65_536;

/// One direction of the path.
pub(crate) struct Lane {
    direction: Direction,
    source: Arc<SyncDevice>,
    target: Arc<SyncDevice>,
    state: Mutex<LaneState>,
    release: Release,
    counters: Counters,
    /// Held while a packet is written, so that the order it saw is the receiver's.
    witness: Mutex<Option<Witness>>,
}

/// What a packet reads and changes while it is judged.
pub(crate) struct LaneState {
    /// The faults.
    pub(crate) judge: Judge,
    /// Last segment of each client, by the client's address and port.
    pub(crate) seen: HashMap<SocketAddr, Seen>,
}

#[derive(Default)]
struct Counters {
    carried: AtomicU64,
    dropped: AtomicU64,
    too_big: AtomicU64,
    duplicated: AtomicU64,
    delayed: AtomicU64,
    injected: AtomicU64,
}

impl Lane {
    pub(crate) fn new(
        direction: Direction,
        source: Arc<SyncDevice>,
        target: Arc<SyncDevice>,
    ) -> Self {
        Self {
            direction,
            source,
            target,
            state: Mutex::new(LaneState {
                judge: Judge::new(),
                seen: HashMap::new(),
            }),
            release: Release::default(),
            counters: Counters::default(),
            witness: Mutex::new(None),
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, LaneState> {
        self.state.lock().expect("no holder of this lock panics")
    }

    pub(crate) fn counts(&self) -> DirectionCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        DirectionCounts {
            carried: read(&self.counters.carried),
            dropped: read(&self.counters.dropped),
            too_big: read(&self.counters.too_big),
            duplicated: read(&self.counters.duplicated),
            delayed: read(&self.counters.delayed),
            injected: read(&self.counters.injected),
        }
    }

    /// Begins to count the next connection by itself.
    pub(crate) fn bear_witness(&self) {
        *self.witness() = Some(Witness::new(self.direction));
    }

    pub(crate) fn witnessed(&self) -> Witnessed {
        self.witness()
            .as_ref()
            .map_or_else(Witnessed::default, Witness::witnessed)
    }

    fn witness(&self) -> MutexGuard<'_, Option<Witness>> {
        self.witness.lock().expect("no holder of this lock panics")
    }

    fn note(&self, what: impl FnOnce(&mut Witness)) {
        if let Some(witness) = &mut *self.witness() {
            what(witness);
        }
    }

    /// Writes a forged packet to the receiver, past all faults.
    pub(crate) fn inject(&self, packet: &[u8]) -> io::Result<()> {
        self.target.send(packet)?;
        add(&self.counters.injected);
        Ok(())
    }

    /// Carries packets until the other end of `stop` is closed.
    pub(crate) fn carry(&self, stop: &PipeReader) {
        let mut buffer = vec![0; PACKET];
        loop {
            match self.source.recv(&mut buffer) {
                Ok(length) => self.packet(&buffer[..length]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Nothing there; or a device that is down, which becomes readable when up again.
                Err(_) => {
                    if !wait_readable(&self.source, stop) {
                        return;
                    }
                }
            }
        }
    }

    /// Sends delayed packets when they are due, until [`close`](Self::close).
    pub(crate) fn release_delayed(&self) {
        self.release.run(|packet| self.deliver(packet));
    }

    pub(crate) fn close(&self) {
        self.release.close();
    }

    fn packet(&self, packet: &[u8]) {
        if is_multicast(packet) {
            // Group reports of the kernel's own: no part of what is tested.
            return;
        }
        self.note(|witness| witness.entered(packet));
        match self.judge(packet) {
            Verdict::Drop => self.lose(packet),
            Verdict::TooBig(mtu) => {
                self.lose(packet);
                add(&self.counters.too_big);
                self.tell_too_big(packet, mtu);
            }
            Verdict::Pass { copies, hold } => self.pass(packet, copies, hold),
        }
    }

    fn judge(&self, packet: &[u8]) -> Verdict {
        let seen = Seen::parse(packet);
        let mut state = self.state();
        if let Some(seen) = seen {
            if state.seen.len() >= CLIENTS {
                state.seen.clear();
            }
            let client = match self.direction {
                Direction::FromClient => seen.source,
                Direction::FromServer => seen.destination,
            };
            state.seen.insert(client, seen);
        }
        state.judge.judge(packet.len(), seen.as_ref())
    }

    fn lose(&self, packet: &[u8]) {
        add(&self.counters.dropped);
        self.note(|witness| witness.dropped(packet));
    }

    fn pass(&self, packet: &[u8], copies: u32, hold: Duration) {
        if copies > 1 {
            add(&self.counters.duplicated);
        }
        for _ in 1..copies {
            self.note(|witness| witness.duplicated(packet));
        }
        if hold.is_zero() {
            for _ in 0..copies {
                self.deliver(packet);
            }
            return;
        }
        add(&self.counters.delayed);
        let due = Instant::now() + hold;
        for _ in 0..copies {
            self.release.hold(due, packet.to_vec());
        }
    }

    fn deliver(&self, packet: &[u8]) {
        let mut witness = self.witness();
        // Refused only by a device that is down: then the packet is lost, as on a real link.
        let sent = self.target.send(packet).is_ok();
        let counter = if sent {
            &self.counters.carried
        } else {
            &self.counters.dropped
        };
        add(counter);
        match &mut *witness {
            Some(witness) if sent => witness.delivered(packet),
            Some(witness) => witness.dropped(packet),
            None => {}
        }
    }

    fn tell_too_big(&self, packet: &[u8], mtu: u16) {
        // A sender whose device is down meanwhile cannot be told, and need not be.
        if let Some(answer) = too_big(packet, mtu) {
            let _ = self.source.send(&answer);
        }
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Whether the destination is a multicast group, from the fixed places of both IP headers.
fn is_multicast(packet: &[u8]) -> bool {
    match packet.first().map(|first| first >> 4) {
        Some(4) => packet.get(16).is_some_and(|first| first & 0xf0 == 0xe0),
        Some(6) => packet.get(24) == Some(&0xff),
        _ => false,
    }
}

/// Waits for a packet; false when the path is being closed.
fn wait_readable(device: &SyncDevice, stop: &PipeReader) -> bool {
    let mut fds = [
        PollFd::new(device.as_fd(), PollFlags::POLLIN),
        PollFd::new(stop.as_fd(), PollFlags::POLLIN),
    ];
    // An interrupted poll reports nothing, and the caller comes again.
    let _ = poll(&mut fds, PollTimeout::NONE);
    !fds[1].any().unwrap_or(true)
}
