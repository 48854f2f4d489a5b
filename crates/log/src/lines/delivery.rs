//! The line that says what became of one recipient.

use std::fmt;
use std::time::Duration;

use crate::framing::show;

/// How long a delivery took, in parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delays {
    /// From arrival to now.
    pub total: Duration,
    /// `a`: before the queue manager, message transmission included.
    pub before_queue_manager: Duration,
    /// `b`: in the queue manager.
    pub in_queue_manager: Duration,
    /// `c`: connection set-up, DNS, HELO and TLS included.
    pub setup: Duration,
    /// `d`: message transmission.
    pub transmission: Duration,
}

/// What became of the recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Delivered.
    Sent,
    /// To be tried again.
    Deferred,
    /// Returned to the sender.
    Bounced,
    /// Would have been returned but for `soft_bounce`.
    SoftBounce,
    /// A probe: mail would be accepted.
    Deliverable,
    /// A probe: mail would not be accepted.
    Undeliverable,
    /// A probe whose negative outcome is not remembered.
    UndeliverableButNotCached,
}

impl Status {
    /// The word after `status=`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Status::Sent => "sent",
            Status::Deferred => "deferred",
            Status::Bounced => "bounced",
            Status::SoftBounce => "SOFTBOUNCE",
            Status::Deliverable => "deliverable",
            Status::Undeliverable => "undeliverable",
            Status::UndeliverableButNotCached => "undeliverable-but-not-cached",
        }
    }
}

/// The parts of a delivery status line.
#[derive(Clone, Copy)]
pub struct StatusLine<'a> {
    /// Queue id.
    pub queue_id: &'a str,
    /// The recipient.
    pub recipient: &'a [u8],
    /// The recipient before aliases; shown when it is not empty and differs in more than case.
    pub original: &'a [u8],
    /// `host[address]:port`, `local`, `none`, ...
    pub relay: &'a [u8],
    /// How often this connection has been used, this time included; shown from 2 up.
    pub connection_uses: u32,
    /// Times.
    pub delays: Delays,
    /// `delay_logging_resolution_limit`.
    pub decimals: u32,
    /// The TLS features after `tls=`, of SMTP clients.
    pub tls: Option<&'a str>,
    /// Enhanced status code.
    pub dsn: &'a dyn fmt::Display,
    /// The outcome.
    pub status: Status,
    /// Why; goes between the parentheses.
    pub reason: &'a [u8],
}

/// Logs what became of one recipient.
pub fn status_line(line: &StatusLine<'_>) {
    crate::info!("{line}");
}

impl fmt::Display for StatusLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: to=<{}>", self.queue_id, show(self.recipient))?;
        if !self.original.is_empty() && !self.original.eq_ignore_ascii_case(self.recipient) {
            write!(f, ", orig_to=<{}>", show(self.original))?;
        }
        write!(f, ", relay={}", show(self.relay))?;
        if self.connection_uses > 1 {
            write!(f, ", conn_use={}", self.connection_uses)?;
        }
        let delay = |d: Duration| format_delay(d, self.decimals);
        let Delays { total, before_queue_manager, in_queue_manager, setup, transmission } = self.delays;
        write!(
            f,
            ", delay={}, delays={}/{}/{}/{}",
            delay(total),
            delay(before_queue_manager),
            delay(in_queue_manager),
            delay(setup),
            delay(transmission)
        )?;
        if let Some(tls) = self.tls {
            write!(f, ", tls={tls}")?;
        }
        write!(f, ", dsn={}, status={} ({})", self.dsn, self.status.word(), show(self.reason))
    }
}

/// A time in seconds with two significant digits, but never less than whole seconds and at most `decimals` (up to 6)
/// digits after the point, halves rounded up, without trailing zeros.
#[must_use]
pub fn format_delay(delay: Duration, decimals: u32) -> Delay {
    Delay { micros: delay.as_micros(), decimals: decimals.min(6) }
}

/// See [`format_delay`].
#[derive(Clone, Copy, Debug)]
pub struct Delay {
    micros: u128,
    decimals: u32,
}

