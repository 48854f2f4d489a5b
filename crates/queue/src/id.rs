//! Queue ids.
//!
//! A short id is five or more hexadecimal digits of microseconds and the inode number of the file. A long id holds the
//! seconds and microseconds in base 52, a `z`, and the inode number in base 51, so that it does not come back.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Digits of long ids: no vowels, so no words. Base 51 does without the last, which separates time and inode.
const DIGITS: &[u8; 52] = b"0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz";
/// Separates time and inode in a long id.
const SEPARATOR: u8 = b'z';
/// Digits of the seconds, at least.
const SECONDS: usize = 6;
/// Digits of the microseconds in a long id.
const MICROSECONDS: usize = 4;
/// Digits of the microseconds in a short id.
const SHORT_MICROSECONDS: usize = 5;

/// The name of a message in the queue. Always 1 to 255 characters of `[A-Za-z0-9_]`, so it is safe as a file name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct QueueId(Box<str>);

/// The text cannot be a queue id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a queue id")]
pub struct InvalidQueueId;

impl QueueId {
    /// The short id of a file made now.
    #[must_use]
    pub fn short(microseconds: u32, inode: u64) -> QueueId {
        QueueId(format!("{microseconds:05X}{inode:X}").into())
    }

    /// The long id of a file made now (`enable_long_queue_ids`); `seconds` since the epoch.
    #[must_use]
    pub fn long(seconds: u64, microseconds: u32, inode: u64) -> QueueId {
        let mut text = String::with_capacity(20);
        put_number(&mut text, seconds, 52, SECONDS);
        put_number(&mut text, u64::from(microseconds), 52, MICROSECONDS);
        text.push(char::from(SEPARATOR));
        put_number(&mut text, inode, 51, 1);
        QueueId(text.into())
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True for the form that `enable_long_queue_ids` makes.
    #[must_use]
    pub fn is_long(&self) -> bool {
        self.separator().is_some()
    }

    /// The inode number in the id; `None` when there is none that a file could have.
    #[must_use]
    pub fn inode(&self) -> Option<u64> {
        match self.separator() {
            Some(at) => parse_number(&self.0[at + 1..], 51),
            None => {
                let digits = self.0.get(SHORT_MICROSECONDS..)?;
                let upper_hex = |b: u8| b.is_ascii_digit() || (b'A'..=b'F').contains(&b);
                let canonical = digits.bytes().all(upper_hex) && !(digits.len() > 1 && digits.starts_with('0'));
                if canonical { u64::from_str_radix(digits, 16).ok() } else { None }
            }
        }
    }

    /// The same time part with another inode number: the id that a restored or copied file should have. `None` when
    /// the time part of a short id is incomplete.
    #[must_use]
    pub fn with_inode(&self, inode: u64) -> Option<QueueId> {
        match self.separator() {
            Some(at) => {
                let mut text = self.0[..=at].to_owned();
                put_number(&mut text, inode, 51, 1);
                Some(QueueId(text.into()))
            }
            None => self.0.get(..SHORT_MICROSECONDS).map(|time| QueueId(format!("{time}{inode:X}").into())),
        }
    }

    /// The microseconds of a long id.
    fn long_microseconds(&self) -> Option<u64> {
        let at = self.separator()?;
        parse_number(&self.0[at - MICROSECONDS..at], 52)
    }

    /// The short id with the same microseconds, for a file whose name must become short again.
    #[must_use]
    pub fn to_short(&self, inode: u64) -> Option<QueueId> {
        let microseconds = self.long_microseconds()?;
        Some(QueueId::short(u32::try_from(microseconds).ok()?, inode))
    }

    /// The characters that name the subdirectories of a hashed queue, `_` where the id has no more: the first ones of a
    /// short id, and those that a short id of the same time would have.
    pub(crate) fn hash_characters(&self, depth: usize) -> impl Iterator<Item = char> {
        let microseconds = if depth == 0 { None } else { self.long_microseconds() };
        let have = match microseconds {
            Some(number) => SHORT_MICROSECONDS.max((64 - number.leading_zeros() as usize).div_ceil(4)),
            None => self.0.len(),
        };
        (0..depth).map(move |n| match microseconds {
            _ if n >= have => '_',
            Some(number) => char::from(b"0123456789ABCDEF"[(number >> (4 * (have - 1 - n))) as usize & 15]),
            None => char::from(self.0.as_bytes()[n]),
        })
    }

    /// Place of the `z` of a long id: the last one, after ten or more characters of time.
    fn separator(&self) -> Option<usize> {
        self.0.bytes().rposition(|byte| byte == SEPARATOR).filter(|at| *at >= SECONDS + MICROSECONDS)
    }
}

fn put_number(text: &mut String, mut number: u64, base: u64, width: usize) {
    let mut digits = [b'0'; 16];
    let mut at = digits.len();
    while number > 0 {
        at -= 1;
        digits[at] = DIGITS[(number % base) as usize];
        number /= base;
    }
    let at = at.min(digits.len() - width);
    text.extend(digits[at..].iter().map(|digit| char::from(*digit)));
}

fn parse_number(text: &str, base: u64) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.bytes().try_fold(0u64, |number, byte| {
        let digit = DIGITS[..base as usize].iter().position(|d| *d == byte)? as u64;
        number.checked_mul(base)?.checked_add(digit)
    })
}

