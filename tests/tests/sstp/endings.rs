//! Each way to end is seen at the other end as what it is.

use anyhow::Result;
use lab::sstp::{By, Ending, How, Phase, SstpClients, SstpServer, Step, Timeline, Traffic};

use crate::{DISCONNECTED, LOOPBACK, MOMENT, SOON, Setup, stay};

/// An ending, and what both ends say of it.
const ENDINGS: [(Ending, How, How); 7] = [
    (Ending::Disconnect, DISCONNECTED, DISCONNECTED),
    (Ending::Terminate, DISCONNECTED, DISCONNECTED),
    (
        Ending::Abort,
        How::Abort { status: Some(0) },
        How::Abort { status: Some(0) },
    ),
    (Ending::CloseNotify, How::CloseNotify, How::CloseNotify),
    (Ending::Fin, How::Fin, How::Fin),
    (Ending::Kill, How::Killed, How::Fin),
    (Ending::Reset, How::Reset, How::Reset),
];

fn after_a_moment(ending: Ending) -> Timeline {
    Timeline::carry(Traffic::Idle, MOMENT, ending)
}

#[test]
fn the_server_tells_how_the_client_ended() -> Result<()> {
    for (ending, own, seen) in ENDINGS {
        let mut setup = Setup::new()?;
        setup.client.timeline = after_a_moment(ending);
        let met = setup.meet()?;
        assert_eq!(met.hows(), (own, seen), "{ending:?}: {met:?}");
        assert_eq!((met.client.by, met.server.by), (By::Own, By::Peer));
        assert_eq!(met.client.phase, Phase::Connected);
        assert_eq!(met.server.phase, Phase::Connected);
        assert_eq!(met.client.local, Some(met.server.remote));
        assert!(met.client.lasted >= MOMENT);
    }
    Ok(())
}

#[test]
fn the_client_tells_how_the_server_ended() -> Result<()> {
    for (ending, own, seen) in ENDINGS {
        let mut setup = Setup::new()?;
        setup.client.timeline = stay();
        setup.server.timeline = after_a_moment(ending);
        let met = setup.meet()?;
        assert_eq!(met.hows(), (seen, own), "{ending:?}: {met:?}");
        assert_eq!((met.client.by, met.server.by), (By::Peer, By::Own));
    }
    Ok(())
}

#[test]
fn a_disconnect_that_nobody_answers_is_told() -> Result<()> {
    let mut setup = Setup::new()?;
    setup.client.timers.disconnect = MOMENT;
    setup.client.timers.close = MOMENT;
    setup.client.timeline = after_a_moment(Ending::Disconnect);
    setup.server.timeline = Timeline::of(vec![Step::Hang(5 * MOMENT)], Ending::Kill);
    let met = setup.meet()?;
    let unanswered = How::Disconnect {
        acknowledged: false,
    };
    assert_eq!(met.hows(), (unanswered, How::Killed));
    Ok(())
}

#[test]
fn a_killed_server_closes_all_sessions_with_a_fin() -> Result<()> {
    let mut setup = Setup::new()?;
    setup.client.timeline = stay();
    let server = SstpServer::start_here(LOOPBACK, &setup.server)?;
    let clients = SstpClients::start_here()?;
    let sessions = [(); 5].map(|()| clients.open(server.address(), &setup.client));
    for session in &sessions {
        session.wait_connected(SOON)?;
    }
    lab::wait_until(SOON, "all tunnels are up", || server.connected() == 5)?;
    let ended = server.kill();
    assert_eq!(ended.len(), 5);
    assert!(ended.iter().all(|end| end.how == How::Killed));
    for session in &sessions {
        let ended = session.wait_ended(SOON)?;
        assert_eq!((ended.how, ended.by), (How::Fin, By::Peer));
    }
    Ok(())
}

#[test]
fn a_server_that_is_shut_down_disconnects_its_clients() -> Result<()> {
    let mut setup = Setup::new()?;
    setup.client.timeline = stay();
    let server = SstpServer::start_here(LOOPBACK, &setup.server)?;
    let address = server.address();
    let clients = SstpClients::start_here()?;
    let session = clients.open(address, &setup.client);
    session.wait_connected(SOON)?;
    lab::wait_until(SOON, "the tunnel is up", || server.connected() == 1)?;
    let [ended] = &server.shutdown(SOON)?[..] else {
        panic!("one session");
    };
    assert_eq!((ended.how, ended.by), (DISCONNECTED, By::Own));
    let ended = session.wait_ended(SOON)?;
    assert_eq!((ended.how, ended.by), (DISCONNECTED, By::Peer));
    let refused = clients.open(address, &setup.client).wait_ended(SOON)?;
    assert_eq!(
        (refused.how, refused.phase),
        (How::NotConnected, Phase::Tcp)
    );
    Ok(())
}

#[test]
fn clients_that_are_dropped_close_their_sockets() -> Result<()> {
    let mut setup = Setup::new()?;
    setup.client.timeline = stay();
    let server = SstpServer::start_here(LOOPBACK, &setup.server)?;
    let clients = SstpClients::start_here()?;
    let session = clients.open(server.address(), &setup.client);
    session.wait_connected(SOON)?;
    drop(clients);
    assert_eq!(session.wait_ended(SOON)?.how, How::Killed);
    let ended = server.wait_ended(1, SOON)?;
    assert_eq!((ended[0].how, ended[0].by), (How::Fin, By::Peer));
    Ok(())
}
