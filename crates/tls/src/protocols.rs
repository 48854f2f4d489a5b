//! `smtpd_tls_protocols` and its kind: which protocol versions may be spoken.
//!
//! A list of bounds (`>=TLSv1.2`, `<=TLSv1.3`), inclusions (`TLSv1.3`) and exclusions (`!TLSv1.1`). rustls has TLS 1.2 and 1.3;
//! older versions are as if they were excluded.

use rustls::SupportedProtocolVersion;

/// The versions that may be spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocols {
    /// TLS 1.2 (RFC 5246).
    pub tls12: bool,
    /// TLS 1.3 (RFC 8446).
    pub tls13: bool,
    /// Versions before TLS 1.2 that the list allows and that cannot be spoken.
    pub older: bool,
}

/// Oldest first; the number is that of the wire.
const VERSIONS: [(&str, u16); 6] = [
    ("SSLv2", 0x0002),
    ("SSLv3", 0x0300),
    ("TLSv1", 0x0301),
    ("TLSv1.1", 0x0302),
    ("TLSv1.2", 0x0303),
    ("TLSv1.3", 0x0304),
];

impl Protocols {
    /// Reads a list; `None` when it names something that is no protocol version.
    #[must_use]
    pub fn parse(text: &str) -> Option<Protocols> {
        let (mut floor, mut ceiling) = (0, u16::MAX);
        let (mut included, mut excluded) = (Vec::new(), Vec::new());
        for word in text.split([' ', '\t', '\r', '\n', ',', ':']).filter(|word| !word.is_empty()) {
            if let Some(name) = word.strip_prefix(">=") {
                floor = bound(name)?;
            } else if let Some(name) = word.strip_prefix("<=") {
                // The empty bound and 0 stand for none.
                ceiling = bound(name).map(|version| if version == 0 { u16::MAX } else { version })?;
            } else if let Some(name) = word.strip_prefix('!') {
                excluded.push(named(name)?);
            } else {
                included.push(named(word)?);
            }
        }
        let allowed = |version: u16| {
            (floor..=ceiling).contains(&version)
                && (included.is_empty() || included.contains(&version))
                && !excluded.contains(&version)
        };
        Some(Protocols {
            tls12: allowed(0x0303),
            tls13: allowed(0x0304),
            older: VERSIONS[2..4].iter().any(|(_, version)| allowed(*version)),
        })
    }

    /// Nothing can be spoken.
    #[must_use]
    pub fn is_empty(self) -> bool {
        !self.tls12 && !self.tls13
    }

    /// For rustls.
    #[must_use]
    pub fn versions(self) -> Vec<&'static SupportedProtocolVersion> {
        let mut versions = Vec::new();
        if self.tls13 {
            versions.push(&rustls::version::TLS13);
        }
        if self.tls12 {
            versions.push(&rustls::version::TLS12);
        }
        versions
    }
}

fn named(name: &str) -> Option<u16> {
    VERSIONS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, version)| *version)
}

/// A name, or the wire's number in hexadecimal (`0304`).
fn bound(name: &str) -> Option<u16> {
    if name.is_empty() || name == "0" {
        return Some(0);
    }
    named(name).or_else(|| {
        let digits = name.strip_prefix("0x").unwrap_or(name);
        (digits.len() <= 4).then(|| u16::from_str_radix(digits, 16).ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        for (text, wanted) in [
            ("", Some((true, true, true))),
            (">=TLSv1", Some((true, true, true))),
            (">=TLSv1.2", Some((true, true, false))),
            (">=tlsv1.2, <=TLSv1.2", Some((true, false, false))),
            (">=0304", Some((false, true, false))),
            ("!SSLv2, !SSLv3, !TLSv1, !TLSv1.1", Some((true, true, false))),
            ("!SSLv2 !SSLv3", Some((true, true, true))),
            ("TLSv1.2", Some((true, false, false))),
            ("TLSv1:TLSv1.1", Some((false, false, true))),
            ("TLSv1.2 TLSv1.3 !TLSv1.2", Some((false, true, false))),
            ("<=TLSv1.1", Some((false, false, true))),
            ("bogus", None),
            (">=bogus", None),
            ("!TLSv1.4", None),
        ] {
            let found = Protocols::parse(text).map(|found| (found.tls12, found.tls13, found.older));
            assert_eq!(found, wanted, "{text}");
        }
    }
}
