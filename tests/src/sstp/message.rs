//! SSTP packets as bytes ([MS-SSTP], section 2.2). All numbers are in network byte order.

use std::fmt;

use super::binding::{Binding, NONCE, Nonce};

/// Bytes of the header of every packet ([MS-SSTP], 2.2.1).
pub(super) const HEADER: usize = 4;

/// The longest packet: its length field has 12 bits ([MS-SSTP], 2.2.1).
pub(super) const LONGEST: usize = 0xfff;

/// Version 1.0, the only one there is ([MS-SSTP], 2.2.1).
const VERSION: u8 = 0x10;

/// The bit that marks a control packet ([MS-SSTP], 2.2.2).
const CONTROL: u8 = 1;

/// Length of a Call Connected message; its crypto binding covers all of it ([MS-SSTP], 2.2.11).
pub(super) const CALL_CONNECTED: usize = 112;

/// Hash protocol `CERT_HASH_PROTOCOL_SHA256` ([MS-SSTP], 2.2.6 and 2.2.7).
const SHA256: u8 = 2;

/// Message types ([MS-SSTP], 2.2.2).
mod kind {
    pub(super) const CALL_CONNECT_REQUEST: u16 = 1;
    pub(super) const CALL_CONNECT_ACK: u16 = 2;
    pub(super) const CALL_CONNECT_NAK: u16 = 3;
    pub(super) const CALL_CONNECTED: u16 = 4;
    pub(super) const CALL_ABORT: u16 = 5;
    pub(super) const CALL_DISCONNECT: u16 = 6;
    pub(super) const CALL_DISCONNECT_ACK: u16 = 7;
    pub(super) const ECHO_REQUEST: u16 = 8;
    pub(super) const ECHO_RESPONSE: u16 = 9;
}

/// Attributes ([MS-SSTP], 2.2.4).
mod attribute {
    pub(super) const NO_ERROR: u8 = 0;
    pub(super) const ENCAPSULATED_PROTOCOL: u8 = 1;
    pub(super) const STATUS_INFO: u8 = 2;
    pub(super) const CRYPTO_BINDING: u8 = 3;
    pub(super) const CRYPTO_BINDING_REQUEST: u8 = 4;
}

/// PPP, the one protocol that SSTP encapsulates ([MS-SSTP], 2.2.5).
const PPP: u16 = 1;

/// Why a call ends or is refused: the status of a Status Info attribute ([MS-SSTP], 2.2.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Status(pub(super) u32);

impl Status {
    /// `ATTRIB_STATUS_NO_ERROR`.
    pub(super) const NO_ERROR: Self = Self(0);
    /// `ATTRIB_STATUS_VALUE_NOT_SUPPORTED`.
    pub(super) const VALUE_NOT_SUPPORTED: Self = Self(4);
    /// `ATTRIB_STATUS_UNACCEPTED_FRAME_RECEIVED`.
    pub(super) const UNACCEPTED_FRAME: Self = Self(5);
    /// `ATTRIB_STATUS_RETRY_COUNT_EXCEEDED`.
    pub(super) const RETRY_COUNT_EXCEEDED: Self = Self(6);
    /// `ATTRIB_STATUS_NEGOTIATION_TIMEOUT`.
    pub(super) const NEGOTIATION_TIMEOUT: Self = Self(8);
}

/// A control packet ([MS-SSTP], 2.2.9 to 2.2.17).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Message {
    /// 14 bytes, from the client.
    CallConnectRequest,
    /// 48 bytes, from the server.
    CallConnectAck {
        /// Whether SHA-256 is among the hashes the server takes.
        sha256: bool,
        /// Numbers that the client's binding must repeat.
        nonce: Nonce,
    },
    /// 20 bytes here; more if it quotes what it refuses.
    CallConnectNak(Option<Status>),
    /// 112 bytes, from the client.
    CallConnected(Binding),
    /// 20 bytes with a status, 8 without.
    CallAbort(Option<Status>),
    /// 20 bytes with a status, 8 without.
    CallDisconnect(Option<Status>),
    /// 8 bytes.
    CallDisconnectAck,
    /// 8 bytes.
    EchoRequest,
    /// 8 bytes.
    EchoResponse,
}

