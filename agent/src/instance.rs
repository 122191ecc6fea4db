//! One agent per interface.
//!
//! An agent holds an abstract Unix socket named after each interface it watches. The
//! kernel frees it when the agent ends, however it ends, so it tells the living from the
//! dead; and its other end tells the process. Names like these are open to every user of
//! the host, so nobody is heard but root, this process's own user, and processes that may
//! load programs.

use std::{
    fmt, fs,
    io::{self, Read as _},
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixListener, UnixStream},
    },
    time::Duration,
};

use anyhow::{Context as _, bail};
use caps::{CapSet, Capability};
use nix::{
    sys::{
        signal::{Signal, kill},
        socket::{getsockopt, sockopt::PeerCredentials},
    },
    unistd::{Pid, Uid},
};
use procfs::process::Process;
use tokio::{io::AsyncReadExt as _, net};

/// How long an agent may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// The right to watch an interface, held while it lives.
pub struct Instance {
    /// Answers those who ask; `None` if a stranger has the name.
    answering: Option<tokio::task::JoinHandle<()>>,
}

impl Instance {
    /// Takes the right to watch an interface; fails if another agent has it.
    pub fn claim(interface: &str) -> anyhow::Result<Self> {
        let listener = match UnixListener::bind_addr(&address(interface)?) {
            Ok(listener) => listener,
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                if let Some(owner) = owner(interface)? {
                    bail!(
                        "sstpulse watches {interface} already, as {owner}; stop it first, with \
                         `sstpulse detach -i {interface}`"
                    );
                }
                tracing::warn!(
                    "another user's process holds the name by which sstpulse on {interface} would \
                     be found; `status` and `detach` will not find it"
                );
                return Ok(Self { answering: None });
            }
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("can't claim the interface {interface}"));
            }
        };
        listener
            .set_nonblocking(true)
            .and_then(|()| net::UnixListener::from_std(listener))
            .map(|listener| Self {
                answering: Some(tokio::spawn(answer(listener))),
            })
            .with_context(|| format!("can't claim the interface {interface}"))
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if let Some(answering) = &self.answering {
            answering.abort();
        }
    }
}

/// Holds the connections of those who may ask until they hang up, and drops all others.
async fn answer(listener: net::UnixListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let may_ask = stream
            .peer_cred()
            .is_ok_and(|peer| is_trusted(Uid::from_raw(peer.uid()), peer.pid()));
        if may_ask {
            // Nothing is said; the end of the connection is all that matters.
            tokio::spawn(async move { stream.read_u8().await });
        }
    }
}

fn is_trusted(user: Uid, pid: Option<i32>) -> bool {
    user.is_root() || user == Uid::effective() || pid.is_some_and(may_load_programs)
}

/// Whether a process has the capability that agents need, in this process's user namespace:
/// in one of their own, everybody has them all.
fn may_load_programs(pid: i32) -> bool {
    let namespace = |process: &str| fs::read_link(format!("/proc/{process}/ns/user"));
    let same_namespace = match (namespace(&pid.to_string()), namespace("self")) {
        (Ok(theirs), Ok(ours)) => theirs == ours,
        _ => false,
    };
    let capable = caps::has_cap(Some(pid), CapSet::Effective, Capability::CAP_BPF);
    same_namespace && capable.unwrap_or(false)
}

/// The agent that watches an interface.
pub struct Owner {
    /// Its process; `None` if it runs in a PID namespace that this process doesn't see.
    pub pid: Option<i32>,
    stream: UnixStream,
}

impl fmt::Display for Owner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid {
            Some(pid) => write!(formatter, "process {pid}"),
            None => formatter.write_str("a process of another PID namespace"),
        }
    }
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
    let credentials = getsockopt(&stream, PeerCredentials)
        .with_context(|| format!("can't find out who watches the interface {interface}"))?;
    // The kernel says 0 of a process that this one can't see.
    let pid = Some(credentials.pid()).filter(|pid| *pid > 0);
    Ok(is_trusted(Uid::from_raw(credentials.uid()), pid).then(|| Owner { pid, stream }))
}

impl Owner {
    /// Which other interfaces this agent watches, of those that are `watched`.
    pub fn others(&self, interface: &str, watched: &[String]) -> anyhow::Result<Vec<String>> {
        let mut others = Vec::new();
        for other in watched.iter().filter(|other| *other != interface) {
            let same = owner(other)?.is_some_and(|owner| owner.pid == self.pid);
            if same && self.pid.is_some() {
                others.push(other.clone());
            }
        }
        Ok(others)
    }

    /// Asks the agent to end, and waits until it has.
    pub fn stop(mut self) -> anyhow::Result<()> {
        let Some(pid) = self.pid else {
            bail!("can't stop the sstpulse that runs as {self}; stop it there");
        };
        kill(Pid::from_raw(pid), Signal::SIGTERM)
            .with_context(|| format!("can't stop the sstpulse that runs as {self}"))?;
        if is_stopped(pid) {
            bail!(
                "{self} was asked to end, and can't, since it is stopped; `kill -CONT {pid}` lets \
                 it, or `kill -9 {pid}` ends it, and `sstpulse detach` takes off what it leaves"
            );
        }
        self.stream
            .set_read_timeout(Some(PATIENCE))
            .context("can't set a time to wait")?;
        // The agent says nothing, so this lasts until it is gone.
        let mut nothing = [0];
        match self.stream.read(&mut nothing) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                bail!(
                    "{self} was asked to end, and has not within {PATIENCE:?}; \
                     `kill -9 {pid}` ends it, and `sstpulse detach` takes off what it leaves"
                )
            }
            Err(error) => Err(error).with_context(|| {
                format!("can't wait for the end of the sstpulse that runs as {self}")
            }),
        }
    }
}

/// Whether a process was stopped, by SIGSTOP for one.
fn is_stopped(pid: i32) -> bool {
    Process::new(pid)
        .and_then(|process| process.stat())
        .is_ok_and(|stat| stat.state == 'T')
}

/// Names of the interfaces that agents watch, or wait for, in this network namespace.
pub fn watched() -> anyhow::Result<Vec<String>> {
    let sockets = procfs::net::unix().context("can't list the sockets of this host")?;
    let mut names: Vec<String> = sockets
        .into_iter()
        .filter_map(|socket| {
            // The kernel writes @ for the zero that an abstract name begins with.
            let path = socket.path?;
            Some(path.to_str()?.strip_prefix("@sstpulse/")?.to_owned())
        })
        .collect();
    // Those who ask, and are answered, bear the name as well.
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

fn address(interface: &str) -> anyhow::Result<SocketAddr> {
    SocketAddr::from_abstract_name(format!("sstpulse/{interface}"))
        .with_context(|| format!("{interface:?} can't be the name of an interface"))
}
