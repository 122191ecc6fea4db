//! Opens SSTP sessions to a server, keeps them for a while, and tells how they fared.

mod report;

use std::fs::File;
use std::io::BufReader;
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::{Args, Parser, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use lab::Tls;
use lab::root::raise_open_files;
use lab::sstp::{
    ClientOptions, ClientTls, Credentials, Ending, Method, Offer, ServerOptions, ServerTls,
    Session, SstpClients, SstpServer, Timeline, Traffic, Trust,
};
use lab::tls::SERVER_NAME;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// The port, where none is named.
const PORT: u16 = 443;

/// Time between two looks at the sessions.
const LOOK: Duration = Duration::from_millis(100);

/// Longest wait for sessions to end after their time.
const AFTERWARDS: Duration = Duration::from_secs(30);

/// Open SSTP sessions to a server, keep them for a while, and tell how they fared.
///
/// Clients authenticate by PAP or CHAP-MD5, whichever the server asks for; MS-CHAPv2 they do not
/// speak, and say so.
#[derive(Debug, Parser)]
#[command(name = "load")]
struct Cli {
    #[command(flatten)]
    target: Target,
    /// Sessions
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    sessions: u32,
    /// Minutes that each session is kept
    #[arg(long, default_value_t = 1.0, value_parser = minutes)]
    minutes: f64,
    /// Sessions begun each second
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    per_second: u32,
    /// Name of the user
    #[arg(long, default_value = "lab")]
    user: String,
    /// Password of the user
    #[arg(long, default_value = "secret")]
    password: String,
    /// What each session carries
    #[arg(long, value_enum, default_value_t = Pattern::Ping)]
    traffic: Pattern,
    /// Name sent to the server, and expected in its certificate; that of --server unless named
    #[arg(long)]
    server_name: Option<String>,
    #[command(flatten)]
    trust: TrustArguments,
    /// Write what became of each session to this file, as JSON
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Target {
    /// Server to connect to: a name or an address, with a port unless it is 443
    #[arg(long)]
    server: Option<String>,
    /// Load a server of the laboratory, in this process, over loopback
    #[arg(long)]
    serve: bool,
}

#[derive(Debug, Args)]
#[group(multiple = false)]
struct TrustArguments {
    /// PEM file with the certificate to trust
    #[arg(long)]
    certificate: Option<PathBuf>,
    /// Trust any certificate
    #[arg(long)]
    insecure_certificate: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Pattern {
    /// Nothing but what keeps the tunnel alive
    Idle,
    /// An ICMP echo of 84 bytes each second
    Ping,
    /// 10 datagrams of 1400 bytes each 100 ms to the server, which drops them
    Upload,
    /// An ICMP echo of 1400 bytes each 10 ms, as much both ways
    Both,
}

impl Pattern {
    const fn traffic(self) -> Traffic {
        match self {
            Self::Idle => Traffic::Idle,
            Self::Ping => Traffic::Ping {
                every: Duration::from_secs(1),
                bytes: 84,
            },
            Self::Upload => Traffic::Send {
                every: Duration::from_millis(100),
                datagrams: 10,
                bytes: 1400,
            },
            Self::Both => Traffic::Ping {
                every: Duration::from_millis(10),
                bytes: 1400,
            },
        }
    }
}

/// From a hundredth of a minute to a week.
fn minutes(text: &str) -> Result<f64, String> {
    let minutes: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.01..=10_080.0).contains(&minutes) {
        Ok(minutes)
    } else {
        Err("not between 0.01 and 10080".to_owned())
    }
}

fn main() -> ExitCode {
    match load(&Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("load: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// True if all sessions went well.
fn load(cli: &Cli) -> Result<bool> {
    raise_open_files()?;
    let tls = Tls::new()?;
    // Held until all sessions have ended.
    let mut own = None;
    let (to, name) = if let Some(target) = &cli.target.server {
        resolve(target)?
    } else {
        let server = own.insert(serve(cli, &tls)?);
        (server.address(), SERVER_NAME.to_owned())
    };
    let options = client(cli, &tls, &name)?;
    eprintln!("load: {} sessions to {to}, named {name}", cli.sessions);
    let clients = SstpClients::start_here()?;
    let sessions = run(cli, &clients, to, &options)?;
    let report = report::Report::of(&sessions);
    println!("{}", report.table());
    if let Some(path) = &cli.json {
        let file = File::create(path).with_context(|| format!("cannot make {}", path.display()))?;
        serde_json::to_writer_pretty(file, &report.json())
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(report.is_good())
}

/// The laboratory's server, with a certificate for this run.
fn serve(cli: &Cli, tls: &Tls) -> Result<SstpServer> {
    let mut options = ServerOptions::new(ServerTls::new(tls, Offer::All)?, credentials(cli));
    options.authentication.method = Method::ChapMd5;
    SstpServer::start_here((Ipv4Addr::LOCALHOST, 0).into(), &options)
}

fn credentials(cli: &Cli) -> Credentials {
    Credentials {
        user: cli.user.clone(),
        password: cli.password.clone(),
    }
}

/// Address of the server, and the name its certificate must have.
fn resolve(target: &str) -> Result<(SocketAddr, String)> {
    let with_port = || target.to_socket_addrs();
    let without = || (target, PORT).to_socket_addrs();
    let address = with_port()
        .or_else(|_| without())
        .ok()
        .and_then(|mut found| found.next())
        .with_context(|| format!("no server is found by `{target}`; name it as ADDR[:PORT]"))?;
    let host = match target.parse::<SocketAddr>() {
        Ok(address) => address.ip().to_string(),
        Err(_) if target.parse::<std::net::IpAddr>().is_ok() => target.to_owned(),
        Err(_) => target
            .rsplit_once(':')
            .map_or(target, |(host, _)| host)
            .to_owned(),
    };
    Ok((address, host))
}

fn client(cli: &Cli, tls: &Tls, name: &str) -> Result<ClientOptions> {
    let name = cli.server_name.as_deref().unwrap_or(name);
    let tls = match &cli.trust {
        TrustArguments {
            insecure_certificate: true,
            ..
        } => ClientTls::with(Offer::All, &Trust::Everybody, Some(name))?,
        TrustArguments {
            certificate: Some(path),
            ..
        } => {
            let file =
                File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
            let certificate = CertificateDer::from_pem_reader(BufReader::new(file))
                .with_context(|| format!("{} holds no certificate", path.display()))?;
            ClientTls::with(Offer::All, &Trust::Only(certificate), Some(name))?
        }
        _ => {
            ensure!(
                cli.target.serve,
                "no certificate is trusted; name one by --certificate, or say --insecure-certificate"
            );
            ClientTls::new(tls, Offer::All)?
        }
    };
    let mut options = ClientOptions::new(tls, credentials(cli));
    options.timeline = Timeline::carry(
        cli.traffic.traffic(),
        Duration::from_secs_f64(cli.minutes * 60.0),
        Ending::Disconnect,
    );
    Ok(options)
}

/// Begins the sessions one after the other, and waits until all have ended.
fn run(
    cli: &Cli,
    clients: &SstpClients,
    to: SocketAddr,
    options: &ClientOptions,
) -> Result<Vec<Session>> {
    let bar = ProgressBar::new(u64::from(cli.sessions)).with_style(ProgressStyle::with_template(
        "{elapsed_precise} {bar:30} {pos} of {len} begun, {msg}",
    )?);
    let pause = Duration::from_secs(1) / cli.per_second;
    let begun = Instant::now();
    let mut sessions = Vec::new();
    for index in 0..cli.sessions {
        // Against the clock, so that what one takes to begin is not added up.
        let due = begun + pause * index;
        while let Some(rest) = due.checked_duration_since(Instant::now()) {
            std::thread::sleep(rest.min(LOOK));
            show(&bar, &sessions);
        }
        sessions.push(clients.open(to, options));
        bar.inc(1);
    }
    let patience = Duration::from_secs_f64(cli.minutes * 60.0)
        + options.timers.connect
        + 3 * options.timers.negotiation
        + AFTERWARDS;
    let until = Instant::now() + patience;
    while sessions.iter().any(|session| session.ended().is_none()) && Instant::now() < until {
        std::thread::sleep(LOOK);
        show(&bar, &sessions);
    }
    bar.finish();
    Ok(sessions)
}

fn show(bar: &ProgressBar, sessions: &[Session]) {
    let connected = sessions.iter().filter(|session| session.is_connected());
    let ended = sessions.iter().filter(|session| session.ended().is_some());
    bar.set_message(format!(
        "{} connected, {} ended",
        connected.count(),
        ended.count()
    ));
}