/// A packet: control or data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Packet {
    /// A message between the SSTP layers.
    Control(Message),
    /// A PPP frame.
    Data(Vec<u8>),
}

/// A packet that can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Malformed {
    /// The version is not 1.0.
    Version(u8),
    /// The length is below that of the header.
    Length(usize),
    /// The message type is none of [MS-SSTP], 2.2.2.
    Type(u16),
    /// A message without the attribute it must have, or with one too short.
    Attribute(u16),
}

impl fmt::Display for Malformed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(formatter, "SSTP version {version:#04x} is unknown"),
            Self::Length(length) => write!(formatter, "an SSTP packet of {length} bytes"),
            Self::Type(kind) => write!(formatter, "SSTP message type {kind} is unknown"),
            Self::Attribute(kind) => {
                write!(formatter, "SSTP message {kind} lacks a whole attribute")
            }
        }
    }
}

impl Packet {
    /// Bytes of the packet whose beginning these are; `None` if more are needed to tell.
    pub(super) fn length(begin: &[u8]) -> Result<Option<usize>, Malformed> {
        let Some(&[version, _, high, low]) = begin.first_chunk() else {
            return Ok(None);
        };
        if version != VERSION {
            return Err(Malformed::Version(version));
        }
        // The upper four bits are reserved, and ignored on receipt.
        let length = usize::from(u16::from_be_bytes([high, low])) & LONGEST;
        if length < HEADER {
            return Err(Malformed::Length(length));
        }
        Ok(Some(length))
    }

    /// Reads one whole packet, header included.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let Some((&[_, flags, ..], rest)) = bytes.split_first_chunk::<HEADER>() else {
            return Err(Malformed::Length(bytes.len()));
        };
        if flags & CONTROL == 0 {
            return Ok(Self::Data(rest.to_vec()));
        }
        Message::decode(rest).map(Self::Control)
    }

    /// Writes the packet, header included. `None` if a frame is longer than a packet may be.
    pub(super) fn encode(&self) -> Option<Vec<u8>> {
        match self {
            Self::Control(message) => {
                let mut body = Vec::new();
                message.encode(&mut body);
                frame(CONTROL, &body)
            }
            Self::Data(payload) => frame(0, payload),
        }
    }
}

fn frame(flags: u8, body: &[u8]) -> Option<Vec<u8>> {
    let length = HEADER + body.len();
    if length > LONGEST {
        return None;
    }
    let [high, low] = u16::try_from(length).ok()?.to_be_bytes();
    let mut packet = vec![VERSION, flags, high, low];
    packet.extend_from_slice(body);
    Some(packet)
}

impl Message {
    /// What follows the packet's header.
    fn decode(body: &[u8]) -> Result<Self, Malformed> {
        let Some((&[high, low, _, count], rest)) = body.split_first_chunk::<4>() else {
            return Err(Malformed::Length(HEADER + body.len()));
        };
        let kind = u16::from_be_bytes([high, low]);
        let missing = Malformed::Attribute(kind);
        let attributes = Attributes { rest, count };
        Ok(match kind {
            kind::CALL_CONNECT_REQUEST => attributes
                .value(attribute::ENCAPSULATED_PROTOCOL)
                .filter(|value| *value == PPP.to_be_bytes())
                .map(|_| Self::CallConnectRequest)
                .ok_or(missing)?,
            kind::CALL_CONNECT_ACK => attributes
                .value(attribute::CRYPTO_BINDING_REQUEST)
                .and_then(binding_request)
                .ok_or(missing)?,
            kind::CALL_CONNECT_NAK => Self::CallConnectNak(attributes.status()),
            kind::CALL_CONNECTED => attributes
                .value(attribute::CRYPTO_BINDING)
                .and_then(binding)
                .ok_or(missing)?,
            kind::CALL_ABORT => Self::CallAbort(attributes.status()),
            kind::CALL_DISCONNECT => Self::CallDisconnect(attributes.status()),
            kind::CALL_DISCONNECT_ACK => Self::CallDisconnectAck,
            kind::ECHO_REQUEST => Self::EchoRequest,
            kind::ECHO_RESPONSE => Self::EchoResponse,
            other => return Err(Malformed::Type(other)),
        })
    }

