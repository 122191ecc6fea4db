//! What was measured: the names are those of the JSON.

use serde::Serialize;

use crate::{flood, kernel, sample::Sample, stats};

/// What was measured; `None` is left out.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Figures {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kernel: Option<kernel::Figures>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) scan: Option<Vec<Scan>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) events: Option<Events>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) memory: Option<Memory>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) throughput: Option<Throughput>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) start: Option<Start>,
    /// Not part of the JSON.
    #[serde(skip)]
    pub(crate) stats: Option<Vec<stats::Figures>>,
    /// Not part of the JSON.
    #[serde(skip)]
    pub(crate) flood: Option<Vec<flood::Figures>>,
}

/// Reading a session table.
#[derive(Debug, Serialize)]
pub(crate) struct Scan {
    pub(crate) sessions: u32,
    /// Sessions in which something has changed since the last scan.
    pub(crate) active_percent: u32,
    /// Looking at each session, and reading those that have changed.
    #[expect(clippy::struct_field_names, reason = "it is so in the JSON")]
    pub(crate) scan_ms: Sample,
    /// Reading as many records from the kernel's hash map by batches.
    pub(crate) batch_lookup_ms: Sample,
    /// The scan as the agent does it, lines and all. Not part of the JSON.
    #[serde(skip)]
    pub(crate) with_lines_ms: Sample,
}

/// From records to lines, on one CPU.
#[derive(Debug, Serialize)]
pub(crate) struct Events {
    pub(crate) health_lines_per_s: Sample,
    pub(crate) end_lines_per_s: Sample,
    /// What a session costs from its first notice to a tunnel that is up: its start, all of
    /// its opening, and `session.tls`. Not part of the JSON.
    #[serde(skip)]
    pub(crate) opening_us: Sample,
}

/// What is held.
#[derive(Debug, Serialize)]
pub(crate) struct Memory {
    /// Everything in the kernel that grows with the table.
    pub(crate) kernel_bytes_per_session: f64,
    /// What leads from a flow to its record.
    pub(crate) index_bytes_per_session: f64,
    /// Without a session, beyond the mapped table.
    pub(crate) agent_rss_idle_bytes: u64,
    /// With a table full of sessions, beyond the mapped table.
    pub(crate) agent_rss_1m_bytes: u64,
    /// How many those are. Not part of the JSON.
    #[serde(skip)]
    pub(crate) sessions: u32,
}

/// iperf3 through the watched interface.
#[derive(Debug, Serialize)]
pub(crate) struct Throughput {
    pub(crate) without_gbps: Sample,
    pub(crate) with_gbps: Sample,
    /// CPUs that were busy, of all processes.
    pub(crate) without_cpu: Sample,
    pub(crate) with_cpu: Sample,
    pub(crate) tcpdump_cpu: Sample,
    /// Not part of the JSON.
    #[serde(skip)]
    pub(crate) tcpdump_gbps: Sample,
}

/// From nothing to an agent that watches.
#[derive(Debug, Serialize)]
pub(crate) struct Start {
    pub(crate) load_ms: Sample,
    pub(crate) attach_ms: Sample,
}
