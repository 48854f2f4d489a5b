//! Whether a peer's certificate is trusted (RFC 5280), and that the peer holds its key.
//!
//! A server takes every certificate whose key the client proves to hold: who the client is decides what it may do, not whether
//! it may speak. So the handshake checks the proof only, and [`Roots::check_client`] says afterwards what the certificate is worth.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{
    CertificateDer, SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer, TrustAnchor, UnixTime,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, SignatureScheme};
use webpki::{EndEntityCert, Error, KeyUsage, RawPublicKeyEntity};

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
        let parsed = Certificate::parse(first);
        if let Some(old) = parsed.filter(|parsed| !parsed.has_version) {
            return self.check_version1(&old, now);
        }
        let outcome = match self.check(first, others, depth, KeyUsage::client_auth(), now) {
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

impl Roots {
    /// X.509 version 1, which `openssl x509 -req` makes when nobody asks for more and webpki does not take: such a
    /// certificate can only be an end entity, and one of the authorities must have signed it itself.
    fn check_version1(&self, certificate: &Certificate<'_>, now: UnixTime) -> Result<(), String> {
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let (from, until) = certificate.validity().ok_or("malformed certificate")?;
        if now < from {
            return Err("certificate is not yet valid".to_owned());
        }
        if now > until {
            return Err("certificate has expired".to_owned());
        }
        let issuers = self.certificates.iter().filter_map(|root| Certificate::parse(root));
        for issuer in issuers.filter(|root| root.subject == certificate.issuer) {
            let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.all;
            let fitting = algorithms.iter().filter(|one| one.signature_alg_id().as_ref() == certificate.algorithm);
            if verifies(issuer.public_key, fitting.copied(), certificate.signed, certificate.signature) {
                return Ok(());
            }
        }
        Err(match certificate.is_self_issued() {
            true => "self-signed certificate".to_owned(),
            false => format!("untrusted issuer {}", certificate.issuer_name().unwrap_or_default()),
        })
    }
}

/// Whether a signature is by this key (SubjectPublicKeyInfo), by one of these algorithms.
fn verifies<'a>(
    public_key: &[u8],
    algorithms: impl IntoIterator<Item = &'a dyn SignatureVerificationAlgorithm>,
    message: &[u8],
    signature: &[u8],
) -> bool {
    let key = SubjectPublicKeyInfoDer::from(public_key);
    let Ok(key) = RawPublicKeyEntity::try_from(&key) else { return false };
    algorithms.into_iter().any(|algorithm| key.verify_signature(algorithm, message, signature).is_ok())
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

/// The schemes that may not sign TLS 1.3 handshakes (RFC 8446 4.2.3).
const OLD_SCHEMES: [SignatureScheme; 3] =
    [SignatureScheme::RSA_PKCS1_SHA256, SignatureScheme::RSA_PKCS1_SHA384, SignatureScheme::RSA_PKCS1_SHA512];

impl ClientProof {
    /// The key itself is asked, not the certificate around it: that may be older than what webpki reads.
    fn verify(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
        tls13: bool,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let parsed = Certificate::parse(certificate).ok_or(CertificateError::BadEncoding)?;
        let known = self.algorithms.mapping.iter().find(|(scheme, _)| *scheme == signature.scheme);
        let algorithms = match known {
            Some((scheme, _)) if tls13 && OLD_SCHEMES.contains(scheme) => &[],
            // In TLS 1.3 a scheme is about one curve, the first; in TLS 1.2 only about the digest.
            Some((_, algorithms)) if tls13 => &algorithms[..algorithms.len().min(1)],
            Some((_, algorithms)) => algorithms,
            None => &[],
        };
        if !verifies(parsed.public_key, algorithms.iter().copied(), message, signature.signature()) {
            return Err(CertificateError::BadSignature.into());
        }
        witness::note(|seen| seen.peer_signed = Some(signature.scheme));
        Ok(HandshakeSignatureValid::assertion())
    }

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
        self.verify(message, certificate, signature, false)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verify(message, certificate, signature, true)
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn der(name: &str) -> CertificateDer<'static> {
        let path = format!("{}/tests/certificates/{name}.der", env!("CARGO_MANIFEST_DIR"));
        std::fs::read(path).expect("a certificate").into()
    }

    /// What a chain is worth where `ca` is trusted, in a year of the Common Era.
    fn worth(chain: &[&str], depth: usize, server_usage: bool, year: u64) -> Result<(), String> {
        let mut roots = Roots::default();
        assert!(roots.add(der("ca")));
        let chain: Vec<CertificateDer<'_>> = chain.iter().map(|name| der(name)).collect();
        let now = UnixTime::since_unix_epoch(Duration::from_secs((year - 1970) * 31_556_952));
        roots.check_client(&chain, depth, server_usage, now)
    }

    #[test]
    fn table() {
        for (chain, depth, server_usage, year, wanted) in [
            (&["rsa"][..], 9, false, 2030, Ok(())),
            (&["ca"], 9, false, 2030, Ok(())),
            (&["version1"], 9, false, 2030, Ok(())),
            (&["below", "intermediate"], 9, false, 2030, Ok(())),
            (&["below", "intermediate"], 2, false, 2030, Ok(())),
            (&["below", "intermediate"], 1, false, 2030, Err("certificate chain too long")),
            (&["below"], 9, false, 2030, Err("untrusted issuer Intermediate")),
            (&["forservers"], 9, false, 2030, Err("unsuitable certificate purpose")),
            (&["forservers"], 9, true, 2030, Ok(())),
            (&["ed25519"], 9, false, 2030, Err("self-signed certificate")),
            (&["ec"], 9, false, 2030, Err("untrusted issuer Org only")),
            (&["impostor"], 9, false, 2030, Err("untrusted issuer Test CA")),
            (&["rsa"], 9, false, 2200, Err("certificate has expired")),
            (&["version1"], 9, false, 2200, Err("certificate has expired")),
            (&["rsa"], 9, false, 2000, Err("certificate is not yet valid")),
            (&["version1"], 9, false, 2000, Err("certificate is not yet valid")),
            (&[], 9, false, 2030, Err("no certificate")),
        ] {
            let wanted = wanted.map_err(str::to_owned);
            assert_eq!(worth(chain, depth, server_usage, year), wanted, "{chain:?} {depth} {server_usage} {year}");
        }
    }

    #[test]
    fn without_authorities_nobody_is_trusted() {
        let now = UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000));
        let outcome = Roots::default().check_client(&[der("rsa")], 9, false, now);
        assert_eq!(outcome, Err("untrusted issuer Test CA".to_owned()));
        assert!(!Roots::default().add(CertificateDer::from(vec![1, 2, 3])));
    }
}
