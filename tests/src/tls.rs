//! A self-signed certificate and the rustls configurations of both sides.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ALL_VERSIONS, ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};

/// Name the certificate is for, and which clients ask for.
pub const SERVER_NAME: &str = "vpn.example";

const CERTIFICATE_FILE: &str = "certificate.pem";
const KEY_FILE: &str = "key.pem";

/// A certificate with its key, and configurations that use and trust it.
#[derive(Debug, Clone)]
pub struct Tls {
    certificate_pem: String,
    key_pem: String,
    /// Configuration of the server.
    pub server: Arc<ServerConfig>,
    /// Configuration of the client, which trusts this one certificate only.
    pub client: Arc<ClientConfig>,
}

impl Tls {
    /// Makes a new certificate; both sides speak TLS 1.2 and 1.3.
    pub fn new() -> Result<Self> {
        Self::with_versions(ALL_VERSIONS)
    }

    /// Makes a new certificate; both sides speak only these versions.
    pub fn with_versions(versions: &[&'static SupportedProtocolVersion]) -> Result<Self> {
        let made = rcgen::generate_simple_self_signed([SERVER_NAME.to_owned()])
            .context("cannot make a certificate")?;
        Self::from_pem(made.cert.pem(), made.signing_key.serialize_pem(), versions)
    }

    /// Reads what [`write_to`](Self::write_to) wrote; TLS 1.2 and 1.3.
    pub fn read_from(directory: &Path) -> Result<Self> {
        let read = |name: &str| {
            let file = directory.join(name);
            fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))
        };
        Self::from_pem(read(CERTIFICATE_FILE)?, read(KEY_FILE)?, ALL_VERSIONS)
    }

    /// Writes certificate and key as PEM files to the directory.
    pub fn write_to(&self, directory: &Path) -> Result<()> {
        for (name, pem) in [
            (CERTIFICATE_FILE, &self.certificate_pem),
            (KEY_FILE, &self.key_pem),
        ] {
            let file = directory.join(name);
            fs::write(&file, pem).with_context(|| format!("cannot write {}", file.display()))?;
        }
        Ok(())
    }

    fn from_pem(
        certificate_pem: String,
        key_pem: String,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Result<Self> {
        let (certificate, key) = parse(&certificate_pem, &key_pem)?;
        Ok(Self {
            server: Arc::new(server_config(certificate.clone(), key, versions)?),
            client: Arc::new(client_config(certificate, versions)?),
            certificate_pem,
            key_pem,
        })
    }

    /// The certificate in DER, and its key.
    pub(crate) fn identity(&self) -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>)> {
        parse(&self.certificate_pem, &self.key_pem)
    }

    /// The server's name, as clients send it.
    pub(crate) fn server_name() -> ServerName<'static> {
        ServerName::try_from(SERVER_NAME).expect("a constant that is a DNS name")
    }
}

fn parse(
    certificate_pem: &str,
    key_pem: &str,
) -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>)> {
    Ok((
        CertificateDer::from_pem_slice(certificate_pem.as_bytes())
            .context("the certificate is no PEM")?,
        PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).context("the key is no PEM")?,
    ))
}

fn server_config(
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    versions: &[&'static SupportedProtocolVersion],
) -> Result<ServerConfig> {
    ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)
        .context("the TLS versions do not fit the cipher suites")?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .context("the certificate does not fit the key")
}

fn client_config(
    certificate: CertificateDer<'static>,
    versions: &[&'static SupportedProtocolVersion],
) -> Result<ClientConfig> {
    let mut trusted = RootCertStore::empty();
    trusted
        .add(certificate)
        .context("the certificate cannot be trusted")?;
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)
        .context("the TLS versions do not fit the cipher suites")?
        .with_root_certificates(trusted)
        .with_no_client_auth();
    // Every session is a full handshake, so that sessions are alike.
    config.resumption = Resumption::disabled();
    Ok(config)
}
