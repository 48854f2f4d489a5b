//! Queue ids.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The name of a message in the queue. Always 1 to 255 characters of `[A-Za-z0-9_]`, so it is safe as a file name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct QueueId(Box<str>);

/// The text cannot be a queue id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a queue id")]
pub struct InvalidQueueId;

impl QueueId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for QueueId {
    type Err = InvalidQueueId;

    fn from_str(text: &str) -> Result<QueueId, InvalidQueueId> {
        let fits = (1..=255).contains(&text.len());
        if fits && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            Ok(QueueId(text.into()))
        } else {
            Err(InvalidQueueId)
        }
    }
}

impl TryFrom<String> for QueueId {
    type Error = InvalidQueueId;

    fn try_from(text: String) -> Result<QueueId, InvalidQueueId> {
        text.parse()
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

    #[test]
    fn only_safe_names() {
        for good in ["A", "4jWBMJ1H67z1Tpvp", "6FE759B8904", "a_b"] {
            assert!(good.parse::<QueueId>().is_ok());
        }
        for bad in ["", "../x", "a.b", "a/b", "é", &"x".repeat(256)] {
            assert!(bad.parse::<QueueId>().is_err(), "{bad}");
        }
    }
}
