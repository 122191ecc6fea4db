//! Beginnings and endings: how sessions come to be known, and how each kind of end is told.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result};
use lab::{
    Action, Agent, Client, ClientOptions, Direction, Lab, Match, Rule, SERVER_INTERFACE, Server,
    Tls, craft,
    events::{AttemptFailed, Line, SessionEnd},
    links, require_root,
    tcp_info::tcp_info,
};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::{WATCH, lines::assert_no_gap, server_v4};

struct Stage {
    agent: Agent,
    server: Server,
    tls: Tls,
    lab: Lab,
}

impl Stage {
    fn set(extra: &[&str]) -> Result<Self> {
        let lab = Lab::new()?;
        let agent = Agent::start(&lab.server, &[&WATCH[..], extra].concat())?;
        let tls = Tls::new()?;
        let server = Server::start(&lab.server, server_v4(), &tls)?;
        Ok(Self {
            agent,
            server,
            tls,
            lab,
        })
    }

    fn connect(&self) -> Result<Client> {
        Client::connect(&self.lab.client, None, self.server.address(), &self.tls)
    }

    fn end(&self) -> Result<SessionEnd> {
        let line = self
            .agent
            .wait_for("session.end", |line| line.session_end().is_some())?;
        line.session_end().cloned().context("an end")
    }

    fn failure(&self) -> Result<AttemptFailed> {
        let line = self
            .agent
            .wait_for("attempt.failed", |line| line.attempt_failed().is_some())?;
        line.attempt_failed().cloned().context("a failure")
    }
}

fn ending(end: &SessionEnd) -> (&str, &str) {
    (end.end.by.as_str(), end.end.how.as_str())
}

#[test]
fn the_last_lines_name_the_interface_like_all_others() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    // The interval is longer than the test: all but the beginning is told in the end.
    let lab = Lab::new()?;
    let agent = Agent::start(
        &lab.server,
        &["--interface", SERVER_INTERFACE, "--interval", "1h"],
    )?;
    let tls = Tls::new()?;
    let server = Server::start(&lab.server, server_v4(), &tls)?;
    let mut client = Client::connect(&lab.client, None, server.address(), &tls)?;
    client.download(10_000)?;
    let lines = agent.stop()?;
    let health = lines.iter().find_map(Line::session_health);
    let interface = &health.context("no session.health")?.interface;
    assert_eq!(interface.as_deref(), Some(SERVER_INTERFACE));
    Ok(())
}

#[test]
fn a_client_that_aborts_is_a_reset_by_the_client() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let stage = Stage::set(&[])?;
    let mut client = stage.connect()?;
    client.download(10_000)?;
    client.abort()?;
    let end = stage.end()?;
    assert_eq!(ending(&end), ("client", "reset"));
    assert!(end.from_server.bytes > 10_000);
    Ok(())
}

#[test]
fn a_server_that_closes_is_an_end_by_the_server() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let stage = Stage::set(&[])?;
    stage.connect()?.close_by_server()?;
    assert_eq!(ending(&stage.end()?), ("server", "fin"));
    Ok(())
}

#[test]
fn a_path_that_is_cut_ends_the_session_as_dead() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let stage = Stage::set(&["--dead-after", "2s"])?;
    let mut client = stage.connect()?;
    client.download(10_000)?;
    stage.lab.path.update(|faults| {
        faults.from_client.cut = true;
        faults.from_server.cut = true;
    });
    let end = stage.end()?;
    assert_eq!(ending(&end), ("unknown", "dead"));
    // The server's own end of the connection is still open, and comes back to life.
    stage.lab.path.clear();
    client.download(10_000)?;
    let again = stage.agent.wait_for("a second session.start", |line| {
        line.session_start()
            .is_some_and(|start| start.session.seen_from == "midstream")
    })?;
    assert!(
        again
            .session_start()
            .is_some_and(|start| start.handshake.is_none())
    );
    Ok(())
}

#[test]
fn a_session_older_than_the_agent_is_seen_from_midstream() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let lab = Lab::new()?;
    let tls = Tls::new()?;
    let server = Server::start(&lab.server, server_v4(), &tls)?;
    let mut client = Client::connect(&lab.client, None, server.address(), &tls)?;
    let agent = Agent::start(&lab.server, &WATCH)?;
    client.download(50_000)?;
    client.close()?;
    let end = agent.wait_for("session.end", |line| line.session_end().is_some())?;
    let end = end.session_end().context("an end")?;
    assert_eq!(end.session.seen_from, "midstream");
    assert!(end.from_server.bytes > 50_000);
    assert_eq!(
        (end.from_server.retransmits, end.end.how.as_str()),
        (0, "fin")
    );
    Ok(())
}

