//! The two ends of a tunnel, each with its pppd, and everything that looks on.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use lab::{
    Agent, Exchange, Lab, Namespace, PlainServer, Process, SERVER_INTERFACE, SERVER_V4, Tls, plain,
    wait_until,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::DEAD_AFTER;

/// The server's address inside the tunnel.
const INSIDE: Ipv4Addr = Ipv4Addr::new(192, 168, 20, 1);
/// The first client's.
const CLIENT_INSIDE: Ipv4Addr = Ipv4Addr::new(192, 168, 20, 2);

/// Where the peers' files are.
const FOLDER: &str = "/tmp/sstp";

/// Longest wait for what takes a machine's time alone.
pub(super) const SOON: Duration = Duration::from_mins(1);

/// Time between two looks at a log.
const LOOK: Duration = Duration::from_millis(100);

/// How a tunnel is set up.
#[derive(Clone, Copy)]
pub(super) struct Options {
    /// One-way delay of the path.
    pub(super) delay: Duration,
    /// Silence after which the server asks for a sign of life, in seconds.
    pub(super) hello_s: u32,
    /// Whether the client's pppd gives up after 4 echoes unanswered, 10 s apart.
    pub(super) client_echo: bool,
    /// The client's password.
    pub(super) password: &'static str,
    /// Whether the client trusts the server's certificate.
    pub(super) trusting: bool,
    /// Whether receive buffers are small, so that they fill up.
    pub(super) small_buffers: bool,
}

impl Options {
    /// As peers are set up mostly.
    pub(super) const USUAL: Self = Self {
        delay: Duration::from_millis(20),
        hello_s: 60,
        client_echo: false,
        password: "secret",
        trusting: true,
        small_buffers: false,
    };
}

/// What is left of a session.
pub(super) struct Recording {
    /// The agent's lines.
    pub(super) lines: Vec<String>,
    /// All packets at the server's interface.
    pub(super) capture: PathBuf,
}

/// The user that the server knows.
pub(super) fn write_secrets() -> Result<()> {
    let secrets = Path::new("/etc/ppp/chap-secrets");
    fs::write(secrets, "lab * \"secret\" *\n")?;
    fs::set_permissions(secrets, fs::Permissions::from_mode(0o600))?;
    Ok(())
}

/// Both peers at work, and those who look on.
pub(super) struct Tunnel {
    /// The path between them.
    pub(super) lab: Lab,
    server: Process,
    client: Process,
    agent: Agent,
    dump: Process,
}

impl Tunnel {
    /// Starts everything; the client is on its way.
    pub(super) fn start(options: Options) -> Result<Self> {
        prepare(options)?;
        let lab = Lab::builder().tso(false).build()?;
        if options.small_buffers {
            for host in [&lab.server, &lab.client] {
                host.set_sysctl("net/ipv4/tcp_rmem", "4096 32768 65536")?;
            }
        }
        lab.emulate(options.delay, 0.0)?;
        let dump = dump(&lab.server)?;
        let arguments = ["--interface", SERVER_INTERFACE, "--dead-after", DEAD_AFTER];
        let agent = Agent::start(&lab.server, &arguments)?;
        let server = start_server(&lab.server, options.hello_s)?;
        let client = start_client(&lab.client, options)?;
        Ok(Self {
            lab,
            server,
            client,
            agent,
            dump,
        })
    }

    /// The same, and waits until the tunnel carries traffic.
    pub(super) fn up(options: Options) -> Result<Self> {
        let tunnel = Self::start(options)?;
        wait_for("pppd-client.log", "remote IP address", SOON)?;
        wait_for("pppd-server.log", "remote IP address", SOON)?;
        Ok(tunnel)
    }

    /// Carries so many bytes each way inside the tunnel.
    pub(super) fn carry(&self, bytes: u64) -> Result<()> {
        let exchange = Exchange {
            from_client: bytes,
            from_server: bytes,
        };
        let inside = SocketAddr::from((INSIDE, 8000));
        let _server = PlainServer::start(&self.lab.server, inside, exchange)?;
        plain::exchange_many(&self.lab.client, inside, exchange, 1, 1)?;
        Ok(())
    }

    /// Has the server send datagrams of 1,200 bytes to the client inside the tunnel, so many
    /// each second, whether they arrive or not.
    pub(super) fn push(&self, datagrams: u32, each_second: u32) -> Result<()> {
        self.lab.server.run(|| {
            let socket = UdpSocket::bind((INSIDE, 0))?;
            for _ in 0..datagrams {
                // Refused once the tunnel is down, which the scenario is about.
                let _ = socket.send_to(&[0x55; 1_200], (CLIENT_INSIDE, 9));
                thread::sleep(Duration::from_secs(1) / each_second);
            }
            Ok(())
        })
    }

    /// Sends a signal to the client.
    pub(super) fn signal_client(&self, signal: Signal) -> Result<()> {
        send(self.client.id(), signal)
    }

    /// Sends a signal to the client's pppd, which then ends the tunnel properly.
    pub(super) fn signal_client_pppd(&self, signal: Signal) -> Result<()> {
        send(child_of(&self.client)?, signal)
    }

    /// Sends a signal to the server and its pppd.
    pub(super) fn signal_server(&self, signal: Signal) -> Result<()> {
        let pppd = child_of(&self.server)?;
        send(self.server.id(), signal)?;
        send(pppd, signal)
    }

    /// Waits until the client has ended by itself.
    pub(super) fn client_done(&mut self, patience: Duration) -> Result<ExitStatus> {
        let mut ended = None;
        let client = &mut self.client;
        wait_until(patience, "the client ends", || {
            thread::sleep(LOOK);
            ended = client.try_wait().ok().flatten();
            ended.is_some()
        })?;
        ended.context("the client has not ended")
    }

