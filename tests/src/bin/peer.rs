//! One end of a TLS session as a process of its own, for tests that kill it.

use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use lab::{Client, ClientOptions, Server, Tls};
use socket2::{Domain, Socket, Type};

/// One end of a TLS session of the network laboratory.
#[derive(Debug, Parser)]
#[command(name = "peer")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until killed; prints `ready ADDRESS` when listening.
    Serve(Serve),
    /// Listen until killed, and accept nothing; prints `ready ADDRESS` when listening.
    Deaf(Deaf),
    /// Connect and send requests; prints `connected ADDRESS` with its own address.
    Connect(Connect),
    /// Write a new certificate and key.
    Certificate {
        /// Directory for the PEM files.
        directory: PathBuf,
    },
}

#[derive(Debug, Args)]
struct Serve {
    /// Address and port to listen on; port 0 lets the kernel choose.
    #[arg(long)]
    listen: SocketAddr,
    /// Directory of certificate and key.
    #[arg(long)]
    certificate_dir: PathBuf,
}

#[derive(Debug, Args)]
struct Deaf {
    /// Address and port to listen on.
    #[arg(long)]
    listen: SocketAddr,
    /// Connections that may wait to be accepted; the kernel takes one more.
    #[arg(long)]
    backlog: i32,
}

#[derive(Debug, Args)]
struct Connect {
    /// Address and port of the server.
    #[arg(long)]
    server: SocketAddr,
    /// Directory of certificate and key.
    #[arg(long)]
    certificate_dir: PathBuf,
    /// Address to connect from.
    #[arg(long)]
    from: Option<IpAddr>,
    /// Bytes to download first.
    #[arg(long, default_value_t = 0)]
    download: u64,
    /// Bytes to upload then.
    #[arg(long, default_value_t = 0)]
    upload: u64,
    /// Have the server neither read nor write after that.
    #[arg(long)]
    hang: bool,
    /// Seconds to keep the session open at the end, unless the server ends it.
    #[arg(long, default_value_t = 0)]
    hold: u64,
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Serve(serve) => run_server(&serve),
        Command::Deaf(deaf) => run_deaf(&deaf),
        Command::Connect(connect) => run_client(&connect),
        Command::Certificate { directory } => Tls::new()?.write_to(&directory),
    }
}

fn run_server(serve: &Serve) -> Result<()> {
    lab::root::raise_open_files()?;
    let tls = Tls::read_from(&serve.certificate_dir)?;
    let server = Server::start_here(serve.listen, &tls)?;
    say(&format!("ready {}", server.address()))?;
    loop {
        thread::park();
    }
}

fn run_deaf(deaf: &Deaf) -> Result<()> {
    let socket = Socket::new(Domain::for_address(deaf.listen), Type::STREAM, None)?;
    socket
        .bind(&deaf.listen.into())
        .and_then(|()| socket.listen(deaf.backlog))
        .with_context(|| format!("cannot listen on {}", deaf.listen))?;
    say(&format!("ready {}", deaf.listen))?;
    loop {
        thread::park();
    }
}

fn run_client(connect: &Connect) -> Result<()> {
    let tls = Tls::read_from(&connect.certificate_dir)?;
    let options = ClientOptions {
        from: connect.from,
        ..Default::default()
    };
    let mut client = Client::connect_here(connect.server, &tls, &options)?;
    say(&format!("connected {}", client.local_addr()))?;
    if connect.download > 0 {
        client.download(connect.download)?;
        say("downloaded")?;
    }
    if connect.upload > 0 {
        client.upload(connect.upload)?;
        say("uploaded")?;
    }
    if connect.hang {
        client.hang()?;
    }
    if connect.hold > 0 {
        client.hold(Duration::from_secs(connect.hold))?;
        return say("held");
    }
    client.close()?;
    say("closed")
}

/// Prints a line at once: a test waits for it at the other end of a pipe.
fn say(line: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")
        .and_then(|()| stdout.flush())
        .context("cannot print")
}
