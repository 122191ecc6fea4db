//! Lines about the host: what may keep connections from working that no segment shows.
//!
//! Null stands for what this host doesn't have or doesn't tell; the log says once why.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::Serialize;

use super::Head;

/// How the host does, each interval.
#[derive(Debug, Serialize, JsonSchema)]
pub struct HostHealth<'a> {
    #[serde(flatten)]
    #[expect(missing_docs, reason = "documented where it is defined")]
    pub head: Head<'a>,
    #[serde(flatten)]
    #[expect(missing_docs, reason = "documented where it is defined")]
    pub state: HostState,
}

/// What the kernel tells about the host. The network's part is that of the agent's own
/// network namespace, unless a field says otherwise.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct HostState {
    /// The sockets that listen on a watched port, by port and address; 256 at most.
    pub listeners: Option<Vec<Listener>>,
    /// What the kernel's TCP counted (`TcpExt` in `/proc/net/netstat`).
    pub tcp: Option<TcpCounters>,
    /// TCP sockets and their memory (`/proc/net/sockstat`).
    pub sockets: Option<TcpSockets>,
    /// Connection tracking (`nf_conntrack`); null if its module is not loaded.
    pub conntrack: Option<Conntrack>,
    /// The watched interfaces that exist.
    pub interfaces: Option<Vec<InterfaceCounters>>,
    /// Where packets wait for a CPU, summed over all CPUs of the host
    /// (`/proc/net/softnet_stat`).
    pub softnet: Option<Softnet>,
    /// Time lost waiting for a resource, of the whole host (`/proc/pressure`).
    pub pressure: Pressure,
}

/// A counter of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Count {
    /// Since the kernel began to count, mostly at boot.
    pub total: u64,
    /// Since the last such line, the first time since the agent started; null if the counter
    /// wasn't there then, or began anew.
    pub since_last: Option<u64>,
}

/// A socket that listens on a watched port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Listener {
    /// IP address it listens on; `0.0.0.0` and `::` stand for all.
    pub address: IpAddr,
    /// TCP port.
    pub port: u16,
    /// Connections that wait for the server to accept them (`sk_ack_backlog`).
    pub queue: u32,
    /// How many may wait (`sk_max_ack_backlog`). The kernel takes one more, and then drops SYNs
    /// and completed handshakes (`sk_acceptq_is_full` in `include/net/sock.h`).
    pub queue_limit: u32,
    /// The processes that hold the socket open, by number; 16 at most. Null if none is found:
    /// it takes privileges to look into processes of other users, and those of other PID
    /// namespaces can't be seen.
    pub processes: Option<Vec<ListenerProcess>>,
}

/// A process that holds a listening socket open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ListenerProcess {
    /// Its number (OpenTelemetry: `process.pid`).
    pub pid: u32,
    /// Its name, cut to 15 bytes by the kernel (`/proc/PID/comm`).
    pub name: String,
    /// File descriptors it has open (OpenTelemetry: `process.unix.file_descriptor.count`).
    pub open_files: Option<u64>,
    /// How many it may have open: its soft `RLIMIT_NOFILE`.
    pub open_files_limit: Option<u64>,
}

/// Counters of the kernel's TCP that tell why connections fail. Each is null on a kernel that
/// doesn't have it; the names are the kernel's, in snake case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TcpCounters {
    /// SYNs and completed handshakes dropped because the queue of a listening socket was full
    /// (`ListenOverflows`).
    pub listen_overflows: Option<Count>,
    /// All SYNs and completed handshakes that listening sockets dropped, overflows among them
    /// (`ListenDrops`).
    pub listen_drops: Option<Count>,
    /// SYNs dropped because too many handshakes were under way (`TCPReqQFullDrop`).
    pub tcp_req_q_full_drop: Option<Count>,
    /// SYNs answered with a cookie for the same reason (`TCPReqQFullDoCookies`).
    pub tcp_req_q_full_do_cookies: Option<Count>,
    /// SYN cookies sent (`SyncookiesSent`).
    pub syncookies_sent: Option<Count>,
    /// ACKs that came back with a wrong cookie (`SyncookiesFailed`).
    pub syncookies_failed: Option<Count>,
    /// Connections the kernel gave up for lack of memory, or of room among the orphans
    /// (`TCPAbortOnMemory`).
    pub tcp_abort_on_memory: Option<Count>,
    /// Connections the kernel gave up because nothing was acknowledged (`TCPAbortOnTimeout`).
    pub tcp_abort_on_timeout: Option<Count>,
    /// Times TCP came under memory pressure (`TCPMemoryPressures`).
    pub tcp_memory_pressures: Option<Count>,
    /// Segments dropped because they came faster than the socket's owner let the kernel
    /// process them (`TCPBacklogDrop`).
    pub tcp_backlog_drop: Option<Count>,
    /// Segments dropped because the socket's receive memory was full (`TCPRcvQDrop`).
    pub tcp_rcv_q_drop: Option<Count>,
    /// Connections closed without TIME-WAIT because there were too many in it
    /// (`TCPTimeWaitOverflow`).
    pub tcp_time_wait_overflow: Option<Count>,
}

