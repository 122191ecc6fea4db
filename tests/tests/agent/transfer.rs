//! Another program's transfer, counted beside the kernel's own count of it.
//!
//! OpenSSL's `s_server` sends 200 MB to its `s_client` over a path that loses 1 %.

use std::{
    io::{self, Read as _, Write as _},
    net::SocketAddr,
    process::{ChildStdin, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use lab::{
    Agent, Lab, Loss, Process, Tls,
    events::Line,
    require_root,
    tcp_info::{TcpInfo, tcp_info, tcp_sockets},
    wait_until,
};
use tempfile::TempDir;

use crate::{WATCH, server_v4, server_v6};

const LENGTH: u64 = 200_000_000;
const PATIENCE: Duration = Duration::from_mins(1);

#[test]
fn a_lossy_transfer_counts_as_the_kernel_counts_it() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    println!("vantage             bytes_sent  bytes_retrans  total_retrans  segs_out  segs_in");
    for tso in [true, false] {
        for server in [server_v4(), server_v6()] {
            transfer(tso, server)?;
        }
    }
    Ok(())
}

/// What the agent has counted so far of the one session there is.
#[derive(Debug, Default)]
struct Counted {
    server_bytes: u64,
    server_segments: u64,
    retransmits: u64,
    retransmitted_bytes: u64,
    client_bytes: u64,
    client_segments: u64,
}

fn transfer(tso: bool, server: SocketAddr) -> Result<()> {
    let lab = Lab::builder().tso(tso).build()?;
    lab.path.update(|faults| {
        faults.from_server.loss = Loss::Random {
            probability: 0.01,
            seed: 1,
        };
    });
    let agent = Agent::start(&lab.server, &WATCH)?;
    let certificate = TempDir::new()?;
    Tls::new()?.write_to(certificate.path())?;
    let (_serving, to_send) = serve(&lab, server, &certificate)?;
    let (client, received) = fetch(&lab, server, to_send)?;
    ensure!(received == LENGTH, "the client received {received} bytes");

    // Both ends stay open, and all is acknowledged: nothing moves any more.
    let info = quiet(&lab, server, client.address)?;
    let sent = info.bytes_sent;
    agent.wait_for_count(Duration::from_secs(20), "all bytes", 1, {
        let total = std::cell::Cell::new(0);
        move |line| {
            total.set(total.get() + line.session_health().map_or(0, |h| h.from_server.bytes));
            total.get() >= sent
        }
    })?;
    let counted = counted(&agent.stop()?);
    report(tso, server, &info, &counted);

    assert_eq!(counted.server_bytes, info.bytes_sent);
    assert_eq!(counted.retransmitted_bytes, info.bytes_retrans);
    assert_eq!(counted.retransmits, u64::from(info.total_retrans));
    assert!(counted.retransmits > 500, "the path loses segments");
    // The SYN-ACK is sent before the socket exists that counts.
    assert_eq!(counted.server_segments, u64::from(info.segs_out) + 1);
    assert_eq!(counted.client_bytes, info.bytes_received);
    assert_eq!(counted.client_segments, u64::from(info.segs_in));
    Ok(())
}

/// Starts the server; what is written to the pipe goes to the client.
fn serve(lab: &Lab, address: SocketAddr, certificate: &TempDir) -> Result<(Process, ChildStdin)> {
    let file = |name: &str| certificate.path().join(name);
    let mut process = lab.server.spawn_process(
        Command::new("openssl")
            // Without -nbio, it waits for the client to say something after the handshake.
            .args([
                "s_server",
                "-quiet",
                "-nbio",
                "-accept",
                &address.to_string(),
            ])
            .arg("-cert")
            .arg(file("certificate.pem"))
            .arg("-key")
            .arg(file("key.pem"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null()),
    )?;
    let stdin = process.stdin.take().context("the server has no input")?;
    wait_until(Duration::from_secs(10), "openssl listens", || {
        tcp_sockets(&lab.server)
            .is_ok_and(|sockets| sockets.iter().any(|socket| socket.local == address))
    })?;
    Ok((process, stdin))
}

/// Fetches what the server is given, and keeps the connection open: the client, and how
/// much it received.
fn fetch(lab: &Lab, server: SocketAddr, mut to_send: ChildStdin) -> Result<(Connected, u64)> {
    let mut process = lab.client.spawn_process(
        Command::new("openssl")
            .args(["s_client", "-quiet", "-connect", &server.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null()),
    )?;
    let stdin = process.stdin.take().context("the client has no input")?;
    let stdout = process.take_stdout().context("the client has no output")?;
    let sender = thread::spawn(move || {
        let mut data = io::repeat(0x55).take(LENGTH);
        io::copy(&mut data, &mut to_send)?;
        to_send.flush()?;
        io::Result::Ok(to_send)
    });
    let (done, finished) = mpsc::channel();
    thread::spawn(move || done.send(io::copy(&mut stdout.take(LENGTH), &mut io::sink())));
    let received = finished
        .recv_timeout(PATIENCE)
        .context("the transfer does not come to its end")??;
    // The server ends with its input, so that stays open.
    let open = sender.join().ok().context("the sender panicked")??;
    let address = tcp_sockets(&lab.client)?
        .into_iter()
        .find(|socket| socket.remote == server)
        .context("the client has no connection")?
        .local;
    let connected = Connected {
        address,
        _process: process,
        _input: stdin,
        _server_input: open,
    };
    Ok((connected, received))
}

/// A connection that stays open while this lives.
struct Connected {
    address: SocketAddr,
    _process: Process,
    _input: ChildStdin,
    _server_input: ChildStdin,
}

/// The server socket's counters once nothing is under way any more.
fn quiet(lab: &Lab, server: SocketAddr, client: SocketAddr) -> Result<TcpInfo> {
    let mut last = None;
    wait_until(Duration::from_secs(10), "all is acknowledged", || {
        last = tcp_info(&lab.server, server, client).ok();
        last.as_ref().is_some_and(|info| {
            info.unacked == 0 && info.notsent_bytes == 0 && info.bytes_sent >= LENGTH
        })
    })?;
    last.context("the server has no connection")
}

fn counted(lines: &[Line]) -> Counted {
    let mut counted = Counted::default();
    for health in lines.iter().filter_map(Line::session_health) {
        counted.server_bytes += health.from_server.bytes;
        counted.server_segments += health.from_server.segments;
        counted.retransmits += u64::from(health.from_server.retransmits);
        counted.retransmitted_bytes += health.from_server.retransmitted_bytes;
        counted.client_bytes += health.from_client.bytes;
        counted.client_segments += health.from_client.segments;
    }
    counted
}

fn report(tso: bool, server: SocketAddr, info: &TcpInfo, counted: &Counted) {
    let version = if server.is_ipv4() { "IPv4" } else { "IPv6" };
    let offload = if tso { "TSO on" } else { "TSO off" };
    println!(
        "{version} {offload:7} kernel {:>11} {:>14} {:>14} {:>9} {:>8}",
        info.bytes_sent, info.bytes_retrans, info.total_retrans, info.segs_out, info.segs_in
    );
    println!(
        "{version} {offload:7} agent  {:>11} {:>14} {:>14} {:>9} {:>8}",
        counted.server_bytes,
        counted.retransmitted_bytes,
        counted.retransmits,
        counted.server_segments,
        counted.client_segments
    );
}
