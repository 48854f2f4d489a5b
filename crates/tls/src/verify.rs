//! Whether a peer's certificate is trusted (RFC 5280), and that the peer holds its key.
//!
//! A server takes every certificate whose key the client proves to hold: who the client is decides what it may do, not whether
//! it may speak. So the handshake checks the proof only, and [`Roots::check_client`] says afterwards what the certificate is worth.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, SignatureScheme};
use webpki::{EndEntityCert, Error, KeyUsage};

use crate::certificate::Certificate;
use crate::witness;

/// Authorities that are trusted.
#[derive(Debug, Default)]
pub struct Roots {
    anchors: Vec<TrustAnchor<'static>>,
    certificates: Vec<CertificateDer<'static>>,
}

impl Roots {
    /// Adds a certificate; false when it cannot be the certificate of an authority.
    pub fn add(&mut self, certificate: CertificateDer<'static>) -> bool {
        match webpki::anchor_from_trusted_cert(&certificate).map(|anchor| anchor.to_owned()) {
            Ok(anchor) => {
                self.anchors.push(anchor);
                self.certificates.push(certificate);
                true
            }
            Err(_) => false,
        }
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.anchors.len()
    }

    /// None.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.anchors.is_empty()
    }

    /// Whether one of them vouches for a client's certificate, over at most `depth` certificates; otherwise why not, in
    /// the words that log lines have. `server_usage`: a certificate for servers will do (`tls_trust_server_ccerts`).
    ///
    /// # Errors
    /// The reason.
    pub fn check_client(
        &self,
        chain: &[CertificateDer<'_>],
        depth: usize,
        server_usage: bool,
        now: UnixTime,
    ) -> Result<(), String> {
        let Some((first, others)) = chain.split_first() else { return Err("no certificate".to_owned()) };
        // An authority's own certificate, used by itself, or one that somebody trusts by name.
        if self.certificates.iter().any(|root| root == first) {
            return Ok(());
        }
        let outcome = self.check(first, others, depth, KeyUsage::client_auth(), now);
        let outcome = match outcome {
            Err(Error::RequiredEkuNotFoundContext(_)) if server_usage => {
                self.check(first, others, depth, KeyUsage::server_auth(), now)
            }
            outcome => outcome,
        };
        outcome.map_err(|error| reason(&error, first))
    }

    fn check(
        &self,
        first: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        depth: usize,
        usage: KeyUsage,
        now: UnixTime,
    ) -> Result<(), Error> {
        let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.all;
        let certificate = EndEntityCert::try_from(first)?;
        let path = certificate.verify_for_usage(algorithms, &self.anchors, others, now, usage, None, None)?;
        // The anchor counts as well.
        if path.intermediate_certificates().count() < depth { Ok(()) } else { Err(Error::MaximumPathDepthExceeded) }
    }
}

fn reason(error: &Error, certificate: &CertificateDer<'_>) -> String {
    let parsed = Certificate::parse(certificate);
    match error {
        Error::UnknownIssuer | Error::CaUsedAsEndEntity if parsed.is_some_and(|parsed| parsed.is_self_issued()) => {
            "self-signed certificate".to_owned()
        }
        Error::UnknownIssuer => {
            let issuer = parsed.and_then(|parsed| parsed.issuer_name()).unwrap_or_default();
            format!("untrusted issuer {issuer}")
        }
        Error::CertExpired { .. } => "certificate has expired".to_owned(),
        Error::CertNotValidYet { .. } => "certificate is not yet valid".to_owned(),
        Error::RequiredEkuNotFoundContext(_) => "unsuitable certificate purpose".to_owned(),
        Error::MaximumPathDepthExceeded => "certificate chain too long".to_owned(),
        Error::InvalidSignatureForPublicKey => "certificate signature failure".to_owned(),
        other => format!("{other:?}"),
    }
}

/// Asks clients for certificates and has them prove that they hold the keys.
#[derive(Debug)]
pub(crate) struct ClientProof {
    asks: bool,
    hints: Vec<DistinguishedName>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientProof {
    /// `roots` are named to clients, so that they can choose.
    pub(crate) fn new(asks: bool, roots: &Roots) -> Arc<ClientProof> {
        let subject = |root: &CertificateDer<'static>| {
            Certificate::parse(root).map(|root| DistinguishedName::in_sequence(root.subject))
        };
        Arc::new(ClientProof {
            asks,
            hints: if asks { roots.certificates.iter().filter_map(subject).collect() } else { Vec::new() },
            algorithms: rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms,
        })
    }
}

impl ClientCertVerifier for ClientProof {
    fn offer_client_auth(&self) -> bool {
        self.asks
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        // What it is worth is said later, see above.
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
            .inspect(|_| witness::note(|seen| seen.peer_signed = Some(signature.scheme)))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
            .inspect(|_| witness::note(|seen| seen.peer_signed = Some(signature.scheme)))
    }

    /// SHA-256 before the longer digests: clients take the first that they can.
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let mut schemes = self.algorithms.supported_schemes();
        schemes.sort_by_key(|scheme| match scheme {
            SignatureScheme::ECDSA_NISTP256_SHA256 | SignatureScheme::ED25519 => 0,
            SignatureScheme::RSA_PSS_SHA256 | SignatureScheme::RSA_PKCS1_SHA256 => 1,
            SignatureScheme::ECDSA_NISTP384_SHA384 | SignatureScheme::RSA_PSS_SHA384 => 2,
            SignatureScheme::RSA_PKCS1_SHA384 => 2,
            _ => 3,
        });
        schemes
    }
}
