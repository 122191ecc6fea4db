//! What both servers share: a listening socket, a thread per connection, and an end to all of it.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use socket2::{Domain, SockRef, Socket, Type};

/// Connections the kernel completes ahead of `accept`.
const BACKLOG: i32 = 4096;

/// Stack of a connection's thread, in bytes: small, for there are thousands.
const STACK: usize = 256 * 1024;

/// How connections of a server ended so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outcomes {
    /// In good order: `close_notify` (for TLS) and FIN.
    pub closed: u64,
    /// By a FIN without the `close_notify` that TLS wants, or amid a request.
    pub truncated: u64,
    /// By an RST from the client.
    pub reset: u64,
    /// By the kernel giving up on a silent client.
    pub timed_out: u64,
    /// By anything else: a wrong request, a failed handshake, or the server's own end.
    pub failed: u64,
}

impl Outcomes {
    /// All connections that ended.
    pub const fn total(&self) -> u64 {
        self.closed + self.truncated + self.reset + self.timed_out + self.failed
    }

    fn note(&mut self, end: &io::Result<()>) {
        let counter = match end.as_ref().map_err(io::Error::kind) {
            Ok(()) => &mut self.closed,
            Err(ErrorKind::UnexpectedEof) => &mut self.truncated,
            Err(ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => &mut self.reset,
            Err(ErrorKind::TimedOut) => &mut self.timed_out,
            Err(_) => &mut self.failed,
        };
        *counter += 1;
    }
}

/// State of a listening server that its connections' threads share.
#[derive(Default)]
pub(crate) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    accepted: u64,
    open: HashMap<u64, Arc<TcpStream>>,
    outcomes: Outcomes,
    /// Grows whenever hung connections are told to go on.
    releases: u64,
    stopping: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }

    /// Keeps the calling connection still until it is released or the server stops.
    pub(crate) fn hang(&self) {
        let state = self.lock();
        let before = state.releases;
        let still = |state: &mut State| !state.stopping && state.releases == before;
        drop(
            self.changed
                .wait_while(state, still)
                .expect("no holder of this lock panics"),
        );
    }

    fn add(&self, stream: &Arc<TcpStream>) -> Option<u64> {
        let mut state = self.lock();
        state.accepted += 1;
        let id = state.accepted;
        if state.stopping {
            return None;
        }
        state.open.insert(id, Arc::clone(stream));
        Some(id)
    }

    fn remove(&self, id: u64, end: &io::Result<()>) {
        let mut state = self.lock();
        state.open.remove(&id);
        state.outcomes.note(end);
        drop(state);
        self.changed.notify_all();
    }
}

/// A listening socket with its threads, all ended when dropped.
pub(crate) struct Listening {
    address: SocketAddr,
    listener: Arc<TcpListener>,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

impl Listening {
    /// Listens in the calling thread's namespace and gives each connection to `serve`, on a
    /// thread of its own.
    pub(crate) fn start(
        address: SocketAddr,
        serve: impl Fn(&TcpStream, &Shared) -> io::Result<()> + Send + Sync + 'static,
    ) -> Result<Self> {
        let listener =
            Arc::new(listen(address).with_context(|| format!("cannot listen on {address}"))?);
        let shared = Arc::new(Shared::default());
        let acceptor = {
            let (listener, shared) = (Arc::clone(&listener), Arc::clone(&shared));
            thread::spawn(move || accept_all(&listener, &shared, &Arc::new(serve)))
        };
        Ok(Self {
            address: listener
                .local_addr()
                .context("cannot tell the listening address")?,
            listener,
            shared,
            acceptor: Some(acceptor),
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn accepted(&self) -> u64 {
        self.shared.lock().accepted
    }

    pub(crate) fn connections(&self) -> Vec<SocketAddr> {
        self.shared
            .lock()
            .open
            .values()
            .filter_map(|stream| stream.peer_addr().ok())
            .collect()
    }

    pub(crate) fn outcomes(&self) -> Outcomes {
        self.shared.lock().outcomes
    }

    pub(crate) fn wait_outcomes(
        &self,
        timeout: Duration,
        enough: impl Fn(&Outcomes) -> bool,
    ) -> Result<Outcomes> {
        let state = self.shared.lock();
        let waiting = |state: &mut State| !enough(&state.outcomes);
        let (state, waited) = self
            .shared
            .changed
            .wait_timeout_while(state, timeout, waiting)
            .expect("no holder of this lock panics");
        let outcomes = state.outcomes;
        drop(state);
        anyhow::ensure!(!waited.timed_out(), "not within {timeout:?}: {outcomes:?}");
        Ok(outcomes)
    }

    pub(crate) fn release_hung(&self) {
        self.shared.lock().releases += 1;
        self.shared.changed.notify_all();
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.stopping = true;
        for stream in state.open.values() {
            // Fails for connections that are gone already.
            let _ = stream.shutdown(Shutdown::Both);
        }
        drop(state);
        self.shared.changed.notify_all();
        // Wakes the thread that waits in accept.
        let _ = SockRef::from(&*self.listener).shutdown(Shutdown::Both);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
        let state = self.shared.lock();
        let open = |state: &mut State| !state.open.is_empty();
        drop(
            self.shared
                .changed
                .wait_while(state, open)
                .expect("no holder of this lock panics"),
        );
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn accept_all<F>(listener: &TcpListener, shared: &Arc<Shared>, serve: &Arc<F>)
where
    F: Fn(&TcpStream, &Shared) -> io::Result<()> + Send + Sync + 'static,
{
    loop {
        match listener.accept() {
            Ok((stream, _)) => start_connection(stream, shared, serve),
            // A client that is gone before it is accepted is no reason to stop.
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => {
                if !shared.lock().stopping {
                    eprintln!("a server of the laboratory cannot accept: {error}");
                }
                return;
            }
        }
    }
}

fn start_connection<F>(stream: TcpStream, shared: &Arc<Shared>, serve: &Arc<F>)
where
    F: Fn(&TcpStream, &Shared) -> io::Result<()> + Send + Sync + 'static,
{
    let stream = Arc::new(stream);
    let Some(id) = shared.add(&stream) else {
        return;
    };
    let mut open = Open {
        shared: Arc::clone(shared),
        stream: Some(stream),
        id,
        end: None,
    };
    let serve = Arc::clone(serve);
    let job = move || {
        let stream = open.stream.clone().expect("taken only when dropped");
        open.end = Some(serve(&stream, &open.shared));
    };
    // Where no thread can be had, the job is dropped, and its connection counted as failed.
    if let Err(error) = thread::Builder::new().stack_size(STACK).spawn(job) {
        eprintln!("a server of the laboratory cannot start a thread: {error}");
    }
}

/// A connection being served; counted as ended when dropped, even by a panic.
struct Open {
    shared: Arc<Shared>,
    stream: Option<Arc<TcpStream>>,
    id: u64,
    end: Option<io::Result<()>>,
}

impl Drop for Open {
    fn drop(&mut self) {
        drop(self.stream.take());
        let end = self
            .end
            .take()
            .unwrap_or_else(|| Err(io::Error::other("no end")));
        self.shared.remove(self.id, &end);
    }
}
