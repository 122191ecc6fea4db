//! What looks like trouble, and is none.

use std::net::TcpStream;

use anyhow::{Context as _, Result};
use lab::{
    Loss,
    sstp::{ClientFault, Ending, Step, Timeline, Traffic},
};
use socket2::SockRef;

use super::{BULK, PINGS, Scenario, briefly, is, millis, surely};
use crate::stage::{PATIENCE, Stage, client_address, pass};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "harmless-reset",
        what: "the client closes with data unread: RSTs follow its FIN",
        expected: &[surely("clean_client", "high")],
        play: harmless_reset,
    },
    Scenario {
        name: "lossy-wifi",
        what: "1 % loss, jitter, and a clean end",
        expected: &[surely("clean_client", "high")],
        play: wifi,
    },
    Scenario {
        name: "idle-with-hello",
        what: "nothing but hellos for six of them, and a clean end",
        expected: &[surely("clean_client", "high")],
        play: |stage| {
            stage.usual(Timeline::carry(
                Traffic::Idle,
                millis(6_300),
                Ending::Disconnect,
            ))
        },
    },
    Scenario {
        name: "web-browser",
        what: "ordinary HTTPS on the same port",
        expected: &[surely("not_sstp", "high")],
        play: |stage| {
            faulty(
                stage,
                ClientFault::Browse {
                    requests: 6,
                    every: millis(100),
                },
            )
        },
    },
    Scenario {
        name: "one-https-request",
        what: "one HTTPS request, as a health check makes it",
        expected: &[is("probe")],
        play: |stage| {
            faulty(
                stage,
                ClientFault::Browse {
                    requests: 1,
                    every: millis(100),
                },
            )
        },
    },
    Scenario {
        name: "slow-client",
        what: "a client that takes 200 ms for each step",
        expected: &[surely("clean_client", "high")],
        play: slow_client,
    },
    Scenario {
        name: "port-scan",
        what: "connections that are closed at once",
        expected: &[is("probe"), is("probe"), is("probe")],
        play: scan,
    },
    Scenario {
        name: "balancer-checks",
        what: "connections that are reset at once, as load balancers check",
        expected: &[is("probe"), is("probe"), is("probe")],
        play: balancer,
    },
    Scenario {
        name: "tls-probe",
        what: "a TLS handshake, and goodbye",
        expected: &[is("probe")],
        play: |stage| faulty(stage, ClientFault::CloseAfterTls),
    },
    Scenario {
        name: "silent-connection",
        what: "a connection on which nothing is said",
        expected: &[is("probe")],
        play: |stage| faulty(stage, ClientFault::SilentAfterConnect(millis(1_500))),
    },
    Scenario {
        name: "client-suspended",
        what: "a client that stands still for a moment, goes on, and ends well",
        expected: &[surely("clean_client", "high")],
        play: suspended,
    },
    Scenario {
        name: "short-outage",
        what: "nothing passes for two seconds, then all is well",
        expected: &[surely("clean_client", "high")],
        play: outage,
    },
    Scenario {
        name: "many-leave-at-once",
        what: "five clients disconnect at the same moment",
        expected: &[
            surely("clean_client", "high"),
            surely("clean_client", "high"),
            surely("clean_client", "high"),
            surely("clean_client", "high"),
            surely("clean_client", "high"),
        ],
        play: many,
    },
];

fn faulty(stage: &Stage, fault: ClientFault) -> Result<()> {
    stage.serve(&stage.server_options()?)?;
    let mut options = stage.client_options()?;
    options.fault = Some(fault);
    stage.open(&options).wait_ended(PATIENCE)?;
    Ok(())
}

fn harmless_reset(stage: &Stage) -> Result<()> {
    let mut server = stage.server_options()?;
    server.timeline = Timeline::of(vec![], Ending::ByPeer(BULK));
    stage.serve(&server)?;
    stage.faults(|faults| faults.from_server.delay = millis(50));
    let mut options = stage.client_options()?;
    options.timers.close = millis(0);
    // Its alert is to have a segment of its own.
    options.timeline = Timeline::carry(Traffic::Idle, millis(600), Ending::CloseNotify);
    stage.open(&options).wait_ended(PATIENCE)?;
    Ok(())
}

fn wifi(stage: &Stage) -> Result<()> {
    stage.serve(&stage.server_options()?)?;
    stage.faults(|faults| {
        for (direction, seed) in [(&mut faults.from_client, 3), (&mut faults.from_server, 4)] {
            direction.delay = millis(8);
            direction.jitter = millis(6);
            direction.loss = Loss::Random {
                probability: 0.01,
                seed,
            };
        }
    });
    let mut options = stage.client_options()?;
    options.timeline = Timeline::carry(PINGS, millis(6_000), Ending::Disconnect);
    stage.open(&options).wait_ended(PATIENCE)?;
    Ok(())
}

fn slow_client(stage: &Stage) -> Result<()> {
    let mut server = stage.server_options()?;
    server.timers.negotiation = millis(20_000);
    stage.serve(&server)?;
    let mut options = stage.client_options()?;
    options.pace = millis(200);
    options.timeline = briefly(Ending::Disconnect);
    stage.open(&options).wait_ended(PATIENCE)?;
    Ok(())
}

fn scan(stage: &Stage) -> Result<()> {
    stage.serve(&stage.server_options()?)?;
    for _ in 0..3 {
        drop(stage.tcp()?);
    }
    Ok(())
}

fn balancer(stage: &Stage) -> Result<()> {
    stage.serve(&stage.server_options()?)?;
    for _ in 0..3 {
        let stream: TcpStream = stage.tcp()?;
        SockRef::from(&stream)
            .set_linger(Some(millis(0)))
            .context("cannot have it reset")?;
        pass(millis(100));
    }
    Ok(())
}

fn suspended(stage: &Stage) -> Result<()> {
    let mut server = stage.server_options()?;
    server.keepalive.hello = None;
    server.timeline = Timeline::of(vec![], Ending::ByPeer(BULK));
    stage.serve(&server)?;
    let mut options = stage.client_options()?;
    options.receive_buffer = Some(16 << 10);
    options.timeline = Timeline::of(
        vec![
            Step::Hang(millis(2_500)),
            Step::Carry {
                traffic: PINGS,
                lasts: millis(1_000),
            },
        ],
        Ending::Disconnect,
    );
    stage.open(&options).wait_ended(PATIENCE)?;
    Ok(())
}

fn outage(stage: &Stage) -> Result<()> {
    let mut server = stage.server_options()?;
    server.keepalive.hello = None;
    server.timeline = Timeline::of(vec![], Ending::ByPeer(PINGS));
    stage.serve(&server)?;
    let mut options = stage.client_options()?;
    options.timeline = Timeline::carry(PINGS, millis(7_000), Ending::Disconnect);
    let session = stage.connect(&options)?;
    pass(millis(800));
    stage.cut();
    pass(millis(2_000));
    stage.lab.path.clear();
    session.wait_ended(PATIENCE)?;
    Ok(())
}

fn many(stage: &Stage) -> Result<()> {
    stage.serve(&stage.server_options()?)?;
    let sessions: Vec<_> = (1..=5)
        .map(|number| {
            let mut options = stage.client_options()?;
            options.from = Some(client_address(number));
            options.timeline = Timeline::carry(Traffic::Idle, millis(1_500), Ending::Disconnect);
            Ok(stage.open(&options))
        })
        .collect::<Result<_>>()?;
    for session in sessions {
        session.wait_ended(PATIENCE)?;
    }
    Ok(())
}
