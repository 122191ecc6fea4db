//! What several sessions have in common, in the time of a capture.

use anyhow::{Context as _, Result};
use lab::{
    capture::of_frames,
    conversation::{Conversation, c, s},
    events::{Cluster, Line},
};
use sstpulse_common::TcpFlags;

use crate::lines_of;

const MINUTE_MS: u64 = 60_000;

/// A session in midstream that its client resets after this time.
fn reset_after(client_port: u16, ms: u64) -> Conversation {
    let mut talk = Conversation::new(client_port);
    talk.send(s(0, 0, 500)).wait_ms(20).send(c(0, 500, 0));
    talk.wait_ms(ms)
        .send(c(0, 500, 20))
        .send(c(20, 500, 0).flags(TcpFlags::RST | TcpFlags::ACK));
    talk
}

/// One in which something is said after this time.
fn speaks_after(client_port: u16, ms: u64) -> Conversation {
    let mut talk = Conversation::new(client_port);
    talk.wait_ms(ms).send(s(0, 0, 500)).send(c(0, 500, 0));
    talk
}

fn capture_of(talks: &[Conversation]) -> Vec<u8> {
    let packets = talks.iter().flat_map(Conversation::packets);
    let mut frames: Vec<_> = packets
        .map(|packet| (packet.buffer.time_ns, packet.bytes.as_slice()))
        .collect();
    frames.sort_by_key(|(time_ns, _)| *time_ns);
    of_frames(frames)
}

fn clusters(lines: &[Line]) -> Vec<&Cluster> {
    let clusters = lines.iter().filter_map(Line::cluster_anomaly);
    clusters.map(|line| &line.cluster).collect()
}

#[test]
fn a_cluster_begins_and_is_over_in_the_time_of_the_capture() -> Result<()> {
    let talks = [
        reset_after(1_001, 1_000),
        reset_after(1_002, 1_500),
        reset_after(1_003, 2_000),
        speaks_after(1_004, 20 * MINUTE_MS),
    ];
    let (lines, _) = lines_of(&capture_of(&talks), &[])?;
    let [onset, cleared] = clusters(&lines)[..] else {
        panic!("it begins, and is over: {:?}", clusters(&lines));
    };
    for (cluster, state) in [(onset, "onset"), (cleared, "cleared")] {
        assert_eq!((cluster.code.as_str(), cluster.count), ("clients_reset", 3));
        assert_eq!(cluster.state, state);
        assert_eq!(cluster.scope.kind, "client_prefix");
        assert_eq!(cluster.lasted_ms, 1_000);
        let ended: Vec<_> = lines
            .iter()
            .filter_map(Line::session_end)
            .filter(|end| end.end.how == "reset")
            .map(|end| end.session.id.as_str())
            .collect();
        assert_eq!(cluster.members, ended);
    }
    let stop = lines.iter().find_map(Line::replay_stop).context("no end")?;
    let total = &stop.rates.total;
    assert_eq!((total.ended, total.dropped), (3, 3));
    assert_eq!(stop.rates.minutes, 20);
    assert_eq!(stop.totals.lost.clusters, 0);
    Ok(())
}

#[test]
fn a_capture_that_ends_with_it_tells_that_it_began() -> Result<()> {
    let talks = [reset_after(1_001, 1_000), reset_after(1_002, 1_000)];
    let (lines, _) = lines_of(&capture_of(&talks), &[])?;
    assert!(clusters(&lines).is_empty(), "two are none");
    let talks = [1_001, 1_002, 1_003].map(|port| reset_after(port, 1_000));
    let (lines, _) = lines_of(&capture_of(&talks), &[])?;
    let [onset] = clusters(&lines)[..] else {
        panic!("it begins: {:?}", clusters(&lines));
    };
    assert_eq!((onset.state.as_str(), onset.count), ("onset", 3));
    Ok(())
}
