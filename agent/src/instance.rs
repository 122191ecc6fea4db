//! One agent per interface.
//!
//! An agent holds an abstract Unix socket named after each interface it watches. The
//! kernel frees it when the agent ends, however it ends, so it tells the living from the
//! dead; and its other end tells the process.

use std::{
    io::{self, Read as _},
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixListener, UnixStream},
    },
};

use anyhow::{Context as _, bail};
use nix::{
    sys::{
        signal::{Signal, kill},
        socket::{getsockopt, sockopt::PeerCredentials},
    },
    unistd::Pid,
};

/// The right to watch an interface, held while it lives.
pub struct Instance {
    _listener: UnixListener,
}

impl Instance {
    /// Takes the right to watch an interface; fails if another agent has it.
    pub fn claim(interface: &str) -> anyhow::Result<Self> {
        match UnixListener::bind_addr(&address(interface)?) {
            Ok(listener) => Ok(Self {
                _listener: listener,
            }),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => match owner(interface)? {
                Some(owner) => bail!(
                    "sstpulse watches {interface} already, as process {}; stop it first, with \
                     `sstpulse detach -i {interface}`",
                    owner.pid
                ),
                None => bail!("another sstpulse on {interface} is just ending; try again"),
            },
            Err(error) => {
                Err(error).with_context(|| format!("can't claim the interface {interface}"))
            }
        }
    }
}

/// The agent that watches an interface.
pub struct Owner {
    /// Its process.
    pub pid: i32,
    stream: UnixStream,
}

/// Who watches an interface; `None` if nobody does.
pub fn owner(interface: &str) -> anyhow::Result<Option<Owner>> {
    let stream = match UnixStream::connect_addr(&address(interface)?) {
        Ok(stream) => stream,
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Ok(None),
        Err(error) => {
            return Err(error)
                .with_context(|| format!("can't find out who watches the interface {interface}"));
        }
    };
    let pid = getsockopt(&stream, PeerCredentials)
        .with_context(|| format!("can't find out who watches the interface {interface}"))?
        .pid();
    Ok(Some(Owner { pid, stream }))
}

impl Owner {
    /// Asks the agent to end, and waits until it has.
    pub fn stop(mut self) -> anyhow::Result<()> {
        kill(Pid::from_raw(self.pid), Signal::SIGTERM).with_context(|| {
            format!("can't stop the sstpulse that runs as process {}", self.pid)
        })?;
        // The agent never takes the connection, so it lasts until the socket is closed.
        let mut nothing = [0];
        match self.stream.read(&mut nothing) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(()),
            Err(error) => Err(error).with_context(|| {
                format!(
                    "can't wait for the end of the sstpulse that runs as process {}",
                    self.pid
                )
            }),
        }
    }
}

fn address(interface: &str) -> anyhow::Result<SocketAddr> {
    SocketAddr::from_abstract_name(format!("sstpulse/{interface}"))
        .with_context(|| format!("{interface:?} can't be the name of an interface"))
}
