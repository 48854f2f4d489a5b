//! `smtpd_tls_loglevel` and its kind.

/// What is logged about TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogLevel {
    /// One line per handshake (1 and up).
    pub summary: bool,
    /// Certificates that are not trusted (`untrusted`).
    pub untrusted: bool,
    /// Steps and tickets (2 and up).
    pub verbose: bool,
}

impl LogLevel {
    /// A number from 0 to 4, or names; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<LogLevel> {
        let mut level = LogLevel::default();
        for word in text.split([' ', '\t', ',']).filter(|word| !word.is_empty()) {
            match word.to_ascii_lowercase().as_str() {
                "0" | "none" | "trace" => {}
                "1" | "routine" | "summary" => level.summary = true,
                "2" | "debug" | "3" | "ssl-expert" | "4" | "ssl-developer" => {
                    (level.summary, level.untrusted, level.verbose) = (true, true, true);
                }
                "untrusted" => level.untrusted = true,
                "verbose" | "cache" | "peercert" | "certmatch" | "ssl-debug" => level.verbose = true,
                "ssl-handshake-packet-dump" | "ssl-session-packet-dump" => level.verbose = true,
                _ => return None,
            }
        }
        Some(level)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        let parsed = |text| LogLevel::parse(text).map(|level| (level.summary, level.untrusted, level.verbose));
        for (text, wanted) in [
            ("", Some((false, false, false))),
            ("0", Some((false, false, false))),
            ("1", Some((true, false, false))),
            ("2", Some((true, true, true))),
            ("summary, untrusted", Some((true, true, false))),
            ("1 trace", Some((true, false, false))),
            ("5", None),
            ("loud", None),
        ] {
            assert_eq!(parsed(text), wanted, "{text}");
        }
    }
}
