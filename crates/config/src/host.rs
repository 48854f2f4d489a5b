//! What defaults need to know about the machine: its name, its interfaces, the process.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, OnceLock};

use crate::error::Error;

/// An address of an interface, with the length of its network's prefix in bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Interface {
    /// The address.
    pub address: IpAddr,
    /// Bits of the network part.
    pub prefix: u8,
}

/// The machine, asked once and only when somebody wants to know.
#[derive(Clone, Debug, Default)]
pub struct Host {
    name: Arc<OnceLock<String>>,
    interfaces: Arc<OnceLock<Vec<Interface>>>,
}

impl Host {
    /// A machine with these facts, for tests.
    #[must_use]
    pub fn fixed(name: &str, interfaces: Vec<Interface>) -> Host {
        Host { name: Arc::new(OnceLock::from(name.to_owned())), interfaces: Arc::new(OnceLock::from(interfaces)) }
    }

    /// The host name as the system has it, with or without a domain.
    ///
    /// # Errors
    /// [`Error::Host`].
    pub fn name(&self) -> Result<&str, Error> {
        if let Some(name) = self.name.get() {
            return Ok(name);
        }
        let name = nix::unistd::gethostname()
            .map_err(|errno| Error::Host { name: "myhostname", reason: errno.to_string() })?
            .to_string_lossy()
            .into_owned();
        Ok(self.name.get_or_init(|| if name.is_empty() { "localhost".to_owned() } else { name }))
    }

    /// All addresses of interfaces that are up, in the system's order.
    ///
    /// # Errors
    /// [`Error::Host`].
    pub fn interfaces(&self) -> Result<&[Interface], Error> {
        if let Some(interfaces) = self.interfaces.get() {
            return Ok(interfaces);
        }
        let bad = |errno: nix::errno::Errno| Error::Host { name: "inet_interfaces", reason: errno.to_string() };
        let found = nix::ifaddrs::getifaddrs()
            .map_err(bad)?
            .filter(|entry| entry.flags.contains(nix::net::if_::InterfaceFlags::IFF_UP))
            .filter_map(|entry| {
                let address = ip(&entry.address?)?;
                let full = if address.is_ipv4() { 32 } else { 128 };
                let prefix = entry.netmask.as_ref().and_then(ip).map_or(full, prefix_length);
                Some(Interface { address, prefix })
            })
            .collect();
        Ok(self.interfaces.get_or_init(|| found))
    }
}

fn ip(address: &nix::sys::socket::SockaddrStorage) -> Option<IpAddr> {
    if let Some(v4) = address.as_sockaddr_in() {
        return Some(IpAddr::V4(v4.ip()));
    }
    address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip()))
}

fn prefix_length(mask: IpAddr) -> u8 {
    // A prefix has at most 128 bits, so the count fits.
    let bits = match mask {
        IpAddr::V4(mask) => u32::from(mask).leading_ones(),
        IpAddr::V6(mask) => u128::from(mask).leading_ones(),
    };
    u8::try_from(bits).unwrap_or(u8::MAX)
}

/// The addresses of a word of `inet_interfaces`: a literal, in square brackets or not, or a host name.
///
/// # Errors
/// [`Error::Host`] when there are none.
pub(crate) fn addresses_of(word: &str) -> Result<Vec<IpAddr>, Error> {
    let bare = word.strip_prefix('[').and_then(|w| w.strip_suffix(']')).unwrap_or(word);
    if let Ok(address) = bare.parse() {
        return Ok(vec![address]);
    }
    let none =
        |reason: String| Error::Host { name: "inet_interfaces", reason: format!("host not found: {word}{reason}") };
    let found: Vec<IpAddr> = std::net::ToSocketAddrs::to_socket_addrs(&(bare, 0))
        .map_err(|error| none(format!(" ({error})")))?
        .map(|socket| socket.ip())
        .collect();
    if found.is_empty() { Err(none(String::new())) } else { Ok(found) }
}

/// The default of `mynetworks`: a network for each of our interfaces, as `mynetworks_style` wants them.
///
/// # Errors
/// [`Error::Host`] for a style that does not exist.
pub(crate) fn mynetworks(interfaces: &[Interface], style: &str) -> Result<String, Error> {
    let mut networks: Vec<String> = Vec::new();
    for Interface { address, prefix } in interfaces {
        let prefix = match (style, address) {
            ("host", IpAddr::V4(_)) => 32,
            ("host", IpAddr::V6(_)) => 128,
            ("class", IpAddr::V4(address)) => class_prefix(*address),
            ("class" | "subnet", _) => *prefix,
            _ => {
                let reason = format!("unknown mynetworks_style: {style}");
                return Err(Error::Host { name: "mynetworks_style", reason });
            }
        };
        let network = match address {
            IpAddr::V4(address) => {
                let bits = u32::from(*address) & (u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0));
                format!("{}/{prefix}", Ipv4Addr::from(bits))
            }
            IpAddr::V6(address) => {
                let bits = u128::from(*address) & (u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0));
                format!("[{}]/{prefix}", Ipv6Addr::from(bits))
            }
        };
        if !networks.contains(&network) {
            networks.push(network);
        }
    }
    Ok(networks.join(" "))
}

/// RFC 791 3.2: classes A, B, C; multicast and experimental addresses stand for themselves.
fn class_prefix(address: Ipv4Addr) -> u8 {
    match address.octets()[0] {
        0..128 => 8,
        128..192 => 16,
        192..224 => 24,
        _ => 32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        let interface = |address: &str, prefix| Interface { address: address.parse().unwrap(), prefix };
        let mine = [
            interface("127.0.0.1", 8),
            interface("192.0.2.2", 26),
            interface("192.0.2.3", 26),
            interface("::1", 128),
            interface("fd00::2", 64),
        ];
        let cases = [
            ("host", "127.0.0.1/32 192.0.2.2/32 192.0.2.3/32 [::1]/128 [fd00::2]/128"),
            ("subnet", "127.0.0.0/8 192.0.2.0/26 [::1]/128 [fd00::]/64"),
            ("class", "127.0.0.0/8 192.0.2.0/24 [::1]/128 [fd00::]/64"),
        ];
        for (style, networks) in cases {
            assert_eq!(mynetworks(&mine, style).unwrap(), networks);
        }
        assert!(mynetworks(&mine, "other").is_err());
        assert_eq!(mynetworks(&[interface("192.0.2.2", 0)], "subnet").unwrap(), "0.0.0.0/0");
        Host::default().interfaces().expect("the system tells its interfaces");
    }
}
