//! The crypto binding ([MS-SSTP], section 3.2.5.2): proof that whoever authenticated inside the
//! tunnel is also the end of the TLS session around it.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

use super::message::{CALL_CONNECTED, Message, Packet};

/// Bytes of the server's nonce.
pub(super) const NONCE: usize = 32;

/// Random numbers that the server sends, and the client's binding repeats.
pub(super) type Nonce = [u8; NONCE];

/// The higher-layer authentication key: what both ends know once PPP has authenticated.
pub(super) type Key = [u8; 32];

/// The key of PAP and CHAP-MD5, which yield none ([MS-SSTP], 3.2.5.2.4).
pub(super) const NO_KEY: Key = [0; 32];

/// What the key of the compound MAC is derived from ([MS-SSTP], 3.2.5.2.4).
const SEED: &[u8] = b"SSTP inner method derived CMK";

/// What a Call Connected message proves ([MS-SSTP], 2.2.7), with SHA-256.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Binding {
    /// The server's nonce.
    pub(super) nonce: Nonce,
    /// SHA-256 of the server's certificate in DER, as the client got it.
    pub(super) certificate_hash: [u8; 32],
    /// HMAC of the whole message, with zeros in this place.
    pub(super) compound_mac: [u8; 32],
}

impl Binding {
    /// Makes the binding of a client to whom the server showed this certificate, in DER.
    pub(super) fn new(key: &Key, nonce: Nonce, certificate: &[u8]) -> Self {
        let mut binding = Self {
            nonce,
            certificate_hash: Sha256::digest(certificate).into(),
            compound_mac: [0; 32],
        };
        binding.compound_mac = compound_mac(key, &binding);
        binding
    }

    /// Whether the binding is that of a client with this key, nonce and certificate.
    pub(super) fn fits(&self, key: &Key, nonce: Nonce, certificate: &[u8]) -> bool {
        *self == Self::new(key, nonce, certificate)
    }
}

/// HMAC-SHA256 of the Call Connected message whose own MAC is zero.
fn compound_mac(key: &Key, binding: &Binding) -> [u8; 32] {
    let zeroed = Binding {
        compound_mac: [0; 32],
        ..binding.clone()
    };
    let message = Packet::Control(Message::CallConnected(zeroed))
        .encode()
        .expect("a message of fixed length");
    debug_assert_eq!(message.len(), CALL_CONNECTED);
    mac(&compound_mac_key(key), &[&message])
}

/// T1 of PRF+: the seed, the length of the key as 16 bits in little-endian order, and 1.
fn compound_mac_key(key: &Key) -> Key {
    mac(key, &[SEED, &32_u16.to_le_bytes(), &[1]])
}

fn mac(key: &Key, parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of [MS-SSTP], section 4.7, whose key comes from MS-CHAPv2.
    const KEY: Key = *b"\x2a\x1b\xb4\x0d\x55\xab\x0f\x5e\xf3\x2f\x06\xf2\xb3\xcc\x73\xc4\
        \x8f\xd3\xfa\xc4\x1d\x7a\x13\x15\xa1\x92\x28\xd9\x02\x4c\xa1\x64";
    const EXAMPLE: Binding = Binding {
        nonce: *b"\x41\x2b\x48\x9a\xeb\xd7\xec\xc7\xd0\x89\x66\xf2\x6b\xe7\xcd\x72\
            \xb2\x31\xa0\xe9\x21\x0d\x7c\x91\xb3\x08\x86\x2b\x03\x44\xc4\x35",
        certificate_hash: *b"\x79\x93\xef\x31\x4c\x49\x3d\xac\xe9\xf0\x2d\x60\xe7\xe6\x1c\x84\
            \xb6\x69\x0a\xaf\xe9\xd7\xae\xea\x92\xcb\xbe\x8a\xd5\x99\x42\x2d",
        compound_mac: *b"\x52\xa6\x8e\xfd\x8c\xff\xbf\x52\x77\x0b\x8f\x0f\xe8\xec\x73\x71\
            \x65\x83\xaf\x6d\x61\x1e\xb6\xd1\x79\xb3\xb2\x08\x40\x98\x54\x49",
    };

    #[test]
    fn the_compound_mac_is_that_of_the_specifications_example() {
        assert_eq!(compound_mac(&KEY, &EXAMPLE), EXAMPLE.compound_mac);
    }

    #[test]
    fn only_the_same_key_nonce_and_certificate_fit() {
        let binding = Binding::new(&NO_KEY, [5; 32], b"certificate");
        assert!(binding.fits(&NO_KEY, [5; 32], b"certificate"));
        assert!(!binding.fits(&KEY, [5; 32], b"certificate"));
        assert!(!binding.fits(&NO_KEY, [6; 32], b"certificate"));
        assert!(!binding.fits(&NO_KEY, [5; 32], b"another's"));
    }
}
