//! Next-hop destinations as transports, `relayhost` and `smtp_fallback_relay` write them.
//!
//! | form | meaning |
//! | --- | --- |
//! | `domain`, `domain:port` | the mail exchangers of the domain |
//! | `[host]`, `[host]:port`, `[address]:port` | the host itself, no MX lookup |
//! | `inet:...` | as above (LMTP) |
//! | `unix:path` | a Unix-domain socket (LMTP) |

use std::net::IpAddr;

/// Where to connect.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Destination {
    /// A domain or host on the network.
    Inet {
        /// Domain, host or address, without brackets.
        name: String,
        /// Look for mail exchangers.
        mx: bool,
        /// Port number or service name.
        port: String,
    },
    /// A socket path, relative to the queue directory.
    Unix(String),
}

/// The text is no destination.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bad next-hop destination \"{0}\"")]
pub struct BadDestination(pub String);

impl Destination {
    /// Parses one destination; `default_port` applies where it names none (`smtp_tcp_port`).
    ///
    /// # Errors
    /// [`BadDestination`] with the text.
    pub fn parse(text: &str, default_port: &str) -> Result<Destination, BadDestination> {
        let bad = || BadDestination(text.to_owned());
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() { Err(bad()) } else { Ok(Destination::Unix(path.to_owned())) };
        }
        let inet = text.strip_prefix("inet:").unwrap_or(text);
        let (name, mx, rest) = if let Some(bracketed) = inet.strip_prefix('[') {
            let (name, rest) = bracketed.split_once(']').ok_or_else(bad)?;
            (name, false, rest)
        } else {
            let end = inet.find(':').unwrap_or(inet.len());
            (&inet[..end], true, &inet[end..])
        };
        let port = match rest.strip_prefix(':') {
            Some(port) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') => port,
            None if rest.is_empty() => default_port,
            _ => return Err(bad()),
        };
        let name = name.strip_prefix("IPv6:").or_else(|| name.strip_prefix("ipv6:")).unwrap_or(name);
        if name.is_empty() || name.bytes().any(|b| b.is_ascii_whitespace() || b.is_ascii_control() || b == b'/') {
            return Err(bad());
        }
        Ok(Destination::Inet {
            name: name.to_owned(),
            mx: mx && name.parse::<IpAddr>().is_err(),
            port: port.to_owned(),
        })
    }

    /// Parses a list, as next hops and fallback relays may be: separated by commas or blanks.
    ///
    /// # Errors
    /// [`BadDestination`] with the first one that is none.
    pub fn parse_list(text: &str, default_port: &str) -> Result<Vec<Destination>, BadDestination> {
        text.split([',', ' ', '\t'])
            .filter(|item| !item.is_empty())
            .map(|item| Destination::parse(item, default_port))
            .collect()
    }
}

/// The number of a port or service name (`services(5)` names that mail uses; others go by number).
#[must_use]
pub fn port_number(port: &str) -> Option<u16> {
    match port {
        "smtp" => Some(25),
        "submission" => Some(587),
        "submissions" | "smtps" => Some(465),
        "lmtp" => Some(24),
        number => number.parse().ok().filter(|number| *number > 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let inet = |name: &str, mx, port: &str| Ok(Destination::Inet { name: name.into(), mx, port: port.into() });
        for (text, expected) in [
            ("example.com", inet("example.com", true, "smtp")),
            ("example.com:26", inet("example.com", true, "26")),
            ("[mail.example.com]", inet("mail.example.com", false, "smtp")),
            ("[192.0.2.1]:submission", inet("192.0.2.1", false, "submission")),
            ("[2001:db8::1]:26", inet("2001:db8::1", false, "26")),
            ("[IPv6:2001:db8::1]", inet("2001:db8::1", false, "smtp")),
            ("192.0.2.1", inet("192.0.2.1", false, "smtp")),
            ("inet:host:24", inet("host", true, "24")),
            ("unix:private/dovecot-lmtp", Ok(Destination::Unix("private/dovecot-lmtp".into()))),
        ] {
            assert_eq!(Destination::parse(text, "smtp"), expected, "{text}");
        }
        for bad in ["", "[", "[]", "[a", "[a]b", "host:", ":25", "unix:", "ho st", "a/b", "h:2 5"] {
            assert!(Destination::parse(bad, "smtp").is_err(), "{bad}");
        }
    }

    #[test]
    fn ports() {
        for (text, number) in [("smtp", Some(25)), ("2525", Some(2525)), ("0", None), ("70000", None), ("nntp", None)] {
            assert_eq!(port_number(text), number, "{text}");
        }
    }
}
