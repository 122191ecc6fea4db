//! Many connections, and much data.

use std::time::Instant;

use anyhow::Result;
use lab::tcp_info::{ESTABLISHED, LISTEN, tcp_info, tcp_sockets};
use lab::{ClientOptions, Exchange, Lab, PlainServer, SERVER_V4, SERVER_V6, plain, require_root};

use crate::{SOON, Setup};

/// Connections opened and closed one after the other, by several threads.
const SEQUENTIAL: usize = 10_000;

/// Connections open at the same time; both ends take a file descriptor of this process.
const CONCURRENT: usize = 5000;

/// Bytes whose transfer is measured.
const LENGTH: u64 = 200_000_000;

#[test]
fn ten_thousand_plain_connections() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let lab = Lab::new()?;
    let bytes = Exchange {
        from_client: 300,
        from_server: 5000,
    };
    let server = PlainServer::start(&lab.server, (SERVER_V4, 8443).into(), bytes)?;
    let begun = Instant::now();
    let clients = plain::exchange_many(&lab.client, server.address(), bytes, SEQUENTIAL, 16)?;
    let ends = server.wait_outcomes(SOON, |ends| ends.total() == 10_000)?;
    println!("{SEQUENTIAL} connections in {:?}", begun.elapsed());
    assert_eq!(clients.len(), SEQUENTIAL);
    assert_eq!(ends.closed, 10_000, "{ends:?}");
    assert_eq!(lab.path.counts().from_server.dropped, 0);
    Ok(())
}

#[test]
fn many_connections_at_once() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let lab = Lab::new()?;
    let bytes = Exchange {
        from_client: 10,
        from_server: 10,
    };
    let server = PlainServer::start(&lab.server, (SERVER_V6, 8443).into(), bytes)?;
    let begun = Instant::now();
    let open = plain::open_many(&lab.client, server.address(), bytes, CONCURRENT, 16)?;
    println!("{CONCURRENT} connections open after {:?}", begun.elapsed());
    assert_eq!(server.connections().len(), CONCURRENT);
    let sockets = tcp_sockets(&lab.server)?;
    let count = |state| {
        sockets
            .iter()
            .filter(|socket| socket.state == state)
            .count()
    };
    assert_eq!((count(ESTABLISHED), count(LISTEN)), (CONCURRENT, 1));
    for stream in &open {
        plain::close(stream)?;
    }
    assert_eq!(
        server
            .wait_outcomes(SOON, |ends| ends.total() == 5000)?
            .closed,
        5000
    );
    Ok(())
}

#[test]
fn two_hundred_tls_sessions_at_once() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let setup = Setup::new()?;
    let begun = Instant::now();
    let mut clients = (0..200)
        .map(|_| setup.connect())
        .collect::<Result<Vec<_>>>()?;
    assert_eq!(setup.server_v4.connections().len(), 200);
    for client in &mut clients {
        client.download(10_000)?;
    }
    for client in clients {
        client.close()?;
    }
    println!("200 TLS sessions in {:?}", begun.elapsed());
    Ok(())
}

#[test]
fn throughput() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let lab = Lab::new()?;
    carry(
        &lab,
        Exchange {
            from_client: 1,
            from_server: LENGTH,
        },
    )?;
    carry(
        &lab,
        Exchange {
            from_client: LENGTH,
            from_server: 1,
        },
    )
}

/// Carries much data one way and prints how fast.
fn carry(lab: &Lab, bytes: Exchange) -> Result<()> {
    let server = PlainServer::start(&lab.server, (SERVER_V4, 0).into(), bytes)?;
    let stream = plain::connect(&lab.client, server.address(), &ClientOptions::default())?;
    let (begun, before) = (Instant::now(), lab.path.counts());
    plain::exchange(&stream, bytes)?;
    let (took, after) = (begun.elapsed(), lab.path.counts());
    let per_second = |count: u64| u128::from(count) * 1000 / took.as_millis().max(1);
    println!(
        "{} MB/s, packets/s: {} from the client, {} from the server; server retransmitted {}",
        per_second(LENGTH) / 1_000_000,
        per_second(after.from_client.carried - before.from_client.carried),
        per_second(after.from_server.carried - before.from_server.carried),
        tcp_info(&lab.server, server.address(), stream.local_addr()?)?.total_retrans,
    );
    plain::close(&stream)
}
