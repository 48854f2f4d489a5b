//! Cipher grades, exclusions and OpenSSL cipher lists, for the suites that rustls has.
//!
//! Cipher lists govern TLS 1.2; the suites of TLS 1.3 are always all there, as in OpenSSL. Suites are named as OpenSSL names
//! them, because that is what configurations, log lines and headers have.

use rustls::crypto::aws_lc_rs::cipher_suite;
use rustls::{CipherSuite, SupportedCipherSuite};

/// A cipher suite.
#[derive(Debug)]
pub struct Suite {
    /// OpenSSL's name.
    pub name: &'static str,
    /// The key's length.
    pub bits: u16,
    suite: SupportedCipherSuite,
    /// The words of cipher lists that stand for it, but for its name.
    words: &'static [&'static str],
}

const RSA_AES256: &[&str] = &["aRSA", "AES256", "AES", "AESGCM", "HIGH"];
const RSA_AES128: &[&str] = &["aRSA", "AES128", "AES", "AESGCM", "HIGH"];
const RSA_CHACHA: &[&str] = &["aRSA", "CHACHA20", "HIGH"];
const ECDSA_AES256: &[&str] = &["aECDSA", "ECDSA", "AES256", "AES", "AESGCM", "HIGH"];
const ECDSA_AES128: &[&str] = &["aECDSA", "ECDSA", "AES128", "AES", "AESGCM", "HIGH"];
const ECDSA_CHACHA: &[&str] = &["aECDSA", "ECDSA", "CHACHA20", "HIGH"];
/// What all suites of TLS 1.2 have in common here.
const COMMON: &[&str] =
    &["ALL", "DEFAULT", "COMPLEMENTOFALL", "kECDHE", "kEECDH", "ECDHE", "EECDH", "ECDH", "TLSv1.2", "FIPS"];

/// All, in OpenSSL's order.
pub static SUITES: [Suite; 9] = [
    Suite { name: "TLS_AES_256_GCM_SHA384", bits: 256, suite: cipher_suite::TLS13_AES_256_GCM_SHA384, words: &[] },
    Suite {
        name: "TLS_CHACHA20_POLY1305_SHA256",
        bits: 256,
        suite: cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        words: &[],
    },
    Suite { name: "TLS_AES_128_GCM_SHA256", bits: 128, suite: cipher_suite::TLS13_AES_128_GCM_SHA256, words: &[] },
    Suite {
        name: "ECDHE-ECDSA-AES256-GCM-SHA384",
        bits: 256,
        suite: cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        words: ECDSA_AES256,
    },
    Suite {
        name: "ECDHE-RSA-AES256-GCM-SHA384",
        bits: 256,
        suite: cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        words: RSA_AES256,
    },
    Suite {
        name: "ECDHE-ECDSA-CHACHA20-POLY1305",
        bits: 256,
        suite: cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        words: ECDSA_CHACHA,
    },
    Suite {
        name: "ECDHE-RSA-CHACHA20-POLY1305",
        bits: 256,
        suite: cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        words: RSA_CHACHA,
    },
    Suite {
        name: "ECDHE-ECDSA-AES128-GCM-SHA256",
        bits: 128,
        suite: cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        words: ECDSA_AES128,
    },
    Suite {
        name: "ECDHE-RSA-AES128-GCM-SHA256",
        bits: 128,
        suite: cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        words: RSA_AES128,
    },
];

/// The suite that was negotiated.
#[must_use]
pub fn find(suite: CipherSuite) -> Option<&'static Suite> {
    SUITES.iter().find(|have| have.suite.suite() == suite)
}

impl Suite {
    fn is_tls13(&self) -> bool {
        self.words.is_empty()
    }

    /// Whether a word of a cipher list stands for it; `+` joins words that must all do so.
    fn matches(&self, word: &str) -> bool {
        word.split('+').all(|part| part == self.name || COMMON.contains(&part) || self.words.contains(&part))
    }
}

