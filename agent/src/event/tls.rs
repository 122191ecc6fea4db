//! The line about what TLS and the set-up of SSTP showed.

use std::borrow::Cow;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use sstpulse_common::Side;

use super::{About, CloseBy, Head, Time};
use crate::tls::{Alert, Milestone, Resumption, TlsFacts, Validity, alert_name, cipher_name};

/// What TLS and the set-up of SSTP showed without being decrypted.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SessionTls<'a> {
    #[serde(flatten)]
    #[expect(missing_docs, reason = "documented where it is defined")]
    pub head: Head<'a>,
    #[serde(flatten)]
    #[expect(missing_docs, reason = "documented where it is defined")]
    pub about: About,
    /// How long each phase took, in milliseconds.
    pub phases_ms: PhasesMs,
    /// Whether it is SSTP; null while it may still be.
    pub sstp: Option<bool>,
    /// What TLS agreed on, as far as that is in clear.
    pub tls: TlsHandshake<'a>,
    /// What was said in the PPP phase.
    pub ppp: PppCounts,
    /// Whether segments are missing that would have told more.
    pub incomplete: bool,
}

/// How long each phase took, in milliseconds; null while it lasts, and for what did not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PhasesMs {
    /// From the TCP handshake to the client's first byte.
    pub tcp: Option<u64>,
    /// To the client's Finished.
    pub tls: Option<u64>,
    /// To the client's SSTP Call Connect Request: the HTTP request and its answer.
    pub http: Option<u64>,
    /// To the server's answer.
    pub sstp_setup: Option<u64>,
    /// To the client's SSTP Call Connected: LCP, authentication, and what else PPP agrees on.
    pub ppp: Option<u64>,
}

/// What TLS agreed on (OpenTelemetry: `tls.client.server_name`, `tls.protocol.version`,
/// `tls.cipher`, ...).
#[derive(Debug, Serialize, JsonSchema)]
pub struct TlsHandshake<'a> {
    /// The server's name that the client asked for; at most 255 bytes. What is no printable
    /// ASCII is escaped, as in `\u{202e}`; so are quotes and backslashes, and what is no UTF-8
    /// is `\u{fffd}`. Null if the client named none.
    pub server_name: Option<&'a str>,
    /// The highest version that the client offered: `1.3`, or a number as on the wire.
    pub offered_version: Option<Cow<'static, str>>,
    /// The version that the server chose.
    pub version: Option<Cow<'static, str>>,
    /// The cipher suite that the server chose.
    pub cipher: Option<Cipher>,
    /// Whether an earlier TLS session is resumed. Null if the hellos could not be read.
    pub resumption: Option<Resumption>,
    /// Whether the client offered application protocols (ALPN). Null if its hello could not be
    /// read.
    pub alpn_offered: Option<bool>,
    /// Whether the server asked for another ClientHello.
    pub hello_retry_request: bool,
    /// When the server's certificate is valid; null if it is encrypted, as TLS 1.3 has it.
    pub certificate: Option<CertificateValidity>,
    /// What the server sent before the client went on, mostly its certificate, in bytes.
    pub server_flight_bytes: u32,
    /// How long the client took to go on after that, in milliseconds: the round trip, and its
    /// check of the certificate.
    pub client_reply_ms: Option<u64>,
    /// The first alert.
    pub alert: Option<TlsAlert>,
}

/// A cipher suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Cipher {
    /// Its number in IANA's registry.
    pub number: u16,
    /// Its name there; null if it has none.
    pub name: Option<&'static str>,
}

/// When a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct CertificateValidity {
    /// From when on.
    pub not_before: Time,
    /// Until when. The last day of the year 9999 means forever, and may be given as the day
    /// before.
    pub not_after: Time,
}

/// An alert of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TlsAlert {
    /// Who sent it.
    pub by: CloseBy,
    /// 1 for a warning, 2 if it is fatal; null if it is encrypted.
    pub level: Option<u8>,
    /// Its number in IANA's registry; null if it is encrypted.
    pub description: Option<u8>,
    /// Its name there.
    pub name: Option<&'static str>,
}

/// The PPP phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PppCounts {
    /// Records of the client.
    pub from_client: u16,
    /// Records of the server.
    pub from_server: u16,
    /// The longest time the server took to answer the client, in milliseconds; null if it never
    /// did.
    pub longest_answer_ms: Option<u64>,
}