    /// Waits until the agent has told of the end, and gathers what there is.
    pub(super) fn finish(self) -> Result<Recording> {
        self.agent
            .wait_for_count(Duration::from_mins(5), "session.end", 1, |line| {
                line.session_end().is_some()
            })?;
        let Self {
            agent,
            mut dump,
            client,
            server,
            ..
        } = self;
        let lines = agent.stop_raw()?;
        send(dump.id(), Signal::SIGINT)?;
        let status = dump.wait()?;
        ensure!(status.success(), "tcpdump ended with {status}");
        drop((client, server));
        no_pppd()?;
        Ok(Recording {
            lines,
            capture: file("capture.pcap"),
        })
    }
}

fn file(name: &str) -> PathBuf {
    Path::new(FOLDER).join(name)
}

/// Writes the peers' certificates and configuration, over what an earlier scenario left.
fn prepare(options: Options) -> Result<()> {
    let _ = fs::remove_dir_all(FOLDER);
    for folder in ["server", "stranger"] {
        fs::create_dir_all(file(folder))?;
        Tls::new()?.write_to(&file(folder))?;
    }
    let common = "nobsdcomp\nnodeflate\nnovj\nnoipv6\nnodefaultroute\nmtu 1400\nmru 1400\n";
    let log = |name| format!("debug\nlogfile {FOLDER}/pppd-{name}.log\n");
    let server = format!(
        "name sstpd\nauth\nrequire-mschap-v2\n{common}{}",
        log("server")
    );
    fs::write("/etc/ppp/options.sstpd", server)?;
    let echo = if options.client_echo {
        "lcp-echo-interval 10\nlcp-echo-failure 4\n"
    } else {
        ""
    };
    let client = format!("nodetach\nnoauth\n{common}{echo}{}", log("client"));
    fs::create_dir_all("/etc/ppp/peers")?;
    fs::write("/etc/ppp/peers/lab", client)?;
    Ok(())
}

fn dump(server: &Namespace) -> Result<Process> {
    let dump = server.spawn_process(
        logged(&mut Command::new("tcpdump"), "tcpdump.log")?
            .args([
                "-i",
                SERVER_INTERFACE,
                "--immediate-mode",
                "-Z",
                "root",
                "-w",
            ])
            .arg(file("capture.pcap"))
            .arg("tcp port 443 or icmp"),
    )?;
    wait_for("tcpdump.log", "listening on", SOON)?;
    Ok(dump)
}

fn start_server(server: &Namespace, hello_s: u32) -> Result<Process> {
    let process = server.spawn_process(
        logged(&mut Command::new("python3"), "server.log")?
            .arg("/sstpulse/server.py")
            .args(["-l", &SERVER_V4.to_string(), "-p", "443"])
            .args([
                "--local",
                &INSIDE.to_string(),
                "--remote",
                "192.168.20.0/24",
            ])
            .arg("-c")
            .arg(file("server/certificate.pem"))
            .arg("-k")
            .arg(file("server/key.pem"))
            .env("PYTHONPATH", "/usr/local/lib/sstp")
            .env("PYTHONUNBUFFERED", "1")
            .env("HELLO", hello_s.to_string()),
    )?;
    wait_for("server.log", "Listening on", SOON)?;
    Ok(process)
}

fn start_client(client: &Namespace, options: Options) -> Result<Process> {
    let trusted = if options.trusting {
        "server"
    } else {
        "stranger"
    };
    client.spawn_process(
        logged(&mut Command::new("sstpc"), "client.log")?
            .args(["--log-level", "4", "--log-stderr", "--tls-ext", "--ca-cert"])
            .arg(file(trusted).join("certificate.pem"))
            .args(["--user", "lab", "--password", options.password])
            .args(["vpn.example", "call", "lab"]),
    )
}

/// Waits until the server has let go of the session.
pub(super) fn server_done(patience: Duration) -> Result<()> {
    wait_for("server.log", "Connection finished", patience)
}

/// Has the program write to a log of its own.
fn logged<'a>(command: &'a mut Command, log: &str) -> Result<&'a mut Command> {
    let log = File::create(file(log)).with_context(|| format!("cannot make {log}"))?;
    Ok(command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"))
}

/// Waits until a log has the text.
fn wait_for(log: &str, text: &str, patience: Duration) -> Result<()> {
    let deadline = Instant::now() + patience;
    loop {
        let said = fs::read(file(log)).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        if said.contains(text) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let last: Vec<&str> = said.lines().rev().take(8).collect();
            bail!("{log} has no `{text}` within {patience:?}; its end, backwards: {last:#?}");
        }
        thread::sleep(LOOK);
    }
}

fn send(pid: u32, signal: Signal) -> Result<()> {
    let pid = Pid::from_raw(i32::try_from(pid)?);
    kill(pid, signal).with_context(|| format!("cannot send {signal} to process {pid}"))
}

/// The one process that another has started.
fn child_of(process: &Process) -> Result<u32> {
    let id = process.id();
    let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"))?;
    let first = children.split_whitespace().next();
    Ok(first.context("it has no child")?.parse()?)
}

/// Waits until every pppd has hung up.
fn no_pppd() -> Result<()> {
    let is_pppd = |entry: fs::DirEntry| {
        let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        name.trim() == "pppd" && !stat.contains(") Z ")
    };
    wait_until(SOON, "the last pppd ends", || {
        thread::sleep(LOOK);
        fs::read_dir("/proc").is_ok_and(|all| !all.filter_map(Result::ok).any(is_pppd))
    })
}
