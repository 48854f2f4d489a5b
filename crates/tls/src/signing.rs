//! Keys that are somewhere else: tlsmgr signs.
//!
//! rustls wants a signature from a call that returns it, so the step of a handshake that signs runs on a thread where it may
//! wait ([`crate::server`]), and each such thread has a connection to tlsmgr of its own meanwhile.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ipc::blocking::Connection;
use ipc::tlsmgr::{Chain, FromTlsmgr, KeyId, ToTlsmgr};
use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{SignatureAlgorithm, SignatureScheme};

use crate::certificate::{Certificate, KeyKind};
use crate::witness;

/// Idle connections that are kept.
const MOST_IDLE: usize = 16;

/// Connections to tlsmgr for signatures.
#[derive(Debug)]
pub struct Signers {
    path: PathBuf,
    timeout: Duration,
    idle: Mutex<Vec<Connection>>,
    last_id: AtomicU32,
}

impl Signers {
    /// Signatures by the service at `path`, each within `timeout`.
    #[must_use]
    pub fn new(path: PathBuf, timeout: Duration) -> Arc<Signers> {
        Arc::new(Signers { path, timeout, idle: Mutex::default(), last_id: AtomicU32::new(0) })
    }

    /// Asks for a signature, and waits for it.
    fn sign(&self, key: KeyId, scheme: SignatureScheme, message: &[u8]) -> Result<Vec<u8>, String> {
        let id = self.last_id.fetch_add(1, Ordering::Relaxed);
        let question = ToTlsmgr::Sign { id, key, scheme: scheme.into(), message: message.to_vec() };
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(mut connection) = idle {
            // It may be left over from a service that was replaced since; then another one knows.
            match self.ask(&mut connection, &question, id) {
                Ok(outcome) => return self.keep(connection, outcome),
                Err(ipc::Error::Timeout) => return Err(self.problem(&ipc::Error::Timeout)),
                Err(_) => self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear(),
            }
        }
        let mut connection =
            Connection::connect(&self.path, Some(self.timeout)).map_err(|error| self.problem(&error.into()))?;
        let outcome = self.ask(&mut connection, &question, id).map_err(|error| self.problem(&error))?;
        self.keep(connection, outcome)
    }

    fn ask(&self, connection: &mut Connection, question: &ToTlsmgr, wanted: u32) -> Result<Outcome, ipc::Error> {
        connection.send(question)?;
        match connection.expect()? {
            FromTlsmgr::Signed { id, outcome } if id == wanted => Ok(outcome),
            _ => Err(ipc::Error::Protocol("not the answer to the question")),
        }
    }

    fn keep(&self, connection: Connection, outcome: Outcome) -> Outcome {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MOST_IDLE {
            idle.push(connection);
        }
        outcome
    }

    fn problem(&self, error: &ipc::Error) -> String {
        format!("problem talking to service {}: {error}", self.path.display())
    }
}

type Outcome = Result<Vec<u8>, String>;

/// The schemes that a key can sign by.
#[must_use]
pub fn schemes(kind: KeyKind) -> &'static [SignatureScheme] {
    match kind {
        KeyKind::Rsa(_) => &[
            SignatureScheme::RSA_PSS_SHA256,
            SignatureScheme::RSA_PSS_SHA384,
            SignatureScheme::RSA_PSS_SHA512,
            SignatureScheme::RSA_PKCS1_SHA256,
            SignatureScheme::RSA_PKCS1_SHA384,
            SignatureScheme::RSA_PKCS1_SHA512,
        ],
        KeyKind::Ec("prime256v1") => &[SignatureScheme::ECDSA_NISTP256_SHA256],
        KeyKind::Ec("secp384r1") => &[SignatureScheme::ECDSA_NISTP384_SHA384],
        KeyKind::Ec("secp521r1") => &[SignatureScheme::ECDSA_NISTP521_SHA512],
        KeyKind::Ed25519 => &[SignatureScheme::ED25519],
        KeyKind::Ec(_) | KeyKind::Ed448 | KeyKind::Other => &[],
    }
}

/// A key in tlsmgr.
#[derive(Clone, Debug)]
struct RemoteKey {
    id: KeyId,
    kind: KeyKind,
    signers: Arc<Signers>,
}

impl SigningKey for RemoteKey {
    /// The peer's order counts, as in OpenSSL.
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let known = schemes(self.kind);
        let scheme = *offered.iter().find(|scheme| known.contains(scheme))?;
        Some(Box::new(RemoteSigner { key: self.clone(), scheme }))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        match self.kind {
            KeyKind::Rsa(_) => SignatureAlgorithm::RSA,
            KeyKind::Ed25519 => SignatureAlgorithm::ED25519,
            _ => SignatureAlgorithm::ECDSA,
        }
    }
}

#[derive(Debug)]
struct RemoteSigner {
    key: RemoteKey,
    scheme: SignatureScheme,
}

impl Signer for RemoteSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        match self.key.signers.sign(self.key.id, self.scheme, message) {
            Ok(signature) => {
                witness::note(|seen| seen.signed = Some(self.scheme));
                Ok(signature)
            }
            Err(problem) => {
                witness::note(|seen| seen.problem = Some(problem));
                Err(rustls::Error::General("no signature".into()))
            }
        }
    }

    fn scheme(&self) -> SignatureScheme {
        self.scheme
    }
}

/// The chains of a server; the client's wishes choose among them.
#[derive(Debug, Default)]
pub(crate) struct Chains(Vec<Shown>);

#[derive(Debug)]
struct Shown {
    kind: KeyKind,
    end_point: Arc<[u8]>,
    chain: Arc<CertifiedKey>,
}

impl Chains {
    /// Chains whose keys are in tlsmgr.
    pub(crate) fn new(chains: Vec<Chain>, signers: &Arc<Signers>) -> Chains {
        let usable = |chain: Chain| {
            let first = chain.certificates.first()?;
            let certificate = Certificate::parse(first)?;
            let kind = certificate.key_kind();
            let end_point = certificate.end_point_digest().bytes(first).into();
            let key = RemoteKey { id: chain.key, kind, signers: Arc::clone(signers) };
            let certificates = chain.certificates.into_iter().map(CertificateDer::from).collect();
            Some(Shown { kind, end_point, chain: Arc::new(CertifiedKey::new(certificates, Arc::new(key))) })
        };
        Chains(chains.into_iter().filter_map(usable).collect())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl ResolvesServerCert for Chains {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let can = |scheme: &SignatureScheme| self.0.iter().find(|shown| schemes(shown.kind).contains(scheme));
        let shown = hello.signature_schemes().iter().find_map(can)?;
        witness::note(|seen| {
            seen.chosen = Some(shown.kind);
            seen.end_point = Some(Arc::clone(&shown.end_point));
        });
        Some(Arc::clone(&shown.chain))
    }
}
