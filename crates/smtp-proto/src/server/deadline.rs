//! How long a client may take: `smtpd_timeout`, `smtpd_per_request_deadline`, `smtpd_min_data_rate`.

use std::time::{Duration, Instant};

/// The time until which the client must have said or taken something.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    timeout: Duration,
    /// The deadline covers a whole command, or content at a minimum rate, instead of each read and write.
    per_request: bool,
    minimum_rate: u32,
    at: Instant,
}

impl Deadline {
    /// A deadline `timeout` from `now`.
    #[must_use]
    pub fn new(timeout: Duration, per_request: bool, minimum_rate: u32, now: Instant) -> Deadline {
        Deadline { timeout, per_request, minimum_rate: minimum_rate.max(1), at: now + timeout }
    }

    /// When time is up.
    #[must_use]
    pub fn at(&self) -> Instant {
        self.at
    }

    /// A command begins, or an answer, or content.
    pub fn start(&mut self, now: Instant) {
        self.at = now + self.timeout;
    }

    /// Bytes of a command came in, or a write went through: only without per-request deadlines does that gain time.
    pub fn progress(&mut self, now: Instant) {
        if !self.per_request {
            self.at = now + self.timeout;
        }
    }

    /// `count` bytes of content came in: with per-request deadlines they buy the time that `smtpd_min_data_rate` grants
    /// for them, up to the timeout.
    pub fn content(&mut self, count: usize, now: Instant) {
        if self.per_request {
            let gained = Duration::from_secs_f64(count as f64 / f64::from(self.minimum_rate));
            self.at = (self.at + gained).min(now + self.timeout);
        } else {
            self.at = now + self.timeout;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn each_read_gains_time_without_per_request() {
        let t = Instant::now();
        let mut deadline = Deadline::new(10 * S, false, 500, t);
        deadline.progress(t + 9 * S);
        assert_eq!(deadline.at(), t + 19 * S);
        deadline.content(1, t + 18 * S);
        assert_eq!(deadline.at(), t + 28 * S);
    }

    #[test]
    fn drips_gain_nothing_per_request() {
        let t = Instant::now();
        let mut deadline = Deadline::new(10 * S, true, 500, t);
        for i in 0..9 {
            deadline.progress(t + i * S);
        }
        assert_eq!(deadline.at(), t + 10 * S);
        deadline.start(t + 9 * S);
        assert_eq!(deadline.at(), t + 19 * S);
        // Content buys time at the minimum rate, never more than the timeout from now on.
        deadline.content(1000, t + 15 * S);
        assert_eq!(deadline.at(), t + 21 * S);
        deadline.content(1_000_000, t + 16 * S);
        assert_eq!(deadline.at(), t + 26 * S);
    }
}
