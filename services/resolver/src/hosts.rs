//! The hosts file (hosts(5)).

use std::collections::HashMap;
use std::net::IpAddr;

/// Names and addresses of a hosts file.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Hosts {
    addresses: HashMap<String, Vec<IpAddr>>,
    names: HashMap<IpAddr, Vec<String>>,
}

impl Hosts {
    /// Reads the text of a hosts file; lines that are not understood are skipped, as the C library does.
    #[must_use]
    pub fn parse(text: &str) -> Hosts {
        let mut hosts = Hosts::default();
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_ascii_whitespace();
            let Some(Ok(address)) = words.next().map(str::parse::<IpAddr>) else { continue };
            for name in words {
                let addresses = hosts.addresses.entry(key(name)).or_default();
                if !addresses.contains(&address) {
                    addresses.push(address);
                }
                hosts.names.entry(address).or_default().push(name.to_owned());
            }
        }
        hosts
    }

    /// Addresses of a name, of the wanted families.
    #[must_use]
    pub fn addresses(&self, name: &str, ipv4: bool, ipv6: bool) -> Vec<IpAddr> {
        let all = self.addresses.get(&key(name)).map_or(&[][..], Vec::as_slice);
        all.iter().copied().filter(|address| if address.is_ipv4() { ipv4 } else { ipv6 }).collect()
    }

    /// Names of an address, the canonical one first.
    #[must_use]
    pub fn names(&self, address: IpAddr) -> &[String] {
        self.names.get(&address).map_or(&[], Vec::as_slice)
    }
}

fn key(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_names_and_aliases() {
        let hosts = Hosts::parse(
            "127.0.0.1 localhost\n::1 localhost ip6-localhost # loopback\nbad line\n192.0.2.1\tMail.Example mail\n",
        );
        let text = |v: Vec<IpAddr>| v.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        assert_eq!(text(hosts.addresses("LOCALHOST", true, true)), "127.0.0.1 ::1");
        assert_eq!(text(hosts.addresses("localhost", false, true)), "::1");
        assert_eq!(text(hosts.addresses("mail.example.", true, true)), "192.0.2.1");
        assert_eq!(hosts.names("192.0.2.1".parse().expect("address")), ["Mail.Example", "mail"]);
        assert!(hosts.addresses("loopback", true, true).is_empty());
    }
}
