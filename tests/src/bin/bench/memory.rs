//! What a session takes: in the kernel, by its own accounting, and in the agent.

use std::time::Duration;

use anyhow::Result;

use crate::{
    figures::Memory,
    live::{HeldMap, Live},
    pace::Pace,
    traffic::Script,
};

/// Sessions that are opened in a second: what the agent can tell of in full.
const PER_SECOND: u32 = 8_000;

/// How long it may take to write what that brings.
const PATIENCE: Duration = Duration::from_mins(2);

/// Time in which the agent has found each tunnel up and quiet, and has forgotten how it came up.
const SETTLED: Duration = Duration::from_secs(35);

/// Measures it with a table of so many sessions.
#[expect(clippy::cast_precision_loss, reason = "figures to be read by people")]
pub(crate) fn measure(sessions: u32) -> Result<Memory> {
    let fewer = sessions / 4;
    let live = Live::start(fewer)?;
    let bytes_of_fewer = total(&live.maps()?);
    live.stop()?;

    let mut live = Live::start(sessions)?;
    let maps = live.maps()?;
    live.next_stats(PATIENCE)?;
    let agent_rss_idle_bytes = live.resident_bytes()?;
    let mut script = Script::load()?;
    eprintln!("bench: opening {sessions} sessions");
    open(&mut live, &mut script, sessions)?;
    std::thread::sleep(SETTLED);
    let lines = live.next_stats(PATIENCE)?;
    let lost = lines.lost();
    eprintln!(
        "bench: {} sessions live, {} of them with session.tls; lost: {lost:?}",
        lines.number("/sessions/live"),
        lines.count("session.tls"),
    );
    let agent_rss_1m_bytes = live.resident_bytes()?;
    let index = maps.iter().filter(|map| map.name.starts_with("INDEX"));
    let index_bytes: u64 = index.map(|map| map.bytes).sum();
    let grown = total(&maps) - bytes_of_fewer;
    Ok(Memory {
        kernel_bytes_per_session: grown as f64 / f64::from(sessions - fewer),
        index_bytes_per_session: index_bytes as f64 / f64::from(sessions),
        agent_rss_idle_bytes,
        agent_rss_1m_bytes,
        sessions,
    })
}

/// Opens so many sessions, no faster than the agent can tell of them.
pub(crate) fn open(live: &mut Live, script: &mut Script, sessions: u32) -> Result<()> {
    let mut pace = Pace::new(PER_SECOND);
    for flow in 0..sessions {
        pace.wait();
        script.open(flow, 0, live)?;
    }
    Ok(())
}

fn total(maps: &[HeldMap]) -> u64 {
    maps.iter().map(|map| map.bytes).sum()
}
