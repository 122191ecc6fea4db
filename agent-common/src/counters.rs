//! What the programs count for the whole host: everything they pass over or lose.

/// A counter kept per CPU by the programs; never reset while they are loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Counter {
    /// Sessions made from a completed handshake.
    SessionsFromHandshake,
    /// Sessions made from data of the server, without a handshake seen.
    SessionsMidstream,
    /// Segments of flows that no record could be made for: every slot was taken.
    TableFull,
    /// Segments of flows that no record could be made for: the index refused.
    IndexRefused,
    /// Notices that the ring buffer had no room for. The scan finds what they told.
    NoticesLost,
    /// Payloads of openings that their ring buffer had no room for. What the TLS handshake
    /// and the set-up of these sessions show is not known.
    PayloadsLost,
    /// Entries made in the table of half-open connections.
    HalfOpenInserted,
    /// Entries taken from it because the handshake completed.
    HalfOpenCompleted,
    /// Entries it refused.
    HalfOpenRefused,
    /// Segments on an interface other than the one that owns the session.
    OtherInterface,
    /// Segments from a client whose numbers lie outside the windows: forged, or of an
    /// older connection.
    OutOfWindow,
    /// Segments that belong to no session and no attempt: of connections that nothing has
    /// proved yet, or that have ended.
    NoSession,
    /// IP fragments that carry TCP; only the first of a packet has ports, none is followed.
    Fragments,
    /// Packets whose headers contradict themselves or end too early.
    Malformed,
}

impl Counter {
    /// How many counters there are.
    pub const COUNT: usize = Self::Malformed as usize + 1;
}

/// The sum over all CPUs, indexed by [`Counter`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters(pub [u64; Counter::COUNT]);

impl Counters {
    /// The value of one counter.
    pub const fn get(&self, counter: Counter) -> u64 {
        self.0[counter as usize]
    }

    /// Adds one to a counter.
    pub const fn add(&mut self, counter: Counter) {
        self.0[counter as usize] += 1;
    }
}
