//! What came of the sessions, on one page.

use std::net::IpAddr;

use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};
use lab::events::{AttemptFailed, Line, SessionEnd};

use crate::scenarios::SCENARIOS;

/// A row for each session and attempt, in the order of the scenarios.
pub(crate) fn table(lines: &[Line]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header([
        "what was done",
        "what sstpulse says",
        "how it ended",
        "after",
        "from client",
        "from server",
        "retransmitted",
        "stalled",
        "RTT",
    ]);
    for scenario in &SCENARIOS {
        let is = |address: IpAddr| address == scenario.address();
        let end = lines
            .iter()
            .filter_map(Line::session_end)
            .find(|end| is(end.client.address));
        let failed = lines
            .iter()
            .filter_map(Line::attempt_failed)
            .find(|attempt| is(attempt.client.address));
        match (end, failed) {
            (Some(end), _) => table.add_row(ended(scenario.name, end)),
            (_, Some(attempt)) => table.add_row(attempted(scenario.name, attempt)),
            _ => table.add_row([scenario.name, "nothing"]),
        };
    }
    table
}

fn ended(name: &str, end: &SessionEnd) -> [String; 9] {
    let verdict = end
        .verdict
        .as_ref()
        .map_or_else(|| "-".into(), |verdict| verdict.code.clone());
    let by = match end.end.how.as_str() {
        "dead" => "silence".into(),
        how => format!("{how} by {}", end.end.by),
    };
    let server = &end.from_server;
    let share = f64::from(server.retransmits) * 100.0 / as_f64(server.segments.max(1));
    let stall = &end.from_client.zero_window;
    [
        name.into(),
        verdict,
        by,
        format!("{:.1} s", as_f64(end.session.duration_ms) / 1_000.0),
        kib(end.from_client.bytes),
        kib(server.bytes),
        format!("{} ({share:.1} %)", server.retransmits),
        match stall.stalls {
            0 => "-".into(),
            stalls => format!("{stalls}x, {:.1} s", f64::from(stall.stalled_ms) / 1_000.0),
        },
        end.rtt_us.smoothed.map_or_else(
            || "?".into(),
            |rtt| format!("{:.1} ms", f64::from(rtt) / 1_000.0),
        ),
    ]
}

fn attempted(name: &str, attempt: &AttemptFailed) -> [String; 9] {
    let none = || String::from("-");
    let syns = match attempt.attempt.syns {
        1 => "1 SYN".into(),
        syns => format!("{syns} SYNs"),
    };
    [
        name.into(),
        attempt.verdict.code.clone(),
        syns,
        format!("{:.1} s", as_f64(attempt.attempt.duration_ms) / 1_000.0),
        none(),
        none(),
        none(),
        none(),
        none(),
    ]
}

fn kib(bytes: u64) -> String {
    format!("{:.0} KiB", as_f64(bytes) / 1_024.0)
}

#[expect(clippy::cast_precision_loss, reason = "for display")]
fn as_f64(number: u64) -> f64 {
    number as f64
}
