//! How a client shows that it knows the password.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use aws_lc_rs::rsa::{OAEP_SHA1_MGF1SHA1, OaepPublicEncryptingKey, PublicEncryptingKey};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;
use table_server::Fault;

/// What the server wants to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plugin {
    /// SHA-1 of the password, mixed with the server's challenge.
    Native,
    /// SHA-256 of it; or the password itself, under encryption.
    CachingSha2,
    /// The password itself, under encryption.
    Sha256,
    /// The password itself.
    Clear,
}

impl Plugin {
    pub(crate) fn named(name: &[u8]) -> Result<Plugin, Fault> {
        Ok(match name {
            b"mysql_native_password" | b"" => Plugin::Native,
            b"caching_sha2_password" => Plugin::CachingSha2,
            b"sha256_password" => Plugin::Sha256,
            b"mysql_clear_password" => Plugin::Clear,
            other => {
                let name = String::from_utf8_lossy(other);
                return Err(Fault(format!("authentication plugin {name} is not supported")));
            }
        })
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Plugin::Native => "mysql_native_password",
            Plugin::CachingSha2 => "caching_sha2_password",
            Plugin::Sha256 => "sha256_password",
            Plugin::Clear => "mysql_clear_password",
        }
    }

    /// The first answer. `private`: nobody can listen.
    pub(crate) fn first(self, password: &str, challenge: &[u8], private: bool) -> Result<Vec<u8>, Fault> {
        let clear = [password.as_bytes(), b"\0"].concat();
        Ok(match self {
            Plugin::Native if password.is_empty() => Vec::new(),
            Plugin::Native => native(password.as_bytes(), challenge),
            Plugin::CachingSha2 if password.is_empty() => Vec::new(),
            Plugin::CachingSha2 => caching_sha2(password.as_bytes(), challenge),
            Plugin::Sha256 | Plugin::Clear if private => clear,
            // A request for the server's public key.
            Plugin::Sha256 if !password.is_empty() => vec![1],
            Plugin::Sha256 => vec![0],
            Plugin::Clear => return Err(Fault::new("the server wants the password in clear text, without encryption")),
        })
    }
}

fn xor(a: &[u8], b: &[u8]) -> Vec<u8> {
    a.iter().zip(b).map(|(a, b)| a ^ b).collect()
}

fn native(password: &[u8], challenge: &[u8]) -> Vec<u8> {
    let hash = |text: &[u8]| digest(&SHA1_FOR_LEGACY_USE_ONLY, text);
    let once = hash(password);
    let twice = hash(once.as_ref());
    xor(once.as_ref(), hash(&[challenge, twice.as_ref()].concat()).as_ref())
}

fn caching_sha2(password: &[u8], challenge: &[u8]) -> Vec<u8> {
    let hash = |text: &[u8]| digest(&SHA256, text);
    let once = hash(password);
    let twice = hash(once.as_ref());
    xor(once.as_ref(), hash(&[twice.as_ref(), challenge].concat()).as_ref())
}

/// The password for the holder of the key alone.
pub(crate) fn encrypted(password: &str, challenge: &[u8], pem: &[u8]) -> Result<Vec<u8>, Fault> {
    let failed = || Fault::new("the server's public key is of no use");
    let clear = [password.as_bytes(), b"\0"].concat();
    let mixed: Vec<u8> = clear.iter().zip(challenge.iter().cycle()).map(|(a, b)| a ^ b).collect();
    let der = SubjectPublicKeyInfoDer::from_pem_slice(pem).map_err(|_| failed())?;
    let key = PublicEncryptingKey::from_der(&der).map_err(|_| failed())?;
    let key = OaepPublicEncryptingKey::new(key).map_err(|_| failed())?;
    let mut room = vec![0; key.ciphertext_size()];
    let text = key.encrypt(&OAEP_SHA1_MGF1SHA1, &mixed, &mut room, None).map_err(|_| failed())?;
    Ok(text.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the server computes from the stored hash has to be the client's hash again.
    #[test]
    fn the_server_can_check_the_answer() {
        let challenge = b"01234567890123456789";
        let stored = digest(&SHA1_FOR_LEGACY_USE_ONLY, digest(&SHA1_FOR_LEGACY_USE_ONLY, b"secret").as_ref());
        let mask = digest(&SHA1_FOR_LEGACY_USE_ONLY, &[challenge, stored.as_ref()].concat());
        let once = xor(&native(b"secret", challenge), mask.as_ref());
        assert_eq!(digest(&SHA1_FOR_LEGACY_USE_ONLY, &once).as_ref(), stored.as_ref());
        let stored = digest(&SHA256, digest(&SHA256, b"secret").as_ref());
        let mask = digest(&SHA256, &[stored.as_ref(), challenge].concat());
        let once = xor(&caching_sha2(b"secret", challenge), mask.as_ref());
        assert_eq!(digest(&SHA256, &once).as_ref(), stored.as_ref());
    }

    #[test]
    fn passwords_are_not_told_to_everybody() {
        assert!(Plugin::Clear.first("secret", b"", false).is_err());
        assert_eq!(Plugin::Clear.first("secret", b"", true), Ok(b"secret\0".to_vec()));
        assert_eq!(Plugin::Sha256.first("secret", b"", false), Ok(vec![1]));
        assert!(Plugin::named(b"client_ed25519").is_err());
        assert!(encrypted("secret", b"x", b"no key").is_err());
    }
}