    fn encode(&self, body: &mut Vec<u8>) {
        match self {
            Self::CallConnectRequest => {
                begin(body, kind::CALL_CONNECT_REQUEST, 1);
                put(body, attribute::ENCAPSULATED_PROTOCOL, &PPP.to_be_bytes());
            }
            Self::CallConnectAck { sha256, nonce } => {
                begin(body, kind::CALL_CONNECT_ACK, 1);
                // CERT_HASH_PROTOCOL_SHA1 is bit 0.
                let bitmask = if *sha256 { SHA256 } else { 1 };
                let value = [&[0, 0, 0, bitmask], &nonce[..]].concat();
                put(body, attribute::CRYPTO_BINDING_REQUEST, &value);
            }
            Self::CallConnectNak(status) => {
                begin_with_status(
                    body,
                    kind::CALL_CONNECT_NAK,
                    *status,
                    attribute::ENCAPSULATED_PROTOCOL,
                );
            }
            Self::CallConnected(binding) => {
                begin(body, kind::CALL_CONNECTED, 1);
                let Binding {
                    nonce,
                    certificate_hash,
                    compound_mac,
                } = binding;
                let head = [0, 0, 0, SHA256];
                let value = [&head[..], nonce, certificate_hash, compound_mac].concat();
                put(body, attribute::CRYPTO_BINDING, &value);
            }
            Self::CallAbort(status) => {
                begin_with_status(body, kind::CALL_ABORT, *status, attribute::NO_ERROR);
            }
            Self::CallDisconnect(status) => {
                begin_with_status(body, kind::CALL_DISCONNECT, *status, attribute::NO_ERROR);
            }
            Self::CallDisconnectAck => begin(body, kind::CALL_DISCONNECT_ACK, 0),
            Self::EchoRequest => begin(body, kind::ECHO_REQUEST, 0),
            Self::EchoResponse => begin(body, kind::ECHO_RESPONSE, 0),
        }
    }
}

fn begin(body: &mut Vec<u8>, kind: u16, attributes: u16) {
    body.extend_from_slice(&kind.to_be_bytes());
    body.extend_from_slice(&attributes.to_be_bytes());
}

fn begin_with_status(body: &mut Vec<u8>, kind: u16, status: Option<Status>, about: u8) {
    begin(body, kind, u16::from(status.is_some()));
    if let Some(Status(status)) = status {
        let value = [&[0, 0, 0, about], &status.to_be_bytes()[..]].concat();
        put(body, attribute::STATUS_INFO, &value);
    }
}

/// Writes an attribute: a reserved byte, its name, its length with these four bytes, its value.
fn put(body: &mut Vec<u8>, name: u8, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).expect("attributes of at most 104 bytes");
    body.extend_from_slice(&[0, name]);
    body.extend_from_slice(&length.to_be_bytes());
    body.extend_from_slice(value);
}

/// Attributes of a received message.
#[derive(Clone, Copy)]
struct Attributes<'a> {
    rest: &'a [u8],
    count: u8,
}

