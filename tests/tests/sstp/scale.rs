//! Many sessions on one thread for each end.

use std::time::{Duration, Instant};

use anyhow::Result;
use lab::root::raise_open_files;
use lab::sstp::{Ending, How, Session, SstpClients, SstpServer, Timeline, Traffic};

use crate::{DISCONNECTED, LOOPBACK, Setup};

const SESSIONS: usize = 500;

/// Two thousand handshakes and more on a busy machine.
const PATIENCE: Duration = Duration::from_mins(2);

#[test]
fn five_hundred_sessions_at_once() -> Result<()> {
    raise_open_files()?;
    let mut setup = Setup::new()?;
    setup.client.timeline = Timeline::of(
        vec![],
        Ending::ByPeer(Traffic::Ping {
            every: Duration::from_millis(500),
            bytes: 64,
        }),
    );
    let server = SstpServer::start_here(LOOPBACK, &setup.server)?;
    let clients = SstpClients::start_here()?;
    let begun = Instant::now();
    let sessions: Vec<_> = (0..SESSIONS)
        .map(|_| clients.open(server.address(), &setup.client))
        .collect();
    lab::wait_until(PATIENCE, "all tunnels are up", || {
        server.connected() == SESSIONS && sessions.iter().all(Session::is_connected)
    })?;
    println!("{SESSIONS} tunnels up after {:?}", begun.elapsed());
    let told = server.shutdown(PATIENCE)?;
    assert_eq!(told.len(), SESSIONS);
    assert!(told.iter().all(|end| end.how == DISCONNECTED), "{told:?}");
    for session in sessions {
        let ended = session.wait_ended(PATIENCE)?;
        assert_eq!(ended.how, How::Disconnect { acknowledged: true });
    }
    Ok(())
}
