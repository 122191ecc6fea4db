//! Lines about the agent itself.

use schemars::JsonSchema;
use serde::Serialize;

use super::{Head, Rates};
use crate::kernel::Hook;

/// The agent is attached and watching.
#[derive(Debug, Serialize, JsonSchema)]
pub struct AgentStart<'a> {
    #[serde(flatten)]
    #[expect(missing_docs, reason = "documented where it is defined")]
    pub head: Head<'a>,
    /// Version of sstpulse.
    pub version: &'static str,
    /// Release of the running kernel.
    pub kernel: &'a str,
    /// Number of this process.
    pub pid: u32,
    /// The watched interfaces.
    pub interfaces: Vec<WatchedInterface<'a>>,
    /// The watched ports.
    pub ports: Vec<u16>,
    /// Sessions that can be followed at once: as many as `--max-sessions` asks for, and in large
    /// tables three of a hundred more, which the search for a free place needs.
    pub capacity: u32,
    /// Kernel memory reserved for that, in bytes.
    pub kernel_bytes: u64,
    /// Time between `session.health` lines, in milliseconds.
    pub interval_ms: u64,
    /// Silence after which a session counts as dead, in milliseconds.
    pub dead_after_ms: u64,
}

/// A watched interface.
#[derive(Debug, Serialize, JsonSchema)]
pub struct WatchedInterface<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its index.
    pub index: u32,
    /// Where the programs hang.
    pub hook: Hook,
}

/// The agent ends.
#[derive(Debug, Serialize, JsonSchema)]
pub struct AgentStop<'a> {
    #[serde(flatten)]
    #[expect(missing_docs, reason = "documented where it is defined")]
    pub head: Head<'a>,
    /// Why.
    pub reason: StopReason,
    /// What the run brought.
    pub totals: Totals,
}

/// Why the agent ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// SIGINT or SIGTERM.
    Signal,
    /// Nobody reads the output any more.
    OutputClosed,
    /// It can't go on; the log says why.
    Failure,
}

/// How the agent does.
#[derive(Debug, Serialize, JsonSchema)]
pub struct AgentStats<'a> {
    #[serde(flatten)]
    #[expect(missing_docs, reason = "documented where it is defined")]
    pub head: Head<'a>,
    #[serde(flatten)]
    #[expect(missing_docs, reason = "documented where it is defined")]
    pub totals: Totals,
    /// How often tunnels came up, failed and were dropped in the last hour.
    pub rates: Rates,
    /// Watched interfaces that don't exist at the moment.
    pub missing_interfaces: Vec<&'a str>,
    /// How the sessions are scanned.
    pub scan: ScanStats,
    /// What the agent itself takes.
    pub process: ProcessStats,
}

/// Counts since the agent started.
#[derive(Clone, Copy, Debug, Default, Serialize, JsonSchema)]
pub struct Totals {
    /// Sessions.
    pub sessions: SessionStats,
    /// Attempts to open one.
    pub attempts: AttemptStats,
    /// Everything that was lost, and must be 0 for the counts to be complete.
    pub lost: LostStats,
    /// Packets to or from a watched port that are not counted in any session.
    pub passed_over: PassedOverStats,
    /// Lines handed to the output.
    pub lines: u64,
}

/// Sessions since the agent started.
#[derive(Clone, Copy, Debug, Default, Serialize, JsonSchema)]
pub struct SessionStats {
    /// Open now.
    pub live: u64,
    /// How many can be.
    pub capacity: u32,
    /// Begun.
    pub started: u64,
    /// Those among them that were older than the agent.
    pub started_midstream: u64,
    /// Ended.
    pub ended: u64,
    /// Ended by FIN from both sides.
    pub ended_fin: u64,
    /// Ended by RST.
    pub ended_reset: u64,
    /// Ended without a word.
    pub ended_dead: u64,
    /// Ended by a new connection on the same ports.
    pub ended_superseded: u64,
}

/// Attempts since the agent started.
#[derive(Clone, Copy, Debug, Default, Serialize, JsonSchema)]
pub struct AttemptStats {
    /// Under way now.
    pub half_open: u64,
    /// Failed, each with a line `attempt.failed` but for those in `unreported`.
    pub failed: u64,
    /// Failed without a line of their own: more failed at once than are told one by one.
    pub unreported: u64,
    /// Pushed out by newer ones before it was clear what became of them.
    pub displaced: u64,
}

/// What was lost since the agent started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct LostStats {
    /// Segments of connections that found no free slot. Raise `--max-sessions`.
    pub table_full_segments: u64,
    /// Segments of connections that the kernel's index refused.
    pub index_refused_segments: u64,
    /// Attempts that the kernel's table refused.
    pub half_open_refused: u64,
    /// Notices of beginnings and endings that came too fast; the events came later.
    pub notices: u64,
    /// Segments of TLS handshakes that came too fast; what they show is not known.
    pub payloads: u64,
    /// Others that the agent let go, on purpose: it was so far behind that they had waited for
    /// seconds, or that their session had ended. What they show is not known.
    pub payloads_late: u64,
    /// Failures that may have been the first of a cluster, forgotten for newer ones.
    pub clusters: u64,
    /// Lines that the output was too slow to take.
    pub lines_dropped: u64,
    /// Lines that the output failed to write.
    pub lines_failed: u64,
}

/// Packets that belong to no session, since the agent started.
#[derive(Clone, Copy, Debug, Default, Serialize, JsonSchema)]
pub struct PassedOverStats {
    /// IP fragments that carry TCP, of any port.
    pub fragments: u64,
    /// TCP packets whose headers contradict themselves or end too early.
    pub malformed: u64,
    /// Segments whose numbers no window allows: forged, or of an older connection.
    pub out_of_window: u64,
    /// Segments counted already on another interface.
    pub other_interface: u64,
    /// Segments of no session and no attempt: of connections older than the agent whose
    /// server has said nothing yet, or of connections that have ended.
    pub no_session: u64,
}

/// How the sessions are scanned for changes. A scan is done in steps, between which the agent
/// hears of beginnings and endings.
#[derive(Clone, Copy, Debug, Default, Serialize, JsonSchema)]
pub struct ScanStats {
    /// The longest that a step of the last scan had the CPU, in microseconds.
    pub longest_step_us: u64,
    /// How long the last scan took, pauses between its steps included, in milliseconds.
    pub last_ms: u64,
    /// Scans that did not begin in time, because the one before went on. `session.health` then
    /// tells of more than an interval, and nothing is lost.
    pub late: u64,
}

/// What the agent itself takes.
#[derive(Clone, Copy, Debug, Default, Serialize, JsonSchema)]
pub struct ProcessStats {
    /// CPU time since its start, in milliseconds.
    pub cpu_ms: u64,
    /// Memory in use, in bytes: the session table as far as it was touched, and the rest.
    pub rss_bytes: u64,
}
