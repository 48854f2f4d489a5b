//! Fingerprints of certificates and public keys (`smtpd_tls_fingerprint_digest`).

use aws_lc_rs::digest;

/// A digest algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Digest {
    /// MD5: only for old tables.
    Md5,
    /// SHA-1: only for old tables.
    Sha1,
    /// SHA-224.
    Sha224,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Digest {
    /// The digest of a parameter's value.
    #[must_use]
    pub fn parse(name: &str) -> Option<Digest> {
        Some(match name.to_ascii_lowercase().as_str() {
            "md5" => Digest::Md5,
            "sha1" | "sha-1" => Digest::Sha1,
            "sha224" | "sha2-224" => Digest::Sha224,
            "sha256" | "sha2-256" => Digest::Sha256,
            "sha384" | "sha2-384" => Digest::Sha384,
            "sha512" | "sha2-512" => Digest::Sha512,
            _ => return None,
        })
    }

    /// The digest of `data`.
    #[must_use]
    pub fn bytes(self, data: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Digest::Md5 => return crate::md5::digest(data).to_vec(),
            Digest::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Digest::Sha224 => &digest::SHA224,
            Digest::Sha256 => &digest::SHA256,
            Digest::Sha384 => &digest::SHA384,
            Digest::Sha512 => &digest::SHA512,
        };
        digest::digest(algorithm, data).as_ref().to_vec()
    }

    /// The fingerprint as tables and log lines have it: upper-case hexadecimal pairs between colons.
    #[must_use]
    pub fn fingerprint(self, data: &[u8]) -> String {
        let pairs: Vec<String> = self.bytes(data).iter().map(|byte| format!("{byte:02X}")).collect();
        pairs.join(":")
    }
}

/// SHA-256, the name by which certificates are told apart between daemons.
#[must_use]
pub fn sha256(data: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, data).as_ref());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_digests() {
        for (name, text, wanted) in [
            ("md5", "", "D4:1D:8C:D9:8F:00:B2:04:E9:80:09:98:EC:F8:42:7E"),
            ("md5", "abc", "90:01:50:98:3C:D2:4F:B0:D6:96:3F:7D:28:E1:7F:72"),
            (
                "MD5",
                "12345678901234567890123456789012345678901234567890123456789012345678901234567890",
                "57:ED:F4:A2:2B:E3:C9:55:AC:49:DA:2E:21:07:B6:7A",
            ),
            ("sha1", "abc", "A9:99:3E:36:47:06:81:6A:BA:3E:25:71:78:50:C2:6C:9C:D0:D8:9D"),
            (
                "sha256",
                "abc",
                "BA:78:16:BF:8F:01:CF:EA:41:41:40:DE:5D:AE:22:23:B0:03:61:A3:96:17:7A:9C:B4:10:FF:61:F2:00:15:AD",
            ),
        ] {
            assert_eq!(Digest::parse(name).map(|digest| digest.fingerprint(text.as_bytes())).as_deref(), Some(wanted));
        }
        assert_eq!(Digest::parse("bogus"), None);
        // Blocks of every length around the padding.
        let lengths: std::collections::HashSet<_> = (50..70).map(|n| crate::md5::digest(&vec![b'x'; n])).collect();
        assert_eq!(lengths.len(), 20);
    }
}
