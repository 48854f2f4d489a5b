//! The hosts file (hosts(5)).

use std::collections::HashMap;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// How often the file is looked at again.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Larger files are read up to here.
const LARGEST_FILE: usize = 16 << 20;

/// The hosts file, read again when it changes.
#[derive(Debug)]
pub struct HostsFile {
    path: PathBuf,
    checked: Instant,
    modified: Option<SystemTime>,
    hosts: Hosts,
}

/// Names and addresses of a hosts file.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Hosts {
    addresses: HashMap<String, Vec<IpAddr>>,
    names: HashMap<IpAddr, Vec<String>>,
}

impl HostsFile {
    /// Reads the file; one that is missing is empty.
    #[must_use]
    pub fn open(path: &Path, now: Instant) -> HostsFile {
        let modified = modified(path);
        HostsFile { path: path.to_owned(), checked: now, modified, hosts: read(path) }
    }

    /// The present content.
    pub fn current(&mut self, now: Instant) -> &Hosts {
        if now.duration_since(self.checked) >= CHECK_INTERVAL {
            self.checked = now;
            let modified = modified(&self.path);
            if modified != self.modified {
                self.modified = modified;
                self.hosts = read(&self.path);
            }
        }
        &self.hosts
    }
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

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

fn read(path: &Path) -> Hosts {
    let mut bytes = fs::read(path).unwrap_or_default();
    bytes.truncate(LARGEST_FILE);
    Hosts::parse(&String::from_utf8_lossy(&bytes))
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

    #[test]
    fn a_changed_file_is_read_again() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("hosts");
        let start = Instant::now();
        let mut file = HostsFile::open(&path, start);
        assert_eq!(*file.current(start), Hosts::default());
        fs::write(&path, "192.0.2.7 new\n").expect("write");
        assert_eq!(*file.current(start), Hosts::default(), "not looked at yet");
        assert_eq!(file.current(start + CHECK_INTERVAL).addresses("new", true, true).len(), 1);
    }
}
