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
    thread::sleep(STALL);
    client.read_download(LENGTH)?;
    wait_until(PATIENCE, "the window opens", || window() != 0)?;
    let stalled = closed.elapsed();
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
    agent.stop()?;
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
