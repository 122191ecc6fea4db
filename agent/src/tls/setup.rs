//! From TLS's last step to a tunnel that is up: which record is which step of SSTP.
//!
//! The client's records lead, as its messages have lengths of their own: Call Connect Request
//! among its first four, then Call Connected. What the server sends in between is its answer,
//! however it cuts it.

use sstpulse_common::{
    Side,
    tls::{ContentType, RecordHeader},
};

use super::{
    cipher::{Message, RecordSize},
    facts::{Milestone, Phase, TlsFacts},
};

/// Application records of the client among which its Call Connect Request is.
const MOST_BEFORE_CONNECT: u8 = 4;

/// What a server's answer to Call Connected is waited for, in nanoseconds: one that refuses
/// the crypto binding says so at once.
const LAST_LOOK_NS: u64 = 5_000_000_000;

/// How far set-up has come, besides what the facts tell.
#[derive(Debug, Default)]
pub(super) struct Setup {
    /// Enough records after Call Connected were seen.
    complete: bool,
}

impl Setup {
    /// An application record of the client after the handshake. Whether it was sure to see
    /// all records before, `sure` tells.
    pub(super) fn record_of_client(
        header: RecordHeader,
        facts: &mut TlsFacts,
        now_ns: u64,
        sure: bool,
    ) {
        let is = |message, facts: &TlsFacts| {
            facts.record_size().is_some_and(|size| {
                size.fits(message, Side::Client, header.content_type, header.length)
            })
        };
        match facts.phase() {
            Phase::Http => {
                // SSTP waits for the answer to its HTTP request ([MS-SSTP], section 3.2.4.1).
                let answered = facts.has(Milestone::HttpReply) || !sure;
                if answered && is(Message::CallConnectRequest, facts) {
                    facts.mark(Milestone::ConnectRequest, now_ns);
                    facts.sstp = Some(true);
                    return;
                }
                if !facts.has(Milestone::HttpRequest) {
                    facts.http_like_sstp = u8::from((170..=400).contains(&header.length));
                }
                facts.mark_first(Milestone::HttpRequest, now_ns);
                let records = facts.client_records_before_connect.saturating_add(1);
                facts.client_records_before_connect = records;
                if records >= MOST_BEFORE_CONNECT && sure {
                    facts.sstp = Some(false);
                }
            }
            Phase::Ppp if is(Message::CallConnected, facts) => {
                facts.mark(Milestone::Connected, now_ns);
            }
            Phase::Ppp => facts.ppp_from_client(now_ns),
            _ => {}
        }
    }

    /// A record of the server after the client's Finished.
    pub(super) fn record_of_server(
        &mut self,
        header: RecordHeader,
        facts: &mut TlsFacts,
        now_ns: u64,
    ) {
        let RecordHeader {
            content_type,
            length,
        } = header;
        let phase = facts.phase();
        if phase == Phase::Up {
            self.complete = !facts.record_after_connected(content_type, length, now_ns);
            return;
        }
        if content_type != ContentType::APPLICATION_DATA || is_half(header, facts) {
            return;
        }
        match phase {
            Phase::Http if facts.has(Milestone::HttpRequest) => {
                facts.mark(Milestone::HttpReply, now_ns);
                facts.http_like_sstp =
                    facts.http_like_sstp & 1 | u8::from((90..=160).contains(&length)) << 1;
            }
            Phase::SstpSetup if !refuses(header, facts) => {
                facts.mark(Milestone::ConnectAck, now_ns);
            }
            Phase::Ppp => facts.ppp_from_server(now_ns),
            _ => {}
        }
    }

    /// Whether nothing more is to be learned from a tunnel that is up.
    pub(super) fn is_over(&self, facts: &TlsFacts, now_ns: u64) -> bool {
        let over = |connected| now_ns.saturating_sub(connected) > LAST_LOOK_NS;
        self.complete || facts.at(Milestone::Connected).is_some_and(over)
    }
}

/// Whether a record of the server is the header of an SSTP packet whose rest is the next
/// record. Block ciphers leave that in doubt, and the header then counts as a record.
fn is_half(header: RecordHeader, facts: &TlsFacts) -> bool {
    let size = facts
        .record_size()
        .filter(|size| !matches!(size, RecordSize::Block { .. }));
    size.is_some_and(|size| is(Message::SplitHeader, size, header))
}

/// Whether the server's answer to Call Connect Request is a goodbye. Where a block cipher
/// makes it as long as half an acknowledgment, it is taken for that: more will follow.
fn refuses(header: RecordHeader, facts: &TlsFacts) -> bool {
    let Some(size) = facts.record_size() else {
        return false;
    };
    (is(Message::EchoOrDisconnectAck, size, header) || is(Message::AbortOrDisconnect, size, header))
        && !is(Message::SplitHeader, size, header)
}

fn is(message: Message, size: RecordSize, header: RecordHeader) -> bool {
    size.fits(message, Side::Server, header.content_type, header.length)
}
