//! Addresses and networks in text form: `192.0.2.0/24`, `2001:db8::/32`, with or without brackets around the address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A network: an address and how many of its bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// The address without host bits.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// How many leading bits count.
    #[must_use]
    pub fn bits(&self) -> u8 {
        self.bits
    }

    /// Whether the address is in the network. IPv4 addresses are only in IPv4 networks.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => masked_v4(address, self.bits) == network,
            (IpAddr::V6(network), IpAddr::V6(address)) => masked_v6(address, self.bits) == network,
            _ => false,
        }
    }
}

fn masked_v4(address: Ipv4Addr, bits: u8) -> Ipv4Addr {
    Ipv4Addr::from_bits(address.to_bits() & u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0))
}

fn masked_v6(address: Ipv6Addr, bits: u8) -> Ipv6Addr {
    Ipv6Addr::from_bits(address.to_bits() & u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0))
}

/// An address in text form; `None` for anything else.
#[must_use]
pub fn parse_address(text: &[u8]) -> Option<IpAddr> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Whether text with a colon can only be meant as an IPv6 address or network, not as `type:table`.
#[must_use]
pub fn looks_like_ipv6(text: &str) -> bool {
    text.split('/').next().is_some_and(|address| address.parse::<Ipv6Addr>().is_ok())
}

/// Whether the text is meant as a network or IPv6 address, so that a mistake in it is an error and not a host name that
/// nobody has. A lone IPv4 address is compared as it is.
#[must_use]
pub fn looks_numeric(text: &str) -> bool {
    text.contains([':', '/'])
        && text.bytes().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b'.' | b':' | b'/' | b'[' | b']'))
}

/// Parses `address`, `address/bits`, `[address]` or `[address]/bits`.
///
/// # Errors
/// The text of the error: no address, too many bits, or host bits that are not zero.
pub fn parse(text: &str) -> Result<Network, String> {
    let (address, bits) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, after) =
                rest.split_once(']').ok_or_else(|| format!("missing ']' character after \"{text}\""))?;
            if after.is_empty() {
                (address, None)
            } else {
                let bits = after.strip_prefix('/').ok_or_else(|| format!("garbage after \"]\": \"{after}\""))?;
                (address, Some(bits))
            }
        }
        None => match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        },
    };
    let bad = || format!("malformed network address: \"{text}\"");
    let address: IpAddr = address.parse().map_err(|_| bad())?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits = match bits {
        None => most,
        Some(digits) if !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit()) => {
            digits.parse().ok().filter(|bits| *bits <= most).ok_or_else(|| format!("bad mask value: \"{digits}\""))?
        }
        Some(digits) => return Err(format!("bad mask value: \"{digits}\"")),
    };
    let network = match address {
        IpAddr::V4(address) => IpAddr::V4(masked_v4(address, bits)),
        IpAddr::V6(address) => IpAddr::V6(masked_v6(address, bits)),
    };
    if network != address {
        return Err(format!(
            "non-null host address bits in \"{text}\", perhaps you should use \"{network}/{bits}\" instead"
        ));
    }
    Ok(Network { address, bits })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_parsed_strictly() {
        for (text, address, within) in [
            ("192.0.2.0/24", "192.0.2.77", true),
            ("192.0.2.0/24", "192.0.3.77", false),
            ("192.0.2.1", "192.0.2.1", true),
            ("0.0.0.0/0", "8.8.8.8", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "::1", true),
            ("[2001:db8::]/32", "2001:db8:1::1", true),
            ("2001:db8::/32", "2001:db9::", false),
            ("[::1]", "::1", true),
            ("[127.0.0.0]/8", "127.1.2.3", true),
        ] {
            let network = parse(text).expect(text);
            assert_eq!(network.contains(address.parse().expect(address)), within, "{text} {address}");
        }
        for text in
            ["192.0.2.1/24", "192.0.2.0/33", "[::1", "[::1]x", "1.2.3", "1.2.3.0/", "1.2.3.0/+8", "::1/129", "x"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
