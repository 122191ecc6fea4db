//! Flows of one kind of interface, and everybody's count of each.

use std::{collections::BTreeSet, net::SocketAddr, num::NonZeroU32, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use lab::{
    Agent, Direction, Lab, SERVER_INTERFACE, Witnessed,
    events::{Deltas, Line, Lost, SessionHealth},
    tcp_info::{TcpInfo, tcp_info},
    wait_until,
};
use sstpulse::{
    interface,
    kernel::{HookChoice, Kernel, Limits},
    report::Flows as _,
};
use sstpulse_common::{SessionRecord, record::SlotState};

use super::{Offloads, Row, traffic::Ends};
use crate::{PORT, WATCH};

const PATIENCE: Duration = Duration::from_secs(20);

/// What the agent told of one side, all in all.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Told {
    pub(super) bytes: u64,
    pub(super) segments: u64,
    pub(super) retransmits: u64,
    pub(super) retransmitted_bytes: u64,
    pub(super) spurious: u64,
    pub(super) out_of_order: u64,
}

impl Told {
    fn add(&mut self, deltas: &Deltas) {
        self.bytes += deltas.bytes;
        self.segments += deltas.segments;
        self.retransmits += u64::from(deltas.retransmits);
        self.retransmitted_bytes += deltas.retransmitted_bytes;
        self.spurious += u64::from(deltas.spurious_retransmits);
        self.out_of_order += u64::from(deltas.out_of_order);
    }
}

/// One side of a flow: who counted what of it.
#[derive(Clone, Debug)]
pub(super) struct SideCounts {
    /// What the agent told of its segments.
    pub(super) told: Told,
    /// What its socket says.
    pub(super) socket: TcpInfo,
    /// What the path saw of its segments.
    pub(super) path: Witnessed,
}

/// Everybody's count of one flow.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) client: SideCounts,
    pub(super) server: SideCounts,
    /// What the same programs counted beside the agent; it holds what events don't show.
    pub(super) record: SessionRecord,
}

/// Carries the flows one after the other, all over an interface with these offloads.
pub(super) fn measure(rows: &[&Row], offloads: Offloads) -> Result<Vec<Measured>> {
    let lab = Lab::builder()
        .tso(offloads.tso)
        .gro(offloads.gro)
        .ordered(true)
        .build()?;
    // The agent first: it does not start where its programs are attached already.
    let agent = Agent::start(&lab.server, &WATCH)?;
    let tracker = Tracker::attach(&lab)?;
    let mut flows = Vec::new();
    for row in rows {
        let flow = carry(&lab, row).with_context(|| format!("the flow `{}`", row.name))?;
        flows.push(flow);
    }
    // All are open still, so that only what was counted at rest is told.
    let lines = agent.stop()?;
    let stop = lines.iter().find_map(Line::agent_stop).context("no end")?;
    ensure!(stop.totals.lost == Lost::default(), "{:?}", stop.totals);
    ensure!(
        stop.totals.passed_over.out_of_window == 0,
        "{:?}",
        stop.totals
    );
    flows
        .into_iter()
        .map(|flow| {
            Ok(Measured {
                record: tracker.record(flow.ends.address)?,
                ..flow.told(&lines)
            })
        })
        .collect()
}

/// A flow at rest.
struct Flow {
    ends: Ends,
    counts: [Seen; 2],
}

fn carry(lab: &Lab, row: &Row) -> Result<Flow> {
    // The handshake takes the same time as all that follows, and is not lost.
    lab.path.clear();
    lab.path.update(|faults| {
        faults.from_client.delay = row.from_client.delay;
        faults.from_server.delay = row.from_server.delay;
    });
    let timestamps = if row.timestamps { "1" } else { "0" };
    lab.client
        .set_sysctl("net/ipv4/tcp_timestamps", timestamps)?;
    lab.path.bear_witness();
    let ends = Ends::connect(lab, row.server(), row.control)?;
    lab.path.update(|faults| {
        faults.from_client = row.from_client.clone();
        faults.from_server = row.from_server.clone();
    });
    row.traffic.carry(&ends)?;
    let counts = at_rest(lab, row.server(), ends.address)?;
    Ok(Flow { ends, counts })
}

