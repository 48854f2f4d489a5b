//! From PEM texts to certificate chains with their keys.

use std::sync::Arc;

use ipc::tlsmgr::{Chain, KeyId};
use rustls::pki_types::pem::{PemObject, SectionKind};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer};
use rustls::sign::SigningKey;
use tls::certificate::{Certificate, KeyKind};
use tls::fingerprint::sha256;

/// Longest chain that is shown to anybody.
const LONGEST_CHAIN: usize = 16;

/// A chain and the key of its first certificate.
#[derive(Clone, Debug)]
pub struct Pair {
    /// What others call the key.
    pub id: KeyId,
    /// DER, the end entity first.
    pub certificates: Vec<Vec<u8>>,
    /// What kind of key it is.
    pub kind: KeyKind,
    /// The host names that the certificate is for, lower case.
    pub names: Vec<String>,
    /// The key.
    pub key: Arc<dyn SigningKey>,
}

impl Pair {
    /// What others may know of it.
    #[must_use]
    pub fn chain(&self) -> Chain {
        Chain { key: self.id, certificates: self.certificates.clone() }
    }
}

/// One section of a PEM text that is of interest.
pub enum Section {
    /// A certificate, DER.
    Certificate(Vec<u8>),
    /// A key.
    Key(Arc<dyn SigningKey>),
}

/// The certificates and keys of a text, in order.
///
/// # Errors
/// Text that is not PEM, or a key that cannot be used.
pub fn sections(text: &[u8]) -> Result<Vec<Section>, String> {
    let mut found = Vec::new();
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(text) {
        let (kind, der) = section.map_err(|error| error.to_string())?;
        let key = match kind {
            SectionKind::Certificate => {
                found.push(Section::Certificate(der));
                continue;
            }
            SectionKind::PrivateKey => PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(der)),
            SectionKind::RsaPrivateKey => PrivateKeyDer::Pkcs1(PrivatePkcs1KeyDer::from(der)),
            SectionKind::EcPrivateKey => PrivateKeyDer::Sec1(PrivateSec1KeyDer::from(der)),
            _ => continue,
        };
        let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key);
        found.push(Section::Key(key.map_err(|error| error.to_string())?));
    }
    if found.is_empty() && text.windows(21).any(|window| window == b"ENCRYPTED PRIVATE KEY") {
        return Err("keys with a pass phrase cannot be used".to_owned());
    }
    Ok(found)
}

/// Joins a key and a chain.
///
/// # Errors
/// They do not belong together, or the certificate cannot be read.
pub fn pair(key: Arc<dyn SigningKey>, mut certificates: Vec<Vec<u8>>) -> Result<Pair, String> {
    certificates.truncate(LONGEST_CHAIN);
    let first = certificates.first().ok_or("no certificate")?;
    let certificate = Certificate::parse(first).ok_or("malformed certificate")?;
    if !fits(&key, &certificate) {
        return Err("key values mismatch".to_owned());
    }
    let (id, kind, names) = (sha256(first), certificate.key_kind(), certificate.dns_names());
    if tls::schemes(kind).is_empty() {
        return Err("the key is of a kind that is not supported".to_owned());
    }
    Ok(Pair { id, certificates, kind, names, key })
}

/// True when the certificate is for this key.
#[must_use]
pub fn fits(key: &Arc<dyn SigningKey>, certificate: &Certificate<'_>) -> bool {
    key.public_key().is_some_and(|public| public.as_ref() == certificate.public_key)
}

/// A key, and as much of its chain as was read.
type Unfinished = (Arc<dyn SigningKey>, Vec<Vec<u8>>);

/// A text of keys, each followed by its chain (`smtpd_tls_chain_files`, values of `tls_server_sni_maps`).
///
/// # Errors
/// What is wrong with it, with the number of the key from 1.
pub fn keys_with_chains(text: &[u8]) -> Result<Vec<Pair>, String> {
    let mut pairs = Vec::new();
    let mut pending: Option<Unfinished> = None;
    let mut index = 0;
    let finish = |pending: Option<Unfinished>, index: usize| match pending {
        None => Ok(None),
        Some((_, certificates)) if certificates.is_empty() => Err(format!("key at index {index} has no certificate")),
        Some((key, certificates)) => pair(key, certificates).map(Some).map_err(|error| match error.as_str() {
            "key values mismatch" => format!("key at index {index} does not match next certificate"),
            _ => format!("key at index {index}: {error}"),
        }),
    };
    for section in sections(text)? {
        match section {
            Section::Key(key) => {
                pairs.extend(finish(pending.take(), index)?);
                index += 1;
                pending = Some((key, Vec::new()));
            }
            Section::Certificate(der) => match &mut pending {
                Some((_, certificates)) => certificates.push(der),
                None => return Err("a certificate that no key precedes".to_owned()),
            },
        }
    }
    pairs.extend(finish(pending, index)?);
    if pairs.is_empty() { Err("no key and certificate".to_owned()) } else { Ok(pairs) }
}

/// A file of certificates and a file of keys, which may be the same.
///
/// # Errors
/// What is wrong with them.
pub fn certificate_and_key(certificates: &[u8], keys: &[u8]) -> Result<Pair, String> {
    let chain: Vec<Vec<u8>> = sections(certificates)?
        .into_iter()
        .filter_map(|section| if let Section::Certificate(der) = section { Some(der) } else { None })
        .collect();
    let key = sections(keys)?
        .into_iter()
        .find_map(|section| if let Section::Key(key) = section { Some(key) } else { None })
        .ok_or("no private key")?;
    pair(key, chain)
}
