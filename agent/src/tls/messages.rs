//! Handshake messages in clear, put together from the records that carry them.

/// Bytes of a message's header: its type and its length (RFC 8446, section 4).
const HEADER: usize = 4;

/// Bytes of a message that are kept at most: more than any hello or certificate has.
const MOST: usize = 16 << 10;

/// Bytes of the body of a Certificate message before its first certificate: the lengths of
/// the list and of that certificate (RFC 5246, section 7.4.2).
pub(super) const BEFORE_CERTIFICATE: usize = 6;

/// Types of messages (RFC 8446, appendix B.3).
pub(super) mod kind {
    pub(in crate::tls) const CLIENT_HELLO: u8 = 1;
    pub(in crate::tls) const SERVER_HELLO: u8 = 2;
    pub(in crate::tls) const CERTIFICATE: u8 = 11;
    pub(in crate::tls) const SERVER_HELLO_DONE: u8 = 14;
}

/// One side's messages.
#[derive(Debug, Default)]
pub(super) struct Messages {
    header: [u8; HEADER],
    header_length: usize,
    /// Bytes of the body to come.
    left: usize,
    /// Bytes of the body that are to be kept, from its first on.
    wanted: usize,
    body: Vec<u8>,
    /// Where messages begin is not known until the next record.
    lost: bool,
    incomplete: bool,
}

impl Messages {
    /// A record with messages begins.
    pub(super) fn record(&mut self) {
        if self.lost {
            *self = Self {
                incomplete: self.incomplete,
                ..Self::default()
            };
        }
    }

    /// Takes some of a record's body in. Each message is handed on with its type, once as
    /// much of its body is there as is read of it: all of a hello, of a Certificate the first
    /// one, of others nothing.
    pub(super) fn take(&mut self, mut bytes: &[u8], mut found: impl FnMut(u8, &[u8])) {
        while !bytes.is_empty() && !self.lost {
            let used = if self.header_length < HEADER {
                self.take_header(bytes, &mut found)
            } else {
                self.take_body(bytes, &mut found)
            };
            bytes = &bytes[used..];
        }
    }

    /// So many bytes of a record's body will not come.
    pub(super) fn hole(&mut self, length: usize) {
        if self.lost {
            return;
        }
        let harmless = self.header_length == HEADER && self.wanted == 0 && length <= self.left;
        if harmless {
            self.left -= length;
            self.end_if_over();
        } else {
            self.lost = true;
            self.incomplete = true;
            self.body = Vec::new();
        }
    }

    /// Whether a message was not read that would have told something.
    pub(super) fn is_incomplete(&self) -> bool {
        self.incomplete
    }

    /// Bytes kept.
    pub(super) fn held(&self) -> usize {
        self.body.capacity()
    }

    fn take_header(&mut self, bytes: &[u8], found: &mut impl FnMut(u8, &[u8])) -> usize {
        let used = bytes.len().min(HEADER - self.header_length);
        self.header[self.header_length..][..used].copy_from_slice(&bytes[..used]);
        self.header_length += used;
        if self.header_length == HEADER {
            let [kind, high, middle, low] = self.header;
            self.left = u32::from_be_bytes([0, high, middle, low]) as usize;
            self.wanted = match kind {
                kind::CLIENT_HELLO | kind::SERVER_HELLO => self.left,
                kind::CERTIFICATE => BEFORE_CERTIFICATE.min(self.left),
                _ => 0,
            };
            self.bound();
            if self.wanted == 0 {
                found(kind, &[]);
            }
            self.end_if_over();
        }
        used
    }

    fn take_body(&mut self, bytes: &[u8], found: &mut impl FnMut(u8, &[u8])) -> usize {
        if self.body.is_empty()
            && let Some(lengths) = bytes.first_chunk()
        {
            self.want_certificate(*lengths, found);
        }
        let used = match self.wanted {
            0 => bytes.len().min(self.left),
            wanted => bytes.len().min(wanted - self.body.len()),
        };
        self.left -= used;
        if used == self.wanted {
            // Most come in one piece, and need not be kept.
            found(self.header[0], &bytes[..used]);
            self.wanted = 0;
        } else if self.wanted > 0 {
            self.keep(&bytes[..used], found);
        }
        self.end_if_over();
        used
    }

    /// Keeps some of a body that is read until all of it is there.
    fn keep(&mut self, bytes: &[u8], found: &mut impl FnMut(u8, &[u8])) {
        self.body.extend_from_slice(bytes);
        if let Ok(lengths) = self.body[..].try_into() {
            self.want_certificate(lengths, found);
        }
        if self.wanted > 0 && self.body.len() == self.wanted {
            found(self.header[0], &self.body);
            self.body = Vec::new();
            self.wanted = 0;
        }
    }

