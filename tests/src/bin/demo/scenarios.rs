//! What the sessions of the demo go through.
//!
//! Each has a client address of its own, which is how the summary tells them apart.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    process::{Command, Stdio},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use lab::{
    Client, ClientOptions, Direction, DirectionFaults, Lab, Loss, Process, SERVER_INTERFACE,
    SERVER_V4, Server, Tls, agent::binary, craft, links,
};
use tempfile::TempDir;

const PORT: u16 = 443;
const KIB: u64 = 1024;

/// Address of a second server, a process of its own that gets killed.
const MORTAL_SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);

/// An address of the server where nobody listens.
const IDLE_SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 3);

/// One session.
pub(crate) struct Scenario {
    /// What happens to it.
    pub(crate) name: &'static str,
    /// Last byte of the client's address, 10.78.1.x.
    client: u8,
    /// Whether it never becomes a session.
    pub(crate) fails: bool,
    /// Plays it, for about the time given.
    pub(crate) play: fn(&Stage, &Scenario, Duration) -> Result<()>,
}

const fn scenario(
    name: &'static str,
    client: u8,
    play: fn(&Stage, &Scenario, Duration) -> Result<()>,
) -> Scenario {
    Scenario {
        name,
        client,
        fails: false,
        play,
    }
}

/// All of them.
pub(crate) const SCENARIOS: [Scenario; 8] = [
    scenario("healthy", 1, healthy),
    scenario("2 % loss toward the client", 2, lossy),
    scenario("client stops reading for 4 s", 3, stalled),
    scenario("client aborts", 4, aborted),
    scenario("server process killed", 5, server_killed),
    scenario("forged RST on the way", 6, forged_reset),
    Scenario {
        name: "SYNs unanswered",
        client: 7,
        fails: true,
        play: unanswered,
    },
    Scenario {
        name: "connection refused",
        client: 8,
        fails: true,
        play: refused,
    },
];

/// The lab with its servers.
pub(crate) struct Stage {
    pub(crate) lab: Lab,
    tls: Tls,
    server: Server,
    mortal: Mutex<Process>,
    _certificate: TempDir,
}

impl Stage {
    /// Starts the servers, and prepares the faults.
    pub(crate) fn set(lab: Lab) -> Result<Self> {
        let clients = SCENARIOS.iter().map(Scenario::address);
        lab.add_client_addresses(clients)?;
        let unanswered = SCENARIOS[6].address();
        lab.server.run(|| {
            links::add_address(SERVER_INTERFACE, MORTAL_SERVER.into(), 24)?;
            links::add_address(SERVER_INTERFACE, IDLE_SERVER.into(), 24)?;
            // The server has no way back to this client, and drops its SYNs.
            links::add_route(unanswered, 32, links::Via::Nowhere)
        })?;
        lab.path.update(|faults| {
            faults.from_server = DirectionFaults {
                client: Some(SCENARIOS[1].address()),
                loss: Loss::Random {
                    probability: 0.02,
                    seed: 2,
                },
                delay: Duration::from_millis(30),
                ..DirectionFaults::default()
            };
        });
        let tls = Tls::new()?;
        let certificate = TempDir::new().context("cannot make a folder for the certificate")?;
        tls.write_to(certificate.path())?;
        let server = Server::start(&lab.server, SocketAddr::from((SERVER_V4, PORT)), &tls)?;
        let mut mortal = lab.server.spawn_process(
            Command::new(binary("peer")?)
                .args(["serve", "--listen", &format!("{MORTAL_SERVER}:{PORT}")])
                .arg("--certificate-dir")
                .arg(certificate.path())
                .stdout(Stdio::piped()),
        )?;
        mortal.wait_for_line("ready")?;
        Ok(Self {
            lab,
            tls,
            server,
            mortal: Mutex::new(mortal),
            _certificate: certificate,
        })
    }