#[test]
fn starts_and_ends_come_within_a_second() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    // An interval so long that only notices can tell in time.
    let lab = Lab::new()?;
    let agent = Agent::start(&lab.server, &["-i", SERVER_INTERFACE, "--interval", "1h"])?;
    let tls = Tls::new()?;
    let server = Server::start(&lab.server, server_v4(), &tls)?;
    let second = Duration::from_secs(1);
    let client = Client::connect(&lab.client, None, server.address(), &tls)?;
    agent.wait_for_count(second, "session.start", 1, |line| {
        line.session_start().is_some()
    })?;
    client.abort()?;
    agent.wait_for_count(second, "session.end", 1, |line| {
        line.session_end().is_some()
    })?;
    agent.stop()?;
    Ok(())
}

#[test]
fn syn_and_syn_ack_retransmissions_are_told_at_the_start() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let stage = Stage::set(&[])?;
    stage.lab.path.update(|faults| {
        faults.from_server.rules = vec![Rule {
            what: Match::SynAck,
            nth: 1,
            action: Action::Drop,
        }];
    });
    let client = stage.connect()?;
    let start = stage
        .agent
        .wait_for("session.start", |line| line.session_start().is_some())?;
    let handshake = start
        .session_start()
        .and_then(|start| start.handshake.clone())
        .context("a handshake")?;
    // After a second, the client repeats its SYN and the server its SYN-ACK. Whichever is
    // first, a SYN-ACK is sent again.
    assert!(handshake.from_client.syn_retransmits <= 1);
    assert!(handshake.from_server.syn_retransmits >= 1);
    assert_eq!(
        handshake.rtt_us, None,
        "nobody can tell which SYN-ACK was answered"
    );
    assert_eq!(handshake.from_client.mss, Some(1460));
    // The server's socket takes over how often its SYN-ACK was repeated.
    let info = tcp_info(&stage.lab.server, client.remote_addr(), client.local_addr())?;
    let repeated = u32::from(handshake.from_server.syn_retransmits);
    assert_eq!(info.total_retrans, repeated);
    Ok(())
}

#[test]
fn unanswered_refused_and_abandoned_attempts_are_told_apart() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let stage = Stage::set(&[])?;
    let closed = SocketAddr::from((lab::SERVER_V4, 444));
    drop(stage);

    // Refused: nobody listens.
    let lab = Lab::new()?;
    let agent = Agent::start(&lab.server, &[&WATCH[..], &["-p", "443,444"]].concat())?;
    let tls = Tls::new()?;
    let server = Server::start(&lab.server, server_v4(), &tls)?;
    let stage = Stage {
        agent,
        server,
        tls,
        lab,
    };
    let timeout = ClientOptions {
        timeout: Duration::from_millis(1_500),
        ..ClientOptions::default()
    };
    let refused = Client::connect_with(&stage.lab.client, closed, &stage.tls, &timeout);
    assert!(refused.is_err());
    let failure = stage.failure()?;
    assert_eq!(failure.attempt.outcome, "reset_by_server");
    assert_eq!(failure.server.port, 444);

    // Unanswered: the server drops SYNs of clients it has no way back to.
    let lost: std::net::IpAddr = "10.78.9.9".parse()?;
    stage.lab.add_client_addresses([lost])?;
    stage
        .lab
        .server
        .run(|| links::add_route(lost, 32, links::Via::Nowhere))?;
    let from = ClientOptions {
        from: Some(lost),
        ..timeout
    };
    let server = stage.server.address();
    assert!(Client::connect_with(&stage.lab.client, server, &stage.tls, &from).is_err());
    let failed = stage.agent.wait_for("an unanswered SYN", |line| {
        line.attempt_failed()
            .is_some_and(|failed| failed.attempt.outcome == "syn_unanswered")
    })?;
    let failed = failed.attempt_failed().context("a failure")?;
    assert!(failed.attempt.syns >= 2, "{failed:?}");
    assert_eq!(failed.client.address, lost);

    // Abandoned: the answer to the SYN-ACK never comes.
    let forged = SocketAddr::from(([100, 64, 0, 1], 5_555));
    let syn = craft::Segment::syn(forged, server, 99).packet()?;
    stage.lab.path.inject(Direction::FromClient, &syn)?;
    // The SYN-ACK is repeated after 1, 3 and 7 s; silence twice as long as that tells.
    let failed = stage.agent.wait_for_count(
        Duration::from_secs(90),
        "an unanswered SYN-ACK",
        1,
        |line| {
            line.attempt_failed()
                .is_some_and(|failed| failed.attempt.outcome == "syn_ack_unanswered")
        },
    )?;
    let failed = failed[0].attempt_failed().context("a failure")?;
    assert_eq!(failed.client.address, forged.ip());
    assert_eq!(failed.attempt.syns, 1);
    Ok(())
}

