//! What a sender asked to be told (RFC 3461), in the numbers that queue files hold.

use serde::{Deserialize, Serialize};

/// `NOTIFY=` of one recipient: a set of bits; the empty set means that the sender did not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Notify(u8);

impl Notify {
    /// Not given: failures and delays are reported.
    pub const UNSPECIFIED: Notify = Notify(0);
    /// Nothing is reported.
    pub const NEVER: Notify = Notify(1);
    /// Deliveries are reported.
    pub const SUCCESS: Notify = Notify(2);
    /// Failures are reported.
    pub const FAILURE: Notify = Notify(4);
    /// Delays are reported.
    pub const DELAY: Notify = Notify(8);

    /// From the number in a queue file; `None` for unknown bits, or for NEVER together with others.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Notify> {
        if bits > 15 || (bits & 1 != 0 && bits != 1) { None } else { Some(Notify(bits)) }
    }

    /// The number in a queue file.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Both sets together.
    #[must_use]
    pub const fn union(self, other: Notify) -> Notify {
        Notify(self.0 | other.0)
    }

    /// True when every bit of `other` is set.
    #[must_use]
    pub const fn contains(self, other: Notify) -> bool {
        self.0 & other.0 == other.0
    }

    /// True when the sender did not say.
    #[must_use]
    pub const fn is_unspecified(self) -> bool {
        self.0 == 0
    }

    /// Parses the value of `NOTIFY=` (RFC 3461 4.1), in any case.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Notify> {
        let mut bits = Notify::UNSPECIFIED;
        for word in text.split(|b| *b == b',') {
            bits = bits.union(match word.to_ascii_uppercase().as_slice() {
                b"NEVER" => Notify::NEVER,
                b"SUCCESS" => Notify::SUCCESS,
                b"FAILURE" => Notify::FAILURE,
                b"DELAY" => Notify::DELAY,
                _ => return None,
            });
        }
        Notify::from_bits(bits.0)
    }

    /// The value for `NOTIFY=` on the wire; `None` when unspecified.
    #[must_use]
    pub fn to_parameter(self) -> Option<String> {
        const WORDS: [(Notify, &str); 4] = [
            (Notify::NEVER, "NEVER"),
            (Notify::SUCCESS, "SUCCESS"),
            (Notify::FAILURE, "FAILURE"),
            (Notify::DELAY, "DELAY"),
        ];
        let words: Vec<&str> = WORDS.iter().filter(|(bit, _)| self.contains(*bit)).map(|(_, word)| *word).collect();
        if words.is_empty() { None } else { Some(words.join(",")) }
    }
}

/// `RET=` of a message (RFC 3461 4.3): how much of it a failure notice returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Return {
    /// `RET=FULL`.
    Full,
    /// `RET=HDRS`.
    Headers,
}

impl Return {
    /// From the number in a queue file (`ret_flags`: 1 full, 2 headers).
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Return> {
        match bits {
            1 => Some(Return::Full),
            2 => Some(Return::Headers),
            _ => None,
        }
    }

    /// The number in a queue file.
    #[must_use]
    pub const fn bits(self) -> u8 {
        match self {
            Return::Full => 1,
            Return::Headers => 2,
        }
    }

    /// Parses the value of `RET=`, in any case.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Return> {
        match text.to_ascii_uppercase().as_slice() {
            b"FULL" => Some(Return::Full),
            b"HDRS" => Some(Return::Headers),
            _ => None,
        }
    }

    /// The value for `RET=` on the wire.
    #[must_use]
    pub const fn to_parameter(self) -> &'static str {
        match self {
            Return::Full => "FULL",
            Return::Headers => "HDRS",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notify_round_trips() {
        for text in ["NEVER", "SUCCESS", "FAILURE,DELAY", "SUCCESS,FAILURE,DELAY"] {
            assert_eq!(Notify::parse(text.as_bytes()).and_then(Notify::to_parameter).as_deref(), Some(text));
        }
        for text in ["", "NEVER,SUCCESS", "SUCCESS,", "SOMETIMES"] {
            assert_eq!(Notify::parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(Notify::from_bits(16), None);
        assert_eq!(Notify::UNSPECIFIED.to_parameter(), None);
    }
}