    /// Reads the first certificate as well, if these are the first bytes of a body that has one.
    fn want_certificate(
        &mut self,
        lengths: [u8; BEFORE_CERTIFICATE],
        found: &mut impl FnMut(u8, &[u8]),
    ) {
        if self.header[0] != kind::CERTIFICATE || self.wanted != BEFORE_CERTIFICATE {
            return;
        }
        let [_, _, _, high, middle, low] = lengths;
        let length = u32::from_be_bytes([0, high, middle, low]) as usize;
        // Nothing is left of a list that is empty, or longer than what is kept.
        let left = self.left - (BEFORE_CERTIFICATE - self.body.len());
        self.wanted += length.min(left);
        self.bound();
        if self.wanted == 0 {
            found(kind::CERTIFICATE, &[]);
        }
    }

    /// Gives up what is longer than anything of its kind.
    fn bound(&mut self) {
        if self.wanted > MOST {
            self.wanted = 0;
            self.incomplete = true;
            self.body = Vec::new();
        }
    }

    fn end_if_over(&mut self) {
        if self.header_length == HEADER && self.left == 0 {
            self.header_length = 0;
            self.wanted = 0;
            self.body = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message of this type with this body.
    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len())
            .expect("it is short")
            .to_be_bytes();
        [&[kind], &length[1..], body].concat()
    }

    /// What is found in some pieces of a record's body.
    fn found(pieces: &[&[u8]]) -> (Vec<(u8, usize)>, Messages) {
        let mut messages = Messages::default();
        let mut all = Vec::new();
        messages.record();
        for piece in pieces {
            messages.take(piece, |kind, body| all.push((kind, body.len())));
        }
        (all, messages)
    }

    /// A hello, a certificate of 300 bytes with its issuer's, and the end of a flight.
    fn flight() -> Vec<u8> {
        let list = [&[0, 4, 0xb2, 0, 1, 0x2c][..], &[7; 300], &[9; 900]].concat();
        [
            message(kind::SERVER_HELLO, &[1; 80]),
            message(kind::CERTIFICATE, &list),
            message(12, &[2; 250]),
            message(kind::SERVER_HELLO_DONE, &[]),
        ]
        .concat()
    }

    const FOUND: [(u8, usize); 4] = [(2, 80), (11, 306), (12, 0), (14, 0)];

    #[test]
    fn messages_are_found_however_they_are_cut() {
        let flight = flight();
        assert_eq!(found(&[&flight]).0, FOUND);
        let bytes: Vec<&[u8]> = flight.chunks(1).collect();
        assert_eq!(found(&bytes).0, FOUND);
    }

    #[test]
    fn a_hole_in_what_is_not_read_is_no_loss() {
        let flight = flight();
        let (mut all, mut messages) = found(&[&flight[..500]]);
        messages.hole(700);
        messages.take(&flight[1200..], |kind, body| all.push((kind, body.len())));
        assert_eq!(all, FOUND);
        assert!(!messages.is_incomplete());
    }

    #[test]
    fn a_hole_in_what_is_read_loses_the_rest_of_its_record() {
        let flight = flight();
        let (mut all, mut messages) = found(&[&flight[..100]]);
        messages.hole(100);
        messages.take(&flight[200..], |kind, body| all.push((kind, body.len())));
        assert_eq!(all, [(2, 80)]);
        assert!(messages.is_incomplete());
        messages.record();
        messages.take(&flight, |kind, body| all.push((kind, body.len())));
        assert_eq!(all[1..], FOUND);
    }

    #[test]
    fn nothing_is_kept_of_what_is_too_long() {
        for kind in [kind::CLIENT_HELLO, kind::SERVER_HELLO] {
            let (all, messages) = found(&[&message(kind, &vec![0; MOST + 1])]);
            assert_eq!(all, [(kind, 0)]);
            assert!(messages.is_incomplete());
        }
        let endless = [&[11, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff][..]].concat();
        let (all, messages) = found(&[&endless, &vec![0; 70_000]]);
        assert_eq!((all, messages.held()), (vec![(kind::CERTIFICATE, 0)], 0));
        assert!(messages.is_incomplete());
    }

    #[test]
    fn a_list_without_a_certificate_is_one() {
        let (all, _) = found(&[&message(kind::CERTIFICATE, &[0, 0, 0])]);
        assert_eq!(all, [(kind::CERTIFICATE, 3)]);
        let (all, _) = found(&[&message(kind::CERTIFICATE, &[0, 0, 3, 0, 0, 0])]);
        assert_eq!(all, [(kind::CERTIFICATE, 6)]);
    }
}
