//! Compatibility levels: `major[.minor[.patch]]`, compared part by part (`compatibility_level`, and `<level` and the like).

use std::str::FromStr;

use crate::error::ExpansionError;

/// A compatibility level; missing parts are 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Level {
    /// First part.
    pub major: u16,
    /// Second part.
    pub minor: u16,
    /// Third part.
    pub patch: u16,
}

impl FromStr for Level {
    type Err = ExpansionError;

    fn from_str(text: &str) -> Result<Level, ExpansionError> {
        let bad = || ExpansionError::Level(text.to_owned());
        let mut parts = [0u16; 3];
        for (at, part) in text.trim().split('.').enumerate() {
            let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
            *parts.get_mut(at).filter(|_| digits).ok_or_else(bad)? = part.parse().map_err(|_| bad())?;
        }
        Ok(Level { major: parts[0], minor: parts[1], patch: parts[2] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_compare_part_by_part() {
        let level = |text: &str| text.parse::<Level>();
        assert!(level("3.6").unwrap() < level("3.10").unwrap());
        assert_eq!(level("1").unwrap(), level("1.0.0").unwrap());
        for bad in ["", "x", "1.", ".1", "1.2.3.4", "1.x", "-1", "99999"] {
            assert!(level(bad).is_err(), "{bad}");
        }
    }
}
