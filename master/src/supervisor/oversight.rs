//! Workers that do not do what they should.

use std::time::{Duration, Instant};

use super::service::Service;
use super::worker::{Departure, Force, Worker};
use super::{Action, Line};

/// A worker that is not ready by then never will be.
pub(super) const START_BOUND: Duration = Duration::from_secs(300);
/// The one worker of a service has to acknowledge a drain within this time, as nobody can take its place before.
pub(super) const ACKNOWLEDGE_BOUND: Duration = Duration::from_secs(60);
/// From `SIGTERM` to `SIGKILL`.
const TERMINATE_BOUND: Duration = Duration::from_secs(5);

impl Service {
    /// When something has to be done about a worker that does not do what it should.
    pub(super) fn worker_deadline(&self, worker: &Worker) -> Option<(Instant, Force)> {
        let timeout = self.policy.daemon_timeout;
        match worker.force {
            Force::Killed => return None,
            Force::Terminated => return Some((worker.forced_at + TERMINATE_BOUND, Force::Killed)),
            Force::None => {}
        }
        let mut due: Vec<(Instant, Force)> = Vec::new();
        if !worker.ready {
            due.push((worker.started + START_BOUND.min(timeout), Force::Killed));
        }
        if worker.departure == Departure::Asked && self.policy.limits.solitary && !self.closed {
            due.push((worker.departure_since + ACKNOWLEDGE_BOUND, Force::Killed));
        }
        if worker.departure != Departure::No {
            due.push((worker.departure_since + timeout, Force::Terminated));
        }
        if worker.is_busy() {
            due.push((worker.heard + timeout, Force::Killed));
        }
        due.into_iter().min_by_key(|(at, _)| *at)
    }

    pub(super) fn watch_over_workers(&mut self, now: Instant, actions: &mut Vec<Action>) {
        for at in 0..self.workers.len() {
            let Some((due, force)) = self.worker_deadline(&self.workers[at]) else { continue };
            if due > now {
                continue;
            }
            let worker = &mut self.workers[at];
            if worker.force == Force::None && force == Force::Killed {
                actions.push(Action::Log(Line::Hangs {
                    path: self.policy.path.clone(),
                    worker: worker.id,
                    silent: now.duration_since(worker.heard),
                }));
            }
            push_force(worker, force, now, actions);
        }
    }
}

/// Uses force against a worker, unless as much was used already.
pub(super) fn push_force(worker: &mut Worker, force: Force, now: Instant, actions: &mut Vec<Action>) {
    if worker.force >= force {
        return;
    }
    worker.force = force;
    worker.forced_at = now;
    match force {
        Force::None => {}
        Force::Terminated => actions.push(Action::Terminate(worker.id)),
        Force::Killed => actions.push(Action::Kill(worker.id)),
    }
}
