//! What an end does once the tunnel is up: steps one after the other, then an ending.

use std::time::Duration;

/// What an end sends inside the tunnel of its own accord. Answers it always gives. Sizes are of IP
/// packets, in bytes, and held between [`SHORTEST`](super::SHORTEST) and
/// [`LONGEST`](super::LONGEST).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    /// Nothing.
    Idle,
    /// ICMP echoes to the other end, which answers with as many bytes.
    Ping {
        /// Time from one to the next.
        every: Duration,
        /// Bytes of each.
        bytes: u16,
    },
    /// UDP datagrams that the other end throws away.
    Send {
        /// Time from one burst to the next.
        every: Duration,
        /// Datagrams in each burst.
        datagrams: u16,
        /// Bytes of each.
        bytes: u16,
    },
    /// Has the other end send UDP datagrams; only the laboratory's peers do.
    Fetch {
        /// Time from one request to the next.
        every: Duration,
        /// Datagrams for each request.
        datagrams: u16,
        /// Bytes of each.
        bytes: u16,
    },
}

impl Traffic {
    /// Time between two of whatever it sends.
    pub(super) fn every(self) -> Option<Duration> {
        match self {
            Self::Idle => None,
            Self::Ping { every, .. } | Self::Send { every, .. } | Self::Fetch { every, .. } => {
                // A period of nothing would never let the other end's packets be read.
                Some(every.max(Duration::from_millis(1)))
            }
        }
    }
}

/// A part of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A healthy session.
    Carry {
        /// What this end sends.
        traffic: Traffic,
        /// For how long.
        lasts: Duration,
    },
    /// Reads nothing, so that the window closes once its buffer is full, but goes on sending.
    StopReading {
        /// What this end sends.
        traffic: Traffic,
        /// For how long.
        lasts: Duration,
    },
    /// Neither reads nor sends; the kernel acknowledges what comes.
    Hang(Duration),
}

/// How an end ends the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Call Disconnect, its answer, then `close_notify` and FIN.
    Disconnect,
    /// LCP's Terminate first, then as [`Disconnect`](Self::Disconnect).
    Terminate,
    /// Call Abort, its answer, then `close_notify` and FIN.
    Abort,
    /// `close_notify` and FIN.
    CloseNotify,
    /// FIN, without `close_notify`.
    Fin,
    /// The socket closed at once, as the kernel does for a killed process: a FIN, an RST if
    /// something is unread, and RSTs to whatever comes later.
    Kill,
    /// An RST.
    Reset,
    /// Not at all: goes on with this until the other end ends it.
    ByPeer(Traffic),
}

/// What an end does once the tunnel is up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeline {
    /// One after the other.
    pub steps: Vec<Step>,
    /// At the end.
    pub ending: Ending,
}

impl Timeline {
    /// Idle until the other end ends it.
    pub fn idle() -> Self {
        Self::of(vec![], Ending::ByPeer(Traffic::Idle))
    }

    /// Steps and an ending.
    pub fn of(steps: Vec<Step>, ending: Ending) -> Self {
        Self { steps, ending }
    }

    /// A healthy session of so long, and an ending.
    pub fn carry(traffic: Traffic, lasts: Duration, ending: Ending) -> Self {
        Self::of(vec![Step::Carry { traffic, lasts }], ending)
    }
}
