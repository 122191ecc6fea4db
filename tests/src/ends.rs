//! Ends of sessions, comparable between what watched live and what replays a capture.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::events::{Line, SessionEnd};

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
