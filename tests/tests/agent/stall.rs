//! A client that stops reading: a closed window, and for how long.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use lab::{Agent, Client, ClientOptions, Lab, Server, Tls, require_root, wait_until};

use crate::{WATCH, server_v4};

/// The client's receive buffer, of which Linux offers as much again as a window.
const BUFFER: usize = 64 << 10;
/// More than the window takes, and less than two of them: the window closes once.
const LENGTH: u64 = 96 << 10;
const STALL: Duration = Duration::from_secs(3);
const TOLERANCE_MS: u128 = 50;
const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn a_stall_of_three_seconds_is_one_stall_of_three_seconds() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let lab = Lab::builder().exact(true).build()?;
    let agent = Agent::start(&lab.server, &WATCH)?;
    let tls = Tls::new()?;
    let server = Server::start(&lab.server, server_v4(), &tls)?;
    let options = ClientOptions {
        receive_buffer: Some(BUFFER),
        ..ClientOptions::default()
    };
    let mut client = Client::connect_with(&lab.client, server.address(), &tls, &options)?;
    client.request_download_unread(LENGTH)?;
    // The path, which is not ours, sees the window close and open.
    let address = client.local_addr();
    let window = || {
        let seen = lab.path.observed(address).from_client;
        seen.map_or(u16::MAX, |seen| seen.window)
    };
    wait_until(PATIENCE, "the window closes", || window() == 0)?;
    let closed = Instant::now();
    told_while_it_lasts(&agent)?;
    thread::sleep(STALL.saturating_sub(closed.elapsed()));
    client.read_download(LENGTH)?;
    wait_until(PATIENCE, "the window opens", || window() != 0)?;
    let stalled = closed.elapsed();
    told_when_it_is_over(&agent, stalled)?;
    client.close()?;

    let end = agent.wait_for("session.end", |line| line.session_end().is_some())?;
    let end = end.session_end().context("an end")?;
    let stall = &end.from_client.zero_window;
    println!("{stall:?}, window probes {}", end.from_server.window_probes);
    assert_eq!(stall.stalls, 1);
    assert!(
        u128::from(stall.stalled_ms).abs_diff(stalled.as_millis()) <= TOLERANCE_MS,
        "{stall:?}, and the path saw {stalled:?}"
    );
    assert_eq!(stall.longest_ms, stall.stalled_ms);
    assert!(
        end.from_server.window_probes > 0,
        "the server probes the window"
    );
    assert_eq!(end.from_server.keepalives, 0);
    assert_eq!(end.from_server.zero_window.segments, 0);
    let verdict = end.verdict.as_ref().context("a verdict")?;
    assert_eq!(
        (&*verdict.code, &*verdict.by),
        ("client_zero_window", "client")
    );
    assert_eq!(verdict.evidence.stalled_ms, Some(stall.stalled_ms));
    agent.stop()?;
    Ok(())
}

/// The agent tells of a stall within a second, while it lasts, and had told of TLS before.
fn told_while_it_lasts(agent: &Agent) -> Result<()> {
    const WORTH_A_WORD_MS: u64 = 500;
    const SOON_MS: u64 = 1_000;

    let told = agent.wait_for("session.anomaly", |line| line.session_anomaly().is_some())?;
    let onset = &told.session_anomaly().context("an anomaly")?.anomaly;
    assert_eq!(
        (&*onset.code, &*onset.state, &*onset.side),
        ("window_stalled", "onset", "client")
    );
    let late_ms = onset.lasted_ms.checked_sub(WORTH_A_WORD_MS);
    assert!(
        late_ms.is_some_and(|late_ms| late_ms <= SOON_MS),
        "{onset:?}"
    );
    let tls = agent.wait_for("session.tls", |line| line.session_tls().is_some())?;
    let tls = tls.session_tls().context("a line about TLS")?;
    assert!(tls.seq < told.seq(), "TLS came first");
    assert_eq!(tls.tls.version.as_deref(), Some("1.3"));
    assert_eq!((tls.phase.as_deref(), tls.sstp), (Some("http"), None));
    Ok(())
}

/// And once it has been calm for a while, how long it lasted.
fn told_when_it_is_over(agent: &Agent, stalled: Duration) -> Result<()> {
    /// Between two looks.
    const LOOK_MS: u128 = 200;

    let told = agent.wait_for("the stall is over", |line| {
        line.session_anomaly()
            .is_some_and(|line| line.anomaly.state == "cleared")
    })?;
    let over = &told.session_anomaly().context("an anomaly")?.anomaly;
    assert_eq!((&*over.code, &*over.side), ("window_stalled", "client"));
    let apart_ms = u128::from(over.lasted_ms).abs_diff(stalled.as_millis());
    assert!(
        apart_ms <= LOOK_MS + TOLERANCE_MS,
        "{over:?}, and the path saw {stalled:?}"
    );
    Ok(())
}

#[test]
fn a_reset_with_window_zero_is_no_zero_window() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let lab = Lab::new()?;
    let agent = Agent::start(&lab.server, &WATCH)?;
    let tls = Tls::new()?;
    let server = Server::start(&lab.server, server_v4(), &tls)?;
    let mut client = Client::connect(&lab.client, None, server.address(), &tls)?;
    client.download(10_000)?;
    let observed = lab.path.observed(client.local_addr());
    let reset = lab::craft::Segment::rst_from(&observed, lab::Direction::FromClient)
        .context("the client has sent something")?
        .window(0);
    lab.path
        .inject(lab::Direction::FromClient, &reset.packet()?)?;
    let end = agent.wait_for("session.end", |line| line.session_end().is_some())?;
    let end = end.session_end().context("an end")?;
    assert_eq!(
        (end.end.how.as_str(), end.end.by.as_str()),
        ("reset", "client")
    );
    assert!(end.from_client.resets >= 1);
    assert_eq!(end.from_client.zero_window.segments, 0);
    agent.stop()?;
    Ok(())
}
