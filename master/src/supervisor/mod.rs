//! The start and stop logic of master, without any input or output: events and the time go in, actions come out.
//!
//! The shell (`crate::shell`) carries the actions out and reports what happens. Nothing in here knows a descriptor, a
//! process id (but for log lines) or a file, so that every rule can be tested by a table or a simulation.

mod bounds;
mod oversight;
mod policy;
mod service;
mod stop;
#[cfg(test)]
mod tests;
mod worker;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ipc::master::{ToMaster, ToWorker};

pub use policy::{Policy, Wakeup};
use service::Service;
use stop::Stopping;
pub use worker::Ending;

/// A service, for as long as master runs: the same name and type keep their number over a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceId(pub u32);

/// One process that was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WorkerId(pub u64);

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A client waits at a listener that was to be watched.
    Waiting(ServiceId),
    /// The answer to [`Action::Probe`].
    Probed {
        /// The service.
        service: ServiceId,
        /// A client waits at one of its listeners right now.
        waiting: bool,
    },
    /// A worker said something.
    Message(WorkerId, ToMaster),
    /// A worker's control socket is closed: it has ended, which will be reported, or is of no use any more.
    Lost(WorkerId),
    /// A process ended. Its last messages were reported before.
    Ended {
        /// The worker.
        worker: WorkerId,
        /// Its process id, for the log.
        pid: i32,
        /// How.
        ending: Ending,
    },
    /// [`Action::Start`] did not even get as far as a process.
    NotStarted {
        /// The worker that should have been.
        worker: WorkerId,
    },
    /// Time has passed.
    Tick,
    /// Stop: in order, or at once when `immediately` (or when it comes a second time).
    Stop {
        /// Do not wait for anybody to finish.
        immediately: bool,
    },
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Report [`Event::Waiting`] when a client waits at a listener of this service, or waits there already.
    Watch(ServiceId),
    /// No longer.
    Unwatch(ServiceId),
    /// Look once whether a client waits, and answer with [`Event::Probed`].
    Probe(ServiceId),
    /// Start a process, and send it this first message.
    Start {
        /// Of this service.
        service: ServiceId,
        /// The number for the new worker.
        worker: WorkerId,
        /// [`ToWorker::Start`].
        message: ToWorker,
    },
    /// Send a message to a worker.
    Tell(WorkerId, ToWorker),
    /// `SIGTERM` to a worker.
    Terminate(WorkerId),
    /// `SIGKILL` to a worker.
    Kill(WorkerId),
    /// Pass a fresh descriptor of the syslog socket, with [`ToWorker::Syslog`].
    PassSyslog(WorkerId),
    /// Close the service's listeners: no more clients.
    Close(ServiceId),
    /// The service is gone for good.
    Forget(ServiceId),
    /// Write a line to the log.
    Log(Line),
    /// Everything has ended.
    Exit,
}

/// Lines for the log that come out of decisions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// A process ended badly.
    Ended {
        /// The program's path.
        path: String,
        /// Its process id.
        pid: i32,
        /// How.
        ending: Ending,
    },
    /// A program that ends before it serves is not started again for a while.
    BadStartup {
        /// The program's path.
        path: String,
    },
    /// It may be started again.
    ThrottleReleased {
        /// The program's path.
        path: String,
    },
    /// All workers are full, and a client waits.
    LimitReached {
        /// Service name as in `master.cf`.
        service: String,
        /// What it listens at, as shown.
        listener: String,
        /// The limit.
        limit: u32,
    },
    /// A worker gave no sign of life and gets killed.
    Hangs {
        /// The program's path.
        path: String,
        /// The worker.
        worker: WorkerId,
        /// For how long nothing was heard.
        silent: Duration,
    },
}

/// All services and their workers.
#[derive(Debug)]
pub struct Supervisor {
    services: BTreeMap<ServiceId, Service>,
    owners: BTreeMap<WorkerId, ServiceId>,
    next_service: u32,
    next_worker: u64,
    generation: u32,
    stopping: Option<Stopping>,
    finished: bool,
}

impl Default for Supervisor {
    fn default() -> Supervisor {
        Supervisor::new()
    }
}

