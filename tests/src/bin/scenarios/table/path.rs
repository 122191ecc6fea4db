//! What lies between.

use anyhow::{Context as _, Result};
use lab::{
    DirectionFaults, Loss,
    sstp::{Ending, LcpEcho, Step, Timeline, Traffic},
};

use super::{BULK, PINGS, Scenario, briefly, millis, surely};
use crate::stage::{PATIENCE, Stage, client_address, pass, until};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "path-cut",
        what: "nothing passes any more while the server sends",
        expected: &[surely("path_dead", "high")],
        play: |stage| cut(stage, false),
    },
    Scenario {
        name: "path-cut-icmp",
        what: "the same, and a router says that the client is unreachable",
        expected: &[surely("path_dead", "high")],
        play: |stage| cut(stage, true),
    },
    Scenario {
        name: "client-roams",
        what: "the client's network goes, and it comes back from another address",
        expected: &[
            surely("client_roamed", "medium"),
            surely("clean_client", "high"),
        ],
        play: roam,
    },
    Scenario {
        name: "forgotten-while-idle",
        what: "nothing for four hellos, then nothing passes any more",
        expected: &[surely("idle_timeout_suspect", "medium")],
        play: forgotten,
    },
    Scenario {
        name: "reset-while-idle",
        what: "nothing for four hellos, then a RST in answer to what the server sends",
        expected: &[surely("idle_timeout_suspect", "medium")],
        play: reset_while_idle,
    },
    Scenario {
        name: "mtu-black-hole-from-server",
        what: "large packets of the server vanish",
        expected: &[surely("pmtu_blackhole_from_server", "high")],
        play: black_hole_from_server,
    },
    Scenario {
        name: "mtu-black-hole-from-client",
        what: "large packets of the client vanish",
        expected: &[surely("pmtu_blackhole_from_client", "high")],
        play: black_hole_from_client,
    },
    Scenario {
        name: "lossy-and-given-up",
        what: "6 % loss each way, and the client gives up",
        expected: &[surely("loss_degraded", "high")],
        play: lossy,
    },
    Scenario {
        name: "bufferbloat",
        what: "round trips of 500 ms where 20 ms would do, and the client gives up",
        expected: &[surely("bufferbloat", "medium")],
        play: bufferbloat,
    },
    Scenario {
        name: "meltdown",
        what: "losses and outages of 1.5 s, and the client gives up",
        expected: &[surely("tcp_meltdown", "low")],
        play: meltdown,
    },
    Scenario {
        name: "forged-reset-ttl",
        what: "a RST with the right number, and a TTL that is off by 5",
        expected: &[surely("reset_injected_suspect", "medium")],
        play: forged_ttl,
    },
    Scenario {
        name: "forged-reset-data-follows",
        what: "a RST with the right number and TTL, while the client goes on to send",
        expected: &[surely("reset_injected_suspect", "high")],
        play: forged_while_sending,
    },
];

/// Small packets from the server all the time.
fn server_that_sends(stage: &Stage) -> Result<()> {
    let mut server = stage.server_options()?;
    server.keepalive.hello = None;
    server.timeline = Timeline::of(vec![], Ending::ByPeer(PINGS));
    stage.serve(&server)
}

fn cut(stage: &Stage, icmp: bool) -> Result<()> {
    server_that_sends(stage)?;
    let _session = stage.connect(&stage.client_options()?)?;
    pass(millis(500));
    if icmp {
        // At a constant pace, the kernel would go on for a quarter of an hour.
        stage.lab.server.set_sysctl("net/ipv4/tcp_retries2", "5")?;
        stage.make_unreachable()?;
    } else {
        stage.cut();
    }
    // Long enough for the server to send again a few times.
    pass(millis(7_000));
    if icmp {
        // At a constant pace, the server would go on for a quarter of an hour.
        stage.lab.router.set_sysctl("net/ipv4/ip_forward", "0")?;
    }
    stage.take_server()?.kill();
    Ok(())
}

