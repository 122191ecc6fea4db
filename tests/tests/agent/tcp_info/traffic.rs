//! What a flow carries, and its two ends.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};
use lab::Lab;
use socket2::{Domain, Socket, Type};

/// How long a read or write may stand still.
const PATIENCE: Duration = Duration::from_secs(20);

/// Who sends when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// The client all it has, then the server.
    InTurn,
    /// Both at the same time.
    AtOnce,
    /// A message each, by turns.
    PingPong,
}

/// What a flow carries.
#[derive(Clone, Copy, Debug)]
pub(super) struct Traffic {
    order: Order,
    /// Bytes per write.
    message: usize,
    from_client: u64,
    from_server: u64,
}

impl Traffic {
    /// Writes of `message` bytes, so many bytes from each side.
    pub(super) fn new(order: Order, message: usize, from_client: u64, from_server: u64) -> Self {
        Self {
            order,
            message,
            from_client,
            from_server,
        }
    }

    /// Carries it.
    pub(super) fn carry(&self, ends: &Ends) -> Result<()> {
        let up = || self.pump(&ends.client, &ends.server, self.from_client);
        let down = || self.pump(&ends.server, &ends.client, self.from_server);
        match self.order {
            Order::InTurn => up().and_then(|()| down()),
            Order::AtOnce => together(up, down),
            Order::PingPong => self.ping_pong(ends),
        }
        .with_context(|| format!("cannot carry {self:?}"))
    }

    /// Carries `length` bytes from one end to the other.
    fn pump(&self, mut from: &TcpStream, mut to: &TcpStream, length: u64) -> io::Result<()> {
        let message = vec![0x55; self.message];
        let send = || {
            let mut left = length;
            while left > 0 {
                let part =
                    usize::try_from(left).map_or(self.message, |left| left.min(self.message));
                from.write_all(&message[..part])?;
                left -= part as u64;
            }
            Ok(())
        };
        let receive = || {
            let received = io::copy(&mut (&mut to).take(length), &mut io::sink())?;
            if received < length {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            Ok(())
        };
        together(send, receive)
    }

    fn ping_pong(&self, ends: &Ends) -> io::Result<()> {
        let mut message = vec![0x55; self.message];
        for _ in 0..self.from_client / self.message as u64 {
            for (mut from, mut to) in [(&ends.client, &ends.server), (&ends.server, &ends.client)] {
                from.write_all(&message)?;
                to.read_exact(&mut message)?;
            }
        }
        Ok(())
    }
}

fn together(
    one: impl FnOnce() -> io::Result<()> + Send,
    other: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    thread::scope(|scope| {
        let one = scope.spawn(one);
        let other = other();
        one.join()
            .map_err(|_| io::Error::other("a thread panicked"))??;
        other
    })
}

/// Both ends of a connection, open while this lives.
pub(super) struct Ends {
    client: TcpStream,
    server: TcpStream,
    /// Address and port of the client.
    pub(super) address: SocketAddr,
}

impl Ends {
    /// Connects client and server, both with this congestion control.
    pub(super) fn connect(lab: &Lab, to: SocketAddr, control: &str) -> Result<Self> {
        let listener = lab.server.run(|| listen(to, control))?;
        let client = lab.client.run(|| {
            let socket = socket(to, control)?;
            socket.connect_timeout(&to.into(), PATIENCE)?;
            anyhow::Ok(TcpStream::from(socket))
        })?;
        let (server, address) = listener.accept().context("no connection comes")?;
        for end in [&client, &server] {
            end.set_nodelay(true)?;
            end.set_read_timeout(Some(PATIENCE))?;
            end.set_write_timeout(Some(PATIENCE))?;
        }
        Ok(Self {
            client,
            server,
            address,
        })
    }
}

fn listen(address: SocketAddr, control: &str) -> Result<TcpListener> {
    let socket = socket(address, control)?;
    // Of flows before, connections are still open on this port.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(1)?;
    Ok(socket.into())
}

fn socket(address: SocketAddr, control: &str) -> Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket
        .set_tcp_congestion(control.as_bytes())
        .map_err(|error| anyhow!("cannot use {control}: {error}"))?;
    Ok(socket)
}
