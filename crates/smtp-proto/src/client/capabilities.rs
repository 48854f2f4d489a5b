//! What a server offers in its EHLO or LHLO reply.

use bstr::{BString, ByteSlice};

use super::reply::Reply;
use crate::keyword::Keywords;

/// What `SIZE` (RFC 1870) said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Size {
    /// Not offered.
    #[default]
    Absent,
    /// Offered without a limit, or with 0.
    Unlimited,
    /// The largest message, in bytes as counted on the wire.
    Limit(u64),
}

/// What a server offers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// The keywords that the client may use.
    pub keywords: Keywords,
    /// The limit of `SIZE`.
    pub size: Size,
    /// `AUTH` mechanisms, as offered (both `AUTH ` and the older `AUTH=` form).
    pub mechanisms: Vec<BString>,
    /// `XFORWARD` attributes, as offered.
    pub xforward: Vec<BString>,
    /// The name by which the server calls itself (first word of the reply).
    pub server_name: BString,
    /// Offered, but taken away by `discard`.
    pub discarded: Keywords,
}

impl Capabilities {
    /// From the reply to EHLO or LHLO. `discard` is `smtp_discard_ehlo_keywords` for this server: keywords to ignore.
    #[must_use]
    pub fn parse(reply: &Reply, discard: Keywords) -> Capabilities {
        let mut found = Capabilities::default();
        for (number, line) in reply.lines().enumerate() {
            let mut words = line.split(|b| *b == b' ' || *b == b'\t').filter(|word| !word.is_empty());
            let Some(first) = words.next() else { continue };
            if number == 0 {
                found.server_name = first.into();
                continue;
            }
            found.add_line(first, words, discard);
        }
        found
    }

    /// True when the client may use `keyword`.
    #[must_use]
    pub fn has(&self, keyword: Keywords) -> bool {
        self.keywords.contains(keyword)
    }

    fn add_line<'a>(&mut self, first: &'a [u8], mut words: impl Iterator<Item = &'a [u8]>, discard: Keywords) {
        let upper = first.to_ascii_uppercase();
        let keyword = match upper.as_slice() {
            b"8BITMIME" => Keywords::EIGHTBITMIME,
            b"PIPELINING" => Keywords::PIPELINING,
            b"SIZE" => Keywords::SIZE,
            b"VRFY" => Keywords::VRFY,
            b"ETRN" => Keywords::ETRN,
            b"AUTH" => Keywords::AUTH,
            b"XVERP" => Keywords::VERP,
            b"STARTTLS" => Keywords::STARTTLS,
            b"XCLIENT" => Keywords::XCLIENT,
            b"XFORWARD" => Keywords::XFORWARD,
            b"ENHANCEDSTATUSCODES" => Keywords::ENHANCEDSTATUSCODES,
            b"DSN" => Keywords::DSN,
            b"SMTPUTF8" => Keywords::SMTPUTF8,
            b"CHUNKING" => Keywords::CHUNKING,
            b"REQUIRETLS" => Keywords::REQUIRETLS,
            other if other.starts_with(b"AUTH=") => Keywords::AUTH,
            _ => return,
        };
        if discard.contains(keyword) {
            self.discarded |= keyword;
            return;
        }
        self.keywords |= keyword;
        match keyword {
            Keywords::SIZE => {
                let number = words.next().and_then(|word| word.to_str().ok()).and_then(|word| word.parse::<u64>().ok());
                self.size = match number {
                    Some(limit) if limit > 0 => Size::Limit(limit),
                    _ => Size::Unlimited,
                };
            }
            Keywords::AUTH => {
                let glued = first.get(5..).into_iter();
                for word in glued.chain(words).filter(|word| !word.is_empty()) {
                    if !self.mechanisms.iter().any(|known| known.eq_ignore_ascii_case(word)) {
                        self.mechanisms.push(word.into());
                    }
                }
            }
            Keywords::XFORWARD => self.xforward = words.map(BString::from).collect(),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_a_reply() {
        let reply = Reply {
            code: 250,
            text:
                "250-mx.example hello\n250-PIPELINING\n250-size 1000\n250-AUTH PLAIN LOGIN\n250-AUTH=PLAIN CRAM-MD5\n\
                   250-XFORWARD NAME ADDR\n250-X-OTHER\n250-8BITMIME\n250 DSN"
                    .into(),
        };
        let offered = Capabilities::parse(&reply, Keywords::DSN);
        assert_eq!(offered.server_name, "mx.example");
        assert_eq!(offered.size, Size::Limit(1000));
        assert_eq!(offered.mechanisms, ["PLAIN", "LOGIN", "CRAM-MD5"]);
        assert_eq!(offered.xforward, ["NAME", "ADDR"]);
        assert!(offered.has(Keywords::PIPELINING | Keywords::EIGHTBITMIME));
        assert!(!offered.has(Keywords::DSN));
        assert_eq!(offered.discarded, Keywords::DSN);
    }

    #[test]
    fn size_forms() {
        for (line, size) in [
            ("SIZE", Size::Unlimited),
            ("SIZE 0", Size::Unlimited),
            ("SIZE x", Size::Unlimited),
            ("SIZE 5", Size::Limit(5)),
            ("DSN", Size::Absent),
        ] {
            let reply = Reply { code: 250, text: format!("250-h\n250 {line}").into() };
            assert_eq!(Capabilities::parse(&reply, Keywords::NONE).size, size, "{line}");
        }
    }
}
