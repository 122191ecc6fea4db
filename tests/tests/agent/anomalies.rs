//! Trouble is told within a second, once when it begins and once when it is over.

use std::time::Duration;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use lab::{
    Agent, Faults, Lab, Loss, SERVER_INTERFACE, Tls,
    agent::PATIENCE,
    events::SessionAnomaly,
    require_root,
    sstp::{
        ClientOptions, ClientTls, Credentials, Ending, Offer, ServerOptions, ServerTls, Session,
        SstpClients, SstpServer, Step, Timeline, Traffic,
    },
};

use super::server_v4;

/// The hello that the agent is told of.
const CONFIGURATION: &str = "interval = \"500ms\"\n[thresholds]\nhello = \"1s\"\n";

/// What "within a second" means.
const AT_ONCE: Duration = Duration::from_secs(1);

/// Packets inside the tunnel, some small ones each tenth of a second.
const LITTLE: Traffic = Traffic::Send {
    every: Duration::from_millis(50),
    datagrams: 1,
    bytes: 200,
};

/// Many large ones.
const MUCH: Traffic = Traffic::Send {
    every: Duration::from_millis(10),
    datagrams: 4,
    bytes: 1_300,
};

/// A tunnel, watched.
struct Tunnel {
    lab: Lab,
    agent: Agent,
    server: SstpServer,
    _clients: SstpClients,
    session: Session,
    _folder: tempfile::TempDir,
}

impl Tunnel {
    /// The server sends this, and the client does that.
    fn open(from_server: Traffic, client: Timeline) -> Result<Self> {
        let lab = Lab::builder().exact(true).build()?;
        let folder = tempfile::TempDir::new()?;
        let configuration = folder.path().join("sstpulse.toml");
        std::fs::write(&configuration, CONFIGURATION)?;
        let configuration = configuration.to_string_lossy().into_owned();
        let agent = Agent::start(
            &lab.server,
            &["-i", SERVER_INTERFACE, "--config", &configuration],
        )?;
        let tls = Tls::new()?;
        let user = Credentials {
            user: "lab".to_owned(),
            password: "secret".to_owned(),
        };
        let mut options = ServerOptions::new(ServerTls::new(&tls, Offer::All)?, user.clone());
        options.keepalive.hello = None;
        options.timeline = Timeline::of(vec![], Ending::ByPeer(from_server));
        let server = SstpServer::start(&lab.server, server_v4(), &options)?;
        let clients = SstpClients::start(&lab.client)?;
        let mut options = ClientOptions::new(ClientTls::new(&tls, Offer::All)?, user);
        options.keepalive.hello = None;
        options.receive_buffer = Some(16 << 10);
        options.timeline = client;
        let session = clients.open(server_v4(), &options);
        session.wait_connected(PATIENCE)?;
        Ok(Self {
            lab,
            agent,
            server,
            _clients: clients,
            session,
            _folder: folder,
        })
    }

    fn faults(&self, change: impl FnOnce(&mut Faults)) {
        self.lab.path.update(change);
    }

    /// Waits for a line about this kind of trouble.
    fn told(&self, code: &str, state: &str) -> Result<SessionAnomaly> {
        let line = self
            .agent
            .wait_for(&format!("that {code} is {state}"), |line| {
                line.session_anomaly()
                    .is_some_and(|line| line.anomaly.code == code && line.anomaly.state == state)
            })?;
        line.session_anomaly().cloned().context("it is one")
    }

    /// All lines about trouble, as code and state.
    fn all(self) -> Result<Vec<(String, String)>> {
        drop((self.session, self.server));
        let lines = self.agent.stop()?;
        Ok(lines
            .iter()
            .filter_map(|line| line.session_anomaly())
            .map(|line| (line.anomaly.code.clone(), line.anomaly.state.clone()))
            .collect())
    }
}

/// From a moment to the line.
fn after(line: &SessionAnomaly, since: Timestamp) -> Result<Duration> {
    let told: Timestamp = line.time.parse()?;
    Ok(Duration::try_from(told.duration_since(since))?)
}

fn since(line: &SessionAnomaly) -> Result<Timestamp> {
    Ok(line.anomaly.since.parse()?)
}

