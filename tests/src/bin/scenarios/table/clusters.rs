//! Several sessions that fail alike.

use anyhow::Result;
use lab::{
    links::{self, Via},
    sstp::{Ending, Session, Step, Timeline, Traffic},
};

use super::{PINGS, Scenario, briefly, cluster, is, millis, surely};
use crate::stage::{PATIENCE, Stage, client_address, pass};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "middlebox-cuts-prefix",
        what: "RSTs with a TTL that is off by 5 for three clients of a prefix",
        expected: &[
            surely("reset_injected_suspect", "medium"),
            surely("reset_injected_suspect", "medium"),
            surely("reset_injected_suspect", "medium"),
            surely("clean_client", "high"),
            cluster("clients_cut_off", "3 of a client_prefix"),
        ],
        play: middlebox,
    },
    Scenario {
        name: "prefix-is-cut-off",
        what: "nothing passes any more, for three clients of a prefix",
        expected: &[
            surely("path_dead", "high"),
            surely("path_dead", "high"),
            surely("path_dead", "high"),
            cluster("paths_dead", "3 of a client_prefix"),
        ],
        play: outage,
    },
    Scenario {
        name: "shared-idle-gap",
        what: "three clients, forgotten by something on the way after the same idleness",
        expected: &[
            is("idle_timeout_suspect"),
            is("idle_timeout_suspect"),
            is("idle_timeout_suspect"),
            cluster("shared_idle_timeout", "3 of a server"),
        ],
        play: forgotten,
    },
    Scenario {
        name: "many-dropped",
        what: "ten of twelve clients vanish, more than is accepted",
        expected: &[
            is("client_process_died"),
            is("client_process_died"),
            is("client_process_died"),
            is("client_process_died"),
            is("client_process_died"),
            is("client_process_died"),
            is("client_process_died"),
            is("client_process_died"),
            is("client_process_died"),
            is("client_process_died"),
            is("clean_client"),
            is("clean_client"),
            cluster("drops_high", "10 of a server_name"),
        ],
        play: dropped,
    },
    Scenario {
        name: "server-unreachable",
        what: "the server's host drops the SYNs of ten clients",
        expected: &[
            surely("syn_unanswered", "high"),
            surely("syn_unanswered", "high"),
            surely("syn_unanswered", "high"),
            surely("syn_unanswered", "high"),
            surely("syn_unanswered", "high"),
            surely("syn_unanswered", "high"),
            surely("syn_unanswered", "high"),
            surely("syn_unanswered", "high"),
            surely("syn_unanswered", "high"),
            surely("syn_unanswered", "high"),
            cluster("server_unreachable", "10 of a server"),
        ],
        play: unreachable,
    },
    Scenario {
        name: "one-resets-now-and-then",
        what: "three clients of a prefix reset, but not together: no cluster",
        expected: &[
            surely("client_reset", "high"),
            surely("client_reset", "high"),
            surely("client_reset", "high"),
        ],
        play: now_and_then,
    },
];

fn middlebox(stage: &Stage) -> Result<()> {
    let mut server = stage.server_options()?;
    server.keepalive.hello = None;
    stage.serve(&server)?;
    let mut spared = stage.client_options()?;
    spared.from = Some(client_address(9));
    spared.timeline = Timeline::carry(PINGS, millis(4_000), Ending::Disconnect);
    let spared = stage.connect(&spared)?;
    let sessions = three_clients(stage)?;
    pass(millis(800));
    for session in &sessions {
        let usual = stage.usual_ttl(session)?;
        stage.forge_reset(session, |reset| reset.ttl(usual - 5))?;
    }
    spared.wait_ended(PATIENCE)?;
    Ok(())
}

/// Sessions of three clients, once their tunnels are up.
fn three_clients(stage: &Stage) -> Result<Vec<Session>> {
    (1..=3)
        .map(|number| {
            let mut options = stage.client_options()?;
            options.from = Some(client_address(number));
            stage.connect(&options)
        })
        .collect()
}

fn outage(stage: &Stage) -> Result<()> {
    let mut server = stage.server_options()?;
    server.keepalive.hello = None;
    server.timeline = Timeline::of(vec![], Ending::ByPeer(PINGS));
    stage.serve(&server)?;
    let _sessions = three_clients(stage)?;
    pass(millis(500));
    stage.cut();
    // Long enough for the server to send again a few times.
    pass(millis(7_000));
    stage.take_server()?.kill();
    Ok(())
}

fn forgotten(stage: &Stage) -> Result<()> {
    let mut server = stage.server_options()?;
    server.keepalive.hello = None;
    let idle = Step::Carry {
        traffic: Traffic::Idle,
        lasts: millis(6_000),
    };
    server.timeline = Timeline::of(vec![idle], Ending::ByPeer(PINGS));
    stage.serve(&server)?;
    let _sessions = three_clients(stage)?;
    pass(millis(1_000));
    stage.cut();
    pass(millis(11_500));
    stage.take_server()?.kill();
    Ok(())
}

fn dropped(stage: &Stage) -> Result<()> {
    stage.serve(&stage.server_options()?)?;
    let mut sessions = Vec::new();
    for number in 1..=12 {
        let mut options = stage.client_options()?;
        options.from = Some(client_address(number));
        let ending = if number <= 10 {
            Ending::Fin
        } else {
            Ending::Disconnect
        };
        options.timeline = Timeline::carry(Traffic::Idle, millis(600), ending);
        // One after the other: the recorder has other scenarios to keep up with.
        sessions.push(stage.connect(&options)?);
    }
    for session in sessions {
        session.wait_ended(PATIENCE)?;
    }
    Ok(())
}

fn unreachable(stage: &Stage) -> Result<()> {
    stage.serve(&stage.server_options()?)?;
    let mut sessions = Vec::new();
    for number in 1..=10 {
        let mut options = stage.client_options()?;
        options.from = Some(client_address(number));
        options.timers.connect = millis(4_000);
        let client = client_address(number);
        stage
            .lab
            .server
            .run(|| links::add_route(client, 32, Via::Nowhere))?;
        sessions.push(stage.open(&options));
    }
    for session in sessions {
        session.wait_ended(PATIENCE)?;
    }
    Ok(())
}

fn now_and_then(stage: &Stage) -> Result<()> {
    stage.serve(&stage.server_options()?)?;
    for number in 1..=3 {
        let mut options = stage.client_options()?;
        options.from = Some(client_address(number));
        options.timeline = briefly(Ending::Reset);
        stage.open(&options).wait_ended(PATIENCE)?;
        // What is further apart than twice two seconds is not together.
        pass(millis(4_500));
    }
    Ok(())
}
