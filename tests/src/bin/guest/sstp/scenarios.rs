//! What happens to the sessions.

use std::{thread, time::Duration};

use anyhow::{Result, ensure};
use lab::links::{self, Via};
use nix::sys::signal::Signal;

use super::peers::{Options, Recording, SOON, Tunnel, server_done};

const USUAL: Options = Options::USUAL;

/// Plays a scenario from its beginning to its end.
type Play = fn() -> Result<Recording>;

/// By the names of their captures.
pub(super) const SCENARIOS: &[(&str, Play)] = &[
    ("sstp-clean", clean),
    ("sstp-loss", loss),
    ("sstp-client-killed", client_killed),
    ("sstp-server-killed", server_killed),
    ("sstp-path-cut", path_cut),
    ("sstp-path-cut-icmp", path_cut_with_icmp),
    ("sstp-mtu-black-hole", mtu_black_hole),
    ("sstp-wrong-password", wrong_password),
    ("sstp-certificate-refused", certificate_refused),
    ("sstp-client-suspended", client_suspended),
];

/// Bytes that are carried each way while all is well.
const BYTES: u64 = 40_000;

/// A server that soon notices when nobody answers.
const WATCHFUL: Options = Options {
    hello_s: 15,
    ..USUAL
};

/// Twice the server's patience, and the 33 s that it takes over a farewell that is not answered.
const GIVING_UP: Duration = Duration::from_mins(2);

/// Traffic, then the client hangs up.
fn clean() -> Result<Recording> {
    let tunnel = Tunnel::up(USUAL)?;
    tunnel.carry(BYTES)?;
    hang_up(tunnel)
}

/// The same over 80 ms of round trip, with 2 % lost each way.
fn loss() -> Result<Recording> {
    const DELAY: Duration = Duration::from_millis(40);
    let tunnel = Tunnel::up(Options {
        delay: DELAY,
        ..USUAL
    })?;
    tunnel.lab.emulate(DELAY, 0.02)?;
    tunnel.carry(2 * BYTES)?;
    tunnel.lab.emulate(DELAY, 0.0)?;
    hang_up(tunnel)
}

fn hang_up(mut tunnel: Tunnel) -> Result<Recording> {
    tunnel.signal_client_pppd(Signal::SIGTERM)?;
    let status = tunnel.client_done(SOON)?;
    ensure!(status.success(), "the client ended with {status}");
    server_done(SOON)?;
    tunnel.finish()
}

fn client_killed() -> Result<Recording> {
    let tunnel = Tunnel::up(USUAL)?;
    tunnel.carry(BYTES)?;
    tunnel.signal_client(Signal::SIGKILL)?;
    server_done(SOON)?;
    tunnel.finish()
}

fn server_killed() -> Result<Recording> {
    let mut tunnel = Tunnel::up(USUAL)?;
    tunnel.carry(BYTES)?;
    tunnel.signal_server(Signal::SIGKILL)?;
    tunnel.client_done(SOON)?;
    tunnel.finish()
}

/// Nothing passes any more, and nobody says so.
fn path_cut() -> Result<Recording> {
    let tunnel = Tunnel::up(WATCHFUL)?;
    tunnel.carry(BYTES)?;
    tunnel.lab.path.update(|faults| {
        faults.from_client.cut = true;
        faults.from_server.cut = true;
    });
    server_done(GIVING_UP)?;
    tunnel.finish()
}

/// Nothing passes any more, and the router tells the server so.
fn path_cut_with_icmp() -> Result<Recording> {
    let tunnel = Tunnel::up(WATCHFUL)?;
    tunnel.carry(BYTES)?;
    tunnel
        .lab
        .path
        .update(|faults| faults.from_client.cut = true);
    tunnel
        .lab
        .router
        .set_sysctl("net/ipv4/icmp_ratelimit", "0")?;
    tunnel.lab.router.run(|| {
        let client = lab::CLIENT_V4.into();
        links::add_route(client, 32, Via::Unreachable)
    })?;
    tunnel.push(5, 1)?;
    server_done(GIVING_UP)?;
    tunnel.finish()
}

/// Packets of more than 1,300 bytes vanish on their way to the client, and nobody says so.
fn mtu_black_hole() -> Result<Recording> {
    let mut tunnel = Tunnel::up(Options {
        client_echo: true,
        ..WATCHFUL
    })?;
    tunnel.lab.path.update(|faults| {
        faults.from_server.mtu = Some(1_300);
        faults.from_server.icmp = false;
    });
    tunnel.push(20, 10)?;
    tunnel.client_done(GIVING_UP)?;
    server_done(GIVING_UP)?;
    tunnel.finish()
}

fn wrong_password() -> Result<Recording> {
    let mut tunnel = Tunnel::start(Options {
        password: "wrong",
        ..USUAL
    })?;
    tunnel.client_done(SOON)?;
    server_done(SOON)?;
    tunnel.finish()
}

/// The client looks at the certificate only after the answer to its HTTP request.
fn certificate_refused() -> Result<Recording> {
    let mut tunnel = Tunnel::start(Options {
        trusting: false,
        ..USUAL
    })?;
    let status = tunnel.client_done(SOON)?;
    ensure!(!status.success(), "the client accepts any certificate");
    server_done(SOON)?;
    tunnel.finish()
}

/// The client stops for 25 s while the server has much to send, then goes on.
fn client_suspended() -> Result<Recording> {
    /// Besides the 6 s that pushing takes.
    const PAUSE: Duration = Duration::from_secs(19);
    let tunnel = Tunnel::up(Options {
        small_buffers: true,
        ..USUAL
    })?;
    tunnel.carry(BYTES / 4)?;
    tunnel.signal_client(Signal::SIGSTOP)?;
    tunnel.push(150, 25)?;
    // What is recorded is how long this takes.
    thread::sleep(PAUSE);
    tunnel.signal_client(Signal::SIGCONT)?;
    tunnel.carry(BYTES / 4)?;
    hang_up(tunnel)
}
