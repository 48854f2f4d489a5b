//! The keys under which something may be found: a domain and its parents, an address and its networks, the forms of a
//! mail address. Which of them fixed tables alone are asked for is marked `partial`.

/// One key to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key<'a> {
    /// The key.
    pub bytes: &'a [u8],
    /// Derived from what was asked for: pattern tables do not see it.
    pub partial: bool,
}

/// A domain and its parents. With `parent_domain_matches_subdomains` style the parents are `example.com`, `com`; without
/// it `.example.com`, `.com`.
pub fn domain(name: &[u8], parent: bool) -> impl Iterator<Item = Key<'_>> {
    let mut rest = Some(name);
    let mut partial = false;
    std::iter::from_fn(move || {
        let bytes = rest.filter(|bytes| !bytes.is_empty())?;
        let key = Key { bytes, partial };
        // The dot that a `.parent` key starts with is not the next one.
        rest = bytes.iter().skip(1).position(|byte| *byte == b'.').map(|dot| &bytes[dot + 1 + usize::from(parent)..]);
        partial = true;
        Some(key)
    })
}

/// An address in text form and its networks at `.` or `:` boundaries: `192.0.2.1`, `192.0.2`, `192.0`, `192`.
pub fn network(address: &[u8]) -> impl Iterator<Item = Key<'_>> {
    let delimiter = if address.contains(&b':') { b':' } else { b'.' };
    let mut rest = Some(address);
    let mut partial = false;
    std::iter::from_fn(move || {
        let bytes = rest.filter(|bytes| !bytes.is_empty())?;
        let key = Key { bytes, partial };
        rest = bytes.iter().rposition(|byte| *byte == delimiter).map(|end| &bytes[..end]);
        partial = true;
        Some(key)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts<'a>(keys: impl Iterator<Item = Key<'a>>) -> Vec<String> {
        keys.map(|key| format!("{}{}", String::from_utf8_lossy(key.bytes), if key.partial { "*" } else { "" }))
            .collect()
    }

    #[test]
    fn domains_and_their_parents() {
        assert_eq!(texts(domain(b"a.b.c", true)), ["a.b.c", "b.c*", "c*"]);
        assert_eq!(texts(domain(b"a.b.c", false)), ["a.b.c", ".b.c*", ".c*"]);
        assert_eq!(texts(domain(b"c", false)), ["c"]);
        assert_eq!(texts(domain(b"", false)), [""; 0]);
        assert_eq!(texts(domain(b"a.", true)), ["a."]);
    }

    #[test]
    fn addresses_and_their_networks() {
        assert_eq!(texts(network(b"192.0.2.1")), ["192.0.2.1", "192.0.2*", "192.0*", "192*"]);
        assert_eq!(texts(network(b"2001:db8::1")), ["2001:db8::1", "2001:db8:*", "2001:db8*", "2001*"]);
        assert_eq!(texts(network(b"::1")), ["::1", ":*"]);
    }
}
