//! The agent's lines, as a reader would declare them.
//!
//! Declared here anew, and not taken from the agent: a change of the contract breaks
//! these. Unknown fields are errors, so that additions are noticed too.

use std::net::IpAddr;

use serde::Deserialize;

macro_rules! contract {
    ($($(#[$attribute:meta])* $name:ident { $($field:ident: $kind:ty),* $(,)? })*) => {
        $(
            #[doc = concat!("`", stringify!($name), "` of the contract.")]
            #[derive(Clone, Debug, Deserialize)]
            #[serde(deny_unknown_fields)]
            #[expect(missing_docs, reason = "the fields are the contract's, documented by its schema")]
            $(#[$attribute])*
            pub struct $name { $(pub $field: $kind),* }
        )*
    };
}

macro_rules! lines {
    ($($name:literal $variant:ident $getter:ident)*) => {
        /// A line.
        #[derive(Clone, Debug, Deserialize)]
        #[serde(tag = "type")]
        #[expect(missing_docs, reason = "the lines are the contract's, documented by its schema")]
        pub enum Line {
            $(#[serde(rename = $name)] $variant($variant)),*
        }

        impl Line {
            /// The line's number.
            pub fn seq(&self) -> u64 {
                match self { $(Self::$variant(line) => line.seq),* }
            }

            $(
                #[doc = concat!("The line, if it is a `", $name, "`.")]
                pub fn $getter(&self) -> Option<&$variant> {
                    match self {
                        Self::$variant(line) => Some(line),
                        _ => None,
                    }
                }
            )*
        }
    };
}

lines! {
    "agent.start" AgentStart agent_start
    "agent.stop" AgentStop agent_stop
    "agent.stats" AgentStats agent_stats
    "host.health" HostHealth host_health
    "session.start" SessionStart session_start
    "session.tls" SessionTls session_tls
    "session.health" SessionHealth session_health
    "session.anomaly" SessionAnomaly session_anomaly
    "session.end" SessionEnd session_end
    "attempt.failed" AttemptFailed attempt_failed
    "cluster.anomaly" ClusterAnomaly cluster_anomaly
    "replay.start" ReplayStart replay_start
    "replay.stop" ReplayStop replay_stop
}

contract! {
    AgentStart {
        schema: String, time: String, seq: u64, host: String, interface: Option<String>,
        version: String, kernel: String, pid: u32, interfaces: Vec<WatchedInterface>,
        ports: Vec<u16>, capacity: u32, kernel_bytes: u64, interval_ms: u64, dead_after_ms: u64,
    }
    WatchedInterface { name: String, index: u32, hook: String }
    AgentStop {
        schema: String, time: String, seq: u64, host: String, interface: Option<String>,
        reason: String, totals: Totals,
    }
    Totals {
        sessions: Sessions, attempts: Attempts, lost: Lost, passed_over: PassedOver, lines: u64,
    }
    AgentStats {
        schema: String, time: String, seq: u64, host: String, interface: Option<String>,
        sessions: Sessions, attempts: Attempts, lost: Lost, passed_over: PassedOver, lines: u64,
        rates: Rates, missing_interfaces: Vec<String>, scan: ScanStats, process: ProcessStats,
    }
    Sessions {
        live: u64, capacity: u32, started: u64, started_midstream: u64, ended: u64, ended_fin: u64,
        ended_reset: u64, ended_dead: u64, ended_superseded: u64,
    }
    Attempts { half_open: u64, failed: u64, unreported: u64, displaced: u64 }
    #[derive(PartialEq, Eq, Default)]
    Lost {
        table_full_segments: u64, index_refused_segments: u64, half_open_refused: u64,
        notices: u64, payloads: u64, payloads_late: u64, clusters: u64, lines_dropped: u64, lines_failed: u64,
    }
    PassedOver {
        fragments: u64, malformed: u64, out_of_window: u64, other_interface: u64, no_session: u64,
    }
    Rates { minutes: u64, total: Rate, servers: Vec<ServerRate>, others: Rate }
    Rate {
        attempts: u64, established: u64, failed: u64, ended: u64, dropped: u64,
        dropped_percent: Option<f32>, baseline: Option<Baseline>,
    }
    ServerRate {
        name: String, attempts: u64, established: u64, failed: u64, ended: u64, dropped: u64,
        dropped_percent: Option<f32>, baseline: Option<Baseline>,
    }
    Baseline {
        attempts: f32, established: f32, failed: f32, dropped: f32, dropped_percent: Option<f32>,
    }
    ScanStats { longest_step_us: u64, last_ms: u64, late: u64 }
    ProcessStats { cpu_ms: u64, rss_bytes: u64 }
    HostHealth {
        schema: String, time: String, seq: u64, host: String, interface: Option<String>,
        listeners: Option<Vec<Listener>>, tcp: Option<TcpCounters>, sockets: Option<TcpSockets>,
        conntrack: Option<Conntrack>, interfaces: Option<Vec<InterfaceCounters>>,
        softnet: Option<Softnet>, pressure: Pressure,
    }
    Count { total: u64, since_last: Option<u64> }
    Listener {
        address: IpAddr, port: u16, queue: u32, queue_limit: u32,
        processes: Option<Vec<ListenerProcess>>,
    }
    ListenerProcess {
        pid: u32, name: String, open_files: Option<u64>, open_files_limit: Option<u64>,
    }
    TcpCounters {
        listen_overflows: Option<Count>, listen_drops: Option<Count>,
        tcp_req_q_full_drop: Option<Count>, tcp_req_q_full_do_cookies: Option<Count>,
        syncookies_sent: Option<Count>, syncookies_failed: Option<Count>,
        tcp_abort_on_memory: Option<Count>, tcp_abort_on_timeout: Option<Count>,
        tcp_memory_pressures: Option<Count>, tcp_backlog_drop: Option<Count>,
        tcp_rcv_q_drop: Option<Count>, tcp_time_wait_overflow: Option<Count>,
    }
    TcpSockets {
        in_use: u64, orphans: u64, orphans_limit: Option<u64>, time_wait: u64, memory_pages: u64,
        memory_limit_pages: Option<TcpMemoryLimit>,
    }
    TcpMemoryLimit { min: u64, pressure: u64, max: u64 }
    Conntrack { count: u64, max: u64 }
    InterfaceCounters {
        name: String, rx_errors: Count, tx_errors: Count, rx_dropped: Count, tx_dropped: Count,
        rx_missed_errors: Count, rx_fifo_errors: Count, rx_nohandler: Count,
    }
    Softnet { dropped: Count, time_squeeze: Count }
    Pressure { cpu: Option<Stall>, memory: Option<Stall>, io: Option<Stall> }
    Stall { some_avg10: f32, full_avg10: Option<f32> }
    Session { id: String, start: String, duration_ms: u64, seen_from: String }
    Endpoint { address: IpAddr, port: u16 }
    Network { r#type: String, community_id: String }
    SessionStart {
        schema: String, time: String, seq: u64, host: String, interface: Option<String>,
        session: Session, client: Endpoint, server: Endpoint, network: Network,
        phase: Option<String>, handshake: Option<Handshake>, previous: Option<Previous>,
    }
    Previous { id: String, away_ms: u64, attempt: u32 }
    Handshake { rtt_us: Option<u32>, from_client: HandshakeSide, from_server: HandshakeSide }
    HandshakeSide {
        syn_retransmits: u8, mss: Option<u16>, window_scale: Option<u8>, sack_permitted: Option<bool>,
        timestamps: Option<bool>,
    }
    SessionHealth {
        schema: String, time: String, seq: u64, host: String, interface: Option<String>,
        session: Session, client: Endpoint, server: Endpoint, network: Network,
        phase: Option<String>, health: Health, rtt_us: Rtt, from_client: Deltas,
        from_server: Deltas,
    }
    Health { grade: String, reasons: Vec<String> }
    Rtt { handshake: Option<u32>, min: Option<u32>, smoothed: Option<u32>, max: Option<u32> }
    Deltas {
        bytes: u64, segments: u64, retransmitted_bytes: u64, retransmits: u32,
        spurious_retransmits: u32, out_of_order: u32, duplicate_acks: u32,
        zero_window: ZeroWindow, window_probes: u32, keepalives: u32, resets: u16, fins: u16,
    }
    ZeroWindow { segments: u32, stalls: u32, stalled_ms: u32, longest_ms: u32 }
    SessionEnd {
        schema: String, time: String, seq: u64, host: String, interface: Option<String>,
        session: Session, client: Endpoint, server: Endpoint, network: Network,
        phase: Option<String>, reached: Option<String>, end: Ending, verdict: Option<Verdict>, rtt_us: Rtt,
        from_client: Totalled, from_server: Totalled,
    }
    Ending { by: String, how: String }
    Totalled {
        bytes: u64, segments: u64, retransmitted_bytes: u64, retransmits: u32,
        spurious_retransmits: u32, out_of_order: u32, duplicate_acks: u32,
        zero_window: ZeroWindow, window_probes: u32, keepalives: u32, resets: u16, fins: u16,
        syn_retransmits: u8, mss: Mss, ttl: Ttl,
    }
    Mss { announced: Option<u16>, largest_seen: u16 }
    Ttl { usual: Option<u8>, last: Option<u8> }
    SessionTls {
        schema: String, time: String, seq: u64, host: String, interface: Option<String>,
        session: Session, client: Endpoint, server: Endpoint, network: Network,
        phase: Option<String>, phases_ms: PhasesMs, sstp: Option<bool>, tls: TlsHandshake,
        ppp: PppCounts, incomplete: bool,
    }
    PhasesMs {
        tcp: Option<u64>, tls: Option<u64>, http: Option<u64>, sstp_setup: Option<u64>,
        ppp: Option<u64>,
    }
    TlsHandshake {
        server_name: Option<String>, offered_version: Option<String>, version: Option<String>,
        cipher: Option<Cipher>, resumption: Option<String>, alpn_offered: Option<bool>, hello_retry_request: bool,
        certificate: Option<CertificateValidity>, server_flight_bytes: u32,
        client_reply_ms: Option<u64>, alert: Option<TlsAlert>,
    }
    Cipher { number: u16, name: Option<String> }
    CertificateValidity { not_before: String, not_after: String }
    TlsAlert { by: String, level: Option<u8>, description: Option<u8>, name: Option<String> }
    PppCounts { from_client: u16, from_server: u16, longest_answer_ms: Option<u64> }
    SessionAnomaly {
        schema: String, time: String, seq: u64, host: String, interface: Option<String>,
        session: Session, client: Endpoint, server: Endpoint, network: Network,
        phase: Option<String>, anomaly: Anomaly,
    }
    Anomaly {
        code: String, state: String, side: String, since: String, lasted_ms: u64,
        evidence: AnomalyEvidence,
    }
    AnomalyEvidence {
        stalled_ms: Option<u32>, retransmits: Option<u32>, segments: Option<u64>,
        timeouts: Option<u32>, largest_lost: Option<u32>, silent_ms: Option<u64>,
        rtt_min_us: Option<u32>, rtt_smoothed_us: Option<u32>,
    }
    ClusterAnomaly {
        schema: String, time: String, seq: u64, host: String, interface: Option<String>,
        cluster: Cluster,
    }
    Cluster {
        code: String, state: String, scope: Scope, since: String, lasted_ms: u64, count: u64,
        members: Vec<String>, evidence: ClusterEvidence, advice: String,
    }
    Scope { kind: String, value: Option<String> }
    ClusterEvidence {
        still_open: Option<u64>, client_prefix: Option<String>, idle_ms: Option<u64>,
        timeout_of: Option<String>, unanswered: Option<u64>, refused: Option<u64>,
        of: Option<u64>, percent: Option<f32>, limit_percent: Option<f32>,
        baseline_percent: Option<f32>, rtt_us: Option<u64>, limit_us: Option<u64>,
    }
    Verdict {
        code: String, confidence: String, by: String, evidence: Box<Evidence>, also: Vec<String>,
        advice: String,
    }
    Evidence {
        age_ms: Option<u64>, idle_ms: Option<u64>, timeout_of: Option<String>,
        client_silent_ms: Option<u64>, goodbye_ms: Option<u64>, goodbye: Option<String>,
        alert: Option<u8>, client_records: Option<u8>, server_took_ms: Option<u64>,
        client_took_ms: Option<u64>, unanswered_echoes: Option<u32>, timeouts: Option<u32>,
        timeouts_ms: Option<u64>, icmp_unreachable: Option<bool>, largest_lost: Option<u32>,
        mss: Option<u32>, later_bytes_arrived: Option<bool>, hole_ms: Option<u64>,
        hole_bytes: Option<u32>, retransmitted_percent_from_server: Option<f32>,
        retransmitted_percent_from_client: Option<f32>, rtt_min_us: Option<u32>,
        rtt_smoothed_us: Option<u32>, rtt_inflated_percent: Option<f32>, stalls: Option<u32>,
        stalled_ms: Option<u32>, signs: Option<Vec<String>>, ttl_of_reset: Option<u8>,
        ttl_usual: Option<u8>, syns: Option<u16>, syn_acks: Option<u16>,
        sessions_alike: Option<u32>, back_after_ms: Option<u64>, listen_overflows: Option<u64>,
    }
    AttemptFailed {
        schema: String, time: String, seq: u64, host: String, interface: Option<String>,
        client: Endpoint, server: Endpoint, network: Network, attempt: Attempt,
        verdict: Verdict,
    }
    Attempt {
        start: String, duration_ms: u64, syns: u16, syn_acks: u16, outcome: String,
        client_mss: Option<u16>,
    }
    ReplayStart {
        schema: String, time: String, seq: u64, host: String, interface: Option<String>,
        version: String, file: Option<String>, ports: Vec<u16>, servers: Vec<String>,
        interval_ms: u64, dead_after_ms: u64,
    }
    ReplayStop {
        schema: String, time: String, seq: u64, host: String, interface: Option<String>,
        reason: String, error: Option<String>, capture: Captured, totals: Totals,
        rates: Rates,
    }
    Captured {
        packets: u64, bytes: u64, first: Option<String>, last: Option<String>, other: u64,
        truncated: u64, payload_cut: u64, unknown_link_type: u64, time_corrected: u64,
    }
}
