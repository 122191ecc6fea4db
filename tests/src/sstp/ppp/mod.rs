//! PPP (RFC 1661) as far as a tunnel needs it: LCP, PAP or CHAP-MD5, and IPCP. No I/O and no
//! clock: frames go in and out of a [`Link`].

mod authentication;
mod configure;
mod link;
mod option;

pub(super) use link::{Decision, Link, Stage};

/// Names of the protocols (RFC 1661, section 2; the numbers are IANA's).
pub(super) mod protocol {
    /// IPv4.
    pub(crate) const IPV4: u16 = 0x0021;
    /// Link control.
    pub(crate) const LCP: u16 = 0xc021;
    /// Password authentication (RFC 1334).
    pub(crate) const PAP: u16 = 0xc023;
    /// Challenge handshake authentication (RFC 1994).
    pub(crate) const CHAP: u16 = 0xc223;
    /// IP control (RFC 1332).
    pub(crate) const IPCP: u16 = 0x8021;
}

/// Codes of control packets (RFC 1661, section 5).
pub(super) mod code {
    pub(crate) const CONFIGURE_REQUEST: u8 = 1;
    pub(crate) const CONFIGURE_ACK: u8 = 2;
    pub(crate) const CONFIGURE_NAK: u8 = 3;
    pub(crate) const CONFIGURE_REJECT: u8 = 4;
    pub(crate) const TERMINATE_REQUEST: u8 = 5;
    pub(crate) const TERMINATE_ACK: u8 = 6;
    pub(crate) const PROTOCOL_REJECT: u8 = 8;
    pub(crate) const ECHO_REQUEST: u8 = 9;
    pub(crate) const ECHO_REPLY: u8 = 10;
}

/// Address and control field of HDLC, which may be left out (RFC 1661, section 6.6).
const ADDRESS_CONTROL: [u8; 2] = [0xff, 0x03];

/// How PPP authenticates the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// The password itself (RFC 1334).
    Pap,
    /// A challenge, answered with MD5 (RFC 1994).
    ChapMd5,
    /// MS-CHAPv2 (RFC 2759), which the laboratory's peers do not speak: a server that insists on
    /// it is left by its clients.
    MsChapV2,
}

/// Name and password of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Its name; 1 to 255 bytes.
    pub user: String,
    /// Its password; up to 255 bytes.
    pub password: String,
}

/// A PPP frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    /// A constant of [`protocol`], or one unknown.
    pub(super) protocol: u16,
    /// What it carries.
    pub(super) payload: Vec<u8>,
}

impl Frame {
    /// Reads a frame; address, control and the protocol's first byte may be compressed.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.strip_prefix(&ADDRESS_CONTROL).unwrap_or(bytes);
        // The last byte of a protocol's number is odd, all others are even (RFC 1661, 2).
        let (&first, rest) = bytes.split_first()?;
        if first & 1 == 1 {
            return Some(Self {
                protocol: u16::from(first),
                payload: rest.to_vec(),
            });
        }
        let (&second, payload) = rest.split_first()?;
        Some(Self {
            protocol: u16::from_be_bytes([first, second]),
            payload: payload.to_vec(),
        })
    }

    /// Writes the frame, with nothing compressed: four bytes and the payload.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = ADDRESS_CONTROL.to_vec();
        bytes.extend_from_slice(&self.protocol.to_be_bytes());
        bytes.extend_from_slice(&self.payload);
        bytes
    }
}

/// A packet of LCP, IPCP, PAP or CHAP: they share this form (RFC 1661, section 5).
#[derive(Debug, Clone, PartialEq, Eq)]
struct Control {
    code: u8,
    identifier: u8,
    data: Vec<u8>,
}

impl Control {
    fn decode(payload: &[u8]) -> Option<Self> {
        let (&[code, identifier, high, low], rest) = payload.split_first_chunk()?;
        let length = usize::from(u16::from_be_bytes([high, low])).checked_sub(4)?;
        // What goes beyond the length is padding.
        Some(Self {
            code,
            identifier,
            data: rest.get(..length)?.to_vec(),
        })
    }

    fn into_frame(self, protocol: u16) -> Frame {
        // No control packet of these peers is longer than what they got.
        let length = u16::try_from(4 + self.data.len()).unwrap_or(u16::MAX);
        let mut payload = vec![self.code, self.identifier];
        payload.extend_from_slice(&length.to_be_bytes());
        payload.extend_from_slice(&self.data);
        Frame { protocol, payload }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn frames_are_read_with_and_without_compression() {
        let expected = Some(Frame {
            protocol: protocol::IPV4,
            payload: vec![0x45],
        });
        assert_eq!(Frame::decode(&[0xff, 3, 0, 0x21, 0x45]), expected);
        assert_eq!(Frame::decode(&[0, 0x21, 0x45]), expected);
        assert_eq!(Frame::decode(&[0x21, 0x45]), expected);
        assert_eq!(Frame::decode(&[0xff, 3]), None);
        assert_eq!(
            Frame::decode(&[0xff, 3, 0, 0x21, 0x45]).map(|frame| frame.encode().len()),
            Some(5)
        );
    }

    proptest! {
        #[test]
        fn any_control_packet_reads_as_written(
            code: u8,
            identifier: u8,
            data in proptest::collection::vec(any::<u8>(), 0..100),
        ) {
            let control = Control { code, identifier, data };
            let frame = control.clone().into_frame(protocol::LCP);
            prop_assert_eq!(Control::decode(&frame.payload), Some(control));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Some(frame) = Frame::decode(&bytes) {
                let _ = Control::decode(&frame.payload);
            }
        }
    }
}
