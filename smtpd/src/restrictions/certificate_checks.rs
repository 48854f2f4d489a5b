//! Restrictions about the client's certificate.

use bstr::BString;
use tls::TlsFacts;

use super::decision::Effect;
use super::engine::{Engine, Outcome};
use super::lookup::{Lookup, TableFailure};

/// Which certificates `permit_tls_clientcerts` and its kind are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificates {
    /// `permit_tls_clientcerts`: those whose fingerprints are in `relay_clientcerts`.
    Listed,
    /// `permit_tls_all_clientcerts`: those that a trusted authority vouches for.
    Trusted,
}

impl ClientCertificates {
    /// Whether a session's certificate is one of them.
    pub(crate) async fn include(self, facts: Option<&TlsFacts>, lookup: &impl Lookup) -> Result<bool, TableFailure> {
        let Some(peer) = facts.and_then(|facts| facts.peer.as_ref()) else { return Ok(false) };
        match self {
            ClientCertificates::Trusted => Ok(peer.is_trusted()),
            ClientCertificates::Listed => Ok(lookup.is_relay_certificate(&peer.public_key_fingerprint).await?
                || lookup.is_relay_certificate(&peer.fingerprint).await?),
        }
    }

    fn name(self) -> &'static str {
        match self {
            ClientCertificates::Listed => "permit_tls_clientcerts",
            ClientCertificates::Trusted => "permit_tls_all_clientcerts",
        }
    }
}

/// `search_order` of `check_ccert_access`: which fingerprint is looked up, and which first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FingerprintOrder {
    /// The certificate's, then its public key's.
    #[default]
    CertificateFirst,
    /// The public key's, then the certificate's.
    KeyFirst,
    /// Only the certificate's.
    CertificateOnly,
    /// Only the public key's.
    KeyOnly,
}

impl FingerprintOrder {
    fn parse(text: &str) -> Option<FingerprintOrder> {
        let names: Vec<String> = tables::list::split(text).map(str::to_ascii_lowercase).collect();
        let (certificate, key) = ("cert_fingerprint", "pubkey_fingerprint");
        match names.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            [a, b] if a == certificate && b == key => Some(FingerprintOrder::CertificateFirst),
            [a, b] if a == key && b == certificate => Some(FingerprintOrder::KeyFirst),
            [a] if a == certificate => Some(FingerprintOrder::CertificateOnly),
            [a] if a == key => Some(FingerprintOrder::KeyOnly),
            _ => None,
        }
    }

    fn of(self, facts: &TlsFacts) -> Vec<&str> {
        let Some((certificate, key)) = facts.fingerprints() else { return Vec::new() };
        match self {
            FingerprintOrder::CertificateFirst => vec![certificate, key],
            FingerprintOrder::KeyFirst => vec![key, certificate],
            FingerprintOrder::CertificateOnly => vec![certificate],
            FingerprintOrder::KeyOnly => vec![key],
        }
    }
}

/// Takes `{type:table, {search_order = a, b}}` apart.
pub(super) fn table_and_order(word: &str) -> Option<(String, FingerprintOrder)> {
    let inner = word.strip_prefix('{')?.strip_suffix('}')?;
    let mut parts = tables::list::split(inner);
    let table = parts.next()?.to_owned();
    let mut order = FingerprintOrder::default();
    for part in parts {
        let (name, value) = part.strip_prefix('{')?.strip_suffix('}')?.split_once('=')?;
        if name.trim() != "search_order" {
            return None;
        }
        order = FingerprintOrder::parse(value)?;
    }
    Some((table, order))
}

impl<L: Lookup> Engine<'_, L> {
    pub(super) async fn permit_certificate(&mut self, which: ClientCertificates) -> Outcome {
        let Some(facts) = self.subject.tls.as_deref() else { return Outcome::Dunno };
        if facts.peer.is_none() && !self.lookup.asks_for_certificates() {
            let name = which.name();
            self.effects.push(Effect::Warning(format!("{name} is requested, but \"smtpd_tls_ask_ccert = no\"")));
        }
        match which.include(Some(facts), self.lookup).await {
            Ok(true) => Outcome::Permit,
            Ok(false) => Outcome::Dunno,
            Err(failure) => {
                let fingerprint = facts.fingerprints().map(|(certificate, _)| certificate.to_owned());
                self.lookup_failure(fingerprint.unwrap_or_default().as_bytes(), failure)
            }
        }
    }

    /// What `check_ccert_access` finds.
    pub(super) async fn certificate_access(
        &self,
        order: FingerprintOrder,
        table: usize,
    ) -> Result<Option<BString>, TableFailure> {
        let Some(facts) = self.subject.tls.as_deref() else { return Ok(None) };
        for fingerprint in order.of(facts) {
            if let Some(value) = self.lookup.access(table, fingerprint.as_bytes(), false).await? {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments() {
        for (word, wanted) in [
            ("{hash:/a}", Some(("hash:/a", FingerprintOrder::CertificateFirst))),
            (
                "{hash:/a, {search_order = pubkey_fingerprint, cert_fingerprint}}",
                Some(("hash:/a", FingerprintOrder::KeyFirst)),
            ),
            ("{ hash:/a { search_order=pubkey_fingerprint } }", Some(("hash:/a", FingerprintOrder::KeyOnly))),
            ("{hash:/a, {search_order = cert_fingerprint}}", Some(("hash:/a", FingerprintOrder::CertificateOnly))),
            ("{hash:/a, {search_order = bogus}}", None),
            ("{hash:/a, {order = cert_fingerprint}}", None),
            ("hash:/a", None),
        ] {
            let wanted = wanted.map(|(table, order)| (table.to_owned(), order));
            assert_eq!(table_and_order(word), wanted, "{word}");
        }
    }
}
