//! From the name of an `inet` service to socket addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};

use crate::Error;
use crate::ports;

/// `inet_protocols`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Protocols {
    /// IP version 4.
    pub ipv4: bool,
    /// IP version 6.
    pub ipv6: bool,
}

impl Protocols {
    /// From the words of `inet_protocols`; `None` for an unknown word.
    #[must_use]
    pub(crate) fn parse(words: &[String]) -> Option<Protocols> {
        let mut protocols = Protocols { ipv4: false, ipv6: false };
        for word in words {
            match word.to_ascii_lowercase().as_str() {
                "all" => protocols = Protocols { ipv4: true, ipv6: true },
                "ipv4" => protocols.ipv4 = true,
                "ipv6" => protocols.ipv6 = true,
                _ => return None,
            }
        }
        Some(protocols)
    }

    fn allows(self, address: &IpAddr) -> bool {
        match address {
            IpAddr::V4(_) => self.ipv4,
            IpAddr::V6(_) => self.ipv6,
        }
    }
}

/// `inet_interfaces`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Interfaces {
    /// Every one: wildcard addresses.
    All,
    /// The loopback addresses of this machine.
    LoopbackOnly,
    /// These addresses or host names.
    Listed(Vec<String>),
}

impl Interfaces {
    /// From the words of `inet_interfaces`.
    #[must_use]
    pub(crate) fn parse(words: &[String]) -> Interfaces {
        if words.is_empty() || words.iter().any(|word| word.eq_ignore_ascii_case("all")) {
            Interfaces::All
        } else if words.len() == 1 && words[0].eq_ignore_ascii_case("loopback-only") {
            Interfaces::LoopbackOnly
        } else {
            Interfaces::Listed(words.to_vec())
        }
    }

    fn addresses(&self, protocols: Protocols) -> Result<Vec<IpAddr>, Error> {
        match self {
            Interfaces::All => {
                let mut all = Vec::new();
                all.extend(protocols.ipv4.then_some(IpAddr::V4(Ipv4Addr::UNSPECIFIED)));
                all.extend(protocols.ipv6.then_some(IpAddr::V6(Ipv6Addr::UNSPECIFIED)));
                Ok(all)
            }
            Interfaces::LoopbackOnly => Ok(loopback(protocols)),
            Interfaces::Listed(words) => {
                let mut found = Vec::new();
                for word in words {
                    if word.eq_ignore_ascii_case("loopback-only") {
                        found.extend(loopback(protocols));
                    } else {
                        found.extend(host_addresses(word, protocols)?);
                    }
                }
                Ok(found)
            }
        }
    }
}

/// The addresses that the service `name` (`port`, `host:port`, `[address]:port`) listens at, without duplicates.
///
/// # Errors
/// [`Error::Port`] and [`Error::Host`].
pub(crate) fn resolve(name: &str, interfaces: &Interfaces, protocols: Protocols) -> Result<Vec<SocketAddr>, Error> {
    let (host, port) = split(name).ok_or_else(|| Error::Host(name.to_owned()))?;
    let port = ports::look_up(port).ok_or_else(|| Error::Port(name.to_owned()))?;
    let addresses = match host {
        "" => interfaces.addresses(protocols)?,
        host => host_addresses(host, protocols)?,
    };
    let mut result: Vec<SocketAddr> = Vec::new();
    for address in addresses {
        let socket = SocketAddr::new(address, port);
        if !result.contains(&socket) {
            result.push(socket);
        }
    }
    Ok(result)
}

/// Host (may be empty) and port.
fn split(name: &str) -> Option<(&str, &str)> {
    if let Some(rest) = name.strip_prefix('[') {
        let (host, port) = rest.split_once(']')?;
        return Some((host, port.strip_prefix(':')?));
    }
    match name.rsplit_once(':') {
        Some((host, port)) => Some((host, port)),
        None => Some(("", name)),
    }
}