impl Flow {
    fn told(&self, lines: &[Line]) -> Measured {
        let (mut from_client, mut from_server) = (Told::default(), Told::default());
        let own = |health: &&SessionHealth| health.client.port == self.ends.address.port();
        for health in lines.iter().filter_map(Line::session_health).filter(own) {
            from_client.add(&health.from_client);
            from_server.add(&health.from_server);
        }
        let [client, server] = &self.counts;
        Measured {
            client: client.with(from_client),
            server: server.with(from_server),
            record: SessionRecord::FREE,
        }
    }
}

/// What socket and path count of one side.
#[derive(Debug)]
struct Seen {
    socket: TcpInfo,
    path: Witnessed,
}

impl Seen {
    fn with(&self, told: Told) -> SideCounts {
        SideCounts {
            told,
            socket: self.socket.clone(),
            path: self.path,
        }
    }

    /// Whether all it sent is acknowledged, and has arrived or was lost.
    fn is_idle(&self) -> bool {
        self.socket.unacked == 0 && self.socket.notsent_bytes == 0 && self.path.under_way() == 0
    }

    /// Whether the path has all it sent. A server's SYN-ACK is sent before the socket
    /// exists that counts.
    fn has_sent(&self, before: u64) -> bool {
        u64::from(self.socket.segs_out) + before == self.path.entered.all.segments
    }

    /// Whether it has all that the path delivered.
    fn has_received(&self, path: &Witnessed) -> bool {
        u64::from(self.socket.segs_in) == path.delivered.all.segments
    }
}

/// Client and server, once nothing of a flow moves any more.
fn at_rest(lab: &Lab, server: SocketAddr, client: SocketAddr) -> Result<[Seen; 2]> {
    let mut last = None;
    let waited = wait_until(PATIENCE, "the flow comes to rest", || {
        last = look(lab, server, client).ok();
        last.as_ref().is_some_and(|[client, server]| {
            client.is_idle()
                && server.is_idle()
                && client.has_sent(0)
                && server.has_sent(1)
                && client.has_received(&server.path)
                && server.has_received(&client.path)
        })
    });
    match (waited, last) {
        (Ok(()), Some(found)) => Ok(found),
        (Err(error), Some(found)) => Err(error.context(format!("{found:#?}"))),
        (_, None) => bail!("the connection is gone"),
    }
}

fn look(lab: &Lab, server: SocketAddr, client: SocketAddr) -> Result<[Seen; 2]> {
    Ok([
        Seen {
            socket: tcp_info(&lab.client, client, server)?,
            path: lab.path.witnessed(Direction::FromClient),
        },
        Seen {
            socket: tcp_info(&lab.server, server, client)?,
            path: lab.path.witnessed(Direction::FromServer),
        },
    ])
}

/// The programs once more, beside the agent's.
struct Tracker(Kernel);

impl Tracker {
    fn attach(lab: &Lab) -> Result<Self> {
        const ROOM: NonZeroU32 = NonZeroU32::new(64).expect("not zero");
        let limits = Limits {
            sessions: ROOM,
            half_open: ROOM,
        };
        let mut kernel = Kernel::load(&BTreeSet::from([PORT]), limits)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        lab.server.run(|| {
            runtime.block_on(async {
                let all = interface::all().await?;
                let server = all.iter().find(|found| found.name == SERVER_INTERFACE);
                let server = server.context("the server has no interface")?;
                kernel.attach(server, HookChoice::Auto).await?;
                anyhow::Ok(())
            })
        })?;
        Ok(Self(kernel))
    }

    /// The record of this client's session.
    fn record(&self, client: SocketAddr) -> Result<SessionRecord> {
        (0..self.0.capacity())
            .filter(|slot| self.0.state(*slot) == SlotState::LIVE)
            .map(|slot| self.0.read(slot))
            .find(|record| record.head.key.client() == client)
            .with_context(|| format!("no session of {client}"))
    }
}
