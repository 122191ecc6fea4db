//! How long a record is that carries so many bytes, and which SSTP message is so long.
//!
//! SSTP messages have fixed sizes ([MS-SSTP], section 2.2) and a cipher adds what its
//! specification says, so the length field of a record's header tells the message.

use sstpulse_common::{Side, tls::ContentType};
use tls_parser::{TlsCipherEnc, TlsCipherEncMode, TlsCipherSuite, TlsPRF};

/// TLS 1.3 as its number on the wire (RFC 8446, section 4.2.1).
pub(super) const TLS_1_3: u16 = 0x0304;

/// TLS 1.1, the first version whose records of block ciphers begin with a vector of their own.
const TLS_1_1: u16 = 0x0302;

/// Bytes of the tag of an AEAD cipher (RFC 5116, section 5; RFC 8439, section 2.8).
const TAG: u16 = 16;

/// Bytes of the tag of a cipher that is called `CCM_8` (RFC 6655, section 6.1).
const SHORT_TAG: u16 = 8;

/// Bytes of the nonce that goes with each record of GCM and CCM under TLS 1.2 (RFC 5288,
/// section 3; RFC 6655, section 3).
const EXPLICIT_NONCE: u16 = 8;

/// Bytes of the header of a handshake message (RFC 8446, section 4).
const MESSAGE_HEADER: u16 = 4;

/// What a cipher makes of the length of what it encrypts. All lengths are in bytes, and
/// without the record's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordSize {
    /// An AEAD cipher under TLS 1.3 adds the true content type and a tag (RFC 8446, section
    /// 5.2). Padding is possible, and used by no SSTP software known.
    Tls13 {
        /// Length of the tag.
        tag: u16,
    },
    /// A stream or AEAD cipher up to TLS 1.2 adds a nonce, a tag or a MAC (RFC 5246, sections
    /// 6.2.3.1 and 6.2.3.3).
    Stream {
        /// Length of all of it.
        added: u16,
    },
    /// A block cipher up to TLS 1.2 pads to whole blocks (RFC 5246, section 6.2.3.2).
    Block {
        /// Length of a block.
        block: u16,
        /// Length of the initialization vector, which TLS 1.0 does not send.
        vector: u16,
        /// Length of the MAC.
        mac: u16,
        /// Whether the MAC comes after what is encrypted (RFC 7366), not into it.
        encrypt_then_mac: bool,
    },
}

/// What a record carries, as far as its length tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// SSTP Call Connect Request, 14 bytes, by the client ([MS-SSTP], section 2.2.9).
    CallConnectRequest,
    /// SSTP Call Connect Acknowledge, 48 bytes, by the server (section 2.2.10).
    CallConnectAck,
    /// SSTP Call Connected, 112 bytes, by the client (section 2.2.12).
    CallConnected,
    /// SSTP Echo Request, Echo Response, or Call Disconnect Acknowledge, 8 bytes (sections
    /// 2.2.17, 2.2.16 and 2.2.15). SoftEther's Call Abort and Call Disconnect have no status
    /// and so the same length.
    EchoOrDisconnectAck,
    /// SSTP Call Abort or Call Disconnect with a status, 20 bytes (sections 2.2.13, 2.2.14).
    AbortOrDisconnect,
    /// LCP Echo-Request or Echo-Reply without data (RFC 1661, section 5.8), 16 bytes with the
    /// headers of SSTP and PPP.
    LcpEcho,
    /// TLS alert, 2 bytes (RFC 8446, section 6).
    Alert,
    /// The header of an SSTP packet in a record of its own, 4 bytes (section 2.2.1), as
    /// sorz's sstp-server sends it.
    SplitHeader,
}

impl Message {
    /// Where two messages have the same length, what is to be taken for what: first what a
    /// tunnel that is up sends again and again.
    const ALL: [Self; 8] = [
        Self::Alert,
        Self::EchoOrDisconnectAck,
        Self::LcpEcho,
        Self::AbortOrDisconnect,
        Self::CallConnectRequest,
        Self::CallConnectAck,
        Self::CallConnected,
        Self::SplitHeader,
    ];

