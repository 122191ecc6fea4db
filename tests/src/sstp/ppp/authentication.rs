//! PAP (RFC 1334) and CHAP with MD5 (RFC 1994), both ends of each.

use md5::{Digest as _, Md5};

use super::{Control, Credentials};

/// Codes of PAP (RFC 1334, section 2.2).
pub(super) mod pap {
    pub(crate) const REQUEST: u8 = 1;
    pub(crate) const ACK: u8 = 2;
    pub(crate) const NAK: u8 = 3;
}

/// Codes of CHAP (RFC 1994, section 4).
pub(super) mod chap {
    pub(crate) const CHALLENGE: u8 = 1;
    pub(crate) const RESPONSE: u8 = 2;
    pub(crate) const SUCCESS: u8 = 3;
    pub(crate) const FAILURE: u8 = 4;
}

/// Bytes of a challenge: as many as its answer has, so that none can be guessed.
pub(super) const CHALLENGE: usize = 16;

/// A client's PAP request.
pub(super) fn pap_request(identifier: u8, credentials: &Credentials) -> Control {
    let Credentials { user, password } = credentials;
    Control {
        code: pap::REQUEST,
        identifier,
        data: [counted(user.as_bytes()), counted(password.as_bytes())].concat(),
    }
}

/// Whether a PAP request's credentials are these.
pub(super) fn pap_fits(data: &[u8], expected: &Credentials) -> bool {
    let read = || {
        let (user, rest) = read_counted(data)?;
        let (password, _) = read_counted(rest)?;
        Some((user, password))
    };
    read() == Some((expected.user.as_bytes(), expected.password.as_bytes()))
}

/// The server's answer to PAP: Ack or Nak, with a message of no bytes.
pub(super) fn pap_answer(identifier: u8, accept: bool) -> Control {
    Control {
        code: if accept { pap::ACK } else { pap::NAK },
        identifier,
        data: counted(b""),
    }
}

/// The server's challenge.
pub(super) fn chap_challenge(identifier: u8, challenge: &[u8; CHALLENGE]) -> Control {
    Control {
        code: chap::CHALLENGE,
        identifier,
        data: [&counted(challenge)[..], b"server"].concat(),
    }
}

/// The client's response to a challenge; `None` if the challenge can't be read.
pub(super) fn chap_response(challenge: &Control, credentials: &Credentials) -> Option<Control> {
    let (value, _) = read_counted(&challenge.data)?;
    let Credentials { user, password } = credentials;
    let answer = chap_md5(challenge.identifier, password, value);
    Some(Control {
        code: chap::RESPONSE,
        identifier: challenge.identifier,
        data: [&counted(&answer)[..], user.as_bytes()].concat(),
    })
}

/// Whether a response to the challenge is that of these credentials.
pub(super) fn chap_fits(
    response: &Control,
    challenge: &[u8; CHALLENGE],
    expected: &Credentials,
) -> bool {
    let answer = chap_md5(response.identifier, &expected.password, challenge);
    read_counted(&response.data) == Some((&answer[..], expected.user.as_bytes()))
}

/// The server's answer to CHAP: Success or Failure, without a message.
pub(super) fn chap_answer(identifier: u8, accept: bool) -> Control {
    Control {
        code: if accept { chap::SUCCESS } else { chap::FAILURE },
        identifier,
        data: Vec::new(),
    }
}

/// MD5 of identifier, secret and challenge (RFC 1994, section 4.1).
fn chap_md5(identifier: u8, secret: &str, challenge: &[u8]) -> [u8; 16] {
    let mut hash = Md5::new();
    hash.update([identifier]);
    hash.update(secret.as_bytes());
    hash.update(challenge);
    hash.finalize().into()
}

/// The bytes with their number before them; only the first 255 are taken.
fn counted(bytes: &[u8]) -> Vec<u8> {
    let length = u8::try_from(bytes.len()).unwrap_or(u8::MAX);
    [&[length], &bytes[..usize::from(length)]].concat()
}

fn read_counted(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&length, rest) = data.split_first()?;
    rest.split_at_checked(usize::from(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(user: &str, password: &str) -> Credentials {
        Credentials {
            user: user.to_owned(),
            password: password.to_owned(),
        }
    }

    #[test]
    fn pap_carries_name_and_password() {
        let right = credentials("lab", "secret");
        let request = pap_request(1, &right);
        assert_eq!(request.data, b"\x03lab\x06secret");
        assert!(pap_fits(&request.data, &right));
        for wrong in [credentials("lab", "Secret"), credentials("bal", "secret")] {
            assert!(!pap_fits(&pap_request(1, &wrong).data, &right));
        }
        assert!(!pap_fits(b"\x03lab\x07secret", &right));
        assert!(!pap_fits(b"", &right));
    }

    #[test]
    fn chap_wants_the_secret_and_the_name() {
        let right = credentials("lab", "secret");
        let challenge = [9; CHALLENGE];
        let asked = chap_challenge(7, &challenge);
        let answer = |credentials: &Credentials| {
            chap_response(&asked, credentials).expect("a readable challenge")
        };
        assert!(chap_fits(&answer(&right), &challenge, &right));
        assert!(!chap_fits(&answer(&right), &[8; CHALLENGE], &right));
        for wrong in [credentials("lab", "Secret"), credentials("bal", "secret")] {
            assert!(!chap_fits(&answer(&wrong), &challenge, &right));
        }
    }

    /// As `printf '\001ab' | md5sum` has it: identifier 1, secret "a", challenge "b".
    #[test]
    fn the_answer_is_md5_of_identifier_secret_and_challenge() {
        let expected = *b"\x45\x6b\x33\x30\xb7\x65\x9c\xaa\xc4\x6d\x2f\x43\x92\x94\x58\x4b";
        assert_eq!(chap_md5(1, "a", b"b"), expected);
    }
}
