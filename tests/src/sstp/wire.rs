//! SSTP packets over a TLS session: each in a record of its own.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use futures::future::poll_fn;
use tokio::io::{AsyncRead as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::time::timeout;
use tokio_rustls::TlsStream;

use super::message::{HEADER, Malformed, Packet};
use super::socket::Tcp;

/// Packets that wait to be sent, at most; what is beyond is dropped, as a full interface does.
const QUEUE: usize = 256;

/// Bytes read at once: one record.
const READ: usize = 16 * 1024;

/// Why nothing more is read.
#[derive(Debug)]
pub(super) enum Closed {
    /// The peer sent `close_notify`.
    CloseNotify,
    /// The peer sent a FIN, without `close_notify`.
    Fin,
    /// The peer sent an RST.
    Reset,
    /// TCP gave up resending.
    TimedOut,
    /// What came is no SSTP.
    Malformed(Malformed),
    /// What came is no HTTP.
    NoHttp(String),
    /// TLS or the socket failed.
    Failed(io::Error),
}

impl From<io::Error> for Closed {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::UnexpectedEof => Self::Fin,
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Self::Reset,
            ErrorKind::TimedOut => Self::TimedOut,
            _ => Self::Failed(error),
        }
    }
}

/// One end of a TLS session that carries SSTP.
pub(super) struct Wire {
    stream: TlsStream<Tcp>,
    input: BytesMut,
    output: VecDeque<Vec<u8>>,
    /// The peer takes nothing more; what it said before may still be read.
    deaf: bool,
    split_header: bool,
    reading: bool,
}

impl Wire {
    pub(super) fn new(stream: TlsStream<Tcp>) -> Self {
        Self {
            stream,
            input: BytesMut::new(),
            output: VecDeque::new(),
            deaf: false,
            split_header: false,
            reading: true,
        }
    }

    /// Sends the header of each packet in a record of its own, as sorz's sstp-server does.
    pub(super) fn split_headers(&mut self) {
        self.split_header = true;
    }

    /// Goes on or stops reading; a window that isn't read closes.
    pub(super) fn set_reading(&mut self, reading: bool) {
        self.reading = reading;
    }

    /// The certificate that the peer showed, in DER; empty if it showed none.
    pub(super) fn peer_certificate(&self) -> Vec<u8> {
        let (_, session) = self.stream.get_ref();
        session
            .peer_certificates()
            .and_then(<[_]>::first)
            .map(|certificate| certificate.to_vec())
            .unwrap_or_default()
    }

    /// Has the packet sent while [`next`](Self::next) waits. One that is too long, or one too
    /// many, is dropped.
    pub(super) fn send(&mut self, packet: &Packet) {
        if self.deaf || self.output.len() >= QUEUE {
            return;
        }
        let Some(bytes) = packet.encode() else {
            return;
        };
        if self.split_header && bytes.len() > HEADER {
            let (header, rest) = bytes.split_at(HEADER);
            self.output.extend([header.to_vec(), rest.to_vec()]);
        } else {
            self.output.push_back(bytes);
        }
    }

    /// Sends text, such as HTTP, in one record.
    pub(super) fn send_text(&mut self, text: String) {
        self.output.push_back(text.into_bytes());
    }

    /// The next packet; sends what is to be sent while it waits. May be dropped at any time
    /// without a loss.
    pub(super) async fn next(&mut self) -> Result<Packet, Closed> {
        loop {
            if self.reading
                && let Some(length) = Packet::length(&self.input).map_err(Closed::Malformed)?
                && self.input.len() >= length
            {
                let packet = self.input.split_to(length);
                return Packet::decode(&packet).map_err(Closed::Malformed);
            }
            poll_fn(|context| self.poll_fill(context)).await?;
        }
    }

    /// The next head of HTTP, as `read` finds it.
    pub(super) async fn head<T>(
        &mut self,
        read: impl Fn(&[u8]) -> Result<Option<(T, usize)>, String>,
    ) -> Result<T, Closed> {
        loop {
            if let Some((head, length)) = read(&self.input).map_err(Closed::NoHttp)? {
                self.input.advance(length);
                return Ok(head);
            }
            poll_fn(|context| self.poll_fill(context)).await?;
        }
    }

    /// Passes over so many bytes.
    pub(super) async fn skip(&mut self, mut length: usize) -> Result<(), Closed> {
        loop {
            let here = length.min(self.input.len());
            self.input.advance(here);
            length -= here;
            if length == 0 {
                return Ok(());
            }
            poll_fn(|context| self.poll_fill(context)).await?;
        }
    }

    /// Sends all there is to send.
    pub(super) async fn flush(&mut self) -> Result<(), Closed> {
        poll_fn(|context| self.poll_send(context)).await?;
        Ok(())
    }

    /// Closes in good order, with or without `close_notify`: FIN, and then until the peer's FIN,
    /// because a close with bytes unread would be an RST. The wait for it ends after `patience`.
    pub(super) async fn close(&mut self, notify: bool, patience: Duration) {
        let close = async {
            self.flush().await?;
            if notify {
                self.stream.shutdown().await?;
            } else {
                self.stream.get_mut().0.shutdown().await?;
            }
            self.stream.get_mut().0.drain().await?;
            Ok::<(), Closed>(())
        };
        // The peer may be gone already, which is an end too.
        let _ = timeout(patience, close).await;
    }

    /// Makes the close of the socket, when this is dropped, a reset.
    pub(super) fn reset_on_close(&self) {
        self.stream.get_ref().0.reset_on_close();
    }

    /// Sends, and reads at least one byte.
    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        if let Poll::Ready(Err(_)) = self.poll_send(context) {
            // What the peer said before it closed is still to be read, and tells more.
            self.deaf = true;
            self.output.clear();
        }
        if !self.reading {
            return Poll::Pending;
        }
        let mut buffer = [0; READ];
        let mut buffer = ReadBuf::new(&mut buffer);
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer))?;
        if buffer.filled().is_empty() {
            return Poll::Ready(Err(Closed::CloseNotify));
        }
        self.input.extend_from_slice(buffer.filled());
        Poll::Ready(Ok(()))
    }

    /// Gives TLS a packet only when all before it are with the kernel: with room for one at
    /// least, TLS makes one record of it.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut stream = Pin::new(&mut self.stream);
            ready!(stream.as_mut().poll_flush(context))?;
            let Some(bytes) = self.output.front() else {
                return Poll::Ready(Ok(()));
            };
            ready!(stream.poll_write(context, bytes))?;
            self.output.pop_front();
        }
    }
}
