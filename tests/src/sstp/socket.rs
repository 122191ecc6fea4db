//! TCP sockets that count their bytes, and can wait before they hand over the first of them.

use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{Sleep, sleep};

use super::ended::Bytes;

/// A TCP connection.
#[derive(Debug)]
pub(super) struct Tcp {
    stream: TcpStream,
    bytes: Arc<Bytes>,
    stall: Stall,
}

/// A wait between the arrival of the first bytes and the reading of them.
#[derive(Debug)]
enum Stall {
    Before(Duration),
    Going(Pin<Box<Sleep>>),
    Over,
}

impl Tcp {
    pub(super) fn new(stream: TcpStream, bytes: Arc<Bytes>) -> Self {
        // Each record has a segment of its own, as with the peers whose sizes are known. Fails only
        // for a socket that is gone already.
        let _ = stream.set_nodelay(true);
        Self {
            stream,
            bytes,
            stall: Stall::Over,
        }
    }

    /// Once the first bytes have come, reads none of them for so long. The kernel acknowledges
    /// them meanwhile.
    pub(super) fn stall(&mut self, time: Duration) {
        self.stall = Stall::Before(time);
    }

    /// Waits until bytes, a FIN or an RST have come.
    pub(super) async fn readable(&self) -> io::Result<()> {
        self.stream.readable().await
    }

    /// Makes the close a reset.
    pub(super) fn reset_on_close(&self) {
        // Fails only for a socket that is gone already.
        let _ = self.stream.set_zero_linger();
    }

    /// Reads and throws away until the peer's FIN.
    pub(super) async fn drain(&mut self) -> io::Result<()> {
        let mut buffer = [0; 4096];
        while self.read(&mut buffer).await? > 0 {}
        Ok(())
    }
}

impl AsyncRead for Tcp {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Stall::Before(time) = self.stall {
            ready!(self.stream.poll_read_ready(context))?;
            self.stall = Stall::Going(Box::pin(sleep(time)));
        }
        if let Stall::Going(sleep) = &mut self.stall {
            ready!(sleep.as_mut().poll(context));
            self.stall = Stall::Over;
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let read = (buffer.filled().len() - before) as u64;
        self.bytes.received.fetch_add(read, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tcp {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, bytes))?;
        self.bytes.sent.fetch_add(written as u64, Ordering::Relaxed);
        Poll::Ready(Ok(written))
    }

    /// TLS hands over all records of a flight at once: they share segments, as with other stacks.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(context, parts))?;
        self.bytes.sent.fetch_add(written as u64, Ordering::Relaxed);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Connects from the namespace of the calling thread. `receive_buffer` is in bytes, as for
/// `SO_RCVBUF`.
pub(super) async fn connect(
    to: SocketAddr,
    from: Option<IpAddr>,
    receive_buffer: Option<u32>,
) -> io::Result<TcpStream> {
    let socket = socket_for(to)?;
    if let Some(bytes) = receive_buffer {
        socket.set_recv_buffer_size(bytes)?;
    }
    if let Some(from) = from {
        socket.bind(SocketAddr::new(from, 0))?;
    }
    socket.connect(to).await
}

/// Listens in the namespace of the calling thread; accepted sockets inherit the receive buffer.
pub(super) fn listen(
    address: SocketAddr,
    backlog: u32,
    receive_buffer: Option<u32>,
) -> io::Result<TcpListener> {
    let socket = socket_for(address)?;
    socket.set_reuseaddr(true)?;
    if let Some(bytes) = receive_buffer {
        socket.set_recv_buffer_size(bytes)?;
    }
    socket.bind(address)?;
    socket.listen(backlog)
}

fn socket_for(address: SocketAddr) -> io::Result<TcpSocket> {
    if address.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    }
}