impl<'a> Attributes<'a> {
    /// Value of the first attribute of that name.
    fn value(self, wanted: u8) -> Option<&'a [u8]> {
        let mut rest = self.rest;
        for _ in 0..self.count {
            let &[_, name, high, low] = rest.first_chunk()?;
            let length = usize::from(u16::from_be_bytes([high, low])) & LONGEST;
            let value = rest.get(4..length)?;
            if name == wanted {
                return Some(value);
            }
            rest = &rest[length..];
        }
        None
    }

    fn status(self) -> Option<Status> {
        let value = self.value(attribute::STATUS_INFO)?;
        let status = value.get(4..)?.first_chunk()?;
        Some(Status(u32::from_be_bytes(*status)))
    }
}

fn binding_request(value: &[u8]) -> Option<Message> {
    let (&[_, _, _, bitmask], rest) = value.split_first_chunk()?;
    Some(Message::CallConnectAck {
        sha256: bitmask & SHA256 != 0,
        nonce: *rest.first_chunk::<NONCE>()?,
    })
}

fn binding(value: &[u8]) -> Option<Message> {
    let (&[_, _, _, hash], rest) = value.split_first_chunk()?;
    let (nonce, rest) = rest.split_first_chunk()?;
    let (certificate_hash, rest) = rest.split_first_chunk()?;
    let compound_mac = rest.first_chunk()?;
    (hash == SHA256).then_some(Message::CallConnected(Binding {
        nonce: *nonce,
        certificate_hash: *certificate_hash,
        compound_mac: *compound_mac,
    }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all() -> Vec<(Message, usize)> {
        let binding = Binding {
            nonce: [1; 32],
            certificate_hash: [2; 32],
            compound_mac: [3; 32],
        };
        let status = Some(Status::RETRY_COUNT_EXCEEDED);
        let acknowledged = Message::CallConnectAck {
            sha256: true,
            nonce: [7; 32],
        };
        vec![
            (Message::CallConnectRequest, 14),
            (acknowledged, 48),
            (Message::CallConnectNak(status), 20),
            (Message::CallConnected(binding), 112),
            (Message::CallAbort(status), 20),
            (Message::CallAbort(None), 8),
            (Message::CallDisconnect(status), 20),
            (Message::CallDisconnectAck, 8),
            (Message::EchoRequest, 8),
            (Message::EchoResponse, 8),
        ]
    }

    #[test]
    fn messages_have_their_length_and_read_as_written() {
        for (message, length) in all() {
            let packet = Packet::Control(message);
            let bytes = packet.encode().expect("a packet that fits");
            assert_eq!(bytes.len(), length, "{packet:?}");
            assert_eq!(Packet::length(&bytes), Ok(Some(length)));
            assert_eq!(Packet::decode(&bytes), Ok(packet));
        }
    }

    #[test]
    fn a_request_is_that_of_the_specifications_example() {
        let example = [0x10, 1, 0, 0x0e, 0, 1, 0, 1, 0, 1, 0, 6, 0, 1];
        let request = Packet::Control(Message::CallConnectRequest);
        assert_eq!(request.encode().as_deref(), Some(&example[..]));
    }

    #[test]
    fn a_frame_longer_than_a_packet_is_not_written() {
        assert!(Packet::Data(vec![0; LONGEST - HEADER]).encode().is_some());
        assert_eq!(Packet::Data(vec![0; LONGEST - HEADER + 1]).encode(), None);
    }

    #[test]
    fn what_is_no_packet_is_refused() {
        assert_eq!(Packet::length(&[0x10, 0, 0]), Ok(None));
        assert_eq!(
            Packet::length(&[0x11, 0, 0, 8]),
            Err(Malformed::Version(0x11))
        );
        assert_eq!(Packet::length(&[0x10, 0, 0, 3]), Err(Malformed::Length(3)));
        let connected = [0x10, 1, 0, 8, 0, 4, 0, 0];
        assert_eq!(Packet::decode(&connected), Err(Malformed::Attribute(4)));
        let unknown = [0x10, 1, 0, 8, 0, 99, 0, 0];
        assert_eq!(Packet::decode(&unknown), Err(Malformed::Type(99)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Packet::length(&bytes);
            let _ = Packet::decode(&bytes);
        }
    }
}
