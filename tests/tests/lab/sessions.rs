//! Sessions between the two ends, and how they end.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Result, ensure};
use lab::tcp_info::ESTABLISHED;
use lab::{
    CLIENT_V4, Client, ClientOptions, Lab, Namespace, SERVER_INTERFACE, Tls, links, require_root,
    wait_until,
};

use crate::{MEGABYTE, SOON, Setup};

#[test]
fn downloads_over_a_clean_path() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let setup = Setup::exact()?;
    for mut client in [setup.connect()?, setup.connect_v6()?] {
        client.download(4 * MEGABYTE)?;
        client.upload(MEGABYTE)?;
        let info = setup.info(&client)?;
        assert_eq!(info.state, ESTABLISHED);
        assert_eq!(info.total_retrans, 0);
        assert!(info.bytes_sent > 4 * MEGABYTE && info.bytes_received > MEGABYTE);
        client.close()?;
    }
    let counts = setup.lab.path.counts();
    assert_eq!(
        (counts.from_client.dropped, counts.from_server.dropped),
        (0, 0)
    );
    for server in [&setup.server_v4, &setup.server_v6] {
        assert_eq!(
            server.wait_outcomes(SOON, |ends| ends.total() == 1)?.closed,
            1
        );
    }
    Ok(())
}

#[test]
fn ends_are_told_apart() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let setup = Setup::new()?;
    setup.connect()?.close()?;
    setup.connect()?.close_without_notify()?;
    setup.connect()?.close_by_server()?;
    setup.connect()?.abort()?;
    let ends = setup
        .server_v4
        .wait_outcomes(SOON, |ends| ends.total() == 4)?;
    assert_eq!(
        (ends.closed, ends.truncated, ends.reset),
        (2, 1, 1),
        "{ends:?}"
    );
    assert_eq!(setup.server_v4.accepted(), 4);
    assert!(setup.server_v4.connections().is_empty());
    Ok(())
}

#[test]
fn an_unread_download_closes_the_window() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let setup = Setup::new()?;
    let options = ClientOptions {
        receive_buffer: Some(8192),
        ..Default::default()
    };
    let to = setup.server_v4.address();
    let mut client = Client::connect_with(&setup.lab.client, to, &setup.tls, &options)?;
    client.request_download_unread(MEGABYTE)?;
    wait_until(SOON, "the client's window is closed", || {
        let observed = setup.lab.path.observed(client.local_addr());
        observed.from_client.is_some_and(|seen| seen.window == 0)
    })?;
    assert!(setup.info(&client)?.bytes_acked < MEGABYTE / 4);
    client.read_download(MEGABYTE)?;
    client.close()
}

#[test]
fn a_hung_server_neither_reads_nor_closes() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let setup = Setup::new()?;
    let mut client = setup.connect()?;
    client.hang()?;
    client.request_download_unread(1000)?;
    assert_eq!(client.read_for(Duration::from_millis(200))?, 0);
    setup.server_v4.release_hung();
    client.read_download(1000)?;
    client.close()
}

#[test]
fn further_addresses_reach_the_server() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let setup = Setup::new()?;
    let further: IpAddr = "10.78.3.4".parse()?;
    setup
        .lab
        .add_client_addresses([further, "fd78::1234".parse()?])?;
    let to = setup.server_v4.address();
    let client = Client::connect(&setup.lab.client, Some(further), to, &setup.tls)?;
    assert_eq!(client.local_addr().ip(), further);
    client.close()
}

#[test]
fn without_segmentation_offload_packets_hold_one_segment() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let setup = Setup::with(Lab::builder().tso(false).build()?)?;
    assert_eq!(
        setup
            .lab
            .server
            .run(|| links::gso_max_segments(SERVER_INTERFACE))?,
        1
    );
    let before = packets_sent(&setup.lab.server)?;
    let mut client = setup.connect()?;
    client.download(4 * MEGABYTE)?;
    let sent = packets_sent(&setup.lab.server)? - before;
    let segments = u64::from(setup.info(&client)?.segs_out);
    // Neighbour discovery adds a few packets to those of TCP.
    assert!(
        (segments..segments + 50).contains(&sent),
        "{sent} packets, {segments} segments"
    );
    client.close()
}

/// Packets that the server's interface has sent.
fn packets_sent(server: &Namespace) -> Result<u64> {
    let table = server.run(|| fs::read_to_string("/proc/thread-self/net/dev"))?;
    let line = table
        .lines()
        .find_map(|line| line.trim().strip_prefix("eth0:"));
    let sent = line.and_then(|line| line.split_whitespace().nth(9));
    Ok(sent.expect("a tenth column for eth0").parse()?)
}

#[test]
fn a_killed_server_resets_its_sessions() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let lab = Lab::new()?;
    let tls = Tls::new()?;
    let directory = tempfile::tempdir()?;
    tls.write_to(directory.path())?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_peer"));
    command.args(["serve", "--listen", "10.77.0.1:443", "--certificate-dir"]);
    command.arg(directory.path()).stdout(Stdio::piped());
    let mut server = lab.server.spawn_process(&mut command)?;
    server.wait_for_line("ready")?;

    let mut command = Command::new(env!("CARGO_BIN_EXE_peer"));
    command.args(["connect", "--server", "10.77.0.1:443", "--hold", "30"]);
    command.args(["--download", "1000", "--certificate-dir"]);
    command.arg(directory.path()).stdout(Stdio::piped());
    let mut client = lab.client.spawn_process(&mut command)?;
    let line = client.wait_for_line("connected")?;
    let address: SocketAddr = line["connected ".len()..].parse()?;
    assert_eq!(address.ip(), IpAddr::from(CLIENT_V4));
    client.wait_for_line("downloaded")?;

    server.kill()?;
    let ended = client.wait()?;
    ensure!(ended.success(), "the client ended with {ended}");
    Ok(())
}
