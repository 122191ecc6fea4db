//! Ends of sessions, comparable between what watched live and what replays a capture.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::events::{Evidence, Line, SessionEnd};

/// The ends of sessions by client, as text without ids and times.
pub fn ends(lines: &[Line]) -> BTreeMap<SocketAddr, String> {
    lines
        .iter()
        .filter_map(Line::session_end)
        .map(|end| {
            let client = SocketAddr::new(end.client.address, end.client.port);
            (client, format!("{:#?}", timeless(end)))
        })
        .collect()
}

fn timeless(end: &SessionEnd) -> SessionEnd {
    let mut end = end.clone();
    end.time.clear();
    end.seq = 0;
    end.session.id.clear();
    end.session.start.clear();
    end.session.duration_ms = 0;
    // A capture has no name for its interface.
    end.interface = None;
    if let Some(verdict) = &mut end.verdict {
        verdict.evidence = timeless_evidence(&verdict.evidence).into();
    }
    let known = |sample: Option<u32>| sample.map(|_| 1);
    end.rtt_us.handshake = known(end.rtt_us.handshake);
    end.rtt_us.min = known(end.rtt_us.min);
    end.rtt_us.smoothed = known(end.rtt_us.smoothed);
    end.rtt_us.max = known(end.rtt_us.max);
    for side in [&mut end.from_client, &mut end.from_server] {
        side.zero_window.stalled_ms = 0;
        side.zero_window.longest_ms = 0;
    }
    end
}

/// What was measured in time, as known or not.
fn timeless_evidence(evidence: &Evidence) -> Evidence {
    let known = |time: Option<u64>| time.map(|_| 1);
    let short = |time: Option<u32>| time.map(|_| 1);
    Evidence {
        age_ms: known(evidence.age_ms),
        idle_ms: known(evidence.idle_ms),
        client_silent_ms: known(evidence.client_silent_ms),
        goodbye_ms: known(evidence.goodbye_ms),
        server_took_ms: known(evidence.server_took_ms),
        client_took_ms: known(evidence.client_took_ms),
        timeouts_ms: known(evidence.timeouts_ms),
        hole_ms: known(evidence.hole_ms),
        back_after_ms: known(evidence.back_after_ms),
        rtt_min_us: short(evidence.rtt_min_us),
        rtt_smoothed_us: short(evidence.rtt_smoothed_us),
        stalled_ms: short(evidence.stalled_ms),
        rtt_inflated_percent: evidence.rtt_inflated_percent.map(|_| 1.0),
        ..evidence.clone()
    }
}