/// A list of suites and what is odd about the text that it comes from.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// The suites, in order of preference, those of TLS 1.3 first.
    pub suites: Vec<SupportedCipherSuite>,
    /// Suites that the text names and that rustls does not have.
    pub unknown: Vec<String>,
}

/// The suites of an OpenSSL cipher list with these exclusions.
#[must_use]
pub fn choose(list: &str, excluded: &str) -> Choice {
    let mut unknown = Vec::new();
    let mut active: Vec<&'static Suite> = Vec::new();
    let mut killed: Vec<&'static str> = Vec::new();
    let tls12 = || SUITES.iter().filter(|suite| !suite.is_tls13());
    for word in words(list) {
        if word == "@STRENGTH" {
            active.sort_by_key(|suite| std::cmp::Reverse(suite.bits));
        } else if word.starts_with('@') {
            // Security levels: nothing here is weak.
        } else if let Some(word) = word.strip_prefix('!') {
            active.retain(|suite| !suite.matches(word));
            killed.extend(tls12().filter(|suite| suite.matches(word)).map(|suite| suite.name));
        } else if let Some(word) = word.strip_prefix('-') {
            active.retain(|suite| !suite.matches(word));
        } else if let Some(word) = word.strip_prefix('+') {
            active.sort_by_key(|suite| suite.matches(word));
        } else {
            if word.contains('-') && !SUITES.iter().any(|suite| suite.name == word) {
                unknown.push(word.to_owned());
            }
            for suite in tls12() {
                let there = active.iter().any(|have| have.name == suite.name);
                if suite.matches(word) && !there && !killed.contains(&suite.name) {
                    active.push(suite);
                }
            }
        }
    }
    for word in words(excluded) {
        active.retain(|suite| !suite.matches(word));
    }
    let all = SUITES.iter().filter(|suite| suite.is_tls13()).chain(active);
    Choice { suites: all.map(|suite| suite.suite).collect(), unknown }
}

fn words(list: &str) -> impl Iterator<Item = &str> {
    list.split([':', ',', ' ', ';', '\t', '\r', '\n']).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEDIUM: &str =
        "aNULL:-aNULL:HIGH:MEDIUM:!SEED:!IDEA:!3DES:!RC2:!RC4:!RC5:!kDH:!kECDH:!aDSS:!MD5:+RC4:@STRENGTH";

    fn names(list: &str, excluded: &str) -> Vec<&'static str> {
        let chosen = choose(list, excluded).suites;
        chosen.iter().skip(3).filter_map(|suite| find(suite.suite())).map(|suite| suite.name).collect()
    }

    #[test]
    fn the_default_list_has_all_by_strength() {
        let all: Vec<&str> = SUITES.iter().skip(3).map(|suite| suite.name).collect();
        assert_eq!(names(MEDIUM, ""), all);
        assert_eq!(choose(MEDIUM, "").suites.len(), 9);
    }

    #[test]
    fn lists() {
        for (list, excluded, wanted) in [
            ("eNULL:!kDH", "", vec![]),
            ("HIGH", "aRSA, AES128", vec!["ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305"]),
            ("ECDHE-RSA-AES128-GCM-SHA256:AES128-SHA", "", vec!["ECDHE-RSA-AES128-GCM-SHA256"]),
            ("EECDH+AESGCM+aRSA", "", vec!["ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-AES128-GCM-SHA256"]),
            ("!AES:ALL", "ECDSA", vec!["ECDHE-RSA-CHACHA20-POLY1305"]),
            ("aRSA+AES128:-AES:aRSA+CHACHA20", "", vec!["ECDHE-RSA-CHACHA20-POLY1305"]),
            ("aRSA:+AES256", "CHACHA20", vec!["ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-GCM-SHA384"]),
            ("ALL", "MD5, RC4, 3DES, aNULL, RSA, DES, eNULL, SHA1, CBC", names(MEDIUM, "")),
        ] {
            assert_eq!(names(list, excluded), wanted, "{list} without {excluded}");
        }
        assert_eq!(choose("AES128-SHA:ECDHE-RSA-AES128-GCM-SHA256:HIGH", "").unknown, ["AES128-SHA"]);
    }
}
