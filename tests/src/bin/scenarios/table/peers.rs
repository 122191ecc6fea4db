//! Ends that live, and do not do their part.

use anyhow::Result;
use lab::sstp::{Ending, GiveUp, Step, Timeline, Traffic};

use super::{BULK, PINGS, Scenario, millis, surely};
use crate::stage::{PATIENCE, Stage, pass};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "client-hangs",
        what: "the client's program hangs, the server gives up with an abort",
        expected: &[surely("peer_hung", "high")],
        play: |stage| hangs(stage, GiveUp::Abort),
    },
    Scenario {
        name: "client-hangs-silently",
        what: "the same, and the server gives up without a word",
        expected: &[surely("peer_hung", "high")],
        play: |stage| hangs(stage, GiveUp::Close),
    },
    Scenario {
        name: "client-reads-nothing",
        what: "the client stops reading, and is killed",
        expected: &[surely("client_zero_window", "high")],
        play: client_reads_nothing,
    },
    Scenario {
        name: "server-reads-nothing",
        what: "the server stops reading, and the client gives up",
        expected: &[surely("server_zero_window", "high")],
        play: server_reads_nothing,
    },
    Scenario {
        name: "nobody-says-hello",
        what: "no hello on either side, and then nothing at all",
        expected: &[surely("keepalive_absent", "high")],
        play: no_hello,
    },
];

fn hangs(stage: &Stage, give_up: GiveUp) -> Result<()> {
    let mut server = stage.server_options()?;
    server.keepalive.give_up = give_up;
    server.timers.abort = millis(300);
    stage.serve(&server)?;
    let mut options = stage.client_options()?;
    options.timeline = Timeline::of(
        vec![
            Step::Carry {
                traffic: PINGS,
                lasts: millis(500),
            },
            Step::Hang(millis(5_000)),
        ],
        Ending::Kill,
    );
    stage.open(&options).wait_ended(PATIENCE)?;
    Ok(())
}

fn client_reads_nothing(stage: &Stage) -> Result<()> {
    let mut server = stage.server_options()?;
    server.keepalive.hello = None;
    server.timeline = Timeline::of(vec![], Ending::ByPeer(BULK));
    stage.serve(&server)?;
    let mut options = stage.client_options()?;
    options.receive_buffer = Some(16 << 10);
    options.timeline = Timeline::of(
        vec![Step::StopReading {
            traffic: Traffic::Idle,
            lasts: millis(4_000),
        }],
        Ending::Kill,
    );
    stage.open(&options).wait_ended(PATIENCE)?;
    Ok(())
}

fn server_reads_nothing(stage: &Stage) -> Result<()> {
    let mut server = stage.server_options()?;
    server.keepalive.hello = None;
    server.receive_buffer = Some(16 << 10);
    server.timeline = Timeline::of(
        vec![Step::StopReading {
            traffic: Traffic::Idle,
            lasts: millis(20_000),
        }],
        Ending::Kill,
    );
    stage.serve(&server)?;
    let mut options = stage.client_options()?;
    options.timeline = Timeline::carry(BULK, millis(4_000), Ending::Reset);
    let session = stage.open(&options);
    // It may be waiting to write when it is to end.
    if session.wait_ended(millis(8_000)).is_err() {
        stage.forge_reset(&session, |reset| reset)?;
    }
    Ok(())
}

fn no_hello(stage: &Stage) -> Result<()> {
    let mut server = stage.server_options()?;
    server.keepalive.hello = None;
    stage.serve(&server)?;
    stage.connect(&stage.client_options()?)?;
    // The agent takes it for dead after 7 s.
    pass(millis(9_500));
    Ok(())
}
