//! A client that stops reading: a closed window, and for how long.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use lab::{Agent, Client, ClientOptions, Lab, Server, Tls, require_root};

use crate::{WATCH, server_v4};

/// The client's receive buffer, of which Linux offers as much again as a window.
const BUFFER: usize = 64 << 10;
/// More than the window takes, and less than two of them: the window closes once.
const LENGTH: u64 = 96 << 10;
const STALL: Duration = Duration::from_secs(3);
const TOLERANCE_MS: u32 = 50;

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
    let begin = Instant::now();
    client.request_download_unread(LENGTH)?;
    agent.wait_for("a closed window", |line| {
        line.session_health()
            .is_some_and(|health| health.from_client.zero_window.stalls == 1)
    })?;
    // The stall itself.
    thread::sleep(STALL.saturating_sub(begin.elapsed()));
    client.read_download(LENGTH)?;
    client.close()?;

    let end = agent.wait_for("session.end", |line| line.session_end().is_some())?;
    let end = end.session_end().context("an end")?;
    let stall = &end.from_client.zero_window;
    println!("{stall:?}, window probes {}", end.from_server.window_probes);
    assert_eq!(stall.stalls, 1);
    assert!(
        stall.stalled_ms.abs_diff(3_000) <= TOLERANCE_MS,
        "{stall:?}"
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
