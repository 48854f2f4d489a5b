//! How much one good or bad delivery counts (`default_destination_concurrency_positive_feedback` and its relatives).

use std::str::FromStr;

/// Feedback of one delivery, between 0 and 1, by the destination's present concurrency.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Feedback {
    /// `number`, or `number / number`: always the same.
    Constant(f64),
    /// `number / concurrency`.
    PerConcurrency(f64),
    /// `number / sqrt_concurrency`.
    PerSquareRoot(f64),
}

/// The text is not a feedback value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a number between 0 and 1, number/concurrency or number/sqrt_concurrency")]
pub struct InvalidFeedback;

impl Feedback {
    /// The value at a concurrency of `window` deliveries.
    #[must_use]
    pub fn value(self, window: u32) -> f64 {
        let window = f64::from(window.max(1));
        match self {
            Feedback::Constant(number) => number,
            Feedback::PerConcurrency(number) => number / window,
            Feedback::PerSquareRoot(number) => number / window.sqrt(),
        }
    }
}

impl FromStr for Feedback {
    type Err = InvalidFeedback;

    fn from_str(text: &str) -> Result<Feedback, InvalidFeedback> {
        let number = |text: &str| -> Result<f64, InvalidFeedback> {
            let value: f64 = text.trim().parse().map_err(|_| InvalidFeedback)?;
            if value.is_finite() && value >= 0.0 { Ok(value) } else { Err(InvalidFeedback) }
        };
        let (numerator, denominator) = match text.split_once('/') {
            None => (number(text)?, None),
            Some((numerator, denominator)) => (number(numerator)?, Some(denominator.trim())),
        };
        let feedback = match denominator {
            None => Feedback::Constant(numerator),
            Some("concurrency") => Feedback::PerConcurrency(numerator),
            Some("sqrt_concurrency") => Feedback::PerSquareRoot(numerator),
            Some(other) => {
                let denominator = number(other)?;
                if denominator == 0.0 {
                    return Err(InvalidFeedback);
                }
                Feedback::Constant(numerator / denominator)
            }
        };
        // At a concurrency of one every form has its largest value.
        if feedback.value(1) <= 1.0 { Ok(feedback) } else { Err(InvalidFeedback) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_postconf() {
        let cases = [
            ("1", Feedback::Constant(1.0)),
            ("0.25", Feedback::Constant(0.25)),
            ("1/4", Feedback::Constant(0.25)),
            ("1 / concurrency", Feedback::PerConcurrency(1.0)),
            ("0.5/sqrt_concurrency", Feedback::PerSquareRoot(0.5)),
            ("0", Feedback::Constant(0.0)),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        for text in ["", "x", "2", "-1", "1/0", "1/x", "1/concurrency/2", "inf", "NaN", "3/concurrency"] {
            assert_eq!(text.parse::<Feedback>(), Err(InvalidFeedback), "{text}");
        }
        assert!((Feedback::PerSquareRoot(1.0).value(4) - 0.5).abs() < 1e-9);
        assert!((Feedback::PerConcurrency(1.0).value(0) - 1.0).abs() < 1e-9);
    }
}
