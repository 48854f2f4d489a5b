//! What is read from certificates (RFC 5280) beyond their verification: names, and what kind of key they have.
//!
//! A reader of DER that goes no deeper than needed. Anything that does not look as it should gives nothing.

use crate::fingerprint::Digest;

/// A view of a certificate.
#[derive(Clone, Copy, Debug)]
pub struct Certificate<'a> {
    /// The issuer, the content of a Name.
    pub issuer: &'a [u8],
    /// The subject, the content of a Name.
    pub subject: &'a [u8],
    /// SubjectPublicKeyInfo, whole.
    pub public_key: &'a [u8],
    extensions: Option<&'a [u8]>,
    /// The object identifier of the algorithm that it is signed with.
    signature_algorithm: &'a [u8],
}

/// What kind of key a certificate has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// RSA, with the modulus's bits.
    Rsa(usize),
    /// An elliptic curve, by OpenSSL's name.
    Ec(&'static str),
    /// Ed25519.
    Ed25519,
    /// Ed448.
    Ed448,
    /// Anything else.
    Other,
}

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OID: u8 = 0x06;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const ORGANIZATION: &[u8] = &[0x55, 0x04, 0x0a];
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const RSA_PSS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a];
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const CURVES: [(&[u8], &str); 3] = [
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07], "prime256v1"),
    (&[0x2b, 0x81, 0x04, 0x00, 0x22], "secp384r1"),
    (&[0x2b, 0x81, 0x04, 0x00, 0x23], "secp521r1"),
];

const SHA384_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0c];
const SHA512_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0d];
const SHA384_ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03];
const SHA512_ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x04];

/// Longest name that is looked at; longer ones are nobody's.
const LONGEST_NAME: usize = 256;

/// One element: its tag, its content, and what follows.
struct Element<'a> {
    tag: u8,
    content: &'a [u8],
    whole: &'a [u8],
}

fn next<'a>(input: &mut &'a [u8]) -> Option<Element<'a>> {
    let bytes = *input;
    let (&tag, rest) = bytes.split_first()?;
    // Tags of more than one byte do not occur in certificates.
    if tag & 0x1f == 0x1f {
        return None;
    }
    let (&first, mut rest) = rest.split_first()?;
    let length = match first {
        0..=0x7f => usize::from(first),
        0x81..=0x83 => {
            let count = usize::from(first & 0x7f);
            let digits = rest.get(..count)?;
            rest = &rest[count..];
            digits.iter().fold(0, |sum, digit| sum << 8 | usize::from(*digit))
        }
        _ => return None,
    };
    let content = rest.get(..length)?;
    *input = &rest[length..];
    let whole = &bytes[..bytes.len() - input.len()];
    Some(Element { tag, content, whole })
}

fn expect<'a>(input: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    next(input).filter(|element| element.tag == tag).map(|element| element.content)
}