#[test]
fn the_output_file_is_opened_anew_on_a_hangup() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let lab = Lab::new()?;
    let folder = TempDir::new()?;
    let file = folder.path().join("events.jsonl");
    let name = file.to_string_lossy().into_owned();
    let mut agent = lab.server.spawn_process(
        std::process::Command::new(lab::agent::binary("sstpulse")?).args([
            "run",
            "-i",
            SERVER_INTERFACE,
            "--interval",
            "100ms",
            "-o",
            &name,
        ]),
    )?;
    let lines = |path: &std::path::Path| {
        std::fs::read_to_string(path).map_or(0, |text| text.lines().count())
    };
    let patience = Duration::from_secs(10);
    lab::wait_until(patience, "lines in the file", || lines(&file) > 1)?;
    let rotated = folder.path().join("events.jsonl.1");
    std::fs::rename(&file, &rotated)?;
    let pid = nix::unistd::Pid::from_raw(i32::try_from(agent.id())?);
    nix::sys::signal::kill(pid, Signal::SIGHUP)?;
    lab::wait_until(patience, "lines in the new file", || lines(&file) > 1)?;
    nix::sys::signal::kill(pid, Signal::SIGTERM)?;
    assert!(agent.wait()?.success());
    let text = std::fs::read_to_string(&rotated)? + &std::fs::read_to_string(&file)?;
    let all: Vec<Line> = text
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    assert_no_gap(&all);
    Ok(())
}

#[test]
fn a_closed_pipe_is_a_normal_end() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let lab = Lab::new()?;
    let mut agent = lab.server.spawn_process(
        std::process::Command::new(lab::agent::binary("sstpulse")?)
            .args(["run", "-i", SERVER_INTERFACE, "--interval", "100ms"])
            .stdout(std::process::Stdio::piped()),
    )?;
    agent.wait_for_line("{\"type\":\"agent.start\"")?;
    drop(agent.take_stdout());
    assert!(agent.wait()?.success());
    Ok(())
}

#[test]
fn an_output_file_that_is_removed_is_warned_of_and_made_anew_on_a_hangup() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let lab = Lab::new()?;
    let folder = TempDir::new()?;
    let file = folder.path().join("events.jsonl");
    let mut agent = lab.server.spawn_process(
        std::process::Command::new(lab::agent::binary("sstpulse")?)
            .args(["run", "-i", SERVER_INTERFACE, "--interval", "100ms", "-o"])
            .arg(&file)
            .stderr(std::process::Stdio::piped()),
    )?;
    let patience = Duration::from_secs(10);
    lab::wait_until(patience, "the file", || file.exists())?;
    std::fs::remove_file(&file)?;
    let stderr = agent.stderr.take().context("no stderr")?;
    read_until(stderr, "was removed")?;
    let pid = nix::unistd::Pid::from_raw(i32::try_from(agent.id())?);
    nix::sys::signal::kill(pid, Signal::SIGHUP)?;
    lab::wait_until(patience, "a new file", || file.exists())?;
    nix::sys::signal::kill(pid, Signal::SIGTERM)?;
    assert!(agent.wait()?.success());
    Ok(())
}

/// Reads until something is said, and lets the rest go where it will.
fn read_until(from: impl std::io::Read, says: &str) -> Result<()> {
    let mut said = String::new();
    let mut reader = std::io::BufReader::new(from);
    while !said.contains(says) {
        anyhow::ensure!(
            std::io::BufRead::read_line(&mut reader, &mut said)? > 0,
            "it ended, saying: {said}"
        );
    }
    Ok(())
}

#[test]
fn a_full_disk_loses_lines_and_says_so() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let lab = Lab::new()?;
    // The device that is always full.
    let mut agent = lab.server.spawn_process(
        std::process::Command::new(lab::agent::binary("sstpulse")?)
            .args([
                "run",
                "-i",
                SERVER_INTERFACE,
                "--interval",
                "100ms",
                "-o",
                "/dev/full",
            ])
            .stderr(std::process::Stdio::piped()),
    )?;
    let stderr = agent.stderr.take().context("no stderr")?;
    read_until(stderr, "lines are lost")?;
    let pid = nix::unistd::Pid::from_raw(i32::try_from(agent.id())?);
    nix::sys::signal::kill(pid, Signal::SIGTERM)?;
    assert_eq!(agent.wait()?.code(), Some(1), "lines are lost at the end");
    Ok(())
}

#[test]
fn an_interface_that_goes_and_comes_back_is_watched_again() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let lab = Lab::new()?;
    let agent = Agent::start(&lab.server, &WATCH)?;
    let missing = |line: &Line, count: usize| {
        line.agent_stats()
            .is_some_and(|stats| stats.missing_interfaces.len() == count)
    };
    lab.server.run(|| links::delete(SERVER_INTERFACE))?;
    agent.wait_for("a missing interface", |line| missing(line, 1))?;
    lab.server
        .run(|| links::add_veth(SERVER_INTERFACE, "another0", &lab.router))?;
    let seen = agent.lines()?.len() as u64;
    agent.wait_for("the interface's return", |line| {
        line.seq() > seen && missing(line, 0)
    })?;
    agent.stop()?;
    Ok(())
}
