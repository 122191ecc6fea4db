//! TLS records, as far as their headers tell: what goes over the wire in clear.

use crate::packet::{Bytes, View as _};

/// Bytes of a record's header.
pub const HEADER: usize = 5;

/// The longest record: 2¹⁴ bytes, and 2048 that a cipher may add under TLS 1.2 (RFC 5246,
/// section 6.2.3; TLS 1.3 allows 256).
pub const LONGEST: u16 = (1 << 14) + 2048;

/// The header of a record (RFC 8446, section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// What it carries: a constant of [`ContentType`].
    pub content_type: u8,
    /// Bytes that follow the header, encryption included.
    pub length: u16,
}

/// What a record carries (RFC 8446, appendix B.1; RFC 6520).
pub struct ContentType;

impl ContentType {
    /// The lowest of them.
    pub const FIRST: u8 = Self::CHANGE_CIPHER_SPEC;

    /// Change of cipher.
    pub const CHANGE_CIPHER_SPEC: u8 = 20;
    /// Alert.
    pub const ALERT: u8 = 21;
    /// Handshake.
    pub const HANDSHAKE: u8 = 22;
    /// Application data; under TLS 1.3, anything encrypted.
    pub const APPLICATION_DATA: u8 = 23;
    /// Heartbeat.
    pub const HEARTBEAT: u8 = 24;
}

impl RecordHeader {
    /// The header that stands at `offset`, if what stands there can be one: a known type,
    /// a version from SSL 3.0 to TLS 1.3, and a length that a record may have.
    #[inline(always)]
    pub fn at<B: Bytes + ?Sized>(bytes: &B, offset: usize) -> Option<Self> {
        let header = bytes.view::<HEADER>(offset)?;
        let content_type = header.byte(0);
        let length = header.be16(3);
        let known = matches!(
            content_type,
            ContentType::CHANGE_CIPHER_SPEC..=ContentType::HEARTBEAT
        );
        let version = header.byte(1) == 3 && header.byte(2) <= 4;
        (known && version && length <= LONGEST).then_some(Self {
            content_type,
            length,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_a_header_is_one() {
        let header = |bytes: [u8; 5]| RecordHeader::at(&bytes[..], 0).map(|header| header.length);
        assert_eq!(header([23, 3, 3, 0, 25]), Some(25));
        assert_eq!(header([22, 3, 1, 6, 0]), Some(1536));
        assert_eq!(header([19, 3, 3, 0, 25]), None);
        assert_eq!(header([23, 2, 3, 0, 25]), None);
        assert_eq!(header([23, 3, 5, 0, 25]), None);
        assert_eq!(header([23, 3, 3, 0x48, 1]), None);
        assert!(RecordHeader::at(&[23, 3, 3, 0][..], 0).is_none());
    }
}
