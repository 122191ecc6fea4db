//! What is carried inside, and what isn't read.

use std::time::Duration;

use anyhow::Result;
use lab::sstp::{Ending, Method, Step, Timeline, Traffic};

use crate::{DISCONNECTED, MOMENT, Met, Setup, stay};

const SEND: Traffic = Traffic::Send {
    every: Duration::from_millis(2),
    datagrams: 16,
    bytes: 1400,
};

/// Bytes that no buffer of a socket holds when it is kept small.
const MUCH: u64 = 1_000_000;

fn for_a_while(traffic: Traffic) -> Timeline {
    Timeline::carry(traffic, 8 * MOMENT, Ending::Disconnect)
}

fn assert_both_disconnected(met: &Met) {
    assert_eq!(met.hows(), (DISCONNECTED, DISCONNECTED), "{met:?}");
}

#[test]
fn pings_are_answered() -> Result<()> {
    let mut setup = Setup::new()?;
    setup.server.authentication.method = Method::ChapMd5;
    setup.client.timeline = for_a_while(Traffic::Ping {
        every: MOMENT,
        bytes: 84,
    });
    let met = setup.meet()?;
    assert_both_disconnected(&met);
    assert!((4..=9).contains(&met.client.pings.count), "{met:?}");
    assert!(met.client.pings.longest > Duration::ZERO);
    assert!(met.client.pings.mean() <= met.client.pings.longest);
    Ok(())
}

#[test]
fn uploads_and_downloads_arrive() -> Result<()> {
    let fetch = Traffic::Fetch {
        every: Duration::from_millis(2),
        datagrams: 16,
        bytes: 1400,
    };
    let mut setup = Setup::new()?;
    setup.client.timeline = for_a_while(SEND);
    let up = setup.meet()?;
    assert_both_disconnected(&up);
    assert!(
        up.server.received > MUCH && up.server.sent < MUCH / 20,
        "{up:?}"
    );

    setup.client.timeline = for_a_while(fetch);
    let down = setup.meet()?;
    assert_both_disconnected(&down);
    assert!(down.client.received > MUCH && down.client.sent < MUCH / 10);

    setup.client.timeline = stay();
    setup.server.timeline = for_a_while(SEND);
    let pushed = setup.meet()?;
    assert_both_disconnected(&pushed);
    assert!(pushed.client.received > MUCH && pushed.client.sent < MUCH / 20);
    Ok(())
}

#[test]
fn an_end_that_stops_reading_takes_no_more_than_its_buffer() -> Result<()> {
    let mut setup = Setup::new()?;
    setup.server.receive_buffer = Some(8192);
    setup.client.timers.disconnect = MOMENT;
    setup.client.timers.close = MOMENT;
    setup.client.timeline = for_a_while(SEND);
    for step in [
        Step::StopReading {
            traffic: Traffic::Idle,
            lasts: 20 * MOMENT,
        },
        Step::Hang(20 * MOMENT),
    ] {
        setup.server.timeline = Timeline::of(vec![step], Ending::Kill);
        let met = setup.meet()?;
        assert!(met.server.received < MUCH / 20, "{met:?}");
    }
    Ok(())
}

#[test]
fn an_end_that_stops_reading_may_go_on_sending() -> Result<()> {
    let mut setup = Setup::new()?;
    setup.client.timeline = Timeline::of(
        vec![Step::StopReading {
            traffic: SEND,
            lasts: 5 * MOMENT,
        }],
        Ending::Disconnect,
    );
    let met = setup.meet()?;
    assert_both_disconnected(&met);
    assert!(met.server.received > MUCH, "{met:?}");
    Ok(())
}
