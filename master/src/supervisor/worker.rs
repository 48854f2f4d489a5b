//! One process of a service, as the logic sees it.

use std::time::Instant;

use ipc::master::Load;

use super::WorkerId;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With this exit status.
    Exit(i32),
    /// By this signal.
    Signal(i32),
}

/// How far a worker is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Departure {
    /// It stays.
    No,
    /// Told to drain; for all we know it may still accept.
    Asked,
    /// It said that it no longer accepts.
    Draining,
}

/// What was done to a worker that does not go by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Force {
    /// Nothing yet.
    None,
    /// `SIGTERM`.
    Terminated,
    /// `SIGKILL`.
    Killed,
}

#[derive(Debug)]
pub(super) struct Worker {
    pub(super) id: WorkerId,
    /// Clients that it may serve (0: its own limit).
    pub(super) share: u32,
    /// Clients that it said to have left while draining.
    pub(super) serving: Option<u32>,
    pub(super) ready: bool,
    pub(super) load: Load,
    pub(super) departure: Departure,
    pub(super) departure_since: Instant,
    pub(super) force: Force,
    pub(super) forced_at: Instant,
    pub(super) started: Instant,
    pub(super) heard: Instant,
    pub(super) stressed: bool,
    /// Its control socket is closed.
    pub(super) lost_at: Option<Instant>,
}

impl Worker {
    pub(super) fn new(id: WorkerId, share: u32, stressed: bool, now: Instant) -> Worker {
        Worker {
            id,
            share,
            serving: None,
            ready: false,
            load: Load::Idle,
            departure: Departure::No,
            departure_since: now,
            force: Force::None,
            forced_at: now,
            started: now,
            heard: now,
            stressed,
            lost_at: None,
        }
    }

    /// Takes new clients, or will as soon as it has started.
    pub(super) fn is_active(&self) -> bool {
        self.departure == Departure::No && self.force == Force::None && self.lost_at.is_none()
    }

    /// Active, and not full.
    pub(super) fn has_room(&self) -> bool {
        self.is_active() && (!self.ready || self.load != Load::Full)
    }

    /// Clients of the service's bound that this worker holds.
    pub(super) fn held(&self) -> u32 {
        match (self.departure, self.serving) {
            (Departure::Draining, Some(serving)) => serving.min(self.share),
            _ => self.share,
        }
    }

    /// There is something for it to do, so that silence means something.
    pub(super) fn is_busy(&self) -> bool {
        !self.ready || self.load != Load::Idle || self.departure != Departure::No
    }

    pub(super) fn depart(&mut self, departure: Departure, now: Instant) {
        if departure > self.departure {
            if self.departure == Departure::No {
                self.departure_since = now;
            }
            self.departure = departure;
        }
    }
}