    /// Its length in bytes, before encryption.
    pub const fn length(self) -> u16 {
        match self {
            Self::Alert => 2,
            Self::SplitHeader => 4,
            Self::EchoOrDisconnectAck => 8,
            Self::CallConnectRequest => 14,
            Self::LcpEcho => 16,
            Self::AbortOrDisconnect => 20,
            Self::CallConnectAck => 48,
            Self::CallConnected => 112,
        }
    }

    /// Whether this side sends it.
    pub const fn is_sent_by(self, side: Side) -> bool {
        match self {
            Self::CallConnectRequest | Self::CallConnected => matches!(side, Side::Client),
            Self::CallConnectAck | Self::SplitHeader => matches!(side, Side::Server),
            Self::Alert | Self::EchoOrDisconnectAck | Self::AbortOrDisconnect | Self::LcpEcho => {
                true
            }
        }
    }
}

impl RecordSize {
    /// That of a cipher suite by its IANA number, under this version of TLS (as on the wire,
    /// 0x0304 for 1.3), with or without encrypt-then-MAC; `None` if the suite is not known.
    pub fn of(cipher: u16, version: u16, encrypt_then_mac: bool) -> Option<Self> {
        let suite = TlsCipherSuite::from_id(cipher)?;
        let tag = if suite.name.contains("CCM_8") {
            SHORT_TAG
        } else {
            TAG
        };
        if version >= TLS_1_3 {
            return Some(Self::Tls13 { tag });
        }
        let mac = u16::try_from(suite.mac_length()).ok()?;
        let added = match suite.enc_mode {
            TlsCipherEncMode::Cbc => {
                let block = u16::try_from(suite.enc_block_size()).ok()?;
                if block == 0 {
                    return None;
                }
                let vector = if version >= TLS_1_1 { block } else { 0 };
                return Some(Self::Block {
                    block,
                    vector,
                    mac,
                    encrypt_then_mac,
                });
            }
            TlsCipherEncMode::Gcm | TlsCipherEncMode::Ccm => EXPLICIT_NONCE + tag,
            TlsCipherEncMode::Null if suite.enc == TlsCipherEnc::Chacha20_Poly1305 => tag,
            TlsCipherEncMode::Null => mac,
        };
        Some(Self::Stream { added })
    }

    /// Length of a record that carries so many bytes; the greatest number there is, if it
    /// would be longer.
    pub const fn sealed(self, plaintext: u16) -> u16 {
        match self {
            Self::Tls13 { tag } => plaintext.saturating_add(1 + tag),
            Self::Stream { added } => plaintext.saturating_add(added),
            Self::Block {
                block,
                vector,
                mac,
                encrypt_then_mac,
            } => {
                let (inside, after) = if encrypt_then_mac { (0, mac) } else { (mac, 0) };
                // At least one byte, which tells the padding's length.
                let blocks = plaintext.saturating_add(inside) / block + 1;
                let padded = blocks.saturating_mul(block);
                padded.saturating_add(vector).saturating_add(after)
            }
        }
    }

    /// Whether a record of this side, with this content type and length (as in its header),
    /// can be this message.
    ///
    /// Block ciphers give several messages the same length. Which one it is, the order of
    /// things decides: before the client's Call Connect Request nothing else of its length
    /// comes, and after it nothing but Call Connected has the length of that.
    pub fn fits(self, message: Message, side: Side, content_type: u8, length: u16) -> bool {
        let alert_in_clear_type = !matches!(self, Self::Tls13 { .. });
        let expected = match message {
            Message::Alert if alert_in_clear_type => ContentType::ALERT,
            _ => ContentType::APPLICATION_DATA,
        };
        message.is_sent_by(side)
            && content_type == expected
            && length == self.sealed(message.length())
    }

    /// What a record of a tunnel that is up is, if its length tells.
    ///
    /// Where several messages have the same length, the one that comes most often is named:
    /// an echo before an LCP echo, before an end, before what belongs to set-up. Who has
    /// reason to expect another one asks [`fits`](Self::fits).
    pub fn message(self, side: Side, content_type: u8, length: u16) -> Option<Message> {
        Message::ALL
            .into_iter()
            .find(|message| self.fits(*message, side, content_type, length))
    }

