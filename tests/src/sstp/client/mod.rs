//! The client: one session from the SYN to its end, and a thread for many of them.

mod options;
mod setup;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use tokio::time::{sleep, timeout};

use super::ended::{Alive, By, End, How, Phase, Session};
use super::event_loop::EventLoop;
use super::play::play;
use super::socket::{Tcp, connect};
use crate::namespace::Namespace;

pub use options::{ClientFault, ClientOptions};

/// Clients that share a thread inside a namespace. Dropping it kills those that live.
#[derive(Debug)]
pub struct SstpClients {
    event_loop: EventLoop,
}

impl SstpClients {
    /// Starts the thread in the namespace.
    pub fn start(namespace: &Namespace) -> Result<Self> {
        let event_loop = EventLoop::start(Some(namespace))?;
        Ok(Self { event_loop })
    }

    /// Starts the thread in the namespace of the calling thread.
    pub fn start_here() -> Result<Self> {
        let event_loop = EventLoop::start(None)?;
        Ok(Self { event_loop })
    }

    /// Has a client connect to the server, and returns at once.
    pub fn open(&self, to: SocketAddr, options: &ClientOptions) -> Session {
        let session = Session::new(None, to);
        let (running, options) = (session.clone(), options.clone());
        self.event_loop
            .spawn(async move { run(&running, &options).await });
        session
    }
}

/// Runs a client's session to its end, from the namespace of the thread that runs the future.
/// `session` tells of it meanwhile, and after. Dropping the future closes the socket.
pub async fn run(session: &Session, options: &ClientOptions) {
    let _alive = Alive(session.clone());
    let end = match attempt(session, options).await {
        Ok(end) | Err(end) => end,
    };
    session.end(end);
}

async fn attempt(session: &Session, options: &ClientOptions) -> Result<End, End> {
    let tcp = connected(session, options).await?;
    match options.fault {
        Some(ClientFault::CloseAfterConnect) => Ok(End::new(How::Fin, By::Own)),
        Some(ClientFault::SilentAfterConnect(time)) => Ok(silent(tcp, time).await),
        Some(ClientFault::RefuseCertificateInClear) => {
            session.enter(Phase::Tls);
            setup::refuse_in_clear(tcp, options).await
        }
        _ => {
            sleep(options.pace).await;
            session.enter(Phase::Tls);
            let wire = setup::secure(tcp, options).await?;
            match setup::tunnel(wire, session, options).await? {
                setup::Ready::Tunnel(tunnel) => Ok(play(*tunnel, &options.timeline).await),
                setup::Ready::Over(end) => Ok(end),
            }
        }
    }
}

async fn connected(session: &Session, options: &ClientOptions) -> Result<Tcp, End> {
    let connecting = connect(session.remote(), options.from, options.receive_buffer);
    let stream = match timeout(options.timers.connect, connecting).await {
        Ok(Ok(stream)) => stream,
        // The server's RST came before this end saw that it was connected.
        Ok(Err(error)) if error.kind() == ErrorKind::ConnectionReset => {
            session.enter(Phase::Tls);
            return Err(End::new(How::Reset, By::Peer));
        }
        Ok(Err(error)) => {
            return Err(End::with(How::NotConnected, By::Peer, error.to_string()));
        }
        Err(_) => {
            let why = format!("no answer within {:?}", options.timers.connect);
            return Err(End::with(How::NotConnected, By::Network, why));
        }
    };
    if let Ok(local) = stream.local_addr() {
        session.set_local(local);
    }
    Ok(Tcp::new(stream, session.bytes()))
}

/// Says nothing until then, or until the server closes.
async fn silent(mut tcp: Tcp, time: Duration) -> End {
    match timeout(time, tcp.drain()).await {
        Err(_) => End::new(How::Fin, By::Own),
        Ok(Ok(())) => End::new(How::Fin, By::Peer),
        Ok(Err(_)) => End::new(How::Reset, By::Peer),
    }
}
