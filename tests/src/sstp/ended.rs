//! How a session went, as one of its ends tells it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::wait::wait_until;

/// How far a session came, in the order of its set-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The TCP handshake.
    Tcp,
    /// The TLS handshake.
    Tls,
    /// The HTTP request.
    Http,
    /// Call Connect Request and its answer.
    Call,
    /// PPP's LCP.
    Lcp,
    /// PPP's authentication.
    Authentication,
    /// Call Connected and PPP's IPCP, which may come in either order.
    Network,
    /// The tunnel carries traffic.
    Connected,
}

/// Which end brought the end about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// The end that tells it.
    Own,
    /// The other end.
    Peer,
    /// Neither: the network, or the kernel for it.
    Network,
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// By Call Disconnect.
    Disconnect {
        /// Whether it was answered.
        acknowledged: bool,
    },
    /// By Call Abort.
    Abort {
        /// Its status ([MS-SSTP], 2.2.8), if it had one.
        status: Option<u32>,
    },
    /// By `close_notify`, without a word of SSTP.
    CloseNotify,
    /// By a FIN, without `close_notify`.
    Fin,
    /// By an RST.
    Reset,
    /// The end that tells it was stopped or dropped, and its socket closed with it.
    Killed,
    /// No connection: refused, or nobody answered.
    NotConnected,
    /// TLS failed: an alert, or a certificate that isn't trusted.
    Tls,
    /// The answer to the HTTP request was not 200, or no SSTP followed.
    Http {
        /// The status code, where there was one.
        status: Option<u16>,
    },
    /// By Call Connect Nak.
    Nak,
    /// The two ends have no authentication, or nothing else, in common.
    Unwilling,
    /// Name and password were refused.
    Rejected,
    /// The crypto binding was not right.
    Binding,
    /// The set-up took too long.
    NegotiationTimeout,
    /// The peer answered no echo.
    Silence,
    /// TCP gave up resending.
    TimedOut,
    /// Something that is no SSTP, or an error that has no other name here.
    Failed,
}

/// The end of a session, before it is known how long it took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct End {
    pub(super) how: How,
    pub(super) by: By,
    pub(super) detail: String,
}

impl End {
    pub(super) fn new(how: How, by: By) -> Self {
        Self {
            how,
            by,
            detail: String::new(),
        }
    }

    pub(super) fn with(how: How, by: By, detail: impl Into<String>) -> Self {
        Self {
            how,
            by,
            detail: detail.into(),
        }
    }
}

/// Times from a question to its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RoundTrips {
    /// Answers that came.
    pub count: u64,
    /// All of them together.
    pub total: Duration,
    /// The shortest; zero if none came.
    pub shortest: Duration,
    /// The longest.
    pub longest: Duration,
}

impl RoundTrips {
    pub(super) fn note(&mut self, time: Duration) {
        self.shortest = if self.count == 0 {
            time
        } else {
            self.shortest.min(time)
        };
        self.count += 1;
        self.total += time;
        self.longest = self.longest.max(time);
    }

    /// Takes the other's answers to one's own.
    pub fn add(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        self.shortest = if self.count == 0 {
            other.shortest
        } else {
            self.shortest.min(other.shortest)
        };
        self.count += other.count;
        self.total += other.total;
        self.longest = self.longest.max(other.longest);
    }

    /// The mean; zero if there was none.
    pub fn mean(&self) -> Duration {
        u32::try_from(self.count)
            .ok()
            .and_then(|count| self.total.checked_div(count))
            .unwrap_or_default()
    }
}

/// What became of a session.
#[derive(Debug, Clone)]
pub struct Ended {
    /// This end's address; `None` if there never was a connection.
    pub local: Option<SocketAddr>,
    /// The other end's address.
    pub remote: SocketAddr,
    /// How it ended.
    pub how: How,
    /// Who ended it.
    pub by: By,
    /// How far it had come.
    pub phase: Phase,
    /// What else there is to say, in words for people; may be empty.
    pub detail: String,
    /// From the first SYN, or from `accept`, to the end.
    pub lasted: Duration,
    /// Bytes given to TCP.
    pub sent: u64,
    /// Bytes taken from TCP.
    pub received: u64,
    /// Answers to the echoes of SSTP and LCP that this end sent.
    pub echoes: RoundTrips,
    /// Answers to the ICMP echoes that this end sent inside the tunnel.
    pub pings: RoundTrips,
}