#[test]
fn a_window_that_stays_closed_is_told_within_a_second_and_told_again_when_it_opens() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let reads_nothing = Step::StopReading {
        traffic: Traffic::Idle,
        lasts: Duration::from_secs(3),
    };
    let reads = Step::Carry {
        traffic: Traffic::Idle,
        lasts: Duration::from_mins(1),
    };
    let tunnel = Tunnel::open(
        MUCH,
        Timeline::of(vec![reads_nothing, reads], Ending::Disconnect),
    )?;
    let onset = tunnel.told("window_stalled", "onset")?;
    let took = after(&onset, since(&onset)?)?;
    println!("a closed window: told {took:?} after it closed");
    assert!(took <= AT_ONCE, "{took:?}");
    assert_eq!(onset.anomaly.side, "client");
    let cleared = tunnel.told("window_stalled", "cleared")?;
    assert!(cleared.anomaly.lasted_ms >= 2_000);
    Ok(())
}

#[test]
fn a_path_that_is_cut_is_told_with_the_third_timeout_and_told_again_when_it_works() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let tunnel = Tunnel::open(LITTLE, Timeline::idle())?;
    tunnel.faults(|faults| {
        faults.from_client.cut = true;
        faults.from_server.cut = true;
    });
    let onset = tunnel.told("path_stalled", "onset")?;
    // While new data goes out, the timer is not seen to run out. With the timer at 400 ms then,
    // the third one comes 2.4 s after the first.
    let took = after(&onset, since(&onset)?)?;
    println!("a cut path: told {took:?} after the first timeout, with the third");
    assert_eq!(onset.anomaly.evidence.timeouts, Some(3));
    assert!(took <= Duration::from_millis(2_400) + AT_ONCE, "{took:?}");
    tunnel.lab.path.clear();
    tunnel.told("path_stalled", "cleared")?;
    let told = tunnel.all()?;
    let of_path = |state: &str| (String::from("path_stalled"), state.to_owned());
    assert_eq!(told.iter().filter(|it| **it == of_path("onset")).count(), 1);
    assert_eq!(
        told.iter().filter(|it| **it == of_path("cleared")).count(),
        1
    );
    Ok(())
}

#[test]
fn silence_beyond_two_hellos_is_told_within_a_second_and_told_again_when_it_ends() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let silent = Step::Carry {
        traffic: Traffic::Idle,
        lasts: Duration::from_secs(4),
    };
    let talks = Step::Carry {
        traffic: LITTLE,
        lasts: Duration::from_mins(1),
    };
    let tunnel = Tunnel::open(
        Traffic::Idle,
        Timeline::of(vec![silent, talks], Ending::Disconnect),
    )?;
    let onset = tunnel.told("silent", "onset")?;
    let took = after(&onset, since(&onset)? + Duration::from_secs(2))?;
    println!("silence: told {took:?} after the second hello");
    assert!(took <= AT_ONCE, "{took:?}");
    let cleared = tunnel.told("silent", "cleared")?;
    let lasted_ms = cleared.anomaly.lasted_ms;
    assert!((3_000..6_000).contains(&lasted_ms), "{lasted_ms}");
    Ok(())
}

#[test]
fn round_trips_that_take_too_long_are_told_within_a_second_of_the_first() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let tunnel = Tunnel::open(LITTLE, Timeline::idle())?;
    tunnel.faults(|faults| faults.from_server.delay = Duration::from_millis(20));
    std::thread::sleep(Duration::from_secs(1));
    let begun = Timestamp::now();
    tunnel.faults(|faults| faults.from_server.delay = Duration::from_millis(600));
    let onset = tunnel.told("rtt_inflated", "onset")?;
    // It takes some round trips for the smoothed one to follow.
    let took = after(&onset, begun)?;
    println!("slow round trips: told {took:?} after the path became slow");
    assert!(took <= Duration::from_secs(5), "{took:?}");
    tunnel.lab.path.clear();
    tunnel.told("rtt_inflated", "cleared")?;
    Ok(())
}

#[test]
fn a_storm_of_retransmissions_is_two_lines_and_no_more() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let tunnel = Tunnel::open(MUCH, Timeline::idle())?;
    let begun = Timestamp::now();
    tunnel.faults(|faults| {
        faults.from_server.loss = Loss::Random {
            probability: 0.2,
            seed: 9,
        };
    });
    let onset = tunnel.told("retransmission_storm", "onset")?;
    let took = after(&onset, begun)?;
    println!("a storm: told {took:?} after the losses began");
    assert_eq!(onset.anomaly.side, "server");
    assert!(took <= Duration::from_secs(3), "{took:?}");
    std::thread::sleep(Duration::from_secs(3));
    tunnel.lab.path.clear();
    tunnel.told("retransmission_storm", "cleared")?;
    let told = tunnel.all()?;
    let storms = told
        .iter()
        .filter(|(code, _)| code == "retransmission_storm");
    assert_eq!(storms.count(), 2, "{told:?}");
    Ok(())
}