fn roam(stage: &Stage) -> Result<()> {
    server_that_sends(stage)?;
    let _lost = stage.connect(&stage.client_options()?)?;
    pass(millis(300));
    let first = Some(client_address(1));
    stage.faults(|faults| {
        for direction in [&mut faults.from_client, &mut faults.from_server] {
            *direction = DirectionFaults {
                client: first,
                cut: true,
                ..DirectionFaults::default()
            };
        }
    });
    pass(millis(1_500));
    let mut options = stage.client_options()?;
    options.from = Some(client_address(2));
    options.timeline = briefly(Ending::Disconnect);
    stage.open(&options).wait_ended(PATIENCE)?;
    pass(millis(5_000));
    stage.take_server()?.kill();
    Ok(())
}

/// A server that is silent for four hellos, and then sends.
fn server_that_wakes(stage: &Stage) -> Result<()> {
    let mut server = stage.server_options()?;
    server.keepalive.hello = None;
    server.timeline = Timeline::of(
        vec![Step::Carry {
            traffic: Traffic::Idle,
            lasts: millis(6_000),
        }],
        Ending::ByPeer(PINGS),
    );
    stage.serve(&server)
}

fn forgotten(stage: &Stage) -> Result<()> {
    server_that_wakes(stage)?;
    let _session = stage.connect(&stage.client_options()?)?;
    pass(millis(1_000));
    stage.cut();
    pass(millis(11_500));
    stage.take_server()?.kill();
    Ok(())
}

fn reset_while_idle(stage: &Stage) -> Result<()> {
    server_that_wakes(stage)?;
    let session = stage.connect(&stage.client_options()?)?;
    pass(millis(1_000));
    stage.faults(|faults| faults.from_server.cut = true);
    pass(millis(5_200));
    stage.forge_reset(&session, |reset| reset)?;
    pass(millis(1_000));
    Ok(())
}

fn black_hole_from_server(stage: &Stage) -> Result<()> {
    let mut server = stage.server_options()?;
    server.keepalive.hello = None;
    // Small, and behind the large ones.
    server.keepalive.lcp_echo = Some(LcpEcho {
        every: millis(150),
        failures: 1_000,
    });
    server.timeline = Timeline::of(
        vec![
            Step::Carry {
                traffic: PINGS,
                lasts: millis(500),
            },
            Step::Carry {
                traffic: Traffic::Send {
                    every: millis(10_000),
                    datagrams: 1,
                    bytes: 1_300,
                },
                lasts: millis(9_000),
            },
        ],
        Ending::ByPeer(Traffic::Idle),
    );
    stage.serve(&server)?;
    stage.faults(|faults| faults.from_server.mtu = Some(1_200));
    let mut options = stage.client_options()?;
    // As pppd does, which also notices.
    options.keepalive.lcp_echo = Some(LcpEcho {
        every: millis(1_000),
        failures: 6,
    });
    stage.open(&options).wait_ended(PATIENCE)?;
    Ok(())
}

fn black_hole_from_client(stage: &Stage) -> Result<()> {
    let mut server = stage.server_options()?;
    // Its hello shows that the hole lasts: the client's TCP can send hardly anything.
    server.keepalive.hello = Some(millis(3_000));
    stage.serve(&server)?;
    let mut options = stage.client_options()?;
    options.timeline = Timeline::of(
        vec![
            Step::Carry {
                traffic: PINGS,
                lasts: millis(500),
            },
            Step::Carry {
                traffic: Traffic::Send {
                    every: millis(10_000),
                    datagrams: 1,
                    bytes: 1_300,
                },
                lasts: millis(20_000),
            },
        ],
        Ending::Kill,
    );
    options.keepalive.lcp_echo = Some(LcpEcho {
        every: millis(500),
        failures: 8,
    });
    stage.faults(|faults| faults.from_client.mtu = Some(1_200));
    stage.open(&options).wait_ended(PATIENCE)?;
    Ok(())
}