impl<'a> Certificate<'a> {
    /// Takes a certificate apart.
    #[must_use]
    pub fn parse(der: &'a [u8]) -> Option<Certificate<'a>> {
        let mut input = der;
        let mut outer = expect(&mut input, SEQUENCE)?;
        let mut body = expect(&mut outer, SEQUENCE)?;
        if body.first() == Some(&0xa0) {
            next(&mut body)?;
        }
        expect(&mut body, INTEGER)?;
        expect(&mut body, SEQUENCE)?;
        let issuer = expect(&mut body, SEQUENCE)?;
        expect(&mut body, SEQUENCE)?;
        let subject = expect(&mut body, SEQUENCE)?;
        let public_key = next(&mut body).filter(|element| element.tag == SEQUENCE)?.whole;
        let mut extensions = None;
        while let Some(element) = next(&mut body) {
            if element.tag == 0xa3 {
                let mut content = element.content;
                extensions = expect(&mut content, SEQUENCE);
            }
        }
        let signature_algorithm = expect(&mut expect(&mut outer, SEQUENCE)?, OID)?;
        Some(Certificate { issuer, subject, public_key, extensions, signature_algorithm })
    }

    /// The subject's common name.
    #[must_use]
    pub fn subject_name(&self) -> Option<String> {
        attribute(self.subject, COMMON_NAME)
    }

    /// The issuer's common name, or its organization.
    #[must_use]
    pub fn issuer_name(&self) -> Option<String> {
        attribute(self.issuer, COMMON_NAME).or_else(|| attribute(self.issuer, ORGANIZATION))
    }

    /// It names itself as its issuer.
    #[must_use]
    pub fn is_self_issued(&self) -> bool {
        self.issuer == self.subject
    }

    /// It is the certificate of an authority (basic constraints).
    #[must_use]
    pub fn is_authority(&self) -> bool {
        let Some(mut value) = self.extension(BASIC_CONSTRAINTS) else { return false };
        let Some(mut content) = expect(&mut value, SEQUENCE) else { return false };
        next(&mut content).is_some_and(|element| element.tag == 1 && element.content == [0xff])
    }

    /// The host names that it is for: the DNS names among its alternative names, lower case, or else its common name.
    #[must_use]
    pub fn dns_names(&self) -> Vec<String> {
        let mut names = Vec::new();
        if let Some(mut value) = self.extension(SUBJECT_ALT_NAME)
            && let Some(mut list) = expect(&mut value, SEQUENCE)
        {
            while let Some(element) = next(&mut list) {
                // [2] dNSName
                if element.tag == 0x82
                    && let Some(name) = host_name(element.content)
                {
                    names.push(name);
                }
            }
            return names;
        }
        names.extend(self.subject_name().and_then(|name| host_name(name.as_bytes())));
        names
    }

    /// The digest that RFC 5929 4.1 (`tls-server-end-point`) takes of it: that of its signature, SHA-256 instead of weaker ones.
    #[must_use]
    pub fn end_point_digest(&self) -> Digest {
        match self.signature_algorithm {
            SHA384_RSA | SHA384_ECDSA => Digest::Sha384,
            SHA512_RSA | SHA512_ECDSA => Digest::Sha512,
            _ => Digest::Sha256,
        }
    }

    /// What kind of key it has.
    #[must_use]
    pub fn key_kind(&self) -> KeyKind {
        key_kind(self.public_key).unwrap_or(KeyKind::Other)
    }

    fn extension(&self, wanted: &[u8]) -> Option<&'a [u8]> {
        let mut list = self.extensions?;
        while let Some(mut extension) = expect(&mut list, SEQUENCE) {
            let id = expect(&mut extension, OID)?;
            let mut value = next(&mut extension)?;
            if value.tag == 1 {
                value = next(&mut extension)?;
            }
            if id == wanted && value.tag == OCTET_STRING {
                return Some(value.content);
            }
        }
        None
    }
}

fn host_name(bytes: &[u8]) -> Option<String> {
    let fine = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.*".contains(byte);
    let sound = !bytes.is_empty() && bytes.len() < LONGEST_NAME && bytes.iter().all(fine);
    sound.then(|| String::from_utf8_lossy(bytes).to_ascii_lowercase())
}

/// The first attribute of that kind in a Name, when it is a text without control characters.
fn attribute(mut name: &[u8], wanted: &[u8]) -> Option<String> {
    while let Some(mut set) = expect(&mut name, SET) {
        while let Some(mut pair) = expect(&mut set, SEQUENCE) {
            let id = expect(&mut pair, OID)?;
            let value = next(&mut pair)?;
            if id == wanted {
                return text(value.tag, value.content);
            }
        }
    }
    None
}