/// Bytes that went through a socket.
#[derive(Debug, Default)]
pub(super) struct Bytes {
    pub(super) sent: AtomicU64,
    pub(super) received: AtomicU64,
}

/// A session that one may watch from any thread, while it lives and after.
#[derive(Debug, Clone)]
pub struct Session(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    remote: SocketAddr,
    begun: Instant,
    bytes: Arc<Bytes>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    local: Option<SocketAddr>,
    phase: Phase,
    echoes: RoundTrips,
    pings: RoundTrips,
    end: Option<(End, Duration)>,
}

impl Session {
    pub(super) fn new(local: Option<SocketAddr>, remote: SocketAddr) -> Self {
        Self(Arc::new(Shared {
            remote,
            begun: Instant::now(),
            bytes: Arc::default(),
            state: Mutex::new(State {
                local,
                phase: Phase::Tcp,
                echoes: RoundTrips::default(),
                pings: RoundTrips::default(),
                end: None,
            }),
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().expect("no holder of this lock panics")
    }

    /// This end's address, once there is a connection.
    pub fn local(&self) -> Option<SocketAddr> {
        self.state().local
    }

    /// The other end's address.
    pub fn remote(&self) -> SocketAddr {
        self.0.remote
    }

    /// How far the session is, or was when it ended.
    pub fn phase(&self) -> Phase {
        self.state().phase
    }

    /// Whether the tunnel carries traffic now.
    pub fn is_connected(&self) -> bool {
        let state = self.state();
        state.phase == Phase::Connected && state.end.is_none()
    }

    /// What became of it; `None` while it lives.
    pub fn ended(&self) -> Option<Ended> {
        let state = self.state();
        let (end, lasted) = state.end.clone()?;
        let End { how, by, detail } = end;
        Some(Ended {
            local: state.local,
            remote: self.0.remote,
            how,
            by,
            phase: state.phase,
            detail,
            lasted,
            sent: self.0.bytes.sent.load(Ordering::Relaxed),
            received: self.0.bytes.received.load(Ordering::Relaxed),
            echoes: state.echoes,
            pings: state.pings,
        })
    }

    /// Waits until the tunnel carries traffic; an error that says what became of the session if
    /// it ends before.
    pub fn wait_connected(&self, timeout: Duration) -> Result<()> {
        wait_until(timeout, "the tunnel carries traffic", || {
            self.is_connected() || self.state().end.is_some()
        })?;
        anyhow::ensure!(self.is_connected(), "the session ended: {:?}", self.ended());
        Ok(())
    }

    /// Waits until the session has ended.
    pub fn wait_ended(&self, timeout: Duration) -> Result<Ended> {
        wait_until(timeout, "the session ends", || self.state().end.is_some())
            .with_context(|| format!("it is in phase {:?}", self.phase()))?;
        self.ended().context("it has ended")
    }

    pub(super) fn bytes(&self) -> Arc<Bytes> {
        Arc::clone(&self.0.bytes)
    }

    pub(super) fn set_local(&self, local: SocketAddr) {
        self.state().local = Some(local);
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.state().phase = phase;
    }

    pub(super) fn note_echo(&self, time: Duration) {
        self.state().echoes.note(time);
    }

    pub(super) fn note_ping(&self, time: Duration) {
        self.state().pings.note(time);
    }

    /// Notes the end, unless there was one before.
    pub(super) fn end(&self, end: End) {
        let lasted = self.0.begun.elapsed();
        self.state().end.get_or_insert((end, lasted));
    }
}

/// Notes that a session was killed if nothing else ends it before this is dropped.
pub(super) struct Alive(pub(super) Session);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.end(End::new(How::Killed, By::Own));
    }
}
