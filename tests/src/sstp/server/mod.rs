//! The server: a listening socket, and all its sessions on one thread.

mod options;
mod setup;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use tokio::net::{TcpListener, TcpStream};
use tokio::select;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::ended::{Alive, By, End, Ended, How, Session};
use super::event_loop::EventLoop;
use super::play::play;
use super::socket::{Tcp, listen};
use crate::namespace::Namespace;
use crate::wait::wait_until;

pub use options::{Authentication, Gate, Refusal, ServerOptions};

/// Addresses that clients get, one after the other, before they begin anew.
const ADDRESSES: u32 = 60_000;

/// An SSTP server. Dropping it kills it.
#[derive(Debug)]
pub struct SstpServer {
    address: SocketAddr,
    sessions: Sessions,
    stop: watch::Sender<bool>,
    event_loop: EventLoop,
}

/// All sessions there ever were.
#[derive(Debug, Clone, Default)]
struct Sessions(Arc<Mutex<Vec<Session>>>);

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, Vec<Session>> {
        self.0.lock().expect("no holder of this lock panics")
    }
}

impl SstpServer {
    /// Listens in the namespace; port 0 lets the kernel choose.
    pub fn start(
        namespace: &Namespace,
        address: SocketAddr,
        options: &ServerOptions,
    ) -> Result<Self> {
        Self::start_on(EventLoop::start(Some(namespace))?, address, options)
    }

    /// Listens in the namespace of the calling thread.
    pub fn start_here(address: SocketAddr, options: &ServerOptions) -> Result<Self> {
        Self::start_on(EventLoop::start(None)?, address, options)
    }

    fn start_on(
        event_loop: EventLoop,
        address: SocketAddr,
        options: &ServerOptions,
    ) -> Result<Self> {
        let (backlog, receive_buffer) = (options.backlog, options.receive_buffer);
        let listener = event_loop
            .call(async move { listen(address, backlog, receive_buffer) })?
            .with_context(|| format!("cannot listen on {address}"))?;
        let address = listener
            .local_addr()
            .context("cannot tell the listening address")?;
        let (stop, stopping) = watch::channel(false);
        let sessions = Sessions::default();
        let server = Accepting {
            listener,
            options: Arc::new(options.clone()),
            sessions: sessions.clone(),
            stopping,
        };
        event_loop.spawn(server.run());
        Ok(Self {
            address,
            sessions,
            stop,
            event_loop,
        })
    }

    /// Address and port it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// All sessions there ever were, in the order of their coming.
    pub fn sessions(&self) -> Vec<Session> {
        self.sessions.lock().clone()
    }

    /// Tunnels that carry traffic now.
    pub fn connected(&self) -> usize {
        let connected = |session: &&Session| session.is_connected();
        self.sessions.lock().iter().filter(connected).count()
    }

    /// What became of the sessions that have ended, in the order of their coming.
    pub fn ended(&self) -> Vec<Ended> {
        let sessions = self.sessions.lock();
        sessions.iter().filter_map(Session::ended).collect()
    }

    /// Waits until so many sessions have ended.
    pub fn wait_ended(&self, count: usize, timeout: Duration) -> Result<Vec<Ended>> {
        wait_until(timeout, "the server's sessions end", || {
            self.ended().len() >= count
        })?;
        Ok(self.ended())
    }

    /// Closes all sockets at once, as the kernel does when the process is killed: a FIN each, or
    /// an RST where something is unread. Returns what became of the sessions.
    pub fn kill(self) -> Vec<Ended> {
        let Self {
            sessions,
            event_loop,
            ..
        } = self;
        drop(event_loop);
        let sessions = sessions.lock();
        sessions.iter().filter_map(Session::ended).collect()
    }

    /// Accepts no more, ends every tunnel by Call Disconnect, and returns what became of the
    /// sessions. Those that are not set up yet, or don't end in time, are killed.
    pub fn shutdown(self, patience: Duration) -> Result<Vec<Ended>> {
        self.stop
            .send(true)
            .map_err(|_| anyhow!("the server has stopped before"))?;
        // Whoever doesn't end in time is killed below, and told of so.
        let _ = wait_until(patience, "the tunnels end", || self.connected() == 0);
        Ok(self.kill())
    }
}

/// The server as its thread has it.
struct Accepting {
    listener: TcpListener,
    options: Arc<ServerOptions>,
    sessions: Sessions,
    stopping: watch::Receiver<bool>,
}

impl Accepting {
    async fn run(mut self) {
        let mut tasks = JoinSet::new();
        let mut count = 0;
        loop {
            select! {
                accepted = self.listener.accept(), if self.options.accepts => match accepted {
                    Ok((stream, remote)) => {
                        self.accept(&mut tasks, stream, remote, count);
                        count += 1;
                    }
                    // Out of file descriptors, or a client that is gone: others may come.
                    Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                },
                Some(_) = tasks.join_next() => {}
                // The server's owner holds the other end as long as this runs.
                _ = self.stopping.changed() => break,
            }
        }
        drop(self.listener);
        while tasks.join_next().await.is_some() {}
    }

    fn accept(&self, tasks: &mut JoinSet<()>, stream: TcpStream, remote: SocketAddr, count: u32) {
        let (limit, reset) = match self.options.gate {
            Gate::Fin { limit } => (limit, false),
            Gate::Reset { limit } => (limit, true),
            Gate::Open | Gate::Hang(_) => (usize::MAX, false),
        };
        let session = Session::new(stream.local_addr().ok(), remote);
        self.sessions.lock().push(session.clone());
        let tcp = Tcp::new(stream, session.bytes());
        if tasks.len() >= limit {
            let how = if reset { How::Reset } else { How::Fin };
            if reset {
                tcp.reset_on_close();
            }
            session.end(End::with(how, By::Own, "too many connections"));
            return;
        }
        let connection = Connection {
            options: Arc::clone(&self.options),
            session,
            stopping: self.stopping.clone(),
            assigned: assigned(self.options.inside, count),
        };
        tasks.spawn(connection.run(tcp));
    }
}

/// Address of the client that came after so many others.
fn assigned(inside: Ipv4Addr, count: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(inside).wrapping_add(1 + count % ADDRESSES))
}

/// One connection.
struct Connection {
    options: Arc<ServerOptions>,
    session: Session,
    stopping: watch::Receiver<bool>,
    assigned: Ipv4Addr,
}

impl Connection {
    async fn run(self, tcp: Tcp) {
        let _alive = Alive(self.session.clone());
        let end = match self.serve(tcp).await {
            Ok(end) | Err(end) => end,
        };
        self.session.end(end);
    }

    async fn serve(&self, tcp: Tcp) -> Result<End, End> {
        let wire = self.secure(tcp).await?;
        let tunnel = self.tunnel(wire).await?;
        Ok(play(tunnel, &self.options.timeline).await)
    }
}
