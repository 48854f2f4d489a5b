//! How many workers and clients a service may have, and who gets which share.

use std::time::Instant;

use ipc::master::{Load, ToWorker};

use super::Action;
use super::oversight::push_force;
use super::service::Service;
use super::worker::{Departure, Force, Worker};

/// Draining workers per service; the oldest has to go beyond that.
const MOST_LEAVING: usize = 64;

impl Service {
    pub(super) fn has_room(&self) -> bool {
        self.workers.iter().any(Worker::has_room)
    }

    /// Clients that may still be given out; `None` when there is no bound.
    pub(super) fn free(&self) -> Option<u32> {
        let clients = self.policy.limits.clients?;
        let held = self.workers.iter().fold(0u32, |sum, worker| sum.saturating_add(worker.held()));
        Some(clients.saturating_sub(held))
    }

    pub(super) fn can_start(&self) -> bool {
        let limits = &self.policy.limits;
        if limits.solitary {
            return self.workers.iter().all(|worker| worker.departure == Departure::Draining);
        }
        // A job that is being finished is a process and a job all the same; of session services the clients are counted.
        let counted = if limits.clients.is_none() && limits.share == 1 {
            self.workers.len()
        } else {
            self.workers.iter().filter(|worker| worker.is_active()).count()
        };
        counted < limits.processes as usize && self.free() != Some(0)
    }

    /// Another worker may start although there is room: cores are left, and no worker waits for something to do.
    pub(super) fn may_spread(&self) -> bool {
        let mut active = self.workers.iter().filter(|worker| worker.is_active());
        let count = active.clone().count();
        count < self.policy.limits.spread as usize
            && active.all(|worker| worker.ready && worker.load != Load::Idle)
            && self.can_start()
    }

    /// Gives clients that became free to workers whose share was cut short.
    pub(super) fn grow_shares(&mut self, actions: &mut Vec<Action>) {
        let Some(mut free) = self.free() else { return };
        let largest = self.policy.limits.share;
        for worker in self.workers.iter_mut().filter(|worker| worker.is_active()) {
            let more = largest.saturating_sub(worker.share).min(free);
            if more > 0 {
                free -= more;
                worker.share += more;
                actions.push(Action::Tell(worker.id, ToWorker::Sessions(worker.share)));
            }
        }
    }

    pub(super) fn drain_where(&mut self, now: Instant, actions: &mut Vec<Action>, choose: impl Fn(&Worker) -> bool) {
        for worker in &mut self.workers {
            if worker.departure == Departure::No && worker.force == Force::None && choose(worker) {
                worker.depart(Departure::Asked, now);
                actions.push(Action::Tell(worker.id, ToWorker::Drain));
            }
        }
        self.limit_leaving(now, actions);
    }

    pub(super) fn limit_leaving(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let is_leaving = |worker: &Worker| worker.departure != Departure::No && worker.force == Force::None;
        let excess = self.workers.iter().filter(|worker| is_leaving(worker)).count().saturating_sub(MOST_LEAVING);
        // Workers of a job program are bounded by their own number, and each has a job to finish.
        if excess == 0 || self.policy.limits.share == 1 {
            return;
        }
        let mut leaving: Vec<&mut Worker> = self.workers.iter_mut().filter(|worker| is_leaving(worker)).collect();
        leaving.sort_by_key(|worker| worker.departure_since);
        for worker in leaving.into_iter().take(excess) {
            push_force(worker, Force::Terminated, now, actions);
        }
    }
}
