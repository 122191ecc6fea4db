//! What became of the sessions, as a table and as JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use comfy_table::Table;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use lab::sstp::{By, Ended, How, Phase, RoundTrips, Session};
use serde_json::{Value, json};

/// What became of all sessions.
pub(crate) struct Report {
    begun: usize,
    established: usize,
    good: usize,
    /// Sessions that never were established, by phase and reason.
    failed: BTreeMap<String, usize>,
    /// Sessions that were, and ended other than by the client's disconnect.
    dropped: BTreeMap<String, usize>,
    echoes: RoundTrips,
    pings: RoundTrips,
    ended: Vec<Ended>,
}

impl Report {
    pub(crate) fn of(sessions: &[Session]) -> Self {
        let mut report = Self {
            begun: sessions.len(),
            established: 0,
            good: 0,
            failed: BTreeMap::new(),
            dropped: BTreeMap::new(),
            echoes: RoundTrips::default(),
            pings: RoundTrips::default(),
            ended: Vec::new(),
        };
        for session in sessions {
            match session.ended() {
                Some(ended) => report.add(ended),
                None => report.count_unended(session.phase()),
            }
        }
        report
    }

    fn add(&mut self, ended: Ended) {
        self.echoes.add(&ended.echoes);
        self.pings.add(&ended.pings);
        if ended.phase < Phase::Connected {
            let reason = format!("{:?}: {}", ended.phase, reason(&ended));
            *self.failed.entry(reason).or_default() += 1;
        } else {
            self.established += 1;
            if matches!((ended.how, ended.by), (How::Disconnect { .. }, By::Own)) {
                self.good += 1;
            } else {
                *self.dropped.entry(reason(&ended)).or_default() += 1;
            }
        }
        self.ended.push(ended);
    }

    fn count_unended(&mut self, phase: Phase) {
        let reasons = if phase == Phase::Connected {
            self.established += 1;
            &mut self.dropped
        } else {
            &mut self.failed
        };
        *reasons
            .entry(format!("{phase:?}: has not ended"))
            .or_default() += 1;
    }

    /// All sessions were established, and ended as they were meant to.
    pub(crate) fn is_good(&self) -> bool {
        self.good == self.begun
    }

    pub(crate) fn table(&self) -> Table {
        let mut table = Table::new();
        table
            .load_style(UTF8_FULL_CONDENSED)
            .set_header(["sessions", "number"]);
        let rows = [
            ("begun", self.begun),
            ("established", self.established),
            ("disconnected in good order", self.good),
        ];
        for (what, count) in rows {
            table.add_row([what.to_owned(), count.to_string()]);
        }
        for (what, reasons) in [("failed", &self.failed), ("dropped", &self.dropped)] {
            for (reason, count) in reasons {
                table.add_row([format!("{what}: {reason}"), count.to_string()]);
            }
        }
        for (what, times) in [("echoes", self.echoes), ("pings", self.pings)] {
            table.add_row([format!("{what} answered"), describe(&times)]);
        }
        table
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "begun": self.begun,
            "established": self.established,
            "disconnected": self.good,
            "failed": self.failed,
            "dropped": self.dropped,
            "echoes": round_trips(&self.echoes),
            "pings": round_trips(&self.pings),
            "sessions": self.ended.iter().map(session).collect::<Vec<_>>(),
        })
    }
}

/// Why a session ended, in words.
fn reason(ended: &Ended) -> String {
    let Ended {
        how, by, detail, ..
    } = ended;
    let by = match by {
        By::Own => "the client",
        By::Peer => "the server",
        By::Network => "the network",
    };
    if detail.is_empty() {
        format!("{how:?} by {by}")
    } else {
        format!("{how:?} by {by} ({detail})")
    }
}

fn describe(times: &RoundTrips) -> String {
    if times.count == 0 {
        return "0".to_owned();
    }
    format!(
        "{}; {:.1} to {:.1} ms, mean {:.1} ms",
        times.count,
        milliseconds(times.shortest),
        milliseconds(times.longest),
        milliseconds(times.mean())
    )
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn round_trips(times: &RoundTrips) -> Value {
    json!({
        "count": times.count,
        "shortest_ms": milliseconds(times.shortest),
        "mean_ms": milliseconds(times.mean()),
        "longest_ms": milliseconds(times.longest),
    })
}

fn session(ended: &Ended) -> Value {
    json!({
        "local": ended.local,
        "remote": ended.remote,
        "how": ended.how,
        "by": ended.by,
        "phase": ended.phase,
        "detail": ended.detail,
        "lasted_ms": milliseconds(ended.lasted),
        "sent": ended.sent,
        "received": ended.received,
        "echoes": round_trips(&ended.echoes),
        "pings": round_trips(&ended.pings),
    })
}
