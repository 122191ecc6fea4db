//! What is kept of a dialogue for the session's life: as little as can be, since a million
//! of them may live.

use schemars::JsonSchema;
use serde::Serialize;
use sstpulse_common::Side;

use super::cipher::RecordSize;

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The client has sent nothing that TLS could begin with.
    Tcp,
    /// The client has begun with TLS.
    Tls,
    /// The client's Finished has come: what follows is the HTTP request and its answer.
    Http,
    /// The client has sent Call Connect Request.
    SstpSetup,
    /// The server has answered it: PPP negotiates, and authenticates.
    Ppp,
    /// The client has sent Call Connected: the tunnel carries data.
    Up,
    /// One side has said goodbye. This comes after what a dialogue sees: it is for whoever
    /// sees the whole session to say.
    Closing,
}

/// A step on the way to a tunnel. A record counts when its header has come, and whatever
/// the stream has before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Milestone {
    /// The client's first byte.
    ClientHello,
    /// The server's first record.
    ServerHello,
    /// The last byte that the server sent before the client went on: with TLS, the end of its
    /// certificate.
    ServerFlightEnd,
    /// The client's first byte after the server's hello.
    ClientReply,
    /// The record with the client's Finished.
    HandshakeDone,
    /// The client's first application record.
    HttpRequest,
    /// The server's last application record before Call Connect Request, which is a session
    /// ticket until something else comes (TLS 1.3).
    HttpReply,
    /// The client's Call Connect Request.
    ConnectRequest,
    /// The server's answer to it.
    ConnectAck,
    /// The client's Call Connected.
    Connected,
}

impl Milestone {
    /// How many come after the client's first byte.
    const LATER: usize = Self::Connected as usize;

    /// Which of those it is; `None` for that byte itself.
    const fn index(self) -> Option<usize> {
        (self as usize).checked_sub(1)
    }
}

/// A span of time after the client's first byte: microseconds and one more, so that 0 is
/// "never". It ends at 71 minutes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Mark(u32);

impl Mark {
    fn between(start_ns: u64, now_ns: u64) -> Self {
        let microseconds = now_ns.saturating_sub(start_ns) / 1_000;
        Self(u32::try_from(microseconds.saturating_add(1)).unwrap_or(u32::MAX))
    }

    fn after(self, start_ns: u64) -> Option<u64> {
        let microseconds = self.0.checked_sub(1)?;
        Some(start_ns.saturating_add(u64::from(microseconds) * 1_000))
    }
}

/// What became of the wish to resume an earlier TLS session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Resumption {
    /// The client did not ask for it.
    NotOffered,
    /// The client asked for it, with a session ID, a ticket or a pre-shared key.
    Offered,
    /// The server agreed: by a pre-shared key of its own (RFC 8446, section 4.2.11), or by an
    /// abbreviated handshake (RFC 5246, section 7.3).
    Honoured,
}

/// When a certificate is valid (RFC 5280, section 4.1.2.5), in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub not_before: i64,
    /// The last second.
    pub not_after: i64,
}

/// An alert (RFC 8446, section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alert {
    /// Who sent it.
    pub by: Side,
    /// What it says; `None` if it is encrypted.
    pub content: Option<AlertContent>,
}

/// What an alert in clear says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlertContent {
    /// 1 for a warning, 2 if it is fatal.
    pub level: u8,
    /// Its number in IANA's registry of alerts.
    pub description: u8,
}

/// What both sides' hellos say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hellos {
    /// The server's name that the client asked for (RFC 6066, section 3): at most 255 bytes,
    /// with U+FFFD for what is no UTF-8. `None` if the client named none.
    pub server_name: Option<Box<str>>,
    /// The highest version that the client offered, as on the wire (0x0304 for 1.3).
    pub offered: Option<u16>,
    /// The version that the server chose.
    pub negotiated: Option<u16>,
    /// The cipher suite that the server chose, by its IANA number.
    pub cipher: Option<u16>,
    /// Whether an earlier session is resumed; `None` while neither hello tells.
    pub resumption: Option<Resumption>,
    /// Whether the client offered application protocols (RFC 7301); `None` if its hello was not
    /// read.
    pub alpn_offered: Option<bool>,
    /// Whether the server agreed to encrypt-then-MAC (RFC 7366).
    pub encrypt_then_mac: bool,
    /// Whether the server asked for another ClientHello (RFC 8446, section 4.1.4).
    pub hello_retry_request: bool,
}

/// The PPP phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PppExchange {
    /// Records of the client.
    pub from_client: u16,
    /// Records of the server.
    pub from_server: u16,
    /// The longest time from a record of the client to the next one of the server, in
    /// microseconds.
    longest_us: u32,
    /// When that began.
    longest_at: Mark,
    /// When the client sent what the server has not answered yet.
    owed_since: Mark,
}