    fn connect(&self, scenario: &Scenario, server: SocketAddr) -> Result<Client> {
        let options = ClientOptions {
            from: Some(scenario.address()),
            receive_buffer: Some(32 << 10),
            ..ClientOptions::default()
        };
        Client::connect_with(&self.lab.client, server, &self.tls, &options)
    }
}

impl Scenario {
    /// The client's address.
    pub(crate) fn address(&self) -> IpAddr {
        Ipv4Addr::new(10, 78, 1, self.client).into()
    }
}

/// Traffic both ways until the time is over.
fn talk(client: &mut Client, time: Duration) -> Result<()> {
    let end = Instant::now() + time;
    while Instant::now() < end {
        client.download(64 * KIB)?;
        client.upload(4 * KIB)?;
        thread::sleep(Duration::from_millis(250));
    }
    Ok(())
}

fn healthy(stage: &Stage, scenario: &Scenario, time: Duration) -> Result<()> {
    let mut client = stage.connect(scenario, stage.server.address())?;
    talk(&mut client, time)?;
    client.close()
}

fn lossy(stage: &Stage, scenario: &Scenario, time: Duration) -> Result<()> {
    healthy(stage, scenario, time)
}

fn stalled(stage: &Stage, scenario: &Scenario, time: Duration) -> Result<()> {
    const LENGTH: u64 = 4 << 20;
    let mut client = stage.connect(scenario, stage.server.address())?;
    talk(&mut client, time / 4)?;
    client.request_download_unread(LENGTH)?;
    thread::sleep(Duration::from_secs(4));
    client.read_download(LENGTH)?;
    talk(&mut client, time / 4)?;
    client.close()
}

fn aborted(stage: &Stage, scenario: &Scenario, time: Duration) -> Result<()> {
    let mut client = stage.connect(scenario, stage.server.address())?;
    talk(&mut client, time / 2)?;
    client.abort()
}

fn server_killed(stage: &Stage, scenario: &Scenario, time: Duration) -> Result<()> {
    let mut client = stage.connect(scenario, SocketAddr::from((MORTAL_SERVER, PORT)))?;
    talk(&mut client, time / 2)?;
    let mut mortal = stage
        .mortal
        .lock()
        .ok()
        .context("another scenario failed")?;
    mortal.kill().context("cannot kill the server")?;
    client.hold(time)?;
    Ok(())
}

fn forged_reset(stage: &Stage, scenario: &Scenario, time: Duration) -> Result<()> {
    let mut client = stage.connect(scenario, stage.server.address())?;
    talk(&mut client, time / 3)?;
    // What a middlebox knows: the numbers that have passed. Its distance differs.
    let observed = stage.lab.path.observed(client.local_addr());
    let reset = craft::Segment::rst_from(&observed, Direction::FromClient)
        .context("nothing has passed yet")?
        .ttl(50);
    stage
        .lab
        .path
        .inject(Direction::FromClient, &reset.packet()?)?;
    client.hold(Duration::from_secs(2))?;
    Ok(())
}

fn unanswered(stage: &Stage, scenario: &Scenario, _: Duration) -> Result<()> {
    let time = Duration::from_millis(3_500);
    fail_to_connect(stage, scenario, stage.server.address(), time)
}

fn refused(stage: &Stage, scenario: &Scenario, _: Duration) -> Result<()> {
    let time = Duration::from_secs(1);
    fail_to_connect(stage, scenario, SocketAddr::from((IDLE_SERVER, PORT)), time)
}

/// Tries to connect, and expects to fail.
fn fail_to_connect(
    stage: &Stage,
    scenario: &Scenario,
    server: SocketAddr,
    time: Duration,
) -> Result<()> {
    let options = ClientOptions {
        from: Some(scenario.address()),
        timeout: time,
        ..ClientOptions::default()
    };
    let connected = Client::connect_with(&stage.lab.client, server, &stage.tls, &options);
    ensure!(connected.is_err(), "the connection came about after all");
    Ok(())
}
