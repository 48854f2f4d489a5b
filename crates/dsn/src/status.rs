//! Enhanced mail system status codes (RFC 3463): `class.subject.detail`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An enhanced status code such as `5.1.1`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Status {
    /// 2, 4 or 5.
    pub class: Class,
    /// 0 to 999.
    pub subject: u16,
    /// 0 to 999.
    pub detail: u16,
}

/// What an enhanced status code says in its first digit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Class {
    /// 2: done.
    Success,
    /// 4: try again later.
    Transient,
    /// 5: will not work.
    Permanent,
}

/// The text is not an enhanced status code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an enhanced status code")]
pub struct ParseStatusError;

impl Class {
    /// The digit: 2, 4 or 5.
    #[must_use]
    pub const fn digit(self) -> u8 {
        match self {
            Class::Success => 2,
            Class::Transient => 4,
            Class::Permanent => 5,
        }
    }

    /// The class of a digit or of an SMTP reply's first digit.
    #[must_use]
    pub const fn from_digit(digit: u8) -> Option<Class> {
        match digit {
            2 => Some(Class::Success),
            4 => Some(Class::Transient),
            5 => Some(Class::Permanent),
            _ => None,
        }
    }
}

impl Status {
    /// A success code, `2.subject.detail`.
    #[must_use]
    pub const fn success(subject: u16, detail: u16) -> Status {
        Status { class: Class::Success, subject, detail }
    }

    /// A transient failure, `4.subject.detail`.
    #[must_use]
    pub const fn transient(subject: u16, detail: u16) -> Status {
        Status { class: Class::Transient, subject, detail }
    }

    /// A permanent failure, `5.subject.detail`.
    #[must_use]
    pub const fn permanent(subject: u16, detail: u16) -> Status {
        Status { class: Class::Permanent, subject, detail }
    }

    /// The same subject and detail in another class.
    #[must_use]
    pub const fn with_class(self, class: Class) -> Status {
        Status { class, ..self }
    }

    /// The status code at the beginning of a reply text or table value, and the text after it without leading blanks.
    #[must_use]
    pub fn split_from(text: &[u8]) -> Option<(Status, &[u8])> {
        let end = text.iter().position(u8::is_ascii_whitespace).unwrap_or(text.len());
        let status = std::str::from_utf8(&text[..end]).ok()?.parse().ok()?;
        Some((status, text[end..].trim_ascii_start()))
    }
}

impl FromStr for Status {
    type Err = ParseStatusError;

    fn from_str(text: &str) -> Result<Status, ParseStatusError> {
        let number = |part: &str, longest: usize| {
            if part.is_empty() || part.len() > longest || !part.bytes().all(|b| b.is_ascii_digit()) {
                return Err(ParseStatusError);
            }
            part.parse::<u16>().map_err(|_| ParseStatusError)
        };
        let mut parts = text.split('.');
        let (Some(class), Some(subject), Some(detail), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(ParseStatusError);
        };
        let class = Class::from_digit(number(class, 1)? as u8).ok_or(ParseStatusError)?;
        Ok(Status { class, subject: number(subject, 3)?, detail: number(detail, 3)? })
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.class.digit(), self.subject, self.detail)
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_and_prints() {
        for text in ["2.0.0", "4.7.25", "5.999.999"] {
            assert_eq!(text.parse::<Status>().map(|s| s.to_string()), Ok(text.to_owned()));
        }
        for text in ["", "5", "5.1", "5.1.1.1", "3.1.1", "5.1000.1", "5..1", "5.1.+1", "55.1.1", "5.1.1x"] {
            assert!(text.parse::<Status>().is_err(), "{text}");
        }
    }

    #[test]
    fn splits_from_a_reply() {
        assert_eq!(Status::split_from(b"5.1.1  no such user"), Some((Status::permanent(1, 1), &b"no such user"[..])));
        assert_eq!(Status::split_from(b"4.0.0"), Some((Status::transient(0, 0), &b""[..])));
        assert_eq!(Status::split_from(b"5.1.1<x>"), None);
    }
}