fn host_addresses(host: &str, protocols: Protocols) -> Result<Vec<IpAddr>, Error> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let bare = bare.strip_prefix("IPv6:").or_else(|| bare.strip_prefix("ipv6:")).unwrap_or(bare);
    let found: Vec<IpAddr> = match bare.parse() {
        Ok(address) => vec![address],
        Err(_) => {
            let found = (bare, 0).to_socket_addrs().map_err(|_| Error::Host(host.to_owned()))?;
            found.map(|address| address.ip()).collect()
        }
    };
    let allowed: Vec<IpAddr> = found.into_iter().filter(|address| protocols.allows(address)).collect();
    if allowed.is_empty() { Err(Error::Host(host.to_owned())) } else { Ok(allowed) }
}

/// The loopback addresses that this machine has.
fn loopback(protocols: Protocols) -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> = Vec::new();
    if let Ok(interfaces) = nix::ifaddrs::getifaddrs() {
        for storage in interfaces.filter_map(|interface| interface.address) {
            let address = match (storage.as_sockaddr_in(), storage.as_sockaddr_in6()) {
                (Some(v4), _) => IpAddr::V4(v4.ip()),
                (_, Some(v6)) => IpAddr::V6(v6.ip()),
                _ => continue,
            };
            if address.is_loopback() && protocols.allows(&address) && !found.contains(&address) {
                found.push(address);
            }
        }
    }
    if found.is_empty() && protocols.ipv4 {
        found.push(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: Protocols = Protocols { ipv4: true, ipv6: true };
    const V4: Protocols = Protocols { ipv4: true, ipv6: false };

    fn shown(name: &str, interfaces: &Interfaces, protocols: Protocols) -> Result<Vec<String>, String> {
        resolve(name, interfaces, protocols)
            .map(|all| all.iter().map(ToString::to_string).collect())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn names_of_inet_services() {
        let all = Interfaces::All;
        let listed = Interfaces::parse(&["127.0.0.1".to_owned(), "[::1]".to_owned(), "127.0.0.1".to_owned()]);
        let cases: &[(&str, &Interfaces, Protocols, &[&str])] = &[
            ("10025", &all, BOTH, &["0.0.0.0:10025", "[::]:10025"]),
            ("smtp", &all, V4, &["0.0.0.0:25"]),
            ("127.0.0.1:smtp", &all, BOTH, &["127.0.0.1:25"]),
            ("[::1]:587", &all, BOTH, &["[::1]:587"]),
            ("::1:587", &all, BOTH, &["[::1]:587"]),
            ("submission", &listed, BOTH, &["127.0.0.1:587", "[::1]:587"]),
            ("submission", &listed, V4, &["127.0.0.1:587"]),
        ];
        for (name, interfaces, protocols, expected) in cases {
            let got = shown(name, interfaces, *protocols);
            if *name == "submission" && *protocols == V4 {
                // A listed address of a protocol that is switched off is an error of the configuration.
                assert!(got.is_err());
                continue;
            }
            assert_eq!(got.expect(name), *expected, "{name}");
        }
    }

    #[test]
    fn loopback_only() {
        let got = shown("25", &Interfaces::parse(&["loopback-only".to_owned()]), V4).expect("addresses");
        assert!(got.contains(&"127.0.0.1:25".to_owned()), "{got:?}");
    }

    #[test]
    fn bad_names_are_errors() {
        for name in ["[::1]", "[::1", "127.0.0.1:", "nosuchport", "127.0.0.1:nosuchport", "[::1]x:25"] {
            resolve(name, &Interfaces::All, BOTH).expect_err(name);
        }
        resolve("[::1]:25", &Interfaces::All, V4).expect_err("IPv6 is off");
    }

    #[test]
    fn protocols() {
        let parse = |text: &str| Protocols::parse(&text.split(' ').map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(parse("all"), Some(BOTH));
        assert_eq!(parse("ipv4"), Some(V4));
        assert_eq!(parse("ipv6 ipv4"), Some(BOTH));
        assert_eq!(parse("ipv5"), None);
    }
}