impl FromStr for QueueId {
    type Err = InvalidQueueId;

    fn from_str(text: &str) -> Result<QueueId, InvalidQueueId> {
        if is_queue_id(text) { Ok(QueueId(text.into())) } else { Err(InvalidQueueId) }
    }
}

fn is_queue_id(text: &str) -> bool {
    (1..=255).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

impl TryFrom<String> for QueueId {
    type Error = InvalidQueueId;

    fn try_from(text: String) -> Result<QueueId, InvalidQueueId> {
        if is_queue_id(&text) { Ok(QueueId(text.into())) } else { Err(InvalidQueueId) }
    }
}

impl From<QueueId> for String {
    fn from(id: QueueId) -> String {
        id.0.into()
    }
}

impl fmt::Display for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(text: &str) -> QueueId {
        text.parse().expect("a queue id")
    }

    #[test]
    fn only_safe_names() {
        for good in ["A", "4jWBMJ1H67z1Tpvp", "6FE759B8904", "a_b"] {
            assert!(good.parse::<QueueId>().is_ok());
        }
        for bad in ["", "../x", "a.b", "a/b", "é", &"x".repeat(256)] {
            assert!(bad.parse::<QueueId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn known_ids() {
        assert_eq!(QueueId::short(0x6FE75, 0x9B8904).as_str(), "6FE759B8904");
        assert_eq!(QueueId::short(7, 0x1F).as_str(), "000071F");
        assert_eq!(id("6FE759B8904").inode(), Some(0x9B_8904));
        assert!(!id("6FE759B8904").is_long());
        assert!(id("4jWBMJ1H67z1Tpvp").is_long());
        assert!(!id("4jWBMJ1H6z1Tpvp").is_long(), "the z comes too early");
        let long = id("4jWBMJ1H67z1Tpvp");
        let inode = long.inode().expect("an inode");
        assert_eq!(long.with_inode(inode), Some(long));
    }

    #[test]
    fn what_is_no_inode() {
        for text in ["6FE75", "6FE7509B", "6FE75xyz", "6fe759b", "A", "4jWBMJ1H67z", "4jWBMJ1H67z1a"] {
            assert_eq!(id(text).inode(), None, "{text}");
        }
    }

    #[test]
    fn hashing() {
        let hash = |text: &str, depth| id(text).hash_characters(depth).collect::<String>();
        assert_eq!(hash("4jWBMJ1H67z1Tpvp", 2), "2C");
        assert_eq!(hash("6FE759B8904", 1), "6");
        assert_eq!(hash("6FE759B8904", 3), "6FE");
        assert_eq!(hash("AB", 4), "AB__");
        assert_eq!(hash("4jWBMJ1H67z1Tpvp", 7).len(), 7);
        assert!(hash("4jWBMJ1H67z1Tpvp", 7).ends_with("__"));
    }

    proptest! {
        #[test]
        fn ids_round_trip(seconds in 0u64..1 << 36, microseconds in 0u32..1_000_000, inode in 0u64..) {
            let short = QueueId::short(microseconds, inode);
            prop_assert_eq!(short.inode(), Some(inode));
            prop_assert!(!short.is_long());
            let long = QueueId::long(seconds, microseconds, inode);
            prop_assert!(long.is_long());
            prop_assert_eq!(long.inode(), Some(inode));
            prop_assert_eq!(long.long_microseconds(), Some(u64::from(microseconds)));
            prop_assert_eq!(long.to_short(inode), Some(short.clone()));
            prop_assert_eq!(long.as_str().parse::<QueueId>(), Ok(long.clone()));
            for depth in 1..6 {
                let short: String = short.hash_characters(depth).collect();
                let long: String = long.hash_characters(depth).collect();
                prop_assert_eq!(short, long);
            }
        }

        #[test]
        fn any_text_is_taken_calmly(text in "[A-Za-z0-9_]{1,40}", inode in 0u64..) {
            let id = id(&text);
            let _ = (id.inode(), id.to_short(inode), id.is_long());
            if let Some(fixed) = id.with_inode(inode) {
                prop_assert_eq!(fixed.is_long(), id.is_long());
                prop_assert_eq!(fixed.inode(), Some(inode));
            }
            prop_assert_eq!(id.hash_characters(5).count(), 5);
        }
    }
}
