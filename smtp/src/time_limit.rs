//! How long the network may take for one step: `smtp_..._timeout`, with or without `smtp_per_request_deadline`.
//!
//! Without the deadline each read and write has the whole limit. With it the limit is that of the whole command, or of the
//! whole reply; only time spent waiting for the network counts. While a message is sent, every `smtp_min_data_rate` bytes
//! that the network takes give a second back, up to the limit.

use std::time::Duration;

/// The time that is left for a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeLimit {
    limit: Duration,
    left: Duration,
    deadline: bool,
    /// Bytes per second; 0 gives nothing back.
    rate: u32,
}

impl TimeLimit {
    /// For a command or a reply.
    #[must_use]
    pub const fn new(limit: Duration, deadline: bool) -> TimeLimit {
        TimeLimit { limit, left: limit, deadline, rate: 0 }
    }

    /// For the content of a message.
    #[must_use]
    pub const fn of_content(limit: Duration, deadline: bool, rate: u32) -> TimeLimit {
        TimeLimit { limit, left: limit, deadline, rate }
    }

    /// What the next read or write may take.
    #[must_use]
    pub const fn left(&self) -> Duration {
        self.left
    }

    /// The network needed `elapsed` for `bytes` bytes.
    pub fn spend(&mut self, elapsed: Duration, bytes: usize) {
        if !self.deadline {
            return;
        }
        self.left = self.left.saturating_sub(elapsed);
        if self.rate > 0 {
            let earned = Duration::from_secs_f64(bytes as f64 / f64::from(self.rate));
            self.left = self.left.saturating_add(earned).min(self.limit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Milliseconds left after steps of (milliseconds, bytes).
    fn left(mut limit: TimeLimit, steps: &[(u64, usize)]) -> u128 {
        for (elapsed, bytes) in steps {
            limit.spend(Duration::from_millis(*elapsed), *bytes);
        }
        limit.left().as_millis()
    }

    #[test]
    fn a_peer_that_trickles() {
        let limit = Duration::from_secs(10);
        let trickle = [(4_000, 1), (4_000, 1), (4_000, 1)];
        assert_eq!(left(TimeLimit::new(limit, false), &trickle), 10_000, "each call has the whole time");
        assert_eq!(left(TimeLimit::new(limit, true), &trickle), 0);
        assert_eq!(left(TimeLimit::new(limit, true), &trickle[..2]), 2_000);
    }

    #[test]
    fn content_earns_time_by_its_rate() {
        let content = |rate| TimeLimit::of_content(Duration::from_secs(180), true, rate);
        // As fast as must be, faster, half as fast.
        assert_eq!(left(content(500), &[(100_000, 50_000)]), 180_000);
        assert_eq!(left(content(500), &[(1_000, 1_000_000)]), 180_000, "never more than the limit");
        assert_eq!(left(content(500), &[(100_000, 25_000)]), 130_000);
        assert_eq!(left(content(500), &[(100_000, 25_000), (100_000, 25_000)]), 80_000);
        assert_eq!(left(content(500), &[(200_000, 0)]), 0);
    }
}
