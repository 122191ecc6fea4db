//! A TLS client of the laboratory's server.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustls::{ClientConnection, StreamOwned};
use socket2::{Domain, SockRef, Socket, Type};

use crate::namespace::Namespace;
use crate::pattern;
use crate::tls::Tls;

/// Longest wait for the connection, and then for each read or write, unless chosen otherwise.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How a client connects.
#[derive(Debug, Clone, Copy)]
pub struct ClientOptions {
    /// Address it connects from; the kernel chooses otherwise.
    pub from: Option<IpAddr>,
    /// Longest wait for TCP and TLS handshake together, and then for each read or write.
    pub timeout: Duration,
    /// Receive buffer, in bytes, as for `SO_RCVBUF`; the kernel tunes it otherwise.
    pub receive_buffer: Option<usize>,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            from: None,
            timeout: TIMEOUT,
            receive_buffer: None,
        }
    }
}

/// A TLS session with the server. Dropping it closes the socket without `close_notify`.
pub struct Client {
    stream: StreamOwned<ClientConnection, TcpStream>,
    local: SocketAddr,
    remote: SocketAddr,
}

impl Client {
    /// Connects from inside the namespace; returns when the TLS handshake is done.
    pub fn connect(
        namespace: &Namespace,
        from: Option<IpAddr>,
        to: SocketAddr,
        tls: &Tls,
    ) -> Result<Self> {
        Self::connect_with(
            namespace,
            to,
            tls,
            &ClientOptions {
                from,
                ..Default::default()
            },
        )
    }

    /// As [`connect`](Self::connect), but gives up after `timeout`.
    pub fn connect_timeout(
        namespace: &Namespace,
        from: Option<IpAddr>,
        to: SocketAddr,
        tls: &Tls,
        timeout: Duration,
    ) -> Result<Self> {
        let options = ClientOptions {
            from,
            timeout,
            ..Default::default()
        };
        Self::connect_with(namespace, to, tls, &options)
    }

    /// As [`connect`](Self::connect), with all options.
    pub fn connect_with(
        namespace: &Namespace,
        to: SocketAddr,
        tls: &Tls,
        options: &ClientOptions,
    ) -> Result<Self> {
        namespace.run(|| Self::connect_here(to, tls, options))
    }

    /// Connects from the namespace of the calling thread.
    pub fn connect_here(to: SocketAddr, tls: &Tls, options: &ClientOptions) -> Result<Self> {
        let deadline = Instant::now() + options.timeout;
        let tcp = connect_tcp(to, options).with_context(|| format!("cannot connect to {to}"))?;
        let local = tcp
            .local_addr()
            .context("cannot tell the client's address")?;
        let session = ClientConnection::new(Arc::clone(&tls.client), Tls::server_name())
            .context("cannot begin a TLS session")?;
        let mut stream = StreamOwned::new(session, tcp);
        handshake(&mut stream, deadline)
            .with_context(|| format!("cannot complete the TLS handshake with {to}"))?;
        let client = Self {
            stream,
            local,
            remote: to,
        };
        client.set_timeout(options.timeout)?;
        Ok(client)
    }

    /// Address and port of this end.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Address and port of the server.
    pub fn remote_addr(&self) -> SocketAddr {
        self.remote
    }

    /// Sets the longest wait of each read or write from now on.
    pub fn set_timeout(&self, timeout: Duration) -> Result<()> {
        set_timeouts(&self.stream.sock, timeout).context("cannot set the client's timeout")
    }

    /// Has the server send `length` bytes, reads them and checks them.
    pub fn download(&mut self, length: u64) -> Result<()> {
        self.request_download_unread(length)?;
        self.read_download(length)
    }

    /// Asks for `length` bytes and reads none, so that the receive window closes when they are
    /// more than the receive buffer holds.
    pub fn request_download_unread(&mut self, length: u64) -> Result<()> {
        self.request(&format!("download {length}\n"))
    }

    /// Reads and checks the bytes that [`request_download_unread`](Self::request_download_unread)
    /// asked for.
    pub fn read_download(&mut self, length: u64) -> Result<()> {
        pattern::read(&mut self.stream, length)
            .with_context(|| format!("cannot download {length} bytes"))
    }