impl fmt::Display for Delay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The position of the second significant digit, counted in digits after the point.
        let mut significant = 0;
        while significant < 6 && self.micros < 10_000_000 / 10u128.pow(significant) {
            significant += 1;
        }
        let digits = significant.min(self.decimals);
        let unit = 10u128.pow(6 - digits);
        let rounded = (self.micros + unit / 2) / unit;
        let scale = 10u128.pow(digits);
        write!(f, "{}", rounded / scale)?;
        let (mut fraction, mut width) = (rounded % scale, digits as usize);
        if fraction == 0 {
            return Ok(());
        }
        while fraction % 10 == 0 {
            fraction /= 10;
            width -= 1;
        }
        write!(f, ".{fraction:0width$}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_as_the_reference_writes_them() {
        // Seconds, microseconds; with a limit of 0, 1, 2, 3 and 6 decimals. The answers are the reference's.
        let cases: [(u64, u32, [&str; 5]); 26] = [
            (0, 0, ["0", "0", "0", "0", "0"]),
            (0, 1, ["0", "0", "0", "0", "0.000001"]),
            (0, 4_999, ["0", "0", "0", "0.005", "0.005"]),
            (0, 5_000, ["0", "0", "0.01", "0.005", "0.005"]),
            (0, 999, ["0", "0", "0", "0.001", "0.001"]),
            (0, 12_345, ["0", "0", "0.01", "0.012", "0.012"]),
            (0, 15_000, ["0", "0", "0.02", "0.015", "0.015"]),
            (0, 14_999, ["0", "0", "0.01", "0.015", "0.015"]),
            (0, 99_500, ["0", "0.1", "0.1", "0.1", "0.1"]),
            (0, 99_499, ["0", "0.1", "0.1", "0.099", "0.099"]),
            (0, 994_999, ["1", "1", "0.99", "0.99", "0.99"]),
            (0, 995_000, ["1", "1", "1", "1", "1"]),
            (1, 4_999, ["1", "1", "1", "1", "1"]),
            (1, 50_000, ["1", "1.1", "1.1", "1.1", "1.1"]),
            (1, 250_000, ["1", "1.3", "1.3", "1.3", "1.3"]),
            (1, 999_999, ["2", "2", "2", "2", "2"]),
            (9, 940_000, ["10", "9.9", "9.9", "9.9", "9.9"]),
            (9, 950_000, ["10", "10", "10", "10", "10"]),
            (9, 949_999, ["10", "9.9", "9.9", "9.9", "9.9"]),
            (10, 499_999, ["10", "10", "10", "10", "10"]),
            (10, 500_000, ["11", "11", "11", "11", "11"]),
            (12, 345_678, ["12", "12", "12", "12", "12"]),
            (99, 500_000, ["100", "100", "100", "100", "100"]),
            (123, 456_789, ["123", "123", "123", "123", "123"]),
            (1_234, 500_000, ["1235", "1235", "1235", "1235", "1235"]),
            (18_000, 1, ["18000", "18000", "18000", "18000", "18000"]),
        ];
        for (seconds, micros, wanted) in cases {
            let delay = Duration::new(seconds, micros * 1_000);
            for (decimals, wanted) in [0, 1, 2, 3, 6].into_iter().zip(wanted) {
                assert_eq!(format_delay(delay, decimals).to_string(), wanted, "{delay:?} with {decimals}");
            }
        }
    }

    fn example() -> StatusLine<'static> {
        StatusLine {
            queue_id: "4Bx1y2z3AbC",
            recipient: b"user@example.com",
            original: b"",
            relay: b"mx.example.com[192.0.2.1]:25",
            connection_uses: 1,
            delays: Delays {
                total: Duration::from_millis(1_230),
                before_queue_manager: Duration::from_millis(20),
                in_queue_manager: Duration::from_millis(1),
                setup: Duration::from_millis(1_000),
                transmission: Duration::from_millis(210),
            },
            decimals: 2,
            tls: None,
            dsn: &"2.0.0",
            status: Status::Sent,
            reason: b"250 2.0.0 Ok: queued as 1234",
        }
    }

    #[test]
    fn a_delivery_in_one_line() {
        assert_eq!(
            example().to_string(),
            "4Bx1y2z3AbC: to=<user@example.com>, relay=mx.example.com[192.0.2.1]:25, delay=1.2, delays=0.02/0/1/0.21, \
             dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as 1234)"
        );
        let line = StatusLine {
            original: b"alias@example.com",
            connection_uses: 3,
            tls: Some("may"),
            status: Status::Deferred,
            reason: b"said:\r\n400",
            ..example()
        };
        let text = line.to_string();
        assert!(text.contains("to=<user@example.com>, orig_to=<alias@example.com>, relay="), "{text}");
        assert!(text.contains(":25, conn_use=3, delay=1.2, "), "{text}");
        assert!(text.ends_with("/0.21, tls=may, dsn=2.0.0, status=deferred (said:??400)"), "{text}");
        let same = StatusLine { original: b"USER@example.com", ..example() };
        assert!(!same.to_string().contains("orig_to"));
    }
}
