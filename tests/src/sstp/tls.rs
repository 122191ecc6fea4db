//! What each end of a tunnel offers in TLS, and whom a client trusts.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::{self, cipher_suite};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme,
    SupportedCipherSuite, SupportedProtocolVersion,
};

use crate::tls::{SERVER_NAME, Tls};

/// TLS versions and cipher suites that an end offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Offer {
    /// TLS 1.2 and 1.3, with all suites of rustls.
    #[default]
    All,
    /// TLS 1.3 only. A record is 17 bytes longer than what it carries (RFC 8446, 5.2).
    Tls13,
    /// TLS 1.2 only, with all suites of rustls.
    Tls12,
    /// TLS 1.2 with AES-128-GCM only: 24 bytes longer (RFC 5288, section 3).
    Tls12AesGcm,
    /// TLS 1.2 with ChaCha20-Poly1305 only: 16 bytes longer (RFC 7905, section 2).
    Tls12ChaCha20,
}

impl Offer {
    fn versions(self) -> Vec<&'static SupportedProtocolVersion> {
        match self {
            Self::All => vec![&TLS13, &TLS12],
            Self::Tls13 => vec![&TLS13],
            Self::Tls12 | Self::Tls12AesGcm | Self::Tls12ChaCha20 => vec![&TLS12],
        }
    }

    fn suite(self) -> Option<SupportedCipherSuite> {
        match self {
            Self::All | Self::Tls13 | Self::Tls12 => None,
            Self::Tls12AesGcm => Some(cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
            Self::Tls12ChaCha20 => {
                Some(cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256)
            }
        }
    }

    fn provider(self) -> Arc<CryptoProvider> {
        let mut provider = ring::default_provider();
        if let Some(suite) = self.suite() {
            provider.cipher_suites = vec![suite];
        }
        Arc::new(provider)
    }
}

/// Which certificates a client trusts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// This one, in DER.
    Only(CertificateDer<'static>),
    /// None: the client refuses every server with the alert `unknown_ca`. rustls sends it in
    /// clear under TLS 1.2, and encrypted under TLS 1.3, where it has its keys by then.
    Nobody,
    /// All, whatever their names and dates.
    Everybody,
}

/// The client's side of TLS. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ClientTls {
    pub(super) config: Arc<ClientConfig>,
    pub(super) name: ServerName<'static>,
}

impl ClientTls {
    /// A client that trusts the laboratory's certificate and asks for its name.
    pub fn new(tls: &Tls, offer: Offer) -> Result<Self> {
        let (certificate, _) = tls.identity()?;
        Self::with(offer, &Trust::Only(certificate), Some(SERVER_NAME))
    }

    /// A client of any server. Without a name it sends none (RFC 6066, section 3), and expects
    /// that of the laboratory in the certificate.
    pub fn with(offer: Offer, trust: &Trust, name: Option<&str>) -> Result<Self> {
        let builder = ClientConfig::builder_with_provider(offer.provider())
            .with_protocol_versions(&offer.versions())
            .context("the TLS versions do not fit the cipher suites")?;
        let mut config = match trust {
            Trust::Everybody => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Anybody(offer.provider())))
                .with_no_client_auth(),
            trusted => builder
                .with_root_certificates(roots(trusted)?)
                .with_no_client_auth(),
        };
        // Every session is a full handshake, so that sessions are alike.
        config.resumption = Resumption::disabled();
        config.enable_sni = name.is_some();
        let name = name.unwrap_or(SERVER_NAME).to_owned();
        Ok(Self {
            config: Arc::new(config),
            name: ServerName::try_from(name.clone())
                .with_context(|| format!("`{name}` is no name of a server"))?,
        })
    }
}

fn roots(trust: &Trust) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    if let Trust::Only(certificate) = trust {
        roots
            .add(certificate.clone())
            .context("the certificate cannot be trusted")?;
    }
    Ok(roots)
}

/// The server's side of TLS. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ServerTls {
    pub(super) config: Arc<ServerConfig>,
    pub(super) certificate: CertificateDer<'static>,
}

impl ServerTls {
    /// A server with the laboratory's certificate.
    pub fn new(tls: &Tls, offer: Offer) -> Result<Self> {
        let (certificate, key) = tls.identity()?;
        let config = ServerConfig::builder_with_provider(offer.provider())
            .with_protocol_versions(&offer.versions())
            .context("the TLS versions do not fit the cipher suites")?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .context("the certificate does not fit the key")?;
        Ok(Self {
            config: Arc::new(config),
            certificate,
        })
    }
}

/// Takes any certificate; the handshake's signature must still be that of its key.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