/// TCP sockets and their memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TcpSockets {
    /// TCP sockets in use, over IPv4 and IPv6.
    pub in_use: u64,
    /// Connections of the whole host that no process holds any more, and that aren't done.
    pub orphans: u64,
    /// How many orphans there may be (`net.ipv4.tcp_max_orphans`); null outside the host's
    /// initial network namespace.
    pub orphans_limit: Option<u64>,
    /// Connections in TIME-WAIT.
    pub time_wait: u64,
    /// Memory that all TCP sockets of the host hold, in pages of the kernel.
    pub memory_pages: u64,
    /// What that is held against (`net.ipv4.tcp_mem`); null outside the host's initial network
    /// namespace.
    pub memory_limit_pages: Option<TcpMemoryLimit>,
}

/// The limits of TCP's memory, in pages of the kernel (`net.ipv4.tcp_mem`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TcpMemoryLimit {
    /// Below this, TCP doesn't care.
    pub min: u64,
    /// Above this, TCP saves memory, until it is below `min` again.
    pub pressure: u64,
    /// Beyond this, TCP drops segments and gives up connections.
    pub max: u64,
}

/// Connection tracking. At its maximum, it drops the packets of new connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Conntrack {
    /// Connections tracked now, in the agent's network namespace
    /// (`net.netfilter.nf_conntrack_count`).
    pub count: u64,
    /// How many can be, in each network namespace (`net.netfilter.nf_conntrack_max`).
    pub max: u64,
}

/// Packets an interface lost. The names are the kernel's (`struct rtnl_link_stats64`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct InterfaceCounters {
    /// Name of the interface (OpenTelemetry: `network.interface.name`).
    pub name: String,
    /// Bad packets received (OpenTelemetry: `system.network.errors`, `receive`).
    pub rx_errors: Count,
    /// Packets that could not be sent (OpenTelemetry: `system.network.errors`, `transmit`).
    pub tx_errors: Count,
    /// Packets received and not processed, for lack of room above all (OpenTelemetry:
    /// `system.network.packet.dropped`, `receive`).
    pub rx_dropped: Count,
    /// Packets dropped on their way out (OpenTelemetry: `system.network.packet.dropped`,
    /// `transmit`).
    pub tx_dropped: Count,
    /// Packets the device dropped because the host did not fetch them in time.
    pub rx_missed_errors: Count,
    /// Packets the device lost to an overrun of its own.
    pub rx_fifo_errors: Count,
    /// Packets dropped because the interface is the inactive one of a pair.
    pub rx_nohandler: Count,
}

/// Where received packets wait for a CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Softnet {
    /// Packets dropped because a CPU's backlog was full (`net.core.netdev_max_backlog`).
    pub dropped: Count,
    /// Times a CPU stopped receiving with packets left (`net.core.netdev_budget`).
    pub time_squeeze: Count,
}

/// Pressure stall information, each null where the kernel has none (`psi=1` at boot).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Pressure {
    /// Waiting for a CPU.
    pub cpu: Option<Stall>,
    /// Waiting for memory.
    pub memory: Option<Stall>,
    /// Waiting for storage.
    pub io: Option<Stall>,
}

/// Share of the last 10 seconds in which processes waited, in percent (0 to 100).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Stall {
    /// At least one did.
    pub some_avg10: f32,
    /// All did that had anything to do; null for the CPU before Linux 5.13, and 0 since.
    pub full_avg10: Option<f32>,
}
