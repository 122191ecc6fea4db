//! How this host does: what the kernel knows of why connections fail, and no segment shows.
//!
//! A look costs a dozen small files and two netlink messages for each port, however many
//! connections there are: the kernel is asked for listening sockets only, and a process is
//! searched for when its socket is new, not each time. That search, and counting what a process
//! has open on kernels before 6.2, can still take seconds on a host with a million connections,
//! so looks belong in a thread of their own.

mod counts;
mod files;
mod holders;
mod listening;
mod pressure;
mod sockets;
mod softnet;
mod tcp_ext;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::anyhow;

use self::{counts::Counts, files::Told};
pub use self::{
    holders::{Holder, Holders},
    listening::{ListeningSocket, listening_sockets},
};
use crate::{
    event::{HostState, InterfaceCounters, Listener, ListenerProcess},
    interface::Statistics,
};

/// Looks at the host, again and again.
pub struct HostWatch {
    ports: BTreeSet<u16>,
    holders: Holders,
    counts: Counts,
    told: Told,
}

impl HostWatch {
    /// Will look at the sockets that listen on these ports, among other things.
    pub fn new(ports: impl IntoIterator<Item = u16>) -> Self {
        Self {
            ports: ports.into_iter().collect(),
            holders: Holders::default(),
            counts: Counts::default(),
            told: Told::default(),
        }
    }

    /// How the host does now, with these counters of the watched interfaces. What can't be read
    /// is null, and the log says so once. Blocks, for some seconds at worst.
    pub fn look(&mut self, interfaces: anyhow::Result<Vec<Statistics>>) -> HostState {
        self.counts.begin();
        let listeners = self.listeners();
        let Self { counts, told, .. } = self;
        let interfaces = told.take("interfaces", interfaces.map(Some));
        HostState {
            listeners,
            tcp: told.take("tcp", tcp_ext::read(counts).map(Some)),
            sockets: told.take("sockets", sockets::tcp().map(Some)),
            conntrack: told.take("conntrack", sockets::conntrack()),
            interfaces: interfaces
                .map(|all| all.iter().map(|one| interface(counts, one)).collect()),
            softnet: told.take("softnet", softnet::read(counts).map(Some)),
            pressure: pressure::read(told),
        }
    }

    fn listeners(&mut self) -> Option<Vec<Listener>> {
        let sockets = listening_sockets(self.ports.iter().copied());
        let sockets = self.told.take("listeners", sockets.map(Some))?;
        let inodes: BTreeSet<u64> = sockets.iter().map(|socket| socket.inode).collect();
        // Without the processes, the queues are told all the same.
        let updated = self.holders.update(&inodes).map(Some);
        self.told.take("listeners.processes", updated);
        // Workers of one server share its sockets: each is looked at once.
        let holders = inodes.iter().filter_map(|inode| self.holders.of(*inode));
        let processes: BTreeMap<i32, ListenerProcess> = holders
            .flatten()
            .filter_map(|holder| Some((holder.pid, process(holder)?)))
            .collect();
        let listeners = sockets
            .into_iter()
            .map(|socket| Listener {
                address: socket.address,
                port: socket.port,
                queue: socket.queue,
                queue_limit: socket.queue_limit,
                processes: self.processes(socket.inode, &processes),
            })
            .collect();
        Some(listeners)
    }

    /// The processes that hold a socket, once they have been searched for; the log says once
    /// what to do if none is found.
    fn processes(
        &mut self,
        inode: u64,
        all: &BTreeMap<i32, ListenerProcess>,
    ) -> Option<Vec<ListenerProcess>> {
        let holders = self.holders.of(inode)?;
        let processes: Vec<ListenerProcess> = holders
            .iter()
            .filter_map(|holder| all.get(&holder.pid).cloned())
            .collect();
        if !processes.is_empty() {
            return Some(processes);
        }
        let why = if self.holders.hidden() {
            anyhow!(
                "this user may not look into the processes of others; run sstpulse as root, or \
                 grant it CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH"
            )
        } else {
            anyhow!("no process that can be seen from here holds the listening socket")
        };
        self.told.take("listeners.processes", Err(why))
    }
}

/// What is known of a process; `None` if it has ended meanwhile.
fn process(holder: &Holder) -> Option<ListenerProcess> {
    Some(ListenerProcess {
        pid: u32::try_from(holder.pid).ok()?,
        name: holder.name()?,
        open_files: holder.open_files(),
        open_files_limit: holder.open_files_limit(),
    })
}

fn interface(counts: &mut Counts, interface: &Statistics) -> InterfaceCounters {
    let Statistics {
        name,
        index,
        counters,
    } = interface;
    // Under the index: an interface that went and came back counts anew.
    let mut count = |what: &str, total| counts.count(format!("{index} {what}"), total);
    InterfaceCounters {
        name: name.clone(),
        rx_errors: count("rx_errors", counters.rx_errors),
        tx_errors: count("tx_errors", counters.tx_errors),
        rx_dropped: count("rx_dropped", counters.rx_dropped),
        tx_dropped: count("tx_dropped", counters.tx_dropped),
        rx_missed_errors: count("rx_missed_errors", counters.rx_missed_errors),
        rx_fifo_errors: count("rx_fifo_errors", counters.rx_fifo_errors),
        rx_nohandler: count("rx_nohandler", counters.rx_nohandler),
    }
}