/// A time in which the server owed the client an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owed {
    /// When the client sent what was to be answered, in nanoseconds of the caller's clock,
    /// exact to the microsecond.
    pub since_ns: u64,
    /// How long the server took, in nanoseconds.
    pub lasted_ns: u64,
}

/// A record of the server after the client's Call Connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerRecord {
    /// Its content type, as in its header.
    pub content_type: u8,
    /// Its length in bytes, as in its header.
    pub length: u16,
    /// When it came, in nanoseconds of the caller's clock, exact to the microsecond.
    pub time_ns: u64,
}

/// The same, packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct PackedRecord {
    at: Mark,
    length: u16,
    content_type: u8,
}

/// Records of the server after Call Connected that are kept.
const AFTER_CONNECTED: usize = 4;

/// What decides how long records are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suite {
    cipher: u16,
    version: u16,
    encrypt_then_mac: bool,
}

impl Suite {
    /// What the cipher makes of lengths; `None` if it is not known.
    pub fn record_size(self) -> Option<RecordSize> {
        RecordSize::of(self.cipher, self.version, self.encrypt_then_mac)
    }
}

/// What TLS and the set-up of SSTP showed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFacts {
    /// What was agreed in clear.
    pub hellos: Hellos,
    /// When the server's certificate is valid. Up to TLS 1.2 alone: later versions encrypt it.
    pub certificate: Option<Validity>,
    /// The first alert that was seen.
    pub alert: Option<Alert>,
    /// Whether this is SSTP; `None` while it may still be.
    pub sstp: Option<bool>,
    /// Who spoke something else than TLS.
    pub foreign: Option<Side>,
    /// Bytes that the server sent before the client went on, headers of records included.
    pub server_flight_bytes: u32,
    /// Application records of the client after the handshake and before Call Connect Request;
    /// no further than 255.
    pub client_records_before_connect: u8,
    /// The records with the client's HTTP request and what is taken for its
    /// [answer](Milestone::HttpReply) are as long as SSTP's: other requests are shorter, other
    /// answers longer. Bit 0 is the request, bit 1 the answer.
    pub http_like_sstp: u8,
    /// Bytes are missing that would have told something: what is said may be too little.
    pub incomplete: bool,
    /// What PPP looked like.
    pub ppp: PppExchange,
    after_connected: [PackedRecord; AFTER_CONNECTED],
    /// Time of the client's first byte; 0 before it.
    start_ns: u64,
    marks: [Mark; Milestone::LATER],
}

impl TlsFacts {
    /// When a step was taken, in nanoseconds of the caller's clock, exact to the microsecond
    /// and no later than 71 minutes after the client's first byte; `None` if it was not.
    pub fn at(&self, milestone: Milestone) -> Option<u64> {
        match milestone.index() {
            Some(index) => self.marks[index].after(self.start_ns),
            None => (self.start_ns != 0).then_some(self.start_ns),
        }
    }

    /// How far it came.
    pub fn phase(&self) -> Phase {
        const STEPS: [(Milestone, Phase); 5] = [
            (Milestone::Connected, Phase::Up),
            (Milestone::ConnectAck, Phase::Ppp),
            (Milestone::ConnectRequest, Phase::SstpSetup),
            (Milestone::HandshakeDone, Phase::Http),
            (Milestone::ClientHello, Phase::Tls),
        ];
        STEPS
            .into_iter()
            .find(|(milestone, _)| self.has(*milestone))
            .map_or(Phase::Tcp, |(_, phase)| phase)
    }

    /// What the cipher makes of lengths; `None` before the server chose one that is known.
    pub fn record_size(&self) -> Option<RecordSize> {
        self.suite()?.record_size()
    }

    fn suite(&self) -> Option<Suite> {
        let Hellos {
            negotiated,
            cipher,
            encrypt_then_mac,
            ..
        } = self.hellos;
        Some(Suite {
            cipher: cipher?,
            version: negotiated?,
            encrypt_then_mac,
        })
    }

    /// What is to be kept of a tunnel that came up by `then_ns`, without an alert; `None` if
    /// it did not, and all of this may still matter.
    pub(crate) fn settles(&self, then_ns: u64) -> Option<Suite> {
        let connected_ns = self.at(Milestone::Connected)?;
        let quietly = connected_ns <= then_ns && self.alert.is_none();
        self.suite().filter(|_| quietly)
    }

    /// The facts of such a tunnel, which came up at once, and so long ago that it does not
    /// matter when.
    pub(crate) fn settled(suite: Suite) -> Self {
        let mut facts = Self {
            hellos: Hellos {
                negotiated: Some(suite.version),
                cipher: Some(suite.cipher),
                encrypt_then_mac: suite.encrypt_then_mac,
                ..Hellos::default()
            },
            sstp: Some(true),
            start_ns: 1,
            ..Self::default()
        };
        facts.marks.fill(Mark(1));
        facts
    }

