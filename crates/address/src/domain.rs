//! Host names, domains and address literals.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bstr::ByteSlice;

/// Longest host name, in bytes.
pub const MAX_HOSTNAME: usize = 255;
/// Longest label of a host name, in bytes.
pub const MAX_LABEL: usize = 63;

/// What is wrong with a host name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHostname {
    /// Nothing there.
    #[error("empty hostname")]
    Empty,
    /// Longer than [`MAX_HOSTNAME`], or a label longer than [`MAX_LABEL`].
    #[error("bad length")]
    Length,
    /// A byte that is no letter, digit, `-`, `_` or dot.
    #[error("invalid character {0}")]
    Character(u8),
    /// A dot at an end, or two in a row.
    #[error("misplaced delimiter")]
    Delimiter,
    /// A `-` at an end of a label.
    #[error("misplaced hyphen")]
    Hyphen,
    /// Only digits and dots.
    #[error("numeric hostname")]
    Numeric,
}

/// Checks a host name: letters, digits, `-` and `_` in labels between single dots; not all numeric.
///
/// Names with non-ASCII letters (RFC 6531) are not host names: see [`is_internationalized`].
///
/// # Errors
/// What is wrong first.
pub fn check_hostname(name: &[u8]) -> Result<(), InvalidHostname> {
    if name.is_empty() {
        return Err(InvalidHostname::Empty);
    }
    if name.len() > MAX_HOSTNAME {
        return Err(InvalidHostname::Length);
    }
    if let Some(&bad) = name.iter().find(|byte| !byte.is_ascii_alphanumeric() && !b"-_.".contains(byte)) {
        return Err(InvalidHostname::Character(bad));
    }
    for label in name.split(|byte| *byte == b'.') {
        if label.is_empty() {
            return Err(InvalidHostname::Delimiter);
        }
        if label.len() > MAX_LABEL {
            return Err(InvalidHostname::Length);
        }
        if label.starts_with(b"-") || label.ends_with(b"-") {
            return Err(InvalidHostname::Hyphen);
        }
    }
    if name.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.') {
        return Err(InvalidHostname::Numeric);
    }
    Ok(())
}

/// True when [`check_hostname`] finds nothing.
#[must_use]
pub fn is_valid_hostname(name: &[u8]) -> bool {
    check_hostname(name).is_ok()
}

/// True when the name is UTF-8 with letters beyond ASCII, whose ASCII part is a host name.
#[must_use]
pub fn is_internationalized(name: &[u8]) -> bool {
    if name.is_ascii() || std::str::from_utf8(name).is_err() {
        return false;
    }
    let ascii: Vec<u8> = name.iter().map(|byte| if byte.is_ascii() { *byte } else { b'x' }).collect();
    is_valid_hostname(&ascii)
}

/// The address of a literal as RFC 5321 4.1.3 has it: `[192.0.2.1]` or `[IPv6:2001:db8::1]`.
#[must_use]
pub fn address_literal(literal: &[u8]) -> Option<IpAddr> {
    let inner = literal.strip_prefix(b"[")?.strip_suffix(b"]")?;
    if let Some(v6) = inner.get(..5).filter(|tag| tag.eq_ignore_ascii_case(b"IPv6:")).map(|_| &inner[5..]) {
        return std::str::from_utf8(v6).ok()?.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    }
    ipv4(inner).map(IpAddr::V4)
}

/// True for a well-formed address literal, brackets included.
#[must_use]
pub fn is_address_literal(literal: &[u8]) -> bool {
    address_literal(literal).is_some()
}

/// An IPv4 or IPv6 address without brackets, as clients announce them and tables hold them; `IPv6:` is allowed.
#[must_use]
pub fn host_address(text: &[u8]) -> Option<IpAddr> {
    if let Some(v4) = ipv4(text) {
        return Some(IpAddr::V4(v4));
    }
    let text = match text.get(..5) {
        Some(tag) if tag.eq_ignore_ascii_case(b"IPv6:") => &text[5..],
        _ => text,
    };
    std::str::from_utf8(text).ok()?.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
}

fn ipv4(text: &[u8]) -> Option<Ipv4Addr> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The address as a literal in brackets.
#[must_use]
pub fn to_literal(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => format!("[{v4}]"),
        IpAddr::V6(v6) => format!("[IPv6:{v6}]"),
    }
}

/// Domains are equal but for case.
#[must_use]
pub fn is_same(a: &[u8], b: &[u8]) -> bool {
    a.eq_ignore_ascii_case(b)
}

/// True when `domain` lies below `parent`, which is written without a leading dot. A domain is not below itself.
#[must_use]
pub fn is_below(domain: &[u8], parent: &[u8]) -> bool {
    domain.len() > parent.len() + 1
        && domain[domain.len() - parent.len()..].eq_ignore_ascii_case(parent)
        && domain[domain.len() - parent.len() - 1] == b'.'
}

/// The parents of a domain, nearest first, without leading dots: `a.b.c` gives `b.c`, `c`.
pub fn parents(domain: &[u8]) -> impl Iterator<Item = &[u8]> {
    domain.find_iter(".").map(|dot| &domain[dot + 1..]).filter(|parent| !parent.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostnames() {
        for good in ["example.com", "a", "a-b.c_d", "1a.2", "xn--bcher-kva.example", "_dmarc.x"] {
            assert_eq!(check_hostname(good.as_bytes()), Ok(()), "{good}");
        }
        let bad: [(&str, InvalidHostname); 10] = [
            ("", InvalidHostname::Empty),
            ("a..b", InvalidHostname::Delimiter),
            (".a", InvalidHostname::Delimiter),
            ("a.", InvalidHostname::Delimiter),
            ("-a", InvalidHostname::Hyphen),
            ("a-.b", InvalidHostname::Hyphen),
            ("1.2.3.4", InvalidHostname::Numeric),
            ("a b", InvalidHostname::Character(b' ')),
            ("a*b", InvalidHostname::Character(b'*')),
            (&"x".repeat(64), InvalidHostname::Length),
        ];
        for (name, problem) in bad {
            assert_eq!(check_hostname(name.as_bytes()), Err(problem), "{name}");
        }
        assert!(is_internationalized("bücher.example".as_bytes()));
        assert!(!is_internationalized(b"example.com"));
        assert!(!is_internationalized(b"\xff.com"));
    }

    #[test]
    fn literals() {
        for good in ["[127.0.0.1]", "[IPv6:::1]", "[ipv6:2001:db8::1]"] {
            let address = address_literal(good.as_bytes()).expect(good);
            assert!(to_literal(address).eq_ignore_ascii_case(good));
        }
        for bad in ["127.0.0.1", "[127.0.0.1", "[::1]", "[1.2.3]", "[1.2.3.256]", "[IPv6:1.2.3.4]", "[]", ""] {
            assert!(!is_address_literal(bad.as_bytes()), "{bad}");
        }
        assert_eq!(host_address(b"IPv6:::1"), host_address(b"::1"));
    }

    #[test]
    fn relations() {
        assert!(is_below(b"a.Example.com", b"example.COM"));
        assert!(!is_below(b"example.com", b"example.com"));
        assert!(!is_below(b"anexample.com", b"example.com"));
        let all: Vec<&[u8]> = parents(b"a.b.c").collect();
        assert_eq!(all, [&b"b.c"[..], &b"c"[..]]);
        assert_eq!(parents(b"a.").count(), 0);
    }
}
