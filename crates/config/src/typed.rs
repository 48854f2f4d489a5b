//! From text to numbers, times and truth.

use std::time::Duration;

/// `yes` or `no`, in any case.
#[must_use]
pub fn boolean(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("yes") {
        Some(true)
    } else if text.eq_ignore_ascii_case("no") {
        Some(false)
    } else {
        None
    }
}

/// A decimal number, with or without a sign.
#[must_use]
pub fn number(text: &str) -> Option<i64> {
    text.parse().ok()
}

/// Digits and a unit: `s`econds, `m`inutes, `h`ours, `d`ays or `w`eeks; `default_unit` when there is none.
#[must_use]
pub fn time(text: &str, default_unit: char) -> Option<Duration> {
    let (digits, unit) = match text.char_indices().last()? {
        (_, last) if last.is_ascii_digit() => (text, default_unit),
        (at, unit) => (&text[..at], unit),
    };
    let seconds: u64 = match unit {
        's' | 'S' => 1,
        'm' | 'M' => 60,
        'h' | 'H' => 3600,
        'd' | 'D' => 86_400,
        'w' | 'W' => 7 * 86_400,
        _ => return None,
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    // The reference keeps times in a 32-bit number of seconds.
    let total = digits.parse::<u64>().ok()?.checked_mul(seconds).filter(|total| *total <= i32::MAX as u64)?;
    Some(Duration::from_secs(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        assert_eq!(
            (boolean("YES"), boolean("no"), boolean("true"), boolean("")),
            (Some(true), Some(false), None, None)
        );
        assert_eq!((number("-5"), number("07"), number("5x"), number("")), (Some(-5), Some(7), None, None));
        let seconds = |text, unit| time(text, unit).map(|t| t.as_secs());
        assert_eq!(seconds("5", 'd'), Some(432_000));
        assert_eq!(seconds("5m", 'd'), Some(300));
        assert_eq!(seconds("2w", 's'), Some(1_209_600));
        for bad in ["", "m", "5x", "-5s", "5 s", "5ss", "99999999999999999999w", "9999999999s", "é"] {
            assert_eq!(time(bad, 's'), None, "{bad}");
        }
    }
}
