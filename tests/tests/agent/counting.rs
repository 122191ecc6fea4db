//! Nothing is lost: many short connections, every one told, every byte counted.

use std::time::Duration;

use anyhow::Result;
use lab::{
    Agent, Lab,
    agent::execute,
    events::{Line, Lost},
    plain::{self, Exchange, PlainServer},
    require_root,
};

use crate::{WATCH, lines::assert_no_gap, server_v4};

const CONNECTIONS: usize = 10_000;
const PATIENCE: Duration = Duration::from_mins(1);

const EXCHANGE: Exchange = Exchange {
    from_client: 300,
    from_server: 5_000,
};

#[test]
fn ten_thousand_connections_are_ten_thousand_ends() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    // A clean path, so that each byte passes once.
    let lab = Lab::builder().exact(true).build()?;
    let agent = Agent::start(&lab.server, &WATCH)?;
    let server = PlainServer::start(&lab.server, server_v4(), EXCHANGE)?;
    let clients = plain::exchange_many(&lab.client, server.address(), EXCHANGE, CONNECTIONS, 16)?;
    assert_eq!(clients.len(), CONNECTIONS);
    agent.wait_for_count(PATIENCE, "session.end", CONNECTIONS, |line| {
        line.session_end().is_some()
    })?;
    agent.wait_for("stats of an empty table", |line| {
        line.agent_stats()
            .is_some_and(|stats| stats.sessions.ended == 10_000 && stats.sessions.live == 0)
    })?;
    let status = execute(&lab.server, &["status", "--json"])?;
    assert!(status.status.success(), "{}", status.stderr);
    let lines = agent.stop()?;

    assert_no_gap(&lines);
    let starts: Vec<_> = lines.iter().filter_map(Line::session_start).collect();
    let ends: Vec<_> = lines.iter().filter_map(Line::session_end).collect();
    assert_eq!((starts.len(), ends.len()), (CONNECTIONS, CONNECTIONS));

    let mut ports: Vec<u16> = ends.iter().map(|end| end.client.port).collect();
    let mut expected: Vec<u16> = clients.iter().map(std::net::SocketAddr::port).collect();
    ports.sort_unstable();
    expected.sort_unstable();
    assert_eq!(ports, expected);
    let mut ids: Vec<&str> = ends.iter().map(|end| end.session.id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), CONNECTIONS);

    for end in &ends {
        let passed = |bytes: u64, again: u64| bytes - again;
        let (client, server) = (&end.from_client, &end.from_server);
        assert_eq!(
            passed(client.bytes, client.retransmitted_bytes),
            EXCHANGE.from_client
        );
        assert_eq!(
            passed(server.bytes, server.retransmitted_bytes),
            EXCHANGE.from_server
        );
        assert_eq!(end.end.how, "fin");
        assert_eq!((client.fins, server.fins), (1, 1));
        assert_eq!(end.session.seen_from, "handshake");
    }
    let stop = lines.iter().find_map(Line::agent_stop).unwrap();
    assert_eq!(stop.totals.sessions.live, 0);
    assert_eq!(stop.totals.lost, Lost::default());
    assert_eq!(stop.totals.attempts.half_open, 0);
    Ok(())
}

#[test]
fn a_full_table_is_said_and_slots_return_to_use() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let lab = Lab::new()?;
    let agent = Agent::start(
        &lab.server,
        &[&WATCH[..], &["--max-sessions", "8"]].concat(),
    )?;
    let server = PlainServer::start(&lab.server, server_v4(), EXCHANGE)?;
    let open = plain::open_many(&lab.client, server.address(), EXCHANGE, 12, 2)?;
    agent.wait_for("stats of a full table", |line| {
        line.agent_stats()
            .is_some_and(|stats| stats.sessions.live == 8 && stats.lost.table_full_segments > 0)
    })?;
    for stream in &open {
        plain::close(stream)?;
    }
    drop(open);
    // The second of these comes an interval later, when the slots are free.
    agent.wait_for_count(PATIENCE, "stats of an empty table", 2, |line| {
        line.agent_stats()
            .is_some_and(|stats| stats.sessions.ended == 8 && stats.sessions.live == 0)
    })?;
    // All slots are free again, and taken again.
    plain::exchange_many(&lab.client, server.address(), EXCHANGE, 8, 1)?;
    agent.wait_for("the end of a later session", |line| {
        line.agent_stats()
            .is_some_and(|stats| stats.sessions.ended >= 16)
    })?;
    agent.stop()?;
    Ok(())
}
