//! TCP without TLS: every connection carries the same known number of bytes each way, so that
//! counters can be checked to the byte.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

use crate::accept::{Listening, Outcomes, Shared};
use crate::client::{ClientOptions, connect_tcp, finish};
use crate::namespace::Namespace;
use crate::pattern;

/// Bytes each connection carries: first the client's, then the server's, then FIN from the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Exchange {
    /// Bytes the client sends.
    pub from_client: u64,
    /// Bytes the server sends once it has all of the client's.
    pub from_server: u64,
}

/// A TCP server; its connections end when it is dropped.
pub struct PlainServer(Listening);

impl PlainServer {
    /// Listens in the namespace; port 0 lets the kernel choose.
    pub fn start(namespace: &Namespace, address: SocketAddr, exchange: Exchange) -> Result<Self> {
        let serve = move |stream: &TcpStream, _: &Shared| serve(stream, exchange);
        namespace.run(|| Ok(Self(Listening::start(address, serve)?)))
    }

    /// Address and port it listens on.
    pub fn address(&self) -> SocketAddr {
        self.0.address()
    }

    /// Connections accepted so far.
    pub fn accepted(&self) -> u64 {
        self.0.accepted()
    }

    /// Client addresses of the connections open now.
    pub fn connections(&self) -> Vec<SocketAddr> {
        self.0.connections()
    }

    /// How connections ended so far.
    pub fn outcomes(&self) -> Outcomes {
        self.0.outcomes()
    }

    /// Waits until `enough` holds of how connections ended.
    pub fn wait_outcomes(
        &self,
        timeout: Duration,
        enough: impl Fn(&Outcomes) -> bool,
    ) -> Result<Outcomes> {
        self.0.wait_outcomes(timeout, enough)
    }
}

fn serve(mut stream: &TcpStream, exchange: Exchange) -> io::Result<()> {
    stream.set_nodelay(true)?;
    pattern::read(&mut stream, exchange.from_client)?;
    pattern::write(&mut stream, exchange.from_server)?;
    io::copy(&mut stream, &mut io::sink()).map(drop)
}

/// Connects from inside the namespace.
pub fn connect(
    namespace: &Namespace,
    to: SocketAddr,
    options: &ClientOptions,
) -> Result<TcpStream> {
    namespace
        .run(|| connect_tcp(to, options))
        .with_context(|| format!("cannot connect to {to}"))
}

/// Carries the client's half of the exchange; the connection stays open.
pub fn exchange(mut stream: &TcpStream, exchange: Exchange) -> Result<()> {
    pattern::write(&mut stream, exchange.from_client)
        .and_then(|()| pattern::read(&mut stream, exchange.from_server))
        .context("cannot exchange bytes")
}

/// Sends FIN and waits for the server's.
pub fn close(stream: &TcpStream) -> Result<()> {
    finish(stream)
}

/// Opens `connections`, carries the exchange on each and closes it, from `threads` threads at a
/// time. Returns the clients' addresses.
pub fn exchange_many(
    namespace: &Namespace,
    to: SocketAddr,
    bytes: Exchange,
    connections: usize,
    threads: usize,
) -> Result<Vec<SocketAddr>> {
    in_parallel(namespace, connections, threads, || {
        let stream = connect_here(to)?;
        let local = stream
            .local_addr()
            .context("cannot tell the client's address")?;
        exchange(&stream, bytes)?;
        close(&stream)?;
        Ok(local)
    })
}

/// Opens `connections`, carries the exchange on each and leaves them all open.
pub fn open_many(
    namespace: &Namespace,
    to: SocketAddr,
    bytes: Exchange,
    connections: usize,
    threads: usize,
) -> Result<Vec<TcpStream>> {
    in_parallel(namespace, connections, threads, || {
        let stream = connect_here(to)?;
        exchange(&stream, bytes)?;
        Ok(stream)
    })
}

fn connect_here(to: SocketAddr) -> Result<TcpStream> {
    connect_tcp(to, &ClientOptions::default()).with_context(|| format!("cannot connect to {to}"))
}

/// Does `job` this many times on threads inside the namespace and gathers what it returns.
fn in_parallel<T: Send>(
    namespace: &Namespace,
    times: usize,
    threads: usize,
    job: impl Fn() -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let started = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        while started.fetch_add(1, Ordering::Relaxed) < times {
            done.push(job()?);
        }
        Ok(done)
    };
    let results: Vec<Result<Vec<T>>> = namespace.run(|| {
        // Threads begin in the namespace of the thread that starts them.
        thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            workers
                .into_iter()
                .map(|worker| {
                    worker
                        .join()
                        .unwrap_or_else(|_| Err(anyhow!("a client panicked")))
                })
                .collect()
        })
    });
    let mut all = Vec::with_capacity(times);
    for result in results {
        all.extend(result?);
    }
    Ok(all)
}