    /// Length of the record that carries the Finished of TLS 1.3 alone: a hash as long as the
    /// suite's (RFC 8446, section 4.4.4).
    pub(super) fn finished(self, cipher: u16) -> u16 {
        let hash = match TlsCipherSuite::from_id(cipher).map(|suite| suite.prf) {
            Some(TlsPRF::Sha384) => 48,
            Some(TlsPRF::Sha512) => 64,
            _ => 32,
        };
        self.sealed(MESSAGE_HEADER + hash)
    }
}

/// The name of a cipher suite in IANA's registry; `None` if it is not there.
pub fn cipher_name(cipher: u16) -> Option<&'static str> {
    TlsCipherSuite::from_id(cipher).map(|suite| suite.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TLS_1_0: u16 = 0x0301;
    const TLS_1_2: u16 = 0x0303;

    const AES_128_GCM_SHA256: u16 = 0x1301;
    const AES_256_GCM_SHA384: u16 = 0x1302;
    const AES_128_CCM_8_SHA256: u16 = 0x1305;
    const RSA_WITH_RC4_128_SHA: u16 = 0x0005;
    const RSA_WITH_3DES_EDE_CBC_SHA: u16 = 0x000a;
    const ECDHE_RSA_WITH_AES_256_CBC_SHA: u16 = 0xc014;
    const ECDHE_RSA_WITH_AES_128_CBC_SHA256: u16 = 0xc027;
    const ECDHE_RSA_WITH_AES_256_CBC_SHA384: u16 = 0xc028;
    const ECDHE_RSA_WITH_AES_256_GCM_SHA384: u16 = 0xc030;
    const RSA_WITH_AES_128_CCM: u16 = 0xc09c;
    const RSA_WITH_AES_128_CCM_8: u16 = 0xc0a0;
    const ECDHE_RSA_WITH_CHACHA20_POLY1305: u16 = 0xcca8;

    /// The messages of the table, but for the alert.
    const MESSAGES: [Message; 7] = [
        Message::SplitHeader,
        Message::EchoOrDisconnectAck,
        Message::CallConnectRequest,
        Message::LcpEcho,
        Message::AbortOrDisconnect,
        Message::CallConnectAck,
        Message::CallConnected,
    ];

    /// Suite, version, encrypt-then-MAC; lengths of an alert, and of the messages in the
    /// order above.
    const TABLE: [(u16, u16, bool, [u16; 8]); 13] = [
        (
            AES_256_GCM_SHA384,
            TLS_1_3,
            false,
            [19, 21, 25, 31, 33, 37, 65, 129],
        ),
        (
            AES_128_CCM_8_SHA256,
            TLS_1_3,
            false,
            [11, 13, 17, 23, 25, 29, 57, 121],
        ),
        (
            ECDHE_RSA_WITH_AES_256_GCM_SHA384,
            TLS_1_2,
            false,
            [26, 28, 32, 38, 40, 44, 72, 136],
        ),
        (
            RSA_WITH_AES_128_CCM,
            TLS_1_2,
            false,
            [26, 28, 32, 38, 40, 44, 72, 136],
        ),
        (
            RSA_WITH_AES_128_CCM_8,
            TLS_1_2,
            false,
            [18, 20, 24, 30, 32, 36, 64, 128],
        ),
        (
            ECDHE_RSA_WITH_CHACHA20_POLY1305,
            TLS_1_2,
            false,
            [18, 20, 24, 30, 32, 36, 64, 128],
        ),
        (
            ECDHE_RSA_WITH_AES_256_CBC_SHA,
            TLS_1_2,
            true,
            [52, 52, 52, 52, 68, 68, 100, 164],
        ),
        (
            ECDHE_RSA_WITH_AES_256_CBC_SHA,
            TLS_1_2,
            false,
            [48, 48, 48, 64, 64, 64, 96, 160],
        ),
        (
            ECDHE_RSA_WITH_AES_128_CBC_SHA256,
            TLS_1_2,
            true,
            [64, 64, 64, 64, 80, 80, 112, 176],
        ),
        (
            ECDHE_RSA_WITH_AES_256_CBC_SHA384,
            TLS_1_2,
            true,
            [80, 80, 80, 80, 96, 96, 128, 192],
        ),
        // TLS 1.0 sends no vector.
        (
            ECDHE_RSA_WITH_AES_256_CBC_SHA,
            TLS_1_0,
            false,
            [32, 32, 32, 48, 48, 48, 80, 144],
        ),
        (
            RSA_WITH_3DES_EDE_CBC_SHA,
            TLS_1_2,
            false,
            [32, 40, 40, 48, 48, 56, 80, 144],
        ),
        (
            RSA_WITH_RC4_128_SHA,
            TLS_1_2,
            false,
            [22, 24, 28, 34, 36, 40, 68, 132],
        ),
    ];

    #[test]
    fn each_message_is_as_long_as_its_cipher_makes_it() {
        for (cipher, version, encrypt_then_mac, [alert, lengths @ ..]) in TABLE {
            let size = RecordSize::of(cipher, version, encrypt_then_mac).expect("it is known");
            assert_eq!(
                size.sealed(Message::Alert.length()),
                alert,
                "{cipher:#06x}, alert"
            );
            for (message, length) in MESSAGES.into_iter().zip(lengths) {
                assert_eq!(
                    size.sealed(message.length()),
                    length,
                    "{cipher:#06x}, {message:?}"
                );
            }
        }
    }

    #[test]
    fn stream_and_aead_ciphers_leave_no_message_in_doubt() {
        for (cipher, version, encrypt_then_mac, [alert, lengths @ ..]) in TABLE {
            let size = RecordSize::of(cipher, version, encrypt_then_mac).expect("it is known");
            if matches!(size, RecordSize::Block { .. }) {
                continue;
            }
            let alert_type = if version == TLS_1_3 { 23 } else { 21 };
            for side in [Side::Client, Side::Server] {
                let told = size.message(side, alert_type, alert);
                assert_eq!(told, Some(Message::Alert), "{cipher:#06x}");
                for (message, length) in MESSAGES.into_iter().zip(lengths) {
                    let expected = message.is_sent_by(side).then_some(message);
                    assert_eq!(size.message(side, 23, length), expected, "{cipher:#06x}");
                }
            }
        }
    }

    #[test]
    fn a_block_cipher_names_what_comes_most_often_and_leaves_the_rest_to_who_expects_it() {
        let size = RecordSize::of(ECDHE_RSA_WITH_AES_256_CBC_SHA, TLS_1_2, true).expect("known");
        let (client, data) = (Side::Client, ContentType::APPLICATION_DATA);
        let told = |length| size.message(client, data, length);
        assert_eq!(told(52), Some(Message::EchoOrDisconnectAck));
        assert_eq!(told(68), Some(Message::LcpEcho));
        assert_eq!(told(164), Some(Message::CallConnected));
        assert_eq!(
            told(100),
            None,
            "only a server sends Call Connect Acknowledge"
        );
        assert!(size.fits(Message::CallConnectRequest, client, data, 52));
        assert!(size.fits(Message::AbortOrDisconnect, client, data, 68));
        // The type stays in clear, so an alert is none of these.
        assert_eq!(
            size.message(client, ContentType::ALERT, 52),
            Some(Message::Alert)
        );
    }

    #[test]
    fn the_finished_of_tls_1_3_is_as_long_as_the_hash_has_it() {
        let size = RecordSize::Tls13 { tag: TAG };
        assert_eq!(size.finished(AES_128_GCM_SHA256), 53);
        assert_eq!(size.finished(AES_256_GCM_SHA384), 69);
    }

    #[test]
    fn nothing_overflows_and_what_is_unknown_has_no_size() {
        for (cipher, version, encrypt_then_mac, _) in TABLE {
            let size = RecordSize::of(cipher, version, encrypt_then_mac).expect("it is known");
            assert!(size.sealed(u16::MAX) >= u16::MAX - 63);
        }
        assert_eq!(RecordSize::of(0xfafa, TLS_1_3, false), None);
        assert_eq!(cipher_name(0x1302), Some("TLS_AES_256_GCM_SHA384"));
        assert_eq!(cipher_name(0xfafa), None);
    }
}
