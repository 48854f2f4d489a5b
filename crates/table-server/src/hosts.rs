//! The servers of a table.

use std::fmt;

/// One server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// A Unix-domain socket.
    Unix(String),
    /// A name or address without brackets, and a port.
    Inet(String, u16),
}

impl Host {
    /// `unix:path`, `inet:host:port`, `host:port`, `host`, addresses of IPv6 in brackets.
    ///
    /// # Errors
    /// What makes no sense.
    pub fn parse(text: &str, default_port: u16) -> Result<Host, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() { Err(format!("{text}: no path")) } else { Ok(Host::Unix(path.to_owned())) };
        }
        let address = text.strip_prefix("inet:").unwrap_or(text);
        let (name, port) = match address.strip_prefix('[') {
            Some(rest) => {
                let (name, after) = rest.split_once(']').ok_or_else(|| format!("{text}: no closing bracket"))?;
                (name, after.strip_prefix(':'))
            }
            // Two colons are an address of IPv6.
            None => match address.split_once(':') {
                Some((name, port)) if !port.contains(':') => (name, Some(port)),
                _ => (address, None),
            },
        };
        let port = match port {
            Some(port) => port.parse().map_err(|_| format!("{text}: bad port"))?,
            None => default_port,
        };
        if name.is_empty() { Err(format!("{text}: no host name")) } else { Ok(Host::Inet(name.to_owned(), port)) }
    }

    /// The name that a certificate has to be for.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Host::Unix(_) => "localhost",
            Host::Inet(name, _) => name,
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Unix(path) => write!(f, "{path}"),
            Host::Inet(name, port) if name.contains(':') => write!(f, "[{name}]:{port}"),
            Host::Inet(name, port) => write!(f, "{name}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let inet = |name: &str, port| Ok(Host::Inet(name.into(), port));
        for (text, host) in [
            ("db", inet("db", 1)),
            ("db:5", inet("db", 5)),
            ("inet:db:5", inet("db", 5)),
            ("inet:[::1]:5", inet("::1", 5)),
            ("[::1]", inet("::1", 1)),
            ("::1", inet("::1", 1)),
            ("unix:/a", Ok(Host::Unix("/a".into()))),
        ] {
            assert_eq!(Host::parse(text, 1), host, "{text}");
        }
        for text in ["unix:", "", "db:x", "db:99999", "[::1", ":5"] {
            assert!(Host::parse(text, 1).is_err(), "{text}");
        }
    }
}
