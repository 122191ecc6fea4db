//! What a scenario plays on: a lab, an SSTP server and clients, the agent on the server's
//! interface, and a recorder beside it.

use std::{
    cell::RefCell,
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use lab::{
    Agent, Direction, Faults, Lab, ROUTER_V4, SERVER_V4, Tls, craft,
    events::{AttemptFailed, ClusterAnomaly, Line, SessionAnomaly, SessionEnd},
    links::{self, Via},
    recorder::{Recorder, Recording},
    sstp::{
        ClientOptions, ClientTls, Credentials, Keepalive, Offer, ServerOptions, ServerTls, Session,
        SstpClients, SstpServer, Timeline,
    },
    wait_until,
};
use tempfile::TempDir;

/// How long anything may take that has to happen.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// The usual hello of these servers, and what the agent is told of it.
pub(crate) const HELLO: Duration = Duration::from_secs(1);

/// How often the agent looks for sessions that silence has ended, as below, and a little more.
const INTERVAL: Duration = Duration::from_millis(1_100);

/// Scaled down from what they are in the field, so that a scenario takes seconds.
const CONFIGURATION: &str = r#"
interval = "1s"
dead-after = "7s"

[thresholds]
hello = "1s"
negotiation = "4s"
path-silence = "3s"
idle = "3s"
hole = "2s"
certificate-check = "2s"
backend-slow = "800ms"
backend-failing = "2s"
client-hello-silence = "2s"
roaming = "30s"
"#;

/// What the last packet of a capture holds.
const LATER: &[u8] = b"later: time has gone on";

/// The server's port.
const PORT: u16 = 443;

/// A running scenario.
pub(crate) struct Stage {
    pub(crate) lab: Lab,
    pub(crate) tls: Tls,
    clients: SstpClients,
    servers: RefCell<Vec<SstpServer>>,
    agent: Agent,
    recorder: Recorder,
    folder: TempDir,
}

/// What the agent said of a scenario, live or of its capture.
#[derive(Debug, Default)]
pub(crate) struct Said {
    /// Ends of sessions.
    pub(crate) ends: Vec<SessionEnd>,
    /// Attempts that failed.
    pub(crate) attempts: Vec<AttemptFailed>,
    /// Troubles.
    pub(crate) anomalies: Vec<SessionAnomaly>,
    /// What many have in common.
    pub(crate) clusters: Vec<ClusterAnomaly>,
}

impl Said {
    fn of(lines: Vec<Line>) -> Self {
        let mut said = Self::default();
        for line in lines {
            match line {
                Line::SessionEnd(line) => said.ends.push(line),
                Line::AttemptFailed(line) => said.attempts.push(line),
                Line::SessionAnomaly(line) => said.anomalies.push(line),
                Line::ClusterAnomaly(line) => said.clusters.push(line),
                _ => {}
            }
        }
        said
    }

    /// All verdicts: code and confidence, in order; and the clusters that began: code and size.
    pub(crate) fn verdicts(&self) -> Vec<(String, String)> {
        let ends = self.ends.iter().filter_map(|line| line.verdict.as_ref());
        let attempts = self.attempts.iter().map(|line| &line.verdict);
        let mut verdicts: Vec<_> = ends
            .chain(attempts)
            .map(|verdict| (verdict.code.clone(), verdict.confidence.clone()))
            .collect();
        let clusters = self.clusters.iter().map(|line| &line.cluster);
        verdicts.extend(
            clusters
                .filter(|cluster| cluster.state == "onset")
                .map(|cluster| {
                    let size = format!("{} of a {}", cluster.count, cluster.scope.kind);
                    (cluster.code.clone(), size)
                }),
        );
        verdicts.sort();
        verdicts
    }
}

impl Stage {
    /// A lab of its own, watched and recorded.
    pub(crate) fn set() -> Result<Self> {
        let lab = Lab::builder().exact(true).build()?;
        lab.add_client_addresses((1..=40).map(client_address))?;
        let folder = TempDir::new().context("cannot make a folder for the scenario")?;
        let configuration = folder.path().join("sstpulse.toml");
        fs::write(&configuration, CONFIGURATION).context("cannot write the configuration")?;
        let recording = Recording {
            link: None,
            snap_length: None,
            // All of it: what comes last tells replay how late it is.
            filter: "ip",
        };
        let recorder = Recorder::begin(&lab, recording, &folder.path().join("capture.pcap"))?;
        let configuration = configuration.to_string_lossy();
        let arguments = ["-i", lab::SERVER_INTERFACE, "--config", &configuration];
        let agent = Agent::start(
            &lab.server,
            &[&arguments[..], &["--max-sessions", "1000"]].concat(),
        )?;
        Ok(Self {
            clients: SstpClients::start(&lab.client)?,
            tls: Tls::new()?,
            lab,
            servers: RefCell::default(),
            agent,
            recorder,
            folder,
        })
    }

    /// Options of a server that says hello each second.
    pub(crate) fn server_options(&self) -> Result<ServerOptions> {
        let tls = ServerTls::new(&self.tls, Offer::All)?;
        let mut options = ServerOptions::new(tls, credentials());
        options.keepalive = Keepalive {
            hello: Some(HELLO),
            ..Keepalive::default()
        };
        options.timers.negotiation = Duration::from_secs(4);
        Ok(options)
    }

    /// Options of a client that answers hellos, and does nothing else.
    pub(crate) fn client_options(&self) -> Result<ClientOptions> {
        self.client_options_with(Offer::All)
    }

    /// The same, with this offered in TLS.
    pub(crate) fn client_options_with(&self, offer: Offer) -> Result<ClientOptions> {
        let mut options = ClientOptions::new(ClientTls::new(&self.tls, offer)?, credentials());
        options.keepalive.hello = None;
        options.from = Some(client_address(1));
        Ok(options)
    }

    /// Starts a server.
    pub(crate) fn serve(&self, options: &ServerOptions) -> Result<()> {
        let address = SocketAddr::from((SERVER_V4, PORT));
        let server = SstpServer::start(&self.lab.server, address, options)?;
        self.servers.borrow_mut().push(server);
        Ok(())
    }

    /// Takes the server away from the stage.
    pub(crate) fn take_server(&self) -> Result<SstpServer> {
        self.servers
            .borrow_mut()
            .pop()
            .context("there is no server")
    }

    /// Has a client connect.
    pub(crate) fn open(&self, options: &ClientOptions) -> Session {
        self.clients
            .open(SocketAddr::from((SERVER_V4, PORT)), options)
    }

    /// Has a client connect, and waits until its tunnel is up.
    pub(crate) fn connect(&self, options: &ClientOptions) -> Result<Session> {
        let session = self.open(options);
        session.wait_connected(PATIENCE)?;
        Ok(session)
    }

    /// A server as it is by default, and a client that does this once its tunnel is up; waits
    /// until the client's session has ended.
    pub(crate) fn usual(&self, timeline: Timeline) -> Result<()> {
        self.serve(&self.server_options()?)?;
        let mut options = self.client_options()?;
        options.timeline = timeline;
        self.open(&options).wait_ended(PATIENCE)?;
        Ok(())
    }

    /// A bare TCP connection.
    pub(crate) fn tcp(&self) -> Result<TcpStream> {
        self.lab
            .client
            .run(|| TcpStream::connect((SERVER_V4, PORT)).context("cannot connect to the server"))
    }

    /// Changes what the path does.
    pub(crate) fn faults(&self, change: impl FnOnce(&mut Faults)) {
        self.lab.path.update(change);
    }

    /// Lets nothing through from now on.
    pub(crate) fn cut(&self) {
        self.faults(|faults| {
            faults.from_client.cut = true;
            faults.from_server.cut = true;
        });
    }

    /// Has the router say that the client can't be reached.
    pub(crate) fn make_unreachable(&self) -> Result<()> {
        self.cut();
        let client = client_address(1);
        self.lab
            .router
            .run(|| links::add_route(client, 32, Via::Unreachable))
    }

    /// Sends the server a RST in the client's name, with the number that the server expects.
    /// `change` may make it worse.
    pub(crate) fn forge_reset(
        &self,
        session: &Session,
        change: impl FnOnce(craft::Segment) -> craft::Segment,
    ) -> Result<()> {
        let client = session.local().context("the client is not connected")?;
        let observed = self.lab.path.observed(client);
        let reset = craft::Segment::rst_from(&observed, Direction::FromClient)
            .context("the path has not seen the client")?;
        let packet = change(reset).packet()?;
        self.lab.path.inject(Direction::FromClient, &packet)
    }

    /// TTL of the client's packets as they leave.
    pub(crate) fn usual_ttl(&self, session: &Session) -> Result<u8> {
        let client = session.local().context("the client is not connected")?;
        let observed = self.lab.path.observed(client);
        let last = observed
            .from_client
            .context("the path has not seen the client")?;
        Ok(last.ttl)
    }

    /// Waits until the agent has told of so many ends of sessions and failed attempts, and
    /// returns what it said, and what it says of the capture.
    /// The capture is kept there, if anywhere.
    pub(crate) fn end(self, count: usize, kept: Option<&Path>) -> Result<(Said, Said)> {
        let is_over = |line: &Line| line.session_end().is_some() || line.attempt_failed().is_some();
        let waited = self
            .agent
            .wait_for_count(PATIENCE, "that tell of an end", count, is_over);
        // Replay looks for what silence ended as often, but not at the same moments.
        pass(INTERVAL);
        self.mark_time()?;
        let Self {
            agent,
            recorder,
            folder,
            lab,
            servers,
            clients,
            ..
        } = self;
        recorder.end_with(LATER)?;
        if let Some(kept) = kept {
            fs::copy(folder.path().join("capture.pcap"), kept)
                .with_context(|| format!("cannot keep {}", kept.display()))?;
        }
        waited?;
        let live = Said::of(agent.stop()?);
        drop((servers, clients));
        let replayed = replay(&lab, folder.path())?;
        Ok((live, replayed))
    }

    /// Lets a packet pass that is none of the session's: the capture's clock goes on.
    fn mark_time(&self) -> Result<()> {
        const DISCARD: u16 = 9;
        self.lab.server.run(|| {
            let socket = UdpSocket::bind((SERVER_V4, 0))?;
            socket.send_to(LATER, (ROUTER_V4, DISCARD))?;
            Ok(())
        })
    }
}

fn replay(lab: &Lab, folder: &Path) -> Result<Said> {
    let path = |name: &str| -> String { PathBuf::from(folder).join(name).display().to_string() };
    let (capture, configuration) = (path("capture.pcap"), path("sstpulse.toml"));
    let arguments = ["replay", &capture, "--config", &configuration];
    let times = ["--interval", "1s", "--dead-after", "7s"];
    let ended = lab::agent::execute(&lab.server, &[&arguments[..], &times].concat())?;
    anyhow::ensure!(
        ended.status.success(),
        "replay ended with {}: {}",
        ended.status,
        ended.stderr
    );
    let lines: Result<Vec<Line>> = ended
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).with_context(|| format!("no line: {line}")))
        .collect();
    Ok(Said::of(lines?))
}

/// The address of the n-th client.
pub(crate) fn client_address(number: u8) -> IpAddr {
    Ipv4Addr::new(10, 78, 1, number).into()
}

/// The one user.
pub(crate) fn credentials() -> Credentials {
    Credentials {
        user: "lab".to_owned(),
        password: "secret".to_owned(),
    }
}

/// Lets time pass, as part of what is played.
pub(crate) fn pass(time: Duration) {
    thread::sleep(time);
}

/// Waits for something that a peer or the path is to do.
pub(crate) fn until(what: &str, is: impl FnMut() -> bool) -> Result<()> {
    wait_until(PATIENCE, what, is)
}
