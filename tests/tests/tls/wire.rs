//! Bytes of TLS made by hand, for what no capture shows.

use lab::chunks::{Payload, dialogue};
use sstpulse::tls::Dialogue;
use sstpulse_common::Side;

pub(crate) const CHANGE_CIPHER_SPEC: u8 = 20;
pub(crate) const ALERT: u8 = 21;
pub(crate) const HANDSHAKE: u8 = 22;
pub(crate) const DATA: u8 = 23;

/// Time between two segments, in nanoseconds.
pub(crate) const STEP_NS: u64 = 10_000_000;

/// A record with this content type.
pub(crate) fn record(content_type: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).expect("a record is short");
    [&[content_type, 3, 3][..], &length.to_be_bytes(), body].concat()
}

/// Records that carry something encrypted.
pub(crate) fn sealed(content_type: u8, lengths: &[u16]) -> Vec<u8> {
    let records = lengths
        .iter()
        .map(|length| record(content_type, &vec![0xa5; usize::from(*length)]));
    records.collect::<Vec<_>>().concat()
}

/// A handshake message in a record of its own.
pub(crate) fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len())
        .expect("it is short")
        .to_be_bytes();
    record(HANDSHAKE, &[&[kind], &length[1..], body].concat())
}

/// An extension.
pub(crate) fn extension(kind: u16, body: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &block16(body)].concat()
}

/// Bytes with their length in two bytes before them.
pub(crate) fn block16(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("it is short");
    [&length.to_be_bytes()[..], bytes].concat()
}

/// The extension with a server's name.
pub(crate) fn server_name(name: &[u8]) -> Vec<u8> {
    extension(0, &block16(&[&[0], &block16(name)[..]].concat()))
}

/// The extension with the versions that a client offers.
pub(crate) fn supported_versions(versions: &[u16]) -> Vec<u8> {
    let list: Vec<u8> = versions
        .iter()
        .flat_map(|version| version.to_be_bytes())
        .collect();
    let length = u8::try_from(list.len()).expect("it is short");
    extension(43, &[&[length][..], &list].concat())
}

/// A `ClientHello`, as a message's body.
pub(crate) fn client_hello_body(session_id: &[u8], extensions: &[u8]) -> Vec<u8> {
    let session_length = u8::try_from(session_id.len()).expect("it is short");
    [
        &[3, 3][..],
        &[0x11; 32],
        &[session_length],
        session_id,
        &block16(&[0x13, 0x02, 0xc0, 0x30]),
        &[1, 0],
        &block16(extensions),
    ]
    .concat()
}

/// A `ClientHello`.
pub(crate) fn client_hello(session_id: &[u8], extensions: &[u8]) -> Vec<u8> {
    message(1, &client_hello_body(session_id, extensions))
}

/// A `ServerHello` with this random number.
pub(crate) fn server_hello_with(random: [u8; 32], cipher: u16, extensions: &[u8]) -> Vec<u8> {
    let body = [
        &[3, 3][..],
        &random,
        &[0],
        &cipher.to_be_bytes(),
        &[0],
        &block16(extensions),
    ];
    message(2, &body.concat())
}

/// A `ServerHello`.
pub(crate) fn server_hello(cipher: u16, extensions: &[u8]) -> Vec<u8> {
    server_hello_with([0x22; 32], cipher, extensions)
}

/// The extension by which a server chooses TLS 1.3.
pub(crate) fn chooses_tls13() -> Vec<u8> {
    extension(43, &[3, 4])
}

/// What two sides say, segment by segment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Talk {
    pub(crate) payloads: Vec<Payload>,
    sent: [usize; 2],
}

impl Talk {
    pub(crate) fn client(self, bytes: &[u8]) -> Self {
        self.say(Side::Client, bytes)
    }

    pub(crate) fn server(self, bytes: &[u8]) -> Self {
        self.say(Side::Server, bytes)
    }

    fn say(mut self, side: Side, bytes: &[u8]) -> Self {
        let sent = &mut self.sent[usize::from(side == Side::Server)];
        let offset = u32::try_from(*sent).expect("it is short");
        *sent += bytes.len();
        let time_ns = STEP_NS * (1 + self.payloads.len() as u64);
        self.payloads
            .push(Payload::new(side, offset, bytes, time_ns));
        self
    }

    /// Up to the client's request, TLS 1.3 with a suite of SHA-384.
    pub(crate) fn tls13() -> Self {
        let extensions = [server_name(b"vpn.example"), supported_versions(&[0x0304])].concat();
        Self::default()
            .client(&client_hello(&[7; 32], &extensions))
            .server(&server_flight())
    }

    /// The same, and the set-up of SSTP up to PPP.
    pub(crate) fn ppp() -> Self {
        Self::tls13()
            .client(&[sealed(CHANGE_CIPHER_SPEC, &[1]), sealed(DATA, &[69])].concat())
            .client(&sealed(DATA, &[196]))
            .server(&sealed(DATA, &[135]))
            .client(&sealed(DATA, &[31]))
            .server(&sealed(DATA, &[65]))
    }

    pub(crate) fn dialogue(&self) -> Dialogue {
        dialogue(&self.payloads)
    }
}

/// The server's answer to a hello, as TLS 1.3 has it.
pub(crate) fn server_flight() -> Vec<u8> {
    [
        server_hello(0x1302, &chooses_tls13()),
        sealed(CHANGE_CIPHER_SPEC, &[1]),
        sealed(DATA, &[23, 998, 281, 69]),
    ]
    .concat()
}
