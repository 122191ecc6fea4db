//! The path between router and client: two TUN devices and threads that carry packets between
//! them.

use std::io::PipeWriter;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use tun_rs::{DeviceBuilder, SyncDevice};

use crate::faults::{Direction, Faults};
use crate::namespace::Namespace;
use crate::relay::Lane;
use crate::segment::Seen;
use crate::wait::wait_until;
use crate::witness::Witnessed;

/// TUN device in the router's namespace.
pub const ROUTER_TUN: &str = "path0";

/// TUN device in the client's namespace.
pub const CLIENT_TUN: &str = "tun0";

/// Packets each device queues for the relay: more than TCP windows hold, so that only chosen
/// faults lose packets. Recent kernels refuse 32,768 and more.
const QUEUE: u32 = 30_000;

/// Packets of one direction since the path was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DirectionCounts {
    /// Packets delivered, duplicates included and injected ones not.
    pub carried: u64,
    /// Packets lost, by a fault or because the receiver's device was down.
    pub dropped: u64,
    /// Packets among the lost whose sender was told by ICMP that they are too big.
    pub too_big: u64,
    /// Packets delivered more than once.
    pub duplicated: u64,
    /// Packets held for some time.
    pub delayed: u64,
    /// Forged packets written by [`Path::inject`].
    pub injected: u64,
}

/// Packets of both directions since the path was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Packets the client sent.
    pub from_client: DirectionCounts,
    /// Packets the server sent.
    pub from_server: DirectionCounts,
}

/// Last segments of one connection, as they entered the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Observed {
    /// Last segment the client sent.
    pub from_client: Option<Seen>,
    /// Last segment the server sent.
    pub from_server: Option<Seen>,
}

/// The path, closed when dropped: its devices vanish with it.
pub struct Path {
    from_client: Arc<Lane>,
    from_server: Arc<Lane>,
    /// Closing it tells the threads to end.
    stop: Option<PipeWriter>,
    threads: Vec<JoinHandle<()>>,
}

impl Path {
    /// Makes the two TUN devices, up and with this MTU in bytes, and starts to carry packets.
    pub fn open(router: &Namespace, client: &Namespace, mtu: u16) -> Result<Self> {
        let router_tun = Arc::new(open_tun(router, ROUTER_TUN, mtu)?);
        let client_tun = Arc::new(open_tun(client, CLIENT_TUN, mtu)?);
        let lane = |direction, source: &Arc<SyncDevice>, target: &Arc<SyncDevice>| {
            Arc::new(Lane::new(direction, Arc::clone(source), Arc::clone(target)))
        };
        let mut path = Self {
            from_client: lane(Direction::FromClient, &client_tun, &router_tun),
            from_server: lane(Direction::FromServer, &router_tun, &client_tun),
            stop: None,
            threads: Vec::new(),
        };
        path.start()?;
        Ok(path)
    }

    fn start(&mut self) -> Result<()> {
        let (reader, writer) = std::io::pipe().context("cannot make the path's stop pipe")?;
        self.stop = Some(writer);
        for lane in [&self.from_client, &self.from_server] {
            let stop = reader
                .try_clone()
                .context("cannot share the path's stop pipe")?;
            let carrier = Arc::clone(lane);
            self.threads
                .push(thread::spawn(move || carrier.carry(&stop)));
            let releaser = Arc::clone(lane);
            self.threads
                .push(thread::spawn(move || releaser.release_delayed()));
        }
        Ok(())
    }

    fn lane(&self, direction: Direction) -> &Lane {
        match direction {
            Direction::FromClient => &self.from_client,
            Direction::FromServer => &self.from_server,
        }
    }

    /// Sets the faults; all their counts begin anew.
    pub fn set(&self, faults: Faults) {
        self.from_client.state().judge.set(faults.from_client);
        self.from_server.state().judge.set(faults.from_server);
    }

    /// Changes the faults in place; only the counts of what changed begin anew.
    pub fn update(&self, change: impl FnOnce(&mut Faults)) {
        let mut faults = self.faults();
        change(&mut faults);
        self.from_client.state().judge.update(faults.from_client);
        self.from_server.state().judge.update(faults.from_server);
    }

    /// Takes all faults away.
    pub fn clear(&self) {
        self.set(Faults::default());
    }

    /// The faults as last set.
    pub fn faults(&self) -> Faults {
        Faults {
            from_client: self.from_client.state().judge.faults().clone(),
            from_server: self.from_server.state().judge.faults().clone(),
        }
    }

    /// One-shot rules of both directions that have not met their packet yet.
    pub fn rules_pending(&self) -> usize {
        self.from_client.state().judge.pending() + self.from_server.state().judge.pending()
    }

    /// Waits until every one-shot rule has met its packet.
    pub fn wait_for_rules(&self, timeout: Duration) -> Result<()> {
        wait_until(timeout, "all rules of the path meet their packet", || {
            self.rules_pending() == 0
        })
    }

    /// Writes a forged IP packet that arrives as if sent by `direction`, past all faults.
    pub fn inject(&self, direction: Direction, packet: &[u8]) -> Result<()> {
        self.lane(direction)
            .inject(packet)
            .context("cannot inject a packet")
    }

    /// Packets so far.
    pub fn counts(&self) -> Counts {
        Counts {
            from_client: self.from_client.counts(),
            from_server: self.from_server.counts(),
        }
    }

    /// Counts the next connection by itself, segment by segment; what was counted before is
    /// forgotten.
    pub fn bear_witness(&self) {
        self.from_client.bear_witness();
        self.from_server.bear_witness();
    }

    /// What became of the segments one side sent since [`bear_witness`](Self::bear_witness).
    pub fn witnessed(&self, direction: Direction) -> Witnessed {
        self.lane(direction).witnessed()
    }

    /// Last segments of the connection of this client address and port, dropped ones included.
    pub fn observed(&self, client: SocketAddr) -> Observed {
        Observed {
            from_client: self.from_client.state().seen.get(&client).copied(),
            from_server: self.from_server.state().seen.get(&client).copied(),
        }
    }
}

impl Drop for Path {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.from_client.close();
        self.from_server.close();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                eprintln!("a thread of the path panicked: packets were lost");
            }
        }
    }
}

fn open_tun(namespace: &Namespace, name: &str, mtu: u16) -> Result<SyncDevice> {
    namespace
        .run(|| {
            let device = DeviceBuilder::new()
                .name(name)
                .mtu(mtu)
                .tx_queue_len(QUEUE)
                .packet_information(false)
                .offload(false)
                .enable(true)
                .build_sync()?;
            // Reads end when the queue is empty; the relay then polls device and stop pipe.
            device.set_nonblocking(true)?;
            std::io::Result::Ok(device)
        })
        .with_context(|| format!("cannot make the TUN device {name} in {}", namespace.name()))
}
