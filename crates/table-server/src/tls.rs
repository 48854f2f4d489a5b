//! Encryption of connections to servers.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio_rustls::TlsConnector;

use crate::Fault;
use crate::wire::{ByteStream, Wire};

/// Where distributions keep the authorities that everybody trusts.
const SYSTEM_AUTHORITIES: &[&str] =
    &["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];
/// Most files of a directory of authorities.
const MOST_FILES: usize = 2_000;

/// How far a server's certificate is believed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verify {
    /// Any certificate will do.
    #[default]
    Nothing,
    /// It has to be signed by an authority.
    Chain,
    /// And to be for the server's name.
    ChainAndName,
}

/// What a table's configuration says.
#[derive(Clone, Debug, Default)]
pub struct TlsOptions {
    /// File with certificates of authorities.
    pub ca_file: Option<String>,
    /// Directory with such files.
    pub ca_path: Option<String>,
    /// Our certificate.
    pub cert_file: Option<String>,
    /// Its key.
    pub key_file: Option<String>,
    /// What is checked.
    pub verify: Verify,
}

/// Ready for handshakes. Files were read when it was made.
#[derive(Clone)]
pub struct Tls(Arc<ClientConfig>);

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// A file cannot be read, or is not what it should be.
    pub fn load(options: &TlsOptions) -> Result<Tls, Fault> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier: Arc<dyn ServerCertVerifier> = match options.verify {
            Verify::Nothing => Arc::new(AnyCertificate(Arc::clone(&provider))),
            verify => {
                let listed = listed(options)?;
                let inner = WebPkiServerVerifier::builder_with_provider(authorities(&listed)?, Arc::clone(&provider))
                    .build()
                    .map_err(|error| Fault(format!("TLS authorities: {error}")))?;
                Arc::new(Listed { inner, listed, checks_name: verify == Verify::ChainAndName })
            }
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(Fault::new)?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let config = match &options.cert_file {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let key_path = options.key_file.as_ref().unwrap_or(path);
                let key = PrivateKeyDer::from_pem_file(key_path)
                    .map_err(|error| Fault(format!("TLS key {key_path}: {error}")))?;
                builder
                    .with_client_auth_cert(certificates(Path::new(path))?, key)
                    .map_err(|error| Fault(format!("TLS certificate {path}: {error}")))?
            }
        };
        Ok(Tls(Arc::new(config)))
    }

    /// Does the handshake with the server `name`.
    ///
    /// # Errors
    /// The handshake fails.
    pub async fn wrap(&self, stream: Box<dyn ByteStream>, name: &str) -> io::Result<Wire> {
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let stream = TlsConnector::from(Arc::clone(&self.0)).connect(name, stream).await?;
        Ok(Wire::new(stream))
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let failed = |reason: &dyn std::fmt::Display| Fault(format!("TLS certificates {}: {reason}", path.display()));
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(|error| failed(&error))?.collect();
    found.map_err(|error| failed(&error))
}

/// The certificates that the configuration trusts, or those that everybody does.
fn listed(options: &TlsOptions) -> Result<Vec<CertificateDer<'static>>, Fault> {
    if let Some(path) = &options.ca_file {
        return certificates(Path::new(path));
    }
    let mut found = Vec::new();
    if let Some(directory) = &options.ca_path {
        let failed = |error: io::Error| Fault(format!("TLS certificates {directory}: {error}"));
        for entry in fs::read_dir(directory).map_err(failed)?.take(MOST_FILES) {
            let path = entry.map_err(failed)?.path();
            if path.is_file()
                && let Ok(certificates) = certificates(&path)
            {
                found.extend(certificates);
            }
        }
    } else if let Some(path) = SYSTEM_AUTHORITIES.iter().find(|path| Path::new(path).exists()) {
        found = certificates(Path::new(path))?;
    }
    Ok(found)
}

fn authorities(listed: &[CertificateDer<'static>]) -> Result<Arc<RootCertStore>, Fault> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(listed.iter().cloned());
    if roots.is_empty() {
        return Err(Fault::new("no TLS authorities to check the server's certificate with"));
    }
    Ok(Arc::new(roots))
}

/// Only that the server holds the key of the certificate that it shows.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Certificates of listed authorities, and those that are listed themselves: many a server vouches for itself.
#[derive(Debug)]
struct Listed {
    inner: Arc<WebPkiServerVerifier>,
    listed: Vec<CertificateDer<'static>>,
    checks_name: bool,
}

impl ServerCertVerifier for Listed {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.listed.iter().any(|listed| listed == certificate) {
            if self.checks_name {
                verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
            }
            return Ok(ServerCertVerified::assertion());
        }
        match self.inner.verify_server_cert(certificate, intermediates, name, ocsp, now) {
            // The name is what is looked at last.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.checks_name => Ok(ServerCertVerified::assertion()),
            outcome => outcome,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
