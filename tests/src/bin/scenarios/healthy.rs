//! Many healthy sessions for minutes over a path as paths are: nothing but clean ends may
//! come of it.

use std::{collections::BTreeMap, process::ExitCode, time::Duration};

use anyhow::{Context as _, Result};
use indicatif::{ProgressBar, ProgressStyle};
use lab::{
    Agent, Lab, Loss, SERVER_INTERFACE, SERVER_V4, Tls,
    events::Line,
    sstp::{
        ClientOptions, ClientTls, Ending, LcpEcho, Offer, ServerOptions, ServerTls, SstpClients,
        SstpServer, Timeline, Traffic,
    },
};

use crate::stage::{credentials, until};

/// Clients that connect each second.
const PER_SECOND: u64 = 100;

/// The server's port.
const PORT: u16 = 443;

/// Plays so many sessions for so long, and tells what the agent made of them.
pub(crate) fn play(sessions: usize, minutes: u64) -> Result<ExitCode> {
    let lab = Lab::new()?;
    lab.path.update(|faults| {
        for (direction, seed) in [(&mut faults.from_client, 5), (&mut faults.from_server, 6)] {
            direction.delay = Duration::from_millis(15);
            direction.jitter = Duration::from_millis(5);
            direction.loss = Loss::Random {
                probability: 0.001,
                seed,
            };
        }
    });
    let tls = Tls::new()?;
    let mut options = ServerOptions::new(ServerTls::new(&tls, Offer::All)?, credentials());
    options.keepalive.lcp_echo = Some(LcpEcho {
        every: Duration::from_secs(20),
        failures: 6,
    });
    let address = (SERVER_V4, PORT).into();
    let _server = SstpServer::start(&lab.server, address, &options)?;
    let agent = Agent::start(&lab.server, &["-i", SERVER_INTERFACE])?;
    let clients = SstpClients::start(&lab.client)?;
    let bar = ProgressBar::new(sessions as u64).with_style(ProgressStyle::with_template(
        "{bar:30} {pos} of {len} {msg}",
    )?);
    bar.set_message("opened");
    let mut opened = Vec::new();
    for number in 0..sessions {
        opened.push(clients.open(address, &client(&tls, number, minutes)?));
        if (number as u64 + 1).is_multiple_of(PER_SECOND) {
            std::thread::sleep(Duration::from_secs(1));
        }
        bar.inc(1);
    }
    bar.set_message("ended");
    let ended = || opened.iter().filter(|session| session.ended().is_some());
    let patience = Duration::from_secs(60 * minutes + 120);
    lab::wait_until(patience, "the sessions end", || {
        bar.set_position(ended().count() as u64);
        ended().count() == sessions
    })?;
    bar.finish_and_clear();
    let lines = || agent.lines().unwrap_or_default();
    until("the agent tells of all ends", || {
        lines()
            .iter()
            .filter(|line| line.session_end().is_some())
            .count()
            >= sessions
    })?;
    report(&agent.stop()?, sessions)
}

/// Quiet ones, and such that carry something, all the same time.
fn client(tls: &Tls, number: usize, minutes: u64) -> Result<ClientOptions> {
    let mut options = ClientOptions::new(ClientTls::new(tls, Offer::All)?, credentials());
    let traffic = match number % 4 {
        0 => Traffic::Idle,
        1 => Traffic::Ping {
            every: Duration::from_secs(1),
            bytes: 200,
        },
        2 => Traffic::Fetch {
            every: Duration::from_secs(5),
            datagrams: 20,
            bytes: 1_300,
        },
        _ => Traffic::Send {
            every: Duration::from_secs(5),
            datagrams: 20,
            bytes: 1_300,
        },
    };
    let lasts = Duration::from_secs(60 * minutes);
    options.timeline = Timeline::carry(traffic, lasts, Ending::Disconnect);
    Ok(options)
}

fn report(lines: &[Line], sessions: usize) -> Result<ExitCode> {
    let mut verdicts: BTreeMap<String, usize> = BTreeMap::new();
    let (mut anomalies, mut retransmits, mut segments) = (0, 0, 0);
    for line in lines {
        match line {
            Line::SessionEnd(end) => {
                let verdict = end.verdict.as_ref().context("an end without a verdict")?;
                *verdicts.entry(verdict.code.clone()).or_default() += 1;
                retransmits += u64::from(end.from_client.retransmits);
                retransmits += u64::from(end.from_server.retransmits);
                segments += end.from_client.segments + end.from_server.segments;
                if verdict.code != "clean_client" {
                    println!("{:?} {:?} {verdict:?}", end.client, end.end);
                }
            }
            Line::SessionAnomaly(line) => {
                anomalies += 1;
                println!("{:?} {:?}", line.client, line.anomaly);
            }
            _ => {}
        }
    }
    println!("verdicts: {verdicts:?}; anomalies: {anomalies}");
    println!("{retransmits} of {segments} segments were sent again");
    let clean = verdicts.get("clean_client").copied().unwrap_or_default();
    let right = clean == sessions && verdicts.len() == 1 && anomalies == 0;
    Ok(if right {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
