//! The EHLO keywords that `smtpd_discard_ehlo_keywords`, `smtp_discard_ehlo_keywords` and their tables can name.

use std::ops::{BitOr, BitOrAssign};

/// A set of EHLO keywords.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Keywords(u32);

impl Keywords {
    /// None.
    pub const NONE: Keywords = Keywords(0);
    /// `8BITMIME` (RFC 6152).
    pub const EIGHTBITMIME: Keywords = Keywords(1);
    /// `PIPELINING` (RFC 2920).
    pub const PIPELINING: Keywords = Keywords(1 << 1);
    /// `SIZE` (RFC 1870).
    pub const SIZE: Keywords = Keywords(1 << 2);
    /// `VRFY`.
    pub const VRFY: Keywords = Keywords(1 << 3);
    /// `ETRN` (RFC 1985).
    pub const ETRN: Keywords = Keywords(1 << 4);
    /// `AUTH` (RFC 4954).
    pub const AUTH: Keywords = Keywords(1 << 5);
    /// `VERP` (the extension of the reference, announced as `XVERP`).
    pub const VERP: Keywords = Keywords(1 << 6);
    /// `STARTTLS` (RFC 3207).
    pub const STARTTLS: Keywords = Keywords(1 << 7);
    /// `XCLIENT`.
    pub const XCLIENT: Keywords = Keywords(1 << 8);
    /// `XFORWARD`.
    pub const XFORWARD: Keywords = Keywords(1 << 9);
    /// `ENHANCEDSTATUSCODES` (RFC 2034).
    pub const ENHANCEDSTATUSCODES: Keywords = Keywords(1 << 10);
    /// `DSN` (RFC 3461).
    pub const DSN: Keywords = Keywords(1 << 11);
    /// `SMTPUTF8` (RFC 6531).
    pub const SMTPUTF8: Keywords = Keywords(1 << 12);
    /// `CHUNKING` (RFC 3030).
    pub const CHUNKING: Keywords = Keywords(1 << 13);
    /// `REQUIRETLS` (RFC 8689).
    pub const REQUIRETLS: Keywords = Keywords(1 << 14);
    /// `silent-discard`: not a keyword, but "do not log what was discarded".
    pub const SILENT: Keywords = Keywords(1 << 15);

    const NAMES: [(&'static str, Keywords); 16] = [
        ("8BITMIME", Keywords::EIGHTBITMIME),
        ("PIPELINING", Keywords::PIPELINING),
        ("SIZE", Keywords::SIZE),
        ("VRFY", Keywords::VRFY),
        ("ETRN", Keywords::ETRN),
        ("AUTH", Keywords::AUTH),
        ("VERP", Keywords::VERP),
        ("STARTTLS", Keywords::STARTTLS),
        ("XCLIENT", Keywords::XCLIENT),
        ("XFORWARD", Keywords::XFORWARD),
        ("ENHANCEDSTATUSCODES", Keywords::ENHANCEDSTATUSCODES),
        ("DSN", Keywords::DSN),
        ("SMTPUTF8", Keywords::SMTPUTF8),
        ("CHUNKING", Keywords::CHUNKING),
        ("REQUIRETLS", Keywords::REQUIRETLS),
        ("silent-discard", Keywords::SILENT),
    ];

    /// The set of a parameter's or a table's value: names in any case, separated by commas and white space.
    ///
    /// # Errors
    /// The first name that is none of them.
    pub fn parse(text: &str) -> Result<Keywords, &str> {
        let mut set = Keywords::NONE;
        for word in text.split(|c: char| c == ',' || c.is_ascii_whitespace()).filter(|word| !word.is_empty()) {
            match Self::NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)) {
                Some((_, keyword)) => set |= *keyword,
                None => return Err(word),
            }
        }
        Ok(set)
    }

    /// True when every member of `other` is in the set.
    #[must_use]
    pub const fn contains(self, other: Keywords) -> bool {
        self.0 & other.0 == other.0
    }

    /// The members that are not in `other`.
    #[must_use]
    pub const fn without(self, other: Keywords) -> Keywords {
        Keywords(self.0 & !other.0)
    }

    /// True when there are no members.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The members' names, for the log.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.iter().filter(move |(_, keyword)| self.contains(*keyword)).map(|(name, _)| *name)
    }
}

impl BitOr for Keywords {
    type Output = Keywords;

    fn bitor(self, other: Keywords) -> Keywords {
        Keywords(self.0 | other.0)
    }
}

impl BitOrAssign for Keywords {
    fn bitor_assign(&mut self, other: Keywords) {
        self.0 |= other.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_names() {
        assert_eq!(
            Keywords::parse(" dsn,ETRN , 8bitmime"),
            Ok(Keywords::DSN | Keywords::ETRN | Keywords::EIGHTBITMIME)
        );
        assert_eq!(Keywords::parse(""), Ok(Keywords::NONE));
        assert_eq!(Keywords::parse("dsn, frobnicate"), Err("frobnicate"));
        assert_eq!((Keywords::DSN | Keywords::SIZE).names().collect::<Vec<_>>(), ["SIZE", "DSN"]);
    }
}
