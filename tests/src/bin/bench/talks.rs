//! Real connections through the lab, which know what they have carried.

use std::{
    io::{self, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use lab::{Namespace, SERVER_V4};
use socket2::SockRef;

/// What a side says at a time, in bytes.
const SAID: usize = 1_000;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server that says everything again; it accepts no more when dropped.
pub(crate) struct Echo(TcpListener);

/// A connection to it.
pub(crate) struct Talk {
    stream: TcpStream,
    client: SocketAddr,
    /// Bytes each way.
    bytes: u64,
}

/// What a connection that has ended carried.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Carried {
    pub(crate) client: SocketAddr,
    /// Each way.
    pub(crate) bytes: u64,
}

impl Echo {
    /// Where it listens.
    fn address() -> SocketAddr {
        SocketAddr::from((SERVER_V4, 443))
    }

    /// Listens in the namespace.
    pub(crate) fn start(namespace: &Namespace) -> Result<Self> {
        let listener = namespace
            .run(|| TcpListener::bind(Self::address()))
            .context("can't listen on port 443")?;
        let accepting = listener.try_clone()?;
        thread::spawn(move || {
            // An error says that it accepts no more.
            while let Ok((stream, _)) = accepting.accept() {
                // A connection that breaks is missed by its client.
                thread::spawn(move || io::copy(&mut &stream, &mut &stream));
            }
        });
        Ok(Self(listener))
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        // It fails if it listens no more, which is what is wanted.
        let _ = SockRef::from(&self.0).shutdown(Shutdown::Both);
    }
}

impl Talk {
    /// Connects from the namespace this thread is in.
    pub(crate) fn open() -> Result<Self> {
        let stream = TcpStream::connect_timeout(&Echo::address(), PATIENCE)
            .context("can't connect to the server")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let client = stream.local_addr()?;
        Ok(Self {
            stream,
            client,
            bytes: 0,
        })
    }

    /// Each says something in all of them, until it is enough; then they end.
    pub(crate) fn go_on(mut talks: Vec<Self>, enough: &AtomicBool) -> Result<Vec<Carried>> {
        while !enough.load(Ordering::Relaxed) {
            for talk in &mut talks {
                talk.say()?;
            }
            for talk in &mut talks {
                talk.hear()?;
            }
        }
        talks.into_iter().map(Self::close).collect()
    }

    /// One after the other begins, says something so many times, and ends, until it is enough.
    pub(crate) fn come_and_go(times: u32, enough: &AtomicBool) -> Result<Vec<Carried>> {
        let mut all = Vec::new();
        while !enough.load(Ordering::Relaxed) {
            let mut talk = Self::open()?;
            for _ in 0..times {
                talk.say()?;
                talk.hear()?;
            }
            all.push(talk.close()?);
        }
        Ok(all)
    }

    fn say(&mut self) -> Result<()> {
        self.bytes += SAID as u64;
        self.stream
            .write_all(&[0x17; SAID])
            .context("can't send to the server")
    }

    fn hear(&mut self) -> Result<()> {
        self.stream
            .read_exact(&mut [0; SAID])
            .context("the server doesn't answer")
    }

    fn close(mut self) -> Result<Carried> {
        self.stream.shutdown(Shutdown::Write)?;
        io::copy(&mut self.stream, &mut io::sink())?;
        Ok(Carried {
            client: self.client,
            bytes: self.bytes,
        })
    }
}
