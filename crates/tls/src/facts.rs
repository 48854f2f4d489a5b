//! What a session's TLS is like, and how log lines and Received headers say it.

use rustls::{CommonState, SignatureScheme};

use crate::certificate::{Certificate, KeyKind};
use crate::fingerprint::Digest;
use crate::{ciphers, groups};

/// What is known about the TLS of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFacts {
    /// `TLSv1.3`
    pub protocol: &'static str,
    /// The cipher, by OpenSSL's name.
    pub cipher: &'static str,
    /// The length of its key.
    pub cipher_bits: u16,
    /// The key exchange (TLS 1.3): kind and curve.
    pub key_exchange: Option<(&'static str, Option<&'static str>)>,
    /// How we signed (TLS 1.3).
    pub own_signature: Option<Signature>,
    /// How the peer signed (TLS 1.3).
    pub peer_signature: Option<Signature>,
    /// The session is an earlier one resumed.
    pub resumed: bool,
    /// The name that the client wanted (RFC 6066 3).
    pub server_name: Option<String>,
    /// There was a certificate for that name.
    pub server_name_matched: bool,
    /// The channel binding `tls-server-end-point` (RFC 5929 4.1), for SASL.
    pub server_end_point: Option<Vec<u8>>,
    /// The channel binding `tls-exporter` (RFC 9266), for SASL; TLS 1.3.
    pub exporter: Option<Vec<u8>>,
    /// We asked for a certificate.
    pub asked: bool,
    /// The peer's certificate.
    pub peer: Option<PeerCertificate>,
}

/// The certificate of the other end. It has proven to hold its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerCertificate {
    /// The subject's common name; empty when there is none.
    pub subject: String,
    /// The issuer's common name or organization; empty when there is none.
    pub issuer: String,
    /// Fingerprint of the certificate.
    pub fingerprint: String,
    /// Fingerprint of its public key.
    pub public_key_fingerprint: String,
    /// A trusted authority vouches for it; otherwise why not.
    pub trust: Result<(), String>,
}

/// A signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    name: &'static str,
    key: Option<String>,
    digest: Option<&'static str>,
}

impl Signature {
    /// By a key of this kind; the scheme is known only when the signature was made in this very session.
    #[must_use]
    pub fn new(kind: KeyKind, scheme: Option<SignatureScheme>) -> Signature {
        let digest = scheme.and_then(digest_name);
        match kind {
            KeyKind::Rsa(bits) => Signature { name: "RSA-PSS", key: Some(format!("{bits} bits")), digest },
            KeyKind::Ec(curve) => Signature { name: "ECDSA", key: Some(curve.to_owned()), digest },
            KeyKind::Ed25519 => Signature { name: "ED25519", key: None, digest: None },
            KeyKind::Ed448 => Signature { name: "ED448", key: None, digest: None },
            KeyKind::Other => Signature { name: "unknown", key: None, digest },
        }
    }

    fn text(&self, whose: &str) -> String {
        let key = self.key.as_ref().map(|key| format!(" ({key})")).unwrap_or_default();
        let digest = self.digest.map(|digest| format!(" {whose}-digest {digest}")).unwrap_or_default();
        format!(" {whose}-signature {}{key}{digest}", self.name)
    }
}

fn digest_name(scheme: SignatureScheme) -> Option<&'static str> {
    Some(match scheme {
        SignatureScheme::RSA_PSS_SHA256 | SignatureScheme::RSA_PKCS1_SHA256 => "SHA256",
        SignatureScheme::RSA_PSS_SHA384 | SignatureScheme::RSA_PKCS1_SHA384 => "SHA384",
        SignatureScheme::RSA_PSS_SHA512 | SignatureScheme::RSA_PKCS1_SHA512 => "SHA512",
        SignatureScheme::ECDSA_NISTP256_SHA256 => "SHA256",
        SignatureScheme::ECDSA_NISTP384_SHA384 => "SHA384",
        SignatureScheme::ECDSA_NISTP521_SHA512 => "SHA512",
        _ => return None,
    })
}

impl PeerCertificate {
    /// What is worth knowing of a certificate.
    #[must_use]
    pub fn new(der: &[u8], digest: Digest, trust: Result<(), String>) -> PeerCertificate {
        let parsed = Certificate::parse(der);
        let name = |name: Option<String>| name.unwrap_or_default();
        PeerCertificate {
            subject: name(parsed.and_then(|parsed| parsed.subject_name())),
            issuer: name(parsed.and_then(|parsed| parsed.issuer_name())),
            fingerprint: digest.fingerprint(der),
            public_key_fingerprint: parsed.map(|parsed| digest.fingerprint(parsed.public_key)).unwrap_or_default(),
            trust,
        }
    }

    /// A trusted authority vouches for it.
    #[must_use]
    pub fn is_trusted(&self) -> bool {
        self.trust.is_ok()
    }
}

impl TlsFacts {
    /// What a connection says of itself once its handshake is over; certificates and names are added by the caller.
    #[must_use]
    pub fn of(connection: &CommonState) -> TlsFacts {
        let suite = connection.negotiated_cipher_suite().and_then(|suite| ciphers::find(suite.suite()));
        let tls13 = connection.protocol_version() == Some(rustls::ProtocolVersion::TLSv1_3);
        let group = connection.negotiated_key_exchange_group().filter(|_| tls13);
        TlsFacts {
            protocol: if tls13 { "TLSv1.3" } else { "TLSv1.2" },
            cipher: suite.map_or("unknown", |suite| suite.name),
            cipher_bits: suite.map_or(0, |suite| suite.bits),
            key_exchange: group.map(|group| groups::log_name(group.name())),
            resumed: connection.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
            ..TlsFacts::default()
        }
    }

