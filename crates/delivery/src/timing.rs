//! How long the stages of a delivery took, for `delay=` and `delays=`.

use std::time::{Duration, SystemTime};

use log::lines::Delays;

/// The times of one delivery. All are wall-clock times because the first two come from another process; a clock that is
/// set back makes a stage look like nothing, never negative.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    arrival: SystemTime,
    active: SystemTime,
    started: SystemTime,
    connected: Option<SystemTime>,
}

/// A time as queue files and requests have it.
fn time((seconds, microseconds): (i64, i64)) -> SystemTime {
    let micros = Duration::from_micros(u64::try_from(microseconds).unwrap_or(0));
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0)) + micros
}

impl Timing {
    /// A delivery of a message that arrived and became active at these times, handed to an agent at `started`.
    #[must_use]
    pub fn new(arrival: (i64, i64), active: (i64, i64), started: SystemTime) -> Timing {
        Timing { arrival: time(arrival), active: time(active), started, connected: None }
    }

    /// The delivery of a request that was just received.
    #[must_use]
    pub fn of(request: &ipc::delivery::Request) -> Timing {
        Timing::new(request.arrival, request.active, SystemTime::now())
    }

    /// Connection set-up begins (again): what came before, such as an attempt at another host, counts as set-up too.
    pub fn disconnected(&mut self) {
        self.connected = None;
    }

    /// Connection set-up is over and transmission begins.
    pub fn connected(&mut self, now: SystemTime) {
        self.connected = Some(now);
    }

    /// The stages of a delivery that ends `now`.
    #[must_use]
    pub fn delays(&self, now: SystemTime) -> Delays {
        let between = |from: SystemTime, to: SystemTime| to.duration_since(from).unwrap_or(Duration::ZERO);
        let (setup, transmission) = match self.connected {
            Some(connected) => (between(self.started, connected), between(connected, now)),
            None => (Duration::ZERO, between(self.started, now)),
        };
        Delays {
            total: between(self.arrival, now),
            before_queue_manager: between(self.arrival, self.active),
            in_queue_manager: between(self.active, self.started),
            setup,
            transmission,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_add_up_and_are_never_negative() {
        let mut timing = Timing::new((1_000, 500_000), (1_001, 0), time((1_001, 250_000)));
        let delays = timing.delays(time((1_003, 0)));
        assert_eq!(delays.total, Duration::from_millis(2_500));
        assert_eq!(delays.before_queue_manager, Duration::from_millis(500));
        assert_eq!(delays.in_queue_manager, Duration::from_millis(250));
        assert_eq!(delays.setup, Duration::ZERO);
        assert_eq!(delays.transmission, Duration::from_millis(1_750));
        timing.connected(time((1_002, 250_000)));
        let delays = timing.delays(time((1_003, 0)));
        assert_eq!((delays.setup, delays.transmission), (Duration::from_secs(1), Duration::from_millis(750)));
        let early = timing.delays(time((900, 0)));
        assert_eq!((early.total, early.transmission), (Duration::ZERO, Duration::ZERO));
    }
}
