//! A TLS server for the laboratory's clients, one thread per connection.
//!
//! Requests are lines inside the TLS session:
//!
//! - `download N`: the server sends N bytes;
//! - `upload N`: N bytes follow, then the server answers `ok`;
//! - `hang`: the server neither reads nor writes any more, but keeps the connection open;
//! - `close`: the server sends `close_notify` and FIN.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use rustls::{ServerConfig, ServerConnection, Stream};

use crate::accept::{Listening, Shared};
use crate::namespace::Namespace;
use crate::pattern;
use crate::tls::Tls;

pub use crate::accept::Outcomes;

/// Longest request line, in bytes.
const LINE: u64 = 64;

/// A TLS server; its connections end when it is dropped.
pub struct Server(Listening);

impl Server {
    /// Listens in the namespace; port 0 lets the kernel choose.
    pub fn start(namespace: &Namespace, address: SocketAddr, tls: &Tls) -> Result<Self> {
        namespace.run(|| Self::start_here(address, tls))
    }

    /// Listens in the namespace of the calling thread.
    pub fn start_here(address: SocketAddr, tls: &Tls) -> Result<Self> {
        let config = Arc::clone(&tls.server);
        let serve = move |stream: &TcpStream, shared: &Shared| serve(stream, shared, &config);
        Ok(Self(Listening::start(address, serve)?))
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

    /// Lets connections that hang go on with their next request.
    pub fn release_hung(&self) {
        self.0.release_hung();
    }
}

/// What the connection does after a request.
enum Next {
    Request,
    Close,
}

fn serve(tcp: &TcpStream, shared: &Shared, config: &Arc<ServerConfig>) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let mut session = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
    let mut socket = tcp;
    let mut stream = BufReader::new(Stream::new(&mut session, &mut socket));
    while matches!(request(&mut stream, shared)?, Next::Request) {}
    drop(stream);
    session.send_close_notify();
    while session.wants_write() {
        session.write_tls(&mut socket)?;
    }
    tcp.shutdown(Shutdown::Write)?;
    // Until the client's FIN: a close with its data still unread would become an RST.
    io::copy(&mut socket, &mut io::sink()).map(drop)
}

fn request(stream: &mut BufReader<impl Read + Write>, shared: &Shared) -> io::Result<Next> {
    let mut line = String::new();
    if stream.by_ref().take(LINE).read_line(&mut line)? == 0 {
        return Ok(Next::Close);
    }
    let mut words = line.split_whitespace();
    let (verb, length) = (
        words.next(),
        words.next().and_then(|word| word.parse().ok()),
    );
    match (verb, length) {
        (Some("download"), Some(length)) => pattern::write(stream.get_mut(), length)?,
        (Some("upload"), Some(length)) => {
            pattern::read(stream, length)?;
            stream.get_mut().write_all(b"ok\n")?;
            stream.get_mut().flush()?;
        }
        (Some("hang"), None) => shared.hang(),
        (Some("close"), None) => return Ok(Next::Close),
        _ => return Err(io::Error::new(ErrorKind::InvalidData, "no such request")),
    }
    Ok(Next::Request)
}
