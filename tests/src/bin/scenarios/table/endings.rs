//! Tunnels that are ended, by whom and how.

use anyhow::Result;
use lab::sstp::{Ending, Offer, SstpServer, Step, Timeline, Traffic};

use super::{PINGS, Scenario, briefly, cluster, is, millis, surely};
use crate::stage::{PATIENCE, Stage, client_address, pass, until};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "client-disconnects",
        what: "Call Disconnect by the client, TLS 1.3",
        expected: &[surely("clean_client", "high")],
        play: |stage| stage.usual(briefly(Ending::Disconnect)),
    },
    Scenario {
        name: "client-disconnects-tls12-gcm",
        what: "the same under TLS 1.2 with AES-GCM",
        expected: &[surely("clean_client", "high")],
        play: |stage| with_offer(stage, Offer::Tls12AesGcm),
    },
    Scenario {
        name: "client-disconnects-tls12-chacha",
        what: "the same under TLS 1.2 with ChaCha20",
        expected: &[surely("clean_client", "high")],
        play: |stage| with_offer(stage, Offer::Tls12ChaCha20),
    },
    Scenario {
        name: "client-disconnects-split",
        what: "the same, from a server that sends headers in records of their own",
        expected: &[surely("clean_client", "high")],
        play: split,
    },
    Scenario {
        name: "client-terminates",
        what: "LCP Terminate, then Call Disconnect by the client",
        expected: &[surely("clean_client", "high")],
        play: |stage| stage.usual(briefly(Ending::Terminate)),
    },
    Scenario {
        name: "client-closes-tls",
        what: "close_notify and FIN by the client",
        expected: &[surely("clean_client", "high")],
        play: |stage| stage.usual(briefly(Ending::CloseNotify)),
    },
    Scenario {
        name: "server-disconnects",
        what: "Call Disconnect by the server",
        expected: &[surely("clean_server", "high")],
        play: |stage| server_ends(stage, Ending::Disconnect),
    },
    Scenario {
        name: "server-closes-tls",
        what: "close_notify and FIN by the server",
        expected: &[surely("clean_server", "high")],
        play: |stage| server_ends(stage, Ending::CloseNotify),
    },
    Scenario {
        name: "server-shuts-down",
        what: "a server that ends its one tunnel before it stops",
        expected: &[surely("clean_server", "high")],
        play: shut_down,
    },
    Scenario {
        name: "session-limit",
        what: "three sessions, each ended by the server at the same age",
        expected: &[
            is("clean_server"),
            is("clean_server"),
            is("policy_disconnect"),
        ],
        play: session_limit,
    },
    Scenario {
        name: "idle-limit",
        what: "three sessions of different ages, each ended by the server after the same idleness",
        expected: &[
            is("clean_server"),
            is("clean_server"),
            is("policy_disconnect"),
        ],
        play: idle_limit,
    },
    Scenario {
        name: "client-aborts",
        what: "a RST by the client itself",
        expected: &[surely("client_reset", "high")],
        play: |stage| stage.usual(briefly(Ending::Reset)),
    },
    Scenario {
        name: "server-aborts",
        what: "a RST by the server itself",
        expected: &[surely("server_reset", "high")],
        play: |stage| server_ends(stage, Ending::Reset),
    },
    Scenario {
        name: "client-vanishes",
        what: "a FIN by the client, and no word before it",
        expected: &[surely("client_process_died", "medium")],
        play: |stage| stage.usual(briefly(Ending::Fin)),
    },
    Scenario {
        name: "server-killed",
        what: "the server's process is killed, with one tunnel",
        expected: &[surely("server_process_died", "medium")],
        play: |stage| kill_server(stage, 1),
    },
    Scenario {
        name: "server-restarts",
        what: "the server's process is killed, with five tunnels",
        expected: &[
            surely("server_restart", "high"),
            surely("server_restart", "high"),
            surely("server_restart", "high"),
            surely("server_restart", "high"),
            surely("server_restart", "high"),
            cluster("server_restart", "5 of a server"),
        ],
        play: |stage| kill_server(stage, 5),
    },
];

fn with_offer(stage: &Stage, offer: Offer) -> Result<()> {
    stage.serve(&stage.server_options()?)?;
    let mut options = stage.client_options_with(offer)?;
    options.timeline = briefly(Ending::Disconnect);
    stage.open(&options).wait_ended(PATIENCE)?;
    Ok(())
}

fn split(stage: &Stage) -> Result<()> {
    let mut server = stage.server_options()?;
    server.split_header = true;
    stage.serve(&server)?;
    let mut options = stage.client_options()?;
    options.timeline = Timeline::of(
        vec![
            Step::Carry {
                traffic: PINGS,
                lasts: millis(300),
            },
            // Long enough for two hellos.
            Step::Carry {
                traffic: Traffic::Idle,
                lasts: millis(2_500),
            },
        ],
        Ending::Disconnect,
    );
    stage.open(&options).wait_ended(PATIENCE)?;
    Ok(())
}

fn server_ends(stage: &Stage, ending: Ending) -> Result<()> {
    let mut server = stage.server_options()?;
    server.timeline = briefly(ending);
    stage.serve(&server)?;
    stage.open(&stage.client_options()?).wait_ended(PATIENCE)?;
    Ok(())
}

fn shut_down(stage: &Stage) -> Result<()> {
    stage.serve(&stage.server_options()?)?;
    let session = stage.connect(&stage.client_options()?)?;
    // Right after Call Connected, it would be a refusal.
    pass(millis(1_500));
    SstpServer::shutdown(stage.take_server()?, PATIENCE)?;
    session.wait_ended(PATIENCE)?;
    Ok(())
}

fn session_limit(stage: &Stage) -> Result<()> {
    let mut server = stage.server_options()?;
    server.timeline = Timeline::carry(Traffic::Idle, millis(2_000), Ending::Disconnect);
    stage.serve(&server)?;
    let mut sessions = Vec::new();
    for number in 1..=3 {
        let mut options = stage.client_options()?;
        options.from = Some(client_address(number));
        sessions.push(stage.open(&options));
        // The next one ends after this one's verdict.
        pass(millis(1_500));
    }
    for session in sessions {
        session.wait_ended(PATIENCE)?;
    }
    Ok(())
}

fn idle_limit(stage: &Stage) -> Result<()> {
    for number in 1..=3 {
        let mut server = stage.server_options()?;
        server.keepalive.hello = None;
        let busy = Step::Carry {
            traffic: PINGS,
            lasts: millis(3_000) * u32::from(number),
        };
        let idle = Step::Carry {
            traffic: Traffic::Idle,
            lasts: millis(5_500),
        };
        server.timeline = Timeline::of(vec![busy, idle], Ending::Disconnect);
        stage.serve(&server)?;
        let mut options = stage.client_options()?;
        options.from = Some(client_address(number));
        stage.open(&options).wait_ended(PATIENCE)?;
        // The next one's server takes the port.
        drop(stage.take_server()?);
    }
    Ok(())
}

fn kill_server(stage: &Stage, sessions: u8) -> Result<()> {
    stage.serve(&stage.server_options()?)?;
    let mut opened = Vec::new();
    for number in 1..=sessions {
        let mut options = stage.client_options()?;
        options.from = Some(client_address(number));
        opened.push(stage.connect(&options)?);
    }
    // Some time after the last echo.
    pass(millis(300));
    stage.take_server()?.kill();
    until("the clients notice", || {
        opened.iter().all(|session| session.ended().is_some())
    })
}
