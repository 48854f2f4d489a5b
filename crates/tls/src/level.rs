//! Security levels, of both ends.

/// How much TLS is wanted; each level asks for more than those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// `none`: no TLS.
    #[default]
    None,
    /// `may`: when the peer has it.
    May,
    /// `encrypt`: always, with whomever.
    Encrypt,
    /// `fingerprint`: always, with a certificate or key that is known beforehand (client).
    Fingerprint,
    /// `half-dane`: DANE where there are records for one of the hosts (client).
    HalfDane,
    /// `dane`: TLSA records where there are any (client).
    Dane,
    /// `dane-only`: TLSA records, or nothing (client).
    DaneOnly,
    /// `verify`: a certificate of a trusted authority (client).
    Verify,
    /// `secure`: the same, for a name that DNS cannot change (client).
    Secure,
}

impl Level {
    const NAMES: [(&'static str, Level); 9] = [
        ("none", Level::None),
        ("may", Level::May),
        ("encrypt", Level::Encrypt),
        ("fingerprint", Level::Fingerprint),
        ("half-dane", Level::HalfDane),
        ("dane", Level::Dane),
        ("dane-only", Level::DaneOnly),
        ("verify", Level::Verify),
        ("secure", Level::Secure),
    ];

    /// The level of a parameter's value, in any case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Level> {
        Self::NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, level)| *level)
    }

    /// The name, as parameters have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize].0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_order() {
        for (name, level) in Level::NAMES {
            assert_eq!(Level::parse(&name.to_ascii_uppercase()), Some(level));
            assert_eq!(level.name(), name);
        }
        assert_eq!(Level::parse("bogus"), None);
        assert!(Level::May < Level::Encrypt && Level::Encrypt < Level::Dane && Level::Verify < Level::Secure);
    }
}