    /// Reads whatever comes for this long; returns the bytes read.
    pub fn read_for(&mut self, time: Duration) -> Result<u64> {
        let deadline = Instant::now() + time;
        let mut buffer = vec![0; 16 * 1024];
        let mut total = 0;
        while let Some(rest) = left(deadline) {
            self.stream
                .sock
                .set_read_timeout(Some(rest))
                .context("cannot set the timeout")?;
            match self.stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => total += length as u64,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).context("cannot read from the server"),
            }
        }
        self.set_timeout(TIMEOUT)?;
        Ok(total)
    }

    /// Sends `length` bytes and waits for the server to have them all.
    pub fn upload(&mut self, length: u64) -> Result<()> {
        self.request(&format!("upload {length}\n"))?;
        let mut answer = [0; 3];
        pattern::write(&mut self.stream, length)
            .and_then(|()| self.stream.read_exact(&mut answer))
            .with_context(|| format!("cannot upload {length} bytes"))?;
        ensure!(&answer == b"ok\n", "the server refuses the upload");
        Ok(())
    }

    /// Has the server neither read nor write any more.
    pub fn hang(&mut self) -> Result<()> {
        self.request("hang\n")
    }

    /// Has the server close the session, and closes this end too.
    pub fn close_by_server(mut self) -> Result<()> {
        self.request("close\n")?;
        io::copy(&mut self.stream, &mut io::sink()).context("the server does not close")?;
        // TLS ends with the server's close_notify; its FIN may still be on the way, and
        // ours must not overtake it.
        io::copy(&mut self.stream.sock, &mut io::sink()).context("the server sends no FIN")?;
        self.close()
    }

    /// Closes in good order: `close_notify` and FIN, then waits for the server's FIN.
    pub fn close(mut self) -> Result<()> {
        self.stream.conn.send_close_notify();
        self.stream.flush().context("cannot send close_notify")?;
        self.finish()
    }

    /// Sends FIN without `close_notify`, then waits for the server's FIN.
    pub fn close_without_notify(self) -> Result<()> {
        self.finish()
    }

    /// Closes with an RST.
    pub fn abort(self) -> Result<()> {
        SockRef::from(&self.stream.sock)
            .set_linger(Some(Duration::ZERO))
            .context("cannot make the close a reset")
    }

    /// Keeps the session open, sending nothing, until the server ends it or `time` is over; true
    /// if the server ended it. The client closes its socket then.
    pub fn hold(self, time: Duration) -> Result<bool> {
        let deadline = Instant::now() + time;
        let mut buffer = vec![0; 16 * 1024];
        while let Some(rest) = left(deadline) {
            self.stream
                .sock
                .set_read_timeout(Some(rest))
                .context("cannot set the timeout")?;
            match (&self.stream.sock).read(&mut buffer) {
                Ok(0) => return Ok(true),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(true),
                Err(error) => return Err(error).context("cannot read from the server"),
            }
        }
        Ok(false)
    }

    /// The TCP socket below, for options.
    pub fn socket(&self) -> &TcpStream {
        &self.stream.sock
    }

    fn request(&mut self, line: &str) -> Result<()> {
        self.stream
            .write_all(line.as_bytes())
            .and_then(|()| self.stream.flush())
            .with_context(|| format!("cannot send the request `{}`", line.trim_end()))
    }

    fn finish(self) -> Result<()> {
        finish(&self.stream.sock)
    }
}

/// Sends FIN and reads until the other end's FIN.
pub(crate) fn finish(mut tcp: &TcpStream) -> Result<()> {
    tcp.shutdown(Shutdown::Write).context("cannot send FIN")?;
    io::copy(&mut tcp, &mut io::sink()).context("the server does not close")?;
    Ok(())
}

/// Connects a TCP socket from the namespace of the calling thread.
pub(crate) fn connect_tcp(to: SocketAddr, options: &ClientOptions) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    if let Some(bytes) = options.receive_buffer {
        socket.set_recv_buffer_size(bytes)?;
    }
    if let Some(from) = options.from {
        socket.bind(&SocketAddr::new(from, 0).into())?;
    }
    socket.connect_timeout(&to.into(), options.timeout)?;
    socket.set_tcp_nodelay(true)?;
    let tcp = TcpStream::from(socket);
    set_timeouts(&tcp, options.timeout)?;
    Ok(tcp)
}

fn handshake(
    stream: &mut StreamOwned<ClientConnection, TcpStream>,
    deadline: Instant,
) -> io::Result<()> {
    while stream.conn.is_handshaking() {
        let rest = left(deadline).ok_or(ErrorKind::TimedOut)?;
        set_timeouts(&stream.sock, rest)?;
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(())
}

fn set_timeouts(tcp: &TcpStream, timeout: Duration) -> io::Result<()> {
    tcp.set_read_timeout(Some(timeout))?;
    tcp.set_write_timeout(Some(timeout))
}

/// Time left, unless none is: a socket takes no timeout of zero.
fn left(deadline: Instant) -> Option<Duration> {
    Some(deadline.saturating_duration_since(Instant::now())).filter(|rest| !rest.is_zero())
}
