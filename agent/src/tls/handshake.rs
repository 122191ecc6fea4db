//! What hellos and certificates say.
//!
//! The bytes are the peer's, who may send anything: a field that can't be read is left out,
//! and the others are read all the same.

use tls_parser::{
    TlsExtension, TlsExtensionType, parse_tls_extension, parse_tls_extension_unknown,
    parse_tls_handshake_client_hello, parse_tls_handshake_server_hello,
};
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

use super::{
    cipher::TLS_1_3,
    facts::{Hellos, Resumption, Validity},
    messages::BEFORE_CERTIFICATE,
};

/// Bytes of a server name that are kept: no name of the DNS is longer (RFC 1035, section
/// 2.3.4).
const LONGEST_NAME: usize = 255;

/// What a ServerHello has for its random number if it is a HelloRetryRequest (RFC 8446,
/// section 4.1.3): the SHA-256 of that word.
const HELLO_RETRY_REQUEST: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
    0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

/// Reads a ClientHello. `None` if it is none.
pub(super) fn client_hello(body: &[u8], hellos: &mut Hellos) -> Option<()> {
    let (_, hello) = parse_tls_handshake_client_hello(body).ok()?;
    let mut versions = Vec::new();
    let (mut resumes, mut alpn_offered) = (false, false);
    for (kind, extension) in extensions(hello.ext.unwrap_or_default()) {
        match (kind, extension) {
            (TlsExtensionType::ServerName, Some(TlsExtension::SNI(names))) => {
                let name = names.first().and_then(|(_, name)| server_name(name));
                // A second hello repeats it (RFC 8446, section 4.1.2).
                hellos.server_name = name.or(hellos.server_name.take());
            }
            (TlsExtensionType::SupportedVersions, Some(TlsExtension::SupportedVersions(all))) => {
                versions.extend(all.iter().map(|version| version.0));
            }
            (TlsExtensionType::SessionTicketTLS, Some(TlsExtension::SessionTicket(ticket))) => {
                resumes |= !ticket.is_empty();
            }
            (TlsExtensionType::PreSharedKey, _) => resumes = true,
            (TlsExtensionType::ApplicationLayerProtocolNegotiation, _) => {
                alpn_offered = true;
            }
            _ => {}
        }
    }
    versions.retain(|version| !is_grease(*version));
    let offered = versions.into_iter().max().unwrap_or(hello.version.0);
    hellos.offered = Some(offered);
    // TLS 1.3 fills the session ID to look like TLS 1.2 (RFC 8446, appendix D.4).
    resumes |= offered < TLS_1_3 && hello.session_id.is_some();
    hellos.alpn_offered = Some(alpn_offered);
    if resumes {
        hellos.resumption = Some(Resumption::Offered);
    } else {
        // A second hello leaves out what does not suit (RFC 8446, section 4.1.2).
        hellos.resumption.get_or_insert(Resumption::NotOffered);
    }
    Some(())
}

/// Reads a ServerHello, or a HelloRetryRequest, which has the same form. `None` if it is
/// neither.
pub(super) fn server_hello(body: &[u8], hellos: &mut Hellos) -> Option<()> {
    let (_, hello) = parse_tls_handshake_server_hello(body).ok()?;
    hellos.hello_retry_request |= hello.random == HELLO_RETRY_REQUEST;
    hellos.negotiated = Some(hello.version.0);
    hellos.cipher = Some(hello.cipher.0);
    for (kind, extension) in extensions(hello.ext.unwrap_or_default()) {
        match (kind, extension) {
            (TlsExtensionType::SupportedVersions, Some(TlsExtension::SupportedVersions(one))) => {
                if let [version] = one[..] {
                    hellos.negotiated = Some(version.0);
                }
            }
            (TlsExtensionType::PreSharedKey, _) => {
                hellos.resumption = Some(Resumption::Honoured);
            }
            (TlsExtensionType::EncryptThenMac, _) => hellos.encrypt_then_mac = true,
            _ => {}
        }
    }
    Some(())
}

/// Whether a ServerHello is a HelloRetryRequest.
pub(super) fn is_hello_retry_request(body: &[u8]) -> bool {
    /// Bytes of the version before it.
    const RANDOM: usize = 2;
    body.get(RANDOM..)
        .is_some_and(|rest| rest.starts_with(&HELLO_RETRY_REQUEST))
}

/// When the first certificate of a Certificate message is valid (RFC 5246, section 7.4.2).
pub(super) fn validity(body: &[u8]) -> Option<Validity> {
    let (_, certificate) = X509Certificate::from_der(body.get(BEFORE_CERTIFICATE..)?).ok()?;
    let validity = certificate.validity();
    Some(Validity {
        not_before: validity.not_before.timestamp(),
        not_after: validity.not_after.timestamp(),
    })
}

/// The extensions one by one; the content of those that matter here, as far as it can be read.
fn extensions(
    mut bytes: &[u8],
) -> impl Iterator<Item = (TlsExtensionType, Option<TlsExtension<'_>>)> {
    std::iter::from_fn(move || {
        let (rest, extension) = parse_tls_extension_unknown(bytes).ok()?;
        let whole = &bytes[..bytes.len() - rest.len()];
        bytes = rest;
        let TlsExtension::Unknown(kind, _) = extension else {
            return None;
        };
        let read = matches!(
            kind,
            TlsExtensionType::ServerName
                | TlsExtensionType::SupportedVersions
                | TlsExtensionType::SessionTicketTLS
        );
        let content = read.then(|| parse_tls_extension(whole).ok()).flatten();
        Some((kind, content.map(|(_, extension)| extension)))
    })
}

/// Numbers that mean nothing, and keep peers from choking on what they don't know (RFC 8701).
fn is_grease(version: u16) -> bool {
    version & 0x0f0f == 0x0a0a
}

/// A server name as text of bounded length; `None` for an empty one. Whoever reads it on a
/// terminal sees what it is: all but printable ASCII is escaped.
fn server_name(bytes: &[u8]) -> Option<Box<str>> {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(LONGEST_NAME)]);
    let mut kept = String::new();
    for escaped in text.chars().map(char::escape_default) {
        if kept.len() + escaped.len() > LONGEST_NAME {
            break;
        }
        kept.extend(escaped);
    }
    (!kept.is_empty()).then(|| kept.into())
}
