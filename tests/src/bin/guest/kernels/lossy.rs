//! A TLS session over a path that delays and loses, as the kernel emulates it.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use lab::{
    Agent, Client, Lab, SERVER_INTERFACE, SERVER_V4, Server, Tls,
    tcp_info::{TcpInfo, tcp_info},
    wait_until,
};

/// One way.
const DELAY: Duration = Duration::from_millis(20);

/// Share of packets lost, either way.
const LOSS: f64 = 0.02;

/// What the client fetches in a round, in bytes; then it sends as much.
const LENGTH: u64 = 1_000_000;

/// Rounds, until both have sent something again. The emulator loses whole buffers of an offload,
/// so a round may lose nothing; that many don't.
const ROUNDS: usize = 30;

/// Counts the session beside the server's socket: both must say the same.
pub(super) fn session() -> Result<String> {
    let lab = Lab::new()?;
    lab.emulate(DELAY, LOSS)?;
    let agent = Agent::start(&lab.server, &["--interface", SERVER_INTERFACE])?;
    let tls = Tls::new()?;
    let server = Server::start(&lab.server, SocketAddr::from((SERVER_V4, 443)), &tls)?;
    let mut client = Client::connect(&lab.client, None, server.address(), &tls)?;
    let lost = |host, own, other| tcp_info(host, own, other).map(|info| info.total_retrans > 0);
    for _ in 0..ROUNDS {
        client.download(LENGTH)?;
        client.upload(LENGTH)?;
        let (near, far) = (server.address(), client.local_addr());
        if lost(&lab.server, near, far)? && lost(&lab.client, far, near)? {
            break;
        }
    }
    // What comes after the last look at the socket is not lost.
    lab.emulate(DELAY, 0.0)?;
    let socket = at_rest(&lab, server.address(), client.local_addr())?;
    client.close()?;
    let line = agent.wait_for("session.end", |line| line.session_end().is_some())?;
    let end = line.session_end().context("no end")?;
    agent.stop()?;

    let told = &end.from_server;
    // The socket takes over how often its SYN-ACK was repeated before there was a socket.
    let again = u64::from(told.retransmits) + u64::from(told.syn_retransmits);
    ensure!(
        again == u64::from(socket.total_retrans),
        "{} retransmits and {} of the SYN-ACK; the socket counts {}",
        told.retransmits,
        told.syn_retransmits,
        socket.total_retrans
    );
    ensure!(told.retransmits > 0, "the path lost nothing");
    ensure!(
        told.bytes >= socket.bytes_sent,
        "{} bytes; the socket sent {}",
        told.bytes,
        socket.bytes_sent
    );
    ensure!(
        end.from_client.retransmits + end.from_client.out_of_order > 0,
        "none of the client's segments came again"
    );
    let least = end.rtt_us.min.context("no round trip was measured")?;
    ensure!(
        u128::from(least) >= 2 * DELAY.as_micros(),
        "a round trip of {least} us is quicker than the path"
    );
    Ok(format!(
        "{} retransmits as the socket counts, least round trip {least} us, ended by {} with {}",
        told.retransmits, end.end.by, end.end.how
    ))
}

/// The server's socket, once the client has acknowledged all.
fn at_rest(lab: &Lab, server: SocketAddr, client: SocketAddr) -> Result<TcpInfo> {
    let mut found = None;
    wait_until(Duration::from_secs(30), "all is acknowledged", || {
        found = tcp_info(&lab.server, server, client).ok();
        found
            .as_ref()
            .is_some_and(|info| info.unacked == 0 && info.notsent_bytes == 0)
    })?;
    found.context("the server has no connection")
}