fn lossy(stage: &Stage) -> Result<()> {
    let mut server = stage.server_options()?;
    server.keepalive.hello = None;
    server.timeline = Timeline::of(vec![], Ending::ByPeer(BULK));
    stage.serve(&server)?;
    stage.faults(|faults| {
        for (direction, seed) in [(&mut faults.from_client, 1), (&mut faults.from_server, 2)] {
            direction.delay = millis(10);
            direction.loss = Loss::Random {
                probability: 0.06,
                seed,
            };
        }
    });
    let mut options = stage.client_options()?;
    options.timeline = Timeline::carry(BULK, millis(6_000), Ending::Fin);
    stage.open(&options).wait_ended(PATIENCE)?;
    Ok(())
}

fn bufferbloat(stage: &Stage) -> Result<()> {
    stage.serve(&stage.server_options()?)?;
    stage.faults(|faults| {
        faults.from_client.delay = millis(10);
        faults.from_server.delay = millis(10);
    });
    let mut options = stage.client_options()?;
    options.timeline = Timeline::carry(PINGS, millis(8_000), Ending::Fin);
    let session = stage.connect(&options)?;
    pass(millis(1_500));
    // A queue fills bit by bit.
    for waited in 1..=10 {
        stage.faults(|faults| faults.from_server.delay = millis(10 + waited * 48));
        pass(millis(200));
    }
    session.wait_ended(PATIENCE)?;
    Ok(())
}

fn meltdown(stage: &Stage) -> Result<()> {
    let mut server = stage.server_options()?;
    server.keepalive.hello = None;
    server.timeline = Timeline::of(vec![], Ending::ByPeer(BULK));
    stage.serve(&server)?;
    stage.faults(|faults| {
        faults.from_server.delay = millis(10);
        faults.from_server.loss = Loss::Random {
            probability: 0.05,
            seed: 7,
        };
    });
    let mut options = stage.client_options()?;
    options.timeline = Timeline::carry(PINGS, PATIENCE, Ending::Fin);
    let session = stage.connect(&options)?;
    let client = session.local().context("the client is not connected")?;
    let acknowledged = || {
        let last = stage.lab.path.observed(client).from_client;
        last.map_or(0, |segment| segment.acknowledgment)
    };
    pass(millis(500));
    for _ in 0..4 {
        stage.faults(|faults| faults.from_server.cut = true);
        // The server's timer runs out three times, and for the last time after that.
        pass(millis(2_500));
        stage.faults(|faults| faults.from_server.cut = false);
        let before = acknowledged();
        until("the server gets through again", || {
            acknowledged().wrapping_sub(before) > 20_000
        })?;
        pass(millis(500));
    }
    stage.take_server()?.kill();
    session.wait_ended(PATIENCE)?;
    Ok(())
}

fn forged_ttl(stage: &Stage) -> Result<()> {
    let mut server = stage.server_options()?;
    server.keepalive.hello = None;
    stage.serve(&server)?;
    let session = stage.connect(&stage.client_options()?)?;
    pass(millis(800));
    // The router takes one off both.
    let usual = stage.usual_ttl(&session)?;
    stage.forge_reset(&session, |reset| reset.ttl(usual - 5))?;
    pass(millis(1_500));
    Ok(())
}

fn forged_while_sending(stage: &Stage) -> Result<()> {
    // The server says nothing: the client would acknowledge it, and be reset for that.
    let mut server = stage.server_options()?;
    server.keepalive.hello = None;
    stage.serve(&server)?;
    let mut options = stage.client_options()?;
    let traffic = Traffic::Send {
        every: millis(50),
        datagrams: 1,
        bytes: 100,
    };
    options.timeline = Timeline::carry(traffic, millis(20_000), Ending::Kill);
    let session = stage.connect(&options)?;
    pass(millis(800));
    let usual = stage.usual_ttl(&session)?;
    stage.forge_reset(&session, |reset| reset.ttl(usual))?;
    pass(millis(1_500));
    Ok(())
}
