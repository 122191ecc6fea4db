//! Forged packets by the million, beside real sessions.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use anyhow::Result;
use lab::{
    Agent, Direction, Lab,
    craft::Segment,
    events::Line,
    plain::{self, Exchange, PlainServer},
    require_root,
};

use crate::{WATCH, lines::assert_no_gap, server_v4};

const FORGED: u32 = 1_000_000;
const REAL: usize = 100;

/// What each real session carries before the flood; it ends after it.
const CARRIED: Exchange = Exchange {
    from_client: 20_000,
    from_server: 30_000,
};

#[test]
fn a_million_forged_packets_neither_make_nor_break_a_session() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let lab = Lab::builder().exact(true).build()?;
    let agent = Agent::start(&lab.server, &WATCH)?;
    let server = PlainServer::start(&lab.server, server_v4(), CARRIED)?;
    let streams = plain::open_many(&lab.client, server.address(), CARRIED, REAL, 4)?;
    agent.wait_for_count(Duration::from_secs(20), "session.start", REAL, |line| {
        line.session_start().is_some()
    })?;

    flood(&lab, |source| Segment::syn(source, server_v4(), 7))?;
    flood(&lab, |source| Segment::ack(source, server_v4(), 7, 9))?;
    flood(&lab, |source| {
        Segment::data(source, server_v4(), 7, 9, &[0x17; 32])
    })?;

    for stream in &streams {
        plain::close(stream)?;
    }
    agent.wait_for_count(Duration::from_secs(30), "session.end", REAL, |line| {
        line.session_end().is_some()
    })?;
    let lines = agent.stop()?;

    assert_no_gap(&lines);
    let starts = lines.iter().filter_map(Line::session_start).count();
    let ends: Vec<_> = lines.iter().filter_map(Line::session_end).collect();
    assert_eq!(
        (starts, ends.len()),
        (REAL, REAL),
        "no false session, none lost"
    );
    for end in ends {
        let (client, server) = (&end.from_client, &end.from_server);
        assert_eq!(
            client.bytes - client.retransmitted_bytes,
            CARRIED.from_client
        );
        assert_eq!(
            server.bytes - server.retransmitted_bytes,
            CARRIED.from_server
        );
        assert_eq!(end.end.how, "fin");
    }
    let stop = lines.iter().find_map(Line::agent_stop).unwrap();
    let attempts = &stop.totals.attempts;
    println!("attempts after the flood: {attempts:?}");
    assert!(attempts.failed + attempts.displaced + attempts.half_open >= u64::from(FORGED) / 2);
    Ok(())
}

/// Sends a million forged packets, each from a source of its own.
fn flood(lab: &Lab, packet: impl Fn(SocketAddr) -> Segment) -> Result<()> {
    let first = u32::from(Ipv4Addr::new(100, 64, 0, 1));
    for number in 0..FORGED {
        let source = SocketAddr::from((Ipv4Addr::from(first + number), 40_000));
        let forged = packet(source).packet()?;
        lab.path.inject(Direction::FromClient, &forged)?;
    }
    Ok(())
}
