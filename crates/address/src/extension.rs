//! Address extensions (`recipient_delimiter`).

use bstr::{BString, ByteSlice};

/// Local parts that are never split because the suite itself uses them (`postmaster`, `MAILER-DAEMON`, double bounces).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsplittable {
    /// `double_bounce_sender`.
    pub double_bounce: BString,
}

impl Default for Unsplittable {
    fn default() -> Unsplittable {
        Unsplittable { double_bounce: BString::from("double-bounce") }
    }
}

/// How local parts are split into user and extension.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delimiters {
    /// `recipient_delimiter`: every byte of it is a delimiter. Empty: no extensions.
    pub set: BString,
    /// `owner_request_special`: with `-` as a delimiter, `owner-x` and `x-request` stay whole.
    pub owner_request_special: bool,
    /// What is never split.
    pub unsplittable: Unsplittable,
}

impl Delimiters {
    /// The usual rules over a set of delimiters.
    #[must_use]
    pub fn new(set: &[u8], owner_request_special: bool) -> Delimiters {
        Delimiters { set: BString::from(set), owner_request_special, unsplittable: Unsplittable::default() }
    }

    /// Splits a local part at its first delimiter: (user, extension without delimiter). `None` when it stays whole.
    ///
    /// Neither part may be empty.
    #[must_use]
    pub fn split<'a>(&self, localpart: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
        let at = localpart.find_byteset(&self.set).filter(|at| *at > 0 && at + 1 < localpart.len())?;
        if self.stays_whole(localpart) {
            return None;
        }
        Some((&localpart[..at], &localpart[at + 1..]))
    }

    /// As [`Delimiters::split`], but over a whole address in internal form: (address without extension, extension
    /// with its delimiter).
    #[must_use]
    pub fn strip<'a>(&self, address: &'a [u8]) -> Option<(BString, &'a [u8])> {
        let (localpart, domain) = crate::split(address);
        let (user, _) = self.split(localpart)?;
        Some((crate::join(user, domain), &localpart[user.len()..]))
    }

    fn stays_whole(&self, localpart: &[u8]) -> bool {
        if [b"postmaster".as_slice(), b"mailer-daemon", &self.unsplittable.double_bounce]
            .iter()
            .any(|special| localpart.eq_ignore_ascii_case(special))
        {
            return true;
        }
        if !self.owner_request_special || !self.set.contains(&b'-') {
            return false;
        }
        let ends_with_request =
            localpart.len() > 8 && localpart[localpart.len() - 8..].eq_ignore_ascii_case(b"-request");
        ends_with_request || localpart.get(..6).is_some_and(|start| start.eq_ignore_ascii_case(b"owner-"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_at_the_first_delimiter_of_the_set() {
        type Case = (&'static str, &'static str, Option<(&'static str, &'static str)>);
        let cases: [Case; 14] = [
            ("+", "user+ext", Some(("user", "ext"))),
            ("+-", "user-a+b", Some(("user", "a+b"))),
            ("+", "user", None),
            ("+", "+ext", None),
            ("+", "user+", None),
            ("+", "user++", Some(("user", "+"))),
            ("", "user+ext", None),
            ("-", "owner-list", None),
            ("-", "list-request", None),
            ("-", "-request", None),
            ("+", "owner-list+x", Some(("owner-list", "x"))),
            ("-", "mailer-daemon", None),
            ("-", "Double-Bounce", None),
            ("a", "postmaster", None),
        ];
        for (set, localpart, expected) in cases {
            let expected = expected.map(|(user, extension)| (user.as_bytes(), extension.as_bytes()));
            assert_eq!(
                Delimiters::new(set.as_bytes(), true).split(localpart.as_bytes()),
                expected,
                "{set} {localpart}"
            );
        }
        let plain = Delimiters::new(b"-", false);
        assert_eq!(plain.split(b"owner-list"), Some((&b"owner"[..], &b"list"[..])));
    }

    #[test]
    fn strips_whole_addresses() {
        let delimiters = Delimiters::new(b"+", true);
        assert_eq!(delimiters.strip(b"user+ext@dom"), Some((BString::from("user@dom"), &b"+ext"[..])));
        assert_eq!(delimiters.strip(b"user+ext"), Some((BString::from("user"), &b"+ext"[..])));
        assert_eq!(delimiters.strip(b"user@a+b"), None);
    }
}
