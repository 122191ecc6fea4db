//! What records mean, one after another: the handshake until the client's Finished, and then
//! [`setup`](super::setup).

use sstpulse_common::{
    Side,
    tls::{ContentType, RecordHeader},
};

use super::{
    cipher::{Message, RecordSize, TLS_1_3},
    facts::{Alert, AlertContent, Milestone, Phase, Resumption, TlsFacts},
    handshake,
    messages::{Messages, kind},
    setup::Setup,
    stream::Records,
};

/// Bytes of an alert in clear (RFC 8446, section 6).
const ALERT: u16 = 2;

/// Records of a client with a certificate between its first and its Finished: at most
/// Certificate and CertificateVerify come before it (RFC 8446, section 4.4).
const BEFORE_FINISHED: u8 = 2;

/// What is known, and what one must know to go on.
#[derive(Debug, Default)]
pub(super) struct Talk {
    facts: TlsFacts,
    setup: Setup,
    client: Half,
    server: Half,
    finished: Finished,
    /// Offset of the server's first byte after its HelloRetryRequest.
    flight_start: u64,
    now_ns: u64,
}

/// How sure it is which record carried the client's Finished.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Finished {
    #[default]
    NotSeen,
    /// The client's first encrypted record is not as long as a Finished: there is a
    /// certificate in it. If a record as long as a Finished comes among the next two, the
    /// client sends each message in a record of its own, and that is the Finished; if not,
    /// all of it was in the first.
    Maybe,
    Seen,
}

/// One side of it.
#[derive(Debug, Default)]
struct Half {
    messages: Messages,
    /// What the body belongs to that is read.
    content_type: u8,
    /// What of an alert in clear is there.
    alert_level: Option<u8>,
    /// It has sent something.
    spoke: bool,
    /// How far its handshake in clear has come.
    progress: Progress,
    /// Records of it were missed.
    lost: bool,
}

/// How far one side's handshake in clear has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Progress {
    #[default]
    Begun,
    /// Its hello is there, and it is no HelloRetryRequest.
    Hello,
    /// It has sent its certificate, or the end of its flight: the handshake is a full one.
    Full,
    /// It has changed its cipher. The end, but for TLS 1.3, where it means nothing.
    ChangedCipher,
}

/// A side's records as they come.
pub(super) struct HalfOfTalk<'a> {
    pub(super) talk: &'a mut Talk,
    pub(super) side: Side,
}

impl Records for HalfOfTalk<'_> {
    fn record(&mut self, header: RecordHeader) -> bool {
        // It must not matter where the segment ends that brought the last record.
        if self.talk.is_over() {
            return false;
        }
        self.talk.half(self.side).content_type = header.content_type;
        match self.side {
            Side::Client => self.talk.record_of_client(header),
            Side::Server => self.talk.record_of_server(header),
        }
    }

    fn body(&mut self, bytes: &[u8]) {
        if self.talk.half(self.side).content_type == ContentType::ALERT {
            self.talk.alert_in_clear(self.side, bytes);
        } else {
            self.talk.handshake(self.side, bytes);
        }
    }

    fn hole(&mut self, length: u32) {
        let half = self.talk.half(self.side);
        if half.content_type == ContentType::HANDSHAKE {
            half.messages.hole(length as usize);
            self.talk.facts.incomplete |= half.messages.is_incomplete();
        } else {
            self.talk.facts.incomplete = true;
        }
    }

    fn lost(&mut self) {
        self.talk.half(self.side).lost = true;
        self.talk.facts.incomplete = true;
    }

    fn foreign(&mut self) {
        // Whatever looked like TLS was none either.
        self.talk.facts = TlsFacts::default();
        self.talk.facts.sstp = Some(false);
        self.talk.facts.foreign = Some(self.side);
    }
}

impl Talk {
    pub(super) fn facts(&self) -> &TlsFacts {
        &self.facts
    }

    pub(super) fn into_facts(self) -> TlsFacts {
        self.facts
    }

    /// Whether nothing more is to be learned.
    pub(super) fn is_over(&self) -> bool {
        self.facts.sstp == Some(false) || self.setup.is_over(&self.facts, self.now_ns)
    }

    /// Bytes held.
    pub(super) fn held(&self) -> usize {
        self.client.messages.held() + self.server.messages.held()
    }