    /// The longest time in the PPP phase in which the server owed an answer, of those that it
    /// gave.
    pub fn longest_owed(&self) -> Option<Owed> {
        Some(Owed {
            since_ns: self.ppp.longest_at.after(self.start_ns)?,
            lasted_ns: u64::from(self.ppp.longest_us) * 1_000,
        })
    }

    /// Since when the server has owed the client an answer in the PPP phase, in nanoseconds;
    /// `None` if it does not.
    pub fn owed_since(&self) -> Option<u64> {
        self.ppp.owed_since.after(self.start_ns)
    }

    /// The server's first records after the client's Call Connected, four at most.
    pub fn after_connected(&self) -> impl Iterator<Item = ServerRecord> {
        self.after_connected.iter().filter_map(|record| {
            Some(ServerRecord {
                content_type: record.content_type,
                length: record.length,
                time_ns: record.at.after(self.start_ns)?,
            })
        })
    }

    pub(super) fn has(&self, milestone: Milestone) -> bool {
        self.at(milestone).is_some()
    }

    /// Sets the time of a step, anew if it was taken before.
    pub(super) fn mark(&mut self, milestone: Milestone, now_ns: u64) {
        match milestone.index() {
            // Whatever comes before the client's first byte leads nowhere.
            Some(_) if self.start_ns == 0 => {}
            Some(index) => self.marks[index] = Mark::between(self.start_ns, now_ns),
            None => self.start_ns = now_ns,
        }
    }

    pub(super) fn mark_first(&mut self, milestone: Milestone, now_ns: u64) {
        if !self.has(milestone) {
            self.mark(milestone, now_ns);
        }
    }

    pub(super) fn unmark(&mut self, milestone: Milestone) {
        if let Some(index) = milestone.index() {
            self.marks[index] = Mark::default();
        }
    }

    pub(super) fn alert(&mut self, alert: Alert) {
        self.alert.get_or_insert(alert);
    }

    /// A record of the client in the PPP phase.
    pub(super) fn ppp_from_client(&mut self, now_ns: u64) {
        self.ppp.from_client = self.ppp.from_client.saturating_add(1);
        if self.ppp.owed_since == Mark::default() {
            self.ppp.owed_since = Mark::between(self.start_ns, now_ns);
        }
    }

    /// A record of the server in the PPP phase.
    pub(super) fn ppp_from_server(&mut self, now_ns: u64) {
        self.ppp.from_server = self.ppp.from_server.saturating_add(1);
        let since = std::mem::take(&mut self.ppp.owed_since);
        if since == Mark::default() {
            return;
        }
        let took_us = Mark::between(self.start_ns, now_ns)
            .0
            .saturating_sub(since.0);
        if self.ppp.longest_at == Mark::default() || took_us > self.ppp.longest_us {
            (self.ppp.longest_us, self.ppp.longest_at) = (took_us, since);
        }
    }

    /// A record of the server after Call Connected. Whether more of them are kept.
    pub(super) fn record_after_connected(
        &mut self,
        content_type: u8,
        length: u16,
        now_ns: u64,
    ) -> bool {
        let at = Mark::between(self.start_ns, now_ns);
        let mut free = self
            .after_connected
            .iter_mut()
            .filter(|record| record.at == Mark::default());
        if let Some(record) = free.next() {
            *record = PackedRecord {
                at,
                length,
                content_type,
            };
        }
        free.next().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_of_them_fit_into_memory() {
        assert!(size_of::<TlsFacts>() <= 168, "{}", size_of::<TlsFacts>());
    }

    #[test]
    fn times_are_exact_to_the_microsecond_and_end_at_71_minutes() {
        const HOUR: u64 = 3_600_000_000_000;
        let mut facts = TlsFacts::default();
        facts.mark(Milestone::HandshakeDone, 1_000);
        assert_eq!(facts.at(Milestone::HandshakeDone), None, "nothing began");
        facts.mark(Milestone::ClientHello, 5_000_000_123);
        facts.mark(Milestone::HandshakeDone, 5_000_007_999);
        facts.mark(Milestone::HttpRequest, 5_000_000_000 + 2 * HOUR);
        assert_eq!(facts.at(Milestone::ClientHello), Some(5_000_000_123));
        assert_eq!(facts.at(Milestone::HandshakeDone), Some(5_000_007_123));
        assert_eq!(facts.at(Milestone::ConnectAck), None);
        let last = facts.at(Milestone::HttpRequest).expect("it was marked");
        let minutes = (last - 5_000_000_123) / 60_000_000_000;
        assert_eq!(minutes, 71);
    }
}
