//! What the logic needs to know about a service.

use std::time::Duration;

use crate::limits::Limits;
use crate::programs::Stage;

/// The `wakeup` column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wakeup {
    /// How often.
    pub period: Duration,
    /// `?`: not before the service was used for the first time.
    pub only_if_used: bool,
}

/// One service of `master.cf`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// `name/type`, which is what makes it this service.
    pub key: String,
    /// Its name in `master.cf`.
    pub name: String,
    /// What it listens at, for the log: the address of an Internet service, the name of another.
    pub listener: String,
    /// Path of the program, for the log.
    pub path: String,
    /// Bounds.
    pub limits: Limits,
    /// `wakeup`.
    pub wakeup: Option<Wakeup>,
    /// When it ends as master stops.
    pub stage: Stage,
    /// Not private: overload is worth a warning, and `stress=yes` for those who may be several.
    pub public: bool,
    /// `service_throttle_time`.
    pub throttle: Duration,
    /// `daemon_timeout`: how long a worker that has something to do may stay silent.
    pub daemon_timeout: Duration,
}

impl Policy {
    /// The bound that users know, for the warning.
    #[must_use]
    pub fn shown_limit(&self) -> u32 {
        self.limits.clients.unwrap_or(self.limits.processes)
    }

    /// Overload means something here: there may be several clients or processes, and outsiders are among them.
    #[must_use]
    pub fn has_stress(&self) -> bool {
        self.public && !self.limits.solitary && self.shown_limit() > 1
    }
}