    /// One side says something.
    pub(super) fn hear(&mut self, side: Side, now_ns: u64) {
        self.now_ns = now_ns;
        let half = self.half(side);
        if !std::mem::replace(&mut half.spoke, true) && side == Side::Client {
            self.facts.mark(Milestone::ClientHello, now_ns);
        }
    }

    /// One side has said something new. Follows the server's first flight: up to which byte it
    /// goes, and when the client goes on. `end` is the offset after what the server said.
    pub(super) fn flight(&mut self, side: Side, end: u64) {
        let is_over = self.is_over();
        let facts = &mut self.facts;
        if is_over || facts.has(Milestone::ClientReply) {
            return;
        }
        let another_hello =
            facts.hellos.hello_retry_request && self.server.progress < Progress::Hello;
        match side {
            Side::Server => {
                facts.mark(Milestone::ServerFlightEnd, self.now_ns);
                let bytes = end.saturating_sub(self.flight_start);
                facts.server_flight_bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
            }
            Side::Client if another_hello => self.flight_start = end,
            Side::Client if self.server.spoke => facts.mark(Milestone::ClientReply, self.now_ns),
            Side::Client => {}
        }
    }

    fn half(&mut self, side: Side) -> &mut Half {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    /// A record of the client. Whether its body is to be read.
    fn record_of_client(&mut self, header: RecordHeader) -> bool {
        match header.content_type {
            ContentType::CHANGE_CIPHER_SPEC => {
                self.client.progress = Progress::ChangedCipher;
                false
            }
            ContentType::ALERT => self.alert_record(Side::Client, header),
            ContentType::HANDSHAKE if self.is_encrypted(Side::Client) => {
                self.facts.mark_first(Milestone::HandshakeDone, self.now_ns);
                self.finished = Finished::Seen;
                false
            }
            ContentType::HANDSHAKE => {
                self.client.messages.record();
                true
            }
            ContentType::APPLICATION_DATA => {
                self.application_data_of_client(header);
                false
            }
            _ => false,
        }
    }

    /// A record of the server. Whether its body is to be read.
    fn record_of_server(&mut self, header: RecordHeader) -> bool {
        self.facts.mark_first(Milestone::ServerHello, self.now_ns);
        if header.content_type == ContentType::HANDSHAKE && !self.is_encrypted(Side::Server) {
            self.server.messages.record();
            return true;
        }
        let mut wanted = false;
        let mut is_alert = self.is_alert_of_tls13(Side::Server, header);
        match header.content_type {
            ContentType::CHANGE_CIPHER_SPEC => self.server_changes_cipher(),
            ContentType::ALERT => {
                is_alert = true;
                wanted = self.alert_record(Side::Server, header);
            }
            _ if is_alert => self.facts.alert(encrypted(Side::Server)),
            _ => {}
        }
        // Who says goodbye to Call Connected does so with an alert, too.
        if self.finished != Finished::NotSeen && (!is_alert || self.facts.phase() == Phase::Up) {
            self.setup
                .record_of_server(header, &mut self.facts, self.now_ns);
        }
        wanted
    }

    /// Whether one side's handshake records are encrypted: up to TLS 1.2, from its change of
    /// cipher on. TLS 1.3 calls encrypted records application data, and changes the cipher for
    /// the looks of it (RFC 8446, appendix D.4).
    fn is_encrypted(&self, side: Side) -> bool {
        let progress = match side {
            Side::Client => self.client.progress,
            Side::Server => self.server.progress,
        };
        progress == Progress::ChangedCipher && !self.is_tls13()
    }

    fn is_tls13(&self) -> bool {
        self.facts.hellos.negotiated == Some(TLS_1_3)
    }

    fn server_changes_cipher(&mut self) {
        if self.is_tls13() {
            return;
        }
        let seen_all = !self.server.lost && !self.server.messages.is_incomplete();
        // No certificate before it: an abbreviated handshake (RFC 5246, section 7.3).
        if self.server.progress == Progress::Hello && seen_all {
            self.facts.hellos.resumption = Some(Resumption::Honoured);
        }
        self.server.progress = Progress::ChangedCipher;
    }

    fn application_data_of_client(&mut self, header: RecordHeader) {
        if self.is_alert_of_tls13(Side::Client, header) {
            return self.facts.alert(encrypted(Side::Client));
        }
        match self.finished {
            // Early data (RFC 8446, section 2.3).
            Finished::NotSeen if !self.server.spoke => {}
            Finished::NotSeen => {
                self.facts.mark(Milestone::HandshakeDone, self.now_ns);
                self.finished = if self.is_finished(header) {
                    Finished::Seen
                } else {
                    Finished::Maybe
                };
                // Then it may be anything, and more likely what comes later.
                if self.client.lost && self.finished == Finished::Maybe {
                    self.finished = Finished::Seen;
                    self.application_data_of_client(header);
                }
            }
            Finished::Maybe
                if self.facts.client_records_before_connect < BEFORE_FINISHED
                    && self.facts.phase() == Phase::Http
                    && self.is_finished(header) =>
            {
                self.finished = Finished::Seen;
                self.facts.mark(Milestone::HandshakeDone, self.now_ns);
                self.facts.unmark(Milestone::HttpRequest);
                self.facts.unmark(Milestone::HttpReply);
                self.facts.client_records_before_connect = 0;
            }
            Finished::Maybe | Finished::Seen => {
                let sure = !self.client.lost && !self.server.lost;
                Setup::record_of_client(header, &mut self.facts, self.now_ns, sure);
            }
        }
    }

    /// Whether a record is as long as the Finished of TLS 1.3.
    fn is_finished(&self, header: RecordHeader) -> bool {
        let size = self.facts.record_size();
        size.zip(self.facts.hellos.cipher)
            .is_some_and(|(size, cipher)| header.length == size.finished(cipher))
    }

    /// Whether a record is an alert by its length alone, as TLS 1.3 has it.
    fn is_alert_of_tls13(&self, side: Side, header: RecordHeader) -> bool {
        let RecordHeader {
            content_type,
            length,
        } = header;
        let fits = |size: RecordSize| size.fits(Message::Alert, side, content_type, length);
        self.is_tls13() && self.facts.record_size().is_some_and(fits)
    }

    /// A record that is called an alert. Whether it can be read.
    fn alert_record(&mut self, side: Side, header: RecordHeader) -> bool {
        let in_clear = header.length == ALERT;
        if in_clear {
            self.half(side).alert_level = None;
        } else {
            self.facts.alert(encrypted(side));
        }
        in_clear
    }

    fn alert_in_clear(&mut self, side: Side, bytes: &[u8]) {
        for byte in bytes {
            let half = self.half(side);
            match half.alert_level {
                None => half.alert_level = Some(*byte),
                Some(level) => {
                    let content = AlertContent {
                        level,
                        description: *byte,
                    };
                    self.facts.alert(Alert {
                        by: side,
                        content: Some(content),
                    });
                }
            }
        }
    }

    /// Some of a side's handshake in clear.
    fn handshake(&mut self, side: Side, bytes: &[u8]) {
        let Self {
            facts,
            client,
            server,
            ..
        } = self;
        let Half {
            messages, progress, ..
        } = match side {
            Side::Client => client,
            Side::Server => server,
        };
        messages.take(bytes, |kind, body| {
            let (read, step) = match (side, kind) {
                (Side::Client, kind::CLIENT_HELLO) => (
                    handshake::client_hello(body, &mut facts.hellos),
                    Progress::Hello,
                ),
                (Side::Server, kind::SERVER_HELLO) => (
                    handshake::server_hello(body, &mut facts.hellos),
                    if handshake::is_hello_retry_request(body) {
                        Progress::Begun
                    } else {
                        Progress::Hello
                    },
                ),
                (Side::Server, kind::CERTIFICATE) => {
                    facts.certificate = handshake::validity(body).or(facts.certificate);
                    (Some(()), Progress::Full)
                }
                (Side::Server, kind::SERVER_HELLO_DONE) => (Some(()), Progress::Full),
                _ => (Some(()), Progress::Begun),
            };
            facts.incomplete |= read.is_none();
            *progress = step.max(*progress);
        });
        facts.incomplete |= messages.is_incomplete();
    }
}

const fn encrypted(by: Side) -> Alert {
    Alert { by, content: None }
}