impl<'a> SessionTls<'a> {
    /// The line that says what is known of a session whose TCP handshake completed at
    /// `start_ns`, in nanoseconds of the clock that the facts are told in.
    pub fn of(head: Head<'a>, about: About, facts: &'a TlsFacts, start_ns: u64) -> Self {
        Self {
            head,
            // A session that is closing has come as far as it had before.
            about: About {
                phase: Some(facts.phase()),
                ..about
            },
            phases_ms: PhasesMs::of(facts, start_ns),
            sstp: facts.sstp,
            tls: TlsHandshake::of(facts),
            ppp: PppCounts {
                from_client: facts.ppp.from_client,
                from_server: facts.ppp.from_server,
                longest_answer_ms: facts
                    .longest_owed()
                    .map(|owed| milliseconds(owed.lasted_ns)),
            },
            incomplete: facts.incomplete,
        }
    }
}

impl PhasesMs {
    /// How long each phase took of a session whose TCP handshake completed at `start_ns`.
    pub fn of(facts: &TlsFacts, start_ns: u64) -> Self {
        let hello = facts.at(Milestone::ClientHello);
        let tcp = hello.map(|hello| milliseconds(hello.saturating_sub(start_ns)));
        let phase = |from, to| between(facts, from, to);
        Self {
            tcp,
            tls: phase(Milestone::ClientHello, Milestone::HandshakeDone),
            http: phase(Milestone::HandshakeDone, Milestone::ConnectRequest),
            sstp_setup: phase(Milestone::ConnectRequest, Milestone::ConnectAck),
            ppp: phase(Milestone::ConnectAck, Milestone::Connected),
        }
    }
}

impl<'a> TlsHandshake<'a> {
    fn of(facts: &'a TlsFacts) -> Self {
        let hellos = &facts.hellos;
        let reply = between(facts, Milestone::ServerFlightEnd, Milestone::ClientReply);
        Self {
            server_name: hellos.server_name.as_deref(),
            offered_version: hellos.offered.map(version),
            version: hellos.negotiated.map(version),
            cipher: hellos.cipher.map(|number| Cipher {
                number,
                name: cipher_name(number),
            }),
            resumption: hellos.resumption,
            alpn_offered: hellos.alpn_offered,
            hello_retry_request: hellos.hello_retry_request,
            certificate: facts.certificate.map(CertificateValidity::from),
            server_flight_bytes: facts.server_flight_bytes,
            client_reply_ms: reply,
            alert: facts.alert.map(TlsAlert::from),
        }
    }
}

impl From<Validity> for CertificateValidity {
    fn from(validity: Validity) -> Self {
        Self {
            not_before: date(validity.not_before),
            not_after: date(validity.not_after),
        }
    }
}

impl From<Alert> for TlsAlert {
    fn from(alert: Alert) -> Self {
        let content = alert.content;
        Self {
            by: match alert.by {
                Side::Client => CloseBy::Client,
                Side::Server => CloseBy::Server,
            },
            level: content.map(|content| content.level),
            description: content.map(|content| content.description),
            name: content.and_then(|content| alert_name(content.description)),
        }
    }
}

/// A version of TLS as people write it (OpenTelemetry: `tls.protocol.version`).
fn version(number: u16) -> Cow<'static, str> {
    match number {
        0x0301 => "1.0".into(),
        0x0302 => "1.1".into(),
        0x0303 => "1.2".into(),
        0x0304 => "1.3".into(),
        _ => format!("{number:#06x}").into(),
    }
}

/// A date in seconds since 1970; the nearest one that RFC 3339 has, if a certificate goes
/// further.
fn date(seconds: i64) -> Time {
    /// 0000-01-01T00:00:00Z.
    const FIRST: i64 = -62_167_219_200;
    Time(Timestamp::from_second(seconds.max(FIRST)).unwrap_or(Timestamp::MAX))
}

fn between(facts: &TlsFacts, from: Milestone, to: Milestone) -> Option<u64> {
    let (from, to) = (facts.at(from)?, facts.at(to)?);
    Some(milliseconds(to.saturating_sub(from)))
}

const fn milliseconds(nanoseconds: u64) -> u64 {
    nanoseconds / 1_000_000
}
