//! What servers refuse, and what they leave undone.

use std::time::Duration;

use anyhow::Result;
use lab::sstp::{By, Ending, Gate, How, Phase, SstpClients, SstpServer, Timeline, Traffic};

use crate::{DISCONNECTED, LOOPBACK, MOMENT, SOON, Setup, stay};

#[test]
fn connections_beyond_the_limit_are_closed_before_tls() -> Result<()> {
    for (gate, how) in [
        (Gate::Fin { limit: 1 }, How::Fin),
        (Gate::Reset { limit: 1 }, How::Reset),
    ] {
        let mut setup = Setup::new()?;
        setup.server.gate = gate;
        setup.client.timeline = stay();
        let server = SstpServer::start_here(LOOPBACK, &setup.server)?;
        let clients = SstpClients::start_here()?;
        let first = clients.open(server.address(), &setup.client);
        first.wait_connected(SOON)?;
        let second = clients.open(server.address(), &setup.client);
        let seen = second.wait_ended(SOON)?;
        // A FIN with the ClientHello still unread is followed by an RST.
        assert!([how, How::Reset].contains(&seen.how), "{seen:?}");
        assert_eq!((seen.by, seen.phase), (By::Peer, Phase::Tls));
        let told = &server.wait_ended(1, SOON)?[0];
        assert_eq!((told.how, told.by, told.phase), (how, By::Own, Phase::Tcp));
        assert!(first.is_connected());
    }
    Ok(())
}

#[test]
fn a_session_limit_disconnects() -> Result<()> {
    let mut setup = Setup::new()?;
    setup.client.timeline = stay();
    setup.server.timeline = Timeline::carry(Traffic::Idle, 4 * MOMENT, Ending::Disconnect);
    let met = setup.meet()?;
    assert_eq!(met.hows(), (DISCONNECTED, DISCONNECTED));
    assert_eq!((met.client.by, met.server.by), (By::Peer, By::Own));
    assert!((4 * MOMENT..SOON).contains(&met.server.lasted));
    Ok(())
}

#[test]
fn a_server_that_does_not_accept_lets_its_queue_overflow() -> Result<()> {
    let mut setup = Setup::new()?;
    setup.server.accepts = false;
    setup.server.backlog = 1;
    setup.client.timers.connect = 5 * MOMENT;
    setup.client.timers.negotiation = 5 * MOMENT;
    let server = SstpServer::start_here(LOOPBACK, &setup.server)?;
    let clients = SstpClients::start_here()?;
    let mut ended = Vec::new();
    for _ in 0..4 {
        let session = clients.open(server.address(), &setup.client);
        ended.push(session.wait_ended(SOON)?);
    }
    // The kernel completes connections while there is room; they get no TLS.
    assert_eq!(ended[0].how, How::NegotiationTimeout);
    assert_eq!(ended[0].phase, Phase::Tls);
    // A client that has gone keeps its place in the queue; there is none for the last.
    let last = &ended[3];
    assert_eq!(
        (last.how, last.by),
        (How::NotConnected, By::Network),
        "{ended:?}"
    );
    assert!(server.sessions().is_empty());
    Ok(())
}

#[test]
fn a_server_may_hang_before_tls() -> Result<()> {
    let mut setup = Setup::new()?;
    setup.server.gate = Gate::Hang(4 * MOMENT);
    let met = setup.meet()?;
    assert_eq!(met.hows(), (DISCONNECTED, DISCONNECTED));
    assert!(met.client.lasted >= 4 * MOMENT);

    setup.client.timers.negotiation = MOMENT;
    let met = setup.meet()?;
    assert_eq!(met.client.how, How::NegotiationTimeout);
    // The server's answer meets a closed socket.
    assert!([How::Fin, How::Reset].contains(&met.server.how), "{met:?}");
    assert_eq!((met.server.by, met.server.phase), (By::Peer, Phase::Tls));
    Ok(())
}

#[test]
fn a_refused_connection_is_told() -> Result<()> {
    let setup = Setup::new()?;
    let address = SstpServer::start_here(LOOPBACK, &setup.server)?.address();
    let clients = SstpClients::start_here()?;
    let ended = clients.open(address, &setup.client).wait_ended(SOON)?;
    assert_eq!((ended.how, ended.by), (How::NotConnected, By::Peer));
    assert!(ended.lasted < Duration::from_secs(5));
    Ok(())
}