fn text(tag: u8, bytes: &[u8]) -> Option<String> {
    if bytes.len() > 4 * LONGEST_NAME {
        return None;
    }
    let text = match tag {
        // UTF8String, PrintableString, IA5String, NumericString, VisibleString
        0x0c | 0x13 | 0x16 | 0x12 | 0x1a => std::str::from_utf8(bytes).ok()?.to_owned(),
        // TeletexString, which everybody uses for Latin-1
        0x14 => bytes.iter().map(|byte| char::from(*byte)).collect(),
        // BMPString
        0x1e if bytes.len().is_multiple_of(2) => {
            let units: Vec<u16> = bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
            String::from_utf16(&units).ok()?
        }
        _ => return None,
    };
    (!text.is_empty() && !text.chars().any(char::is_control)).then_some(text)
}

fn key_kind(mut spki: &[u8]) -> Option<KeyKind> {
    let mut content = expect(&mut spki, SEQUENCE)?;
    let mut algorithm = expect(&mut content, SEQUENCE)?;
    let id = expect(&mut algorithm, OID)?;
    if id == RSA || id == RSA_PSS {
        let bits = expect(&mut content, BIT_STRING)?;
        let mut key = bits.get(1..)?;
        let mut key = expect(&mut key, SEQUENCE)?;
        let modulus = expect(&mut key, INTEGER)?;
        let digits = modulus.iter().position(|byte| *byte != 0).map(|at| &modulus[at..])?;
        return Some(KeyKind::Rsa(digits.len() * 8 - digits[0].leading_zeros() as usize));
    }
    if id == EC {
        let curve = expect(&mut algorithm, OID)?;
        let name = CURVES.iter().find(|(known, _)| *known == curve).map(|(_, name)| *name);
        return Some(name.map_or(KeyKind::Other, KeyKind::Ec));
    }
    Some(match id {
        [0x2b, 0x65, 0x70] => KeyKind::Ed25519,
        [0x2b, 0x65, 0x71] => KeyKind::Ed448,
        _ => KeyKind::Other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn der(name: &str) -> Vec<u8> {
        let path = format!("{}/tests/certificates/{name}.der", env!("CARGO_MANIFEST_DIR"));
        std::fs::read(path).expect("a certificate")
    }

    #[test]
    fn facts() {
        for (name, subject, issuer, names, kind) in [
            (
                "rsa",
                Some("mail.example.com"),
                Some("Test CA"),
                vec!["mail.example.com", "*.wild.example"],
                KeyKind::Rsa(2048),
            ),
            ("ec", Some("Grüße (x)"), Some("Org only"), vec!["ec.example"], KeyKind::Ec("prime256v1")),
            ("ec384", None, None, vec![], KeyKind::Ec("secp384r1")),
            ("ed25519", Some("ed.example"), Some("ed.example"), vec!["ed.example"], KeyKind::Ed25519),
        ] {
            let der = der(name);
            let certificate = Certificate::parse(&der).expect(name);
            assert_eq!(certificate.subject_name().as_deref(), subject, "{name}");
            assert_eq!(certificate.issuer_name().as_deref(), issuer, "{name}");
            assert_eq!(certificate.dns_names(), names, "{name}");
            assert_eq!(certificate.key_kind(), kind, "{name}");
            assert_eq!(certificate.is_self_issued(), name.starts_with("e") && name != "ec", "{name}");
            assert!(!certificate.is_authority(), "{name}");
        }
        let ca = der("ca");
        assert_eq!(Certificate::parse(&ca).expect("ca").end_point_digest(), Digest::Sha256);
        assert!(Certificate::parse(&ca).expect("ca").is_authority());
    }

    #[test]
    fn every_piece_of_a_certificate_is_no_certificate() {
        let der = der("rsa");
        for length in 0..der.len() {
            assert!(Certificate::parse(&der[..length]).is_none(), "{length}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, at in 0usize..900, byte: u8) {
            let _ = Certificate::parse(&bytes);
            let mut der = der("rsa");
            let length = der.len();
            der[at % length] = byte;
            if let Some(certificate) = Certificate::parse(&der) {
                let _ = (certificate.subject_name(), certificate.issuer_name(), certificate.dns_names());
                let _ = (certificate.key_kind(), certificate.is_authority());
            }
        }
    }
}