impl Supervisor {
    /// Without any service.
    #[must_use]
    pub fn new() -> Supervisor {
        Supervisor {
            services: BTreeMap::new(),
            owners: BTreeMap::new(),
            next_service: 0,
            next_worker: 0,
            generation: 0,
            stopping: None,
            finished: false,
        }
    }

    /// Counts the reloads.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// The number that the service `key` (`name/type`) has, or will have.
    pub fn number(&mut self, key: &str) -> ServiceId {
        if let Some((id, _)) = self.services.iter().find(|(_, service)| service.policy.key == key) {
            return *id;
        }
        self.next_service += 1;
        ServiceId(self.next_service)
    }

    /// Takes up a configuration, the first one or after a reload: `policies` are all services whose listeners are open,
    /// each with its [`Supervisor::number`]. Running workers finish what they have and are replaced.
    pub fn configure(&mut self, policies: Vec<(ServiceId, Policy)>, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.stopping.is_some() {
            return actions;
        }
        let first = self.services.is_empty();
        if !first {
            self.generation += 1;
        }
        let mut old: Vec<ServiceId> = self.services.keys().copied().collect();
        for (id, policy) in policies {
            old.retain(|have| *have != id);
            match self.services.get_mut(&id) {
                Some(service) => service.reconfigure(policy, now, &mut actions),
                None => {
                    self.services.insert(id, Service::new(id, policy, now));
                }
            }
        }
        for id in old {
            if let Some(service) = self.services.get_mut(&id) {
                service.remove(now, &mut actions);
            }
        }
        self.settle(now, &mut actions);
        actions
    }

    /// Takes in one event.
    pub fn handle(&mut self, event: &Event, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Waiting(id) => {
                if let Some(service) = self.services.get_mut(id) {
                    service.client_waits(now);
                }
            }
            Event::Probed { service, waiting } => {
                if let Some(service) = self.services.get_mut(service) {
                    service.probed(*waiting, now);
                }
            }
            Event::Message(worker, message) => self.message(*worker, message, now, &mut actions),
            Event::Lost(worker) => {
                if let Some(service) = self.owners.get(worker).and_then(|id| self.services.get_mut(id)) {
                    service.lost(*worker, now);
                }
            }
            Event::Ended { worker, pid, ending } => {
                let expected = self.stopping.is_some();
                if let Some(service) = self.owners.remove(worker).and_then(|id| self.services.get_mut(&id)) {
                    service.ended(*worker, *pid, *ending, expected, now, &mut actions);
                }
            }
            Event::NotStarted { worker } => {
                if let Some(service) = self.owners.remove(worker).and_then(|id| self.services.get_mut(&id)) {
                    service.not_started(*worker, now);
                }
            }
            Event::Tick => {}
            Event::Stop { immediately } => self.begin_stop(*immediately, now),
        }
        self.settle(now, &mut actions);
        actions
    }

    /// When [`Event::Tick`] is due at the latest.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let services = self.services.values().filter_map(Service::next_deadline);
        services.chain(self.stopping.as_ref().map(Stopping::deadline)).min()
    }

    /// How many processes there are.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.owners.len()
    }

    fn message(&mut self, worker: WorkerId, message: &ToMaster, now: Instant, actions: &mut Vec<Action>) {
        let Some(service) = self.owners.get(&worker).and_then(|id| self.services.get_mut(id)) else { return };
        if *message == ToMaster::SyslogPlease {
            actions.push(Action::PassSyslog(worker));
        }
        service.heard(worker, message, now, actions);
    }

    /// Brings every service into the state that its workers, clients and the time ask for.
    fn settle(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if self.finished {
            return;
        }
        self.advance_stop(now, actions);
        for service in self.services.values_mut() {
            service.settle(now, self.generation, &mut self.next_worker, actions);
            for worker in service.newly_started() {
                self.owners.insert(worker, service.id);
            }
        }
        self.services.retain(|id, service| {
            let gone = service.is_gone();
            if gone {
                actions.push(Action::Forget(*id));
            }
            !gone
        });
        if self.stop_is_complete() {
            self.finished = true;
            actions.push(Action::Exit);
        }
    }
}
