//! The client's side of SCRAM (RFC 5802, RFC 7677), without channel binding.

use std::num::NonZeroU32;

use aws_lc_rs::digest::{self, SHA1_FOR_LEGACY_USE_ONLY, SHA256};
use aws_lc_rs::{constant_time, hmac, pbkdf2};
use bstr::ByteSlice;

use crate::Fault;

/// More rounds than any server asks for in earnest; a hostile one could keep us busy for hours.
const MOST_ROUNDS: u32 = 1_000_000;

/// Which hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScramHash {
    /// SCRAM-SHA-1
    Sha1,
    /// SCRAM-SHA-256
    Sha256,
}

impl ScramHash {
    fn digest(self) -> &'static digest::Algorithm {
        match self {
            ScramHash::Sha1 => &SHA1_FOR_LEGACY_USE_ONLY,
            ScramHash::Sha256 => &SHA256,
        }
    }

    fn hmac(self) -> hmac::Algorithm {
        match self {
            ScramHash::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            ScramHash::Sha256 => hmac::HMAC_SHA256,
        }
    }

    fn pbkdf2(self) -> pbkdf2::Algorithm {
        match self {
            ScramHash::Sha1 => pbkdf2::PBKDF2_HMAC_SHA1,
            ScramHash::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
        }
    }
}

/// A log-in under way.
#[derive(Debug)]
pub struct Scram {
    hash: ScramHash,
    password: Vec<u8>,
    nonce: String,
    bare: String,
    server_signature: Option<Vec<u8>>,
}

impl Scram {
    /// Begins; `user` may be empty where the protocol around has told it already.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn new(hash: ScramHash, user: &str, password: &[u8]) -> Result<Scram, Fault> {
        let mut random = [0; 18];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| Fault::new("no random numbers"))?;
        let nonce = tables::base64::encode(&random).to_string();
        let bare = format!("n={},r={nonce}", user.replace('=', "=3D").replace(',', "=2C"));
        Ok(Scram { hash, password: password.to_owned(), nonce, bare, server_signature: None })
    }

    /// The first message.
    #[must_use]
    pub fn first(&self) -> String {
        format!("n,,{}", self.bare)
    }

    /// The final message, to the server's first.
    ///
    /// # Errors
    /// What the server says makes no sense.
    pub fn answer(&mut self, challenge: &[u8]) -> Result<String, Fault> {
        let bad = || Fault::new("malformed SCRAM challenge");
        let text = challenge.to_str().map_err(|_| bad())?;
        let field = |name: &str| text.split(',').find_map(|part| part.strip_prefix(name)).ok_or_else(bad);
        let nonce = field("r=")?;
        let salt = tables::base64::decode(field("s=")?.as_bytes()).ok_or_else(bad)?;
        let rounds: NonZeroU32 = field("i=")?.parse().map_err(|_| bad())?;
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err(Fault::new("SCRAM challenge for somebody else"));
        }
        if rounds.get() > MOST_ROUNDS {
            return Err(Fault::new("SCRAM challenge with too many rounds"));
        }
        let length = self.hash.digest().output_len();
        let mut salted = vec![0; length];
        pbkdf2::derive(self.hash.pbkdf2(), rounds, &salt, &self.password, &mut salted);
        let sign = |key: &[u8], text: &[u8]| hmac::sign(&hmac::Key::new(self.hash.hmac(), key), text).as_ref().to_vec();
        let client_key = sign(&salted, b"Client Key");
        let stored_key = digest::digest(self.hash.digest(), &client_key);
        let without_proof = format!("c=biws,r={nonce}");
        let message = format!("{},{text},{without_proof}", self.bare);
        let signature = sign(stored_key.as_ref(), message.as_bytes());
        let proof: Vec<u8> = client_key.iter().zip(&signature).map(|(key, signature)| key ^ signature).collect();
        self.server_signature = Some(sign(&sign(&salted, b"Server Key"), message.as_bytes()));
        Ok(format!("{without_proof},p={}", tables::base64::encode(&proof)))
    }

    /// Whether the server has shown that it knows the password, too.
    ///
    /// # Errors
    /// It has not.
    pub fn verify(&self, last: &[u8]) -> Result<(), Fault> {
        let shown = last.split(|byte| *byte == b',').find_map(|part| part.strip_prefix(b"v="));
        let shown = shown.and_then(tables::base64::decode).unwrap_or_default();
        match &self.server_signature {
            Some(signature) if constant_time::verify_slices_are_equal(signature, &shown).is_ok() => Ok(()),
            _ => Err(Fault::new("the server does not know our password")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 5802 5 and RFC 7677 3.
    #[test]
    fn examples_of_the_rfcs() {
        for (hash, nonce, challenge, answer, last) in [
            (
                ScramHash::Sha1,
                "fyko+d2lbbFgONRv9qkxdawL",
                "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
                "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
                "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
            ),
            (
                ScramHash::Sha256,
                "rOprNGfwEbeRWgbNEkqO",
                "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
                "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
                "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
            ),
        ] {
            let mut scram = Scram::new(hash, "user", b"pencil").expect("random");
            scram.nonce = nonce.to_owned();
            scram.bare = format!("n=user,r={nonce}");
            assert_eq!(scram.answer(challenge.as_bytes()).expect("challenge"), answer);
            assert_eq!(scram.verify(last.as_bytes()), Ok(()));
            assert!(scram.verify(b"v=AAAA").is_err());
            assert!(scram.answer(challenge.replace("4096", "99999999").as_bytes()).is_err());
            assert!(scram.answer(b"r=another,s=AAAA,i=1").is_err());
        }
    }
}
