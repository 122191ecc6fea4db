//! Echoes are asked for, answered, and missed.

use std::time::Duration;

use anyhow::Result;
use lab::sstp::{By, Ending, GiveUp, How, LcpEcho, Step, Timeline, Traffic};

use crate::{DISCONNECTED, MOMENT, Setup, stay};

fn idle_for(time: Duration) -> Timeline {
    Timeline::carry(Traffic::Idle, time, Ending::Disconnect)
}

#[test]
fn hello_is_answered_from_both_ends() -> Result<()> {
    let mut setup = Setup::new()?;
    setup.client.timeline = idle_for(6 * MOMENT);
    setup.client.keepalive.hello = None;
    setup.server.keepalive.hello = Some(MOMENT);
    let met = setup.meet()?;
    assert_eq!(met.hows(), (DISCONNECTED, DISCONNECTED));
    assert!((2..=6).contains(&met.server.echoes.count), "{met:?}");
    assert_eq!(met.client.echoes.count, 0);
    assert!(met.server.echoes.longest < MOMENT);

    std::mem::swap(&mut setup.client.keepalive, &mut setup.server.keepalive);
    let met = setup.meet()?;
    assert!((2..=6).contains(&met.client.echoes.count), "{met:?}");
    assert_eq!(met.server.echoes.count, 0);
    Ok(())
}

#[test]
fn lcp_echoes_are_answered() -> Result<()> {
    let mut setup = Setup::new()?;
    setup.client.timeline = idle_for(5 * MOMENT);
    setup.client.keepalive.lcp_echo = Some(LcpEcho {
        every: MOMENT,
        failures: 2,
    });
    let met = setup.meet()?;
    assert_eq!(met.hows(), (DISCONNECTED, DISCONNECTED));
    assert!((2..=5).contains(&met.client.echoes.count), "{met:?}");
    Ok(())
}

#[test]
fn a_peer_that_answers_no_echo_is_given_up_after_two_hellos() -> Result<()> {
    for give_up in [GiveUp::Abort, GiveUp::Close] {
        let mut setup = Setup::new()?;
        setup.client.timeline = stay();
        setup.client.keepalive.answers = false;
        setup.server.keepalive.hello = Some(2 * MOMENT);
        setup.server.keepalive.give_up = give_up;
        let met = setup.meet()?;
        let seen = match give_up {
            GiveUp::Abort => How::Abort { status: Some(6) },
            GiveUp::Close => How::CloseNotify,
        };
        assert_eq!(met.hows(), (seen, How::Silence), "{met:?}");
        assert_eq!((met.client.by, met.server.by), (By::Peer, By::Own));
        assert!(met.server.lasted >= 4 * MOMENT);
    }
    Ok(())
}

#[test]
fn a_peer_that_answers_no_lcp_echo_is_given_up() -> Result<()> {
    let mut setup = Setup::new()?;
    setup.client.timeline = stay();
    setup.server.keepalive.answers = false;
    setup.client.keepalive.lcp_echo = Some(LcpEcho {
        every: MOMENT,
        failures: 3,
    });
    let met = setup.meet()?;
    assert_eq!((met.client.how, met.client.by), (How::Silence, By::Own));
    assert!(met.client.lasted >= 4 * MOMENT);
    Ok(())
}

#[test]
fn a_client_that_hangs_is_given_up() -> Result<()> {
    let mut setup = Setup::new()?;
    setup.client.timeline = Timeline::of(vec![Step::Hang(10 * MOMENT)], Ending::Kill);
    setup.server.keepalive.hello = Some(2 * MOMENT);
    setup.server.timers.close = MOMENT;
    let met = setup.meet()?;
    assert_eq!(met.hows(), (How::Killed, How::Silence));
    Ok(())
}

#[test]
fn a_server_without_hello_asks_for_nothing() -> Result<()> {
    let mut setup = Setup::new()?;
    setup.client.timeline = idle_for(5 * MOMENT);
    setup.client.keepalive.answers = false;
    setup.server.keepalive.hello = None;
    let met = setup.meet()?;
    assert_eq!(met.hows(), (DISCONNECTED, DISCONNECTED));
    Ok(())
}