    /// `Anonymous`, `Untrusted` or `Trusted`: the first word of the log line.
    #[must_use]
    pub fn peer_status(&self) -> &'static str {
        match &self.peer {
            None => "Anonymous",
            Some(peer) if peer.is_trusted() => "Trusted",
            Some(_) => "Untrusted",
        }
    }

    /// The fingerprints of the peer's certificate and public key, for look-ups.
    #[must_use]
    pub fn fingerprints(&self) -> Option<(&str, &str)> {
        self.peer.as_ref().map(|peer| (peer.fingerprint.as_str(), peer.public_key_fingerprint.as_str()))
    }

    /// `TLSv1.3 with cipher C (256/256 bits) key-exchange ...`: what the log line says of the connection.
    #[must_use]
    pub fn summary(&self) -> String {
        let peer = self.peer_signature.as_ref().map(|signature| signature.text("client")).unwrap_or_default();
        format!("{}{}{peer}", self.cipher_text(), self.exchange_text())
    }

    /// The lines of the Received header (`smtpd_tls_received_header`), without the TAB that folds them.
    #[must_use]
    pub fn received_lines(&self) -> Vec<String> {
        let mut lines = vec![format!("(using {}", self.cipher_text())];
        lines.extend(Some(self.exchange_text()).filter(|text| !text.is_empty()));
        lines.extend(self.peer_signature.as_ref().map(|signature| signature.text("client")));
        if let Some(last) = lines.last_mut() {
            last.push(')');
        }
        lines.push(match &self.peer {
            Some(peer) => {
                let verified = if peer.is_trusted() { "verified OK" } else { "not verified" };
                format!("(Client CN \"{}\", Issuer \"{}\" ({verified}))", comment(&peer.subject), comment(&peer.issuer))
            }
            None if self.asked => "(Client did not present a certificate)".to_owned(),
            None => "(No client certificate requested)".to_owned(),
        });
        lines
    }

    fn cipher_text(&self) -> String {
        let bits = self.cipher_bits;
        format!("{} with cipher {} ({bits}/{bits} bits)", self.protocol, self.cipher)
    }

    fn exchange_text(&self) -> String {
        let exchange = match self.key_exchange {
            Some((kind, Some(curve))) => format!(" key-exchange {kind} ({curve})"),
            Some((kind, None)) => format!(" key-exchange {kind}"),
            None => String::new(),
        };
        let own = self.own_signature.as_ref().map(|signature| signature.text("server")).unwrap_or_default();
        exchange + &own
    }
}

/// A stranger's text within a comment (RFC 5322 3.2.2): what could end the comment early does not stay.
fn comment(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || "()\\\"".contains(c) { '_' } else { c }).take(256).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> TlsFacts {
        TlsFacts {
            protocol: "TLSv1.3",
            cipher: "TLS_AES_256_GCM_SHA384",
            cipher_bits: 256,
            key_exchange: Some(("X25519", None)),
            own_signature: Some(Signature::new(
                KeyKind::Ec("prime256v1"),
                Some(SignatureScheme::ECDSA_NISTP256_SHA256),
            )),
            ..TlsFacts::default()
        }
    }

    /// As Postfix 3.7 says it of the same sessions.
    #[test]
    fn log_and_header() {
        let mut facts = facts();
        assert_eq!(
            facts.summary(),
            "TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits) key-exchange X25519 server-signature ECDSA \
             (prime256v1) server-digest SHA256"
        );
        assert_eq!(
            facts.received_lines(),
            [
                "(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits)",
                " key-exchange X25519 server-signature ECDSA (prime256v1) server-digest SHA256)",
                "(No client certificate requested)",
            ]
        );
        facts.asked = true;
        facts.peer_signature = Some(Signature::new(KeyKind::Rsa(2048), Some(SignatureScheme::RSA_PSS_SHA256)));
        facts.peer = Some(PeerCertificate {
            subject: "client (one)".into(),
            issuer: "Test CA".into(),
            fingerprint: String::new(),
            public_key_fingerprint: String::new(),
            trust: Ok(()),
        });
        assert!(facts.summary().ends_with(" client-signature RSA-PSS (2048 bits) client-digest SHA256"));
        assert_eq!(
            facts.received_lines()[2..],
            [
                " client-signature RSA-PSS (2048 bits) client-digest SHA256)",
                "(Client CN \"client _one_\", Issuer \"Test CA\" (verified OK))",
            ]
        );
    }

    #[test]
    fn tls12_says_less() {
        let facts = TlsFacts {
            protocol: "TLSv1.2",
            cipher: "ECDHE-RSA-AES128-GCM-SHA256",
            cipher_bits: 128,
            asked: true,
            ..TlsFacts::default()
        };
        assert_eq!(
            facts.received_lines(),
            [
                "(using TLSv1.2 with cipher ECDHE-RSA-AES128-GCM-SHA256 (128/128 bits))",
                "(Client did not present a certificate)"
            ]
        );
    }
}
