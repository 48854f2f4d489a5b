//! One service: who works for it, whether somebody waits, and what follows from that.

use std::time::{Duration, Instant};

use ipc::master::{Load, ToMaster, ToWorker};

use super::oversight::push_force;
use super::policy::Policy;
use super::worker::{Departure, Ending, Force, Worker};
use super::{Action, Line, ServiceId, WorkerId};
use crate::programs::Stage;

/// How long a service stays under stress after its limit was last reached, and how often the warning is repeated.
pub(super) const STRESS_PERIOD: Duration = Duration::from_secs(1000);
/// How long a service rests after a worker was killed from outside before it served.
pub(super) const PAUSE: Duration = Duration::from_secs(1);
/// Workers that die within this time, [`QUICK_ENDS`] in a row, count as a bad start-up.
pub(super) const QUICK: Duration = Duration::from_secs(10);
pub(super) const QUICK_ENDS: u32 = 5;

/// All workers are full: one that has just finished may take the client before a new process could.
const RECHECK: Duration = Duration::from_millis(2);
/// Whether a second core is needed is looked at this often while a service is busy, less often while it is not needed.
const PROBE_FIRST: Duration = Duration::from_millis(50);
const PROBE_AGAIN: Duration = Duration::from_millis(20);
const PROBE_SLOWEST: Duration = Duration::from_secs(1);
/// A client that waits so many looks in a row waits because the workers are busy.
const PROBE_HITS: u8 = 2;

#[derive(Debug)]
struct Probe {
    at: Instant,
    gap: Duration,
    hits: u8,
    asked: bool,
}

#[derive(Debug)]
pub(super) struct Service {
    pub(super) id: ServiceId,
    pub(super) policy: Policy,
    pub(super) workers: Vec<Worker>,
    started: Vec<WorkerId>,
    watched: bool,
    /// A client waits, as far as the watch said.
    client_waits: bool,
    /// A client waits that nobody can be started for; not watched until that changes.
    limit_noticed: bool,
    probe: Option<Probe>,
    start_wanted: bool,
    /// Master stops, and has asked whether somebody waits here.
    last_look: bool,
    throttled_until: Option<Instant>,
    quick_ends: u32,
    wakeup_at: Option<Instant>,
    wakeup_due: bool,
    stress_until: Option<Instant>,
    warned_at: Option<Instant>,
    pub(super) closed: bool,
    removed: bool,
}

impl Service {
    pub(super) fn new(id: ServiceId, policy: Policy, now: Instant) -> Service {
        let wakeup_at = policy.wakeup.filter(|wakeup| !wakeup.only_if_used).map(|_| now);
        Service {
            id,
            policy,
            workers: Vec::new(),
            started: Vec::new(),
            watched: false,
            client_waits: false,
            limit_noticed: false,
            probe: None,
            start_wanted: false,
            last_look: false,
            throttled_until: None,
            quick_ends: 0,
            wakeup_at,
            wakeup_due: false,
            stress_until: None,
            warned_at: None,
            closed: false,
            removed: false,
        }
    }

    // ---- configuration and the end

    pub(super) fn reconfigure(&mut self, policy: Policy, now: Instant, actions: &mut Vec<Action>) {
        self.policy = policy;
        self.closed = false;
        self.removed = false;
        // The listeners may be others now: the watch has to be set anew.
        if self.watched {
            actions.push(Action::Unwatch(self.id));
            self.watched = false;
        }
        self.client_waits = false;
        self.limit_noticed = false;
        self.throttled_until = None;
        self.quick_ends = 0;
        self.stress_until = None;
        self.wakeup_at = match self.policy.wakeup {
            Some(wakeup) if wakeup.only_if_used => self.wakeup_at.map(|_| now + wakeup.period),
            Some(_) => Some(now),
            None => None,
        };
        self.drain_where(now, actions, |_| true);
    }

    pub(super) fn remove(&mut self, now: Instant, actions: &mut Vec<Action>) {
        self.removed = true;
        self.close(now, actions);
    }

    /// No more clients; the workers finish.
    pub(super) fn close(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if !self.closed {
            self.closed = true;
            self.set_watch(false, actions);
            actions.push(Action::Close(self.id));
        }
        self.drain_where(now, actions, |_| true);
    }

    /// As master stops: a client that waits where nobody serves gets a worker at once, without waiting for the watch.
    pub(super) fn look_for_last_words(&mut self, actions: &mut Vec<Action>) {
        if !self.closed && self.workers.is_empty() {
            self.last_look = true;
            actions.push(Action::Probe(self.id));
        }
    }

    /// It is not yet known whether a worker has to be started, or one is starting.
    pub(super) fn is_about_to_start(&self) -> bool {
        self.last_look || self.start_wanted || self.workers.iter().any(|worker| worker.is_active() && !worker.ready)
    }

    pub(super) fn is_gone(&self) -> bool {
        self.removed && self.workers.is_empty()
    }

    pub(super) fn stage(&self) -> Stage {
        self.policy.stage
    }

    pub(super) fn force_all(&mut self, force: Force, now: Instant, actions: &mut Vec<Action>) {
        for worker in &mut self.workers {
            push_force(worker, force, now, actions);
        }
    }

    // ---- events

    pub(super) fn client_waits(&mut self, now: Instant) {
        self.client_waits = true;
        if self.workers.iter().any(Worker::is_active) {
            self.probe = Some(Probe { at: now + RECHECK, gap: RECHECK, hits: PROBE_HITS - 1, asked: false });
        }
    }

    pub(super) fn probed(&mut self, waiting: bool, now: Instant) {
        if std::mem::take(&mut self.last_look) {
            self.start_wanted = waiting;
            return;
        }
        let room = self.has_room();
        let Some(probe) = &mut self.probe else { return };
        probe.asked = false;
        if waiting {
            probe.hits += 1;
            probe.at = now + PROBE_AGAIN;
            if probe.hits >= PROBE_HITS {
                self.probe = None;
                self.start_wanted = true;
            }
        } else if room {
            probe.hits = 0;
            probe.gap = (probe.gap * 2).clamp(PROBE_FIRST, PROBE_SLOWEST);
            probe.at = now + probe.gap;
        } else {
            self.probe = None;
        }
    }

    pub(super) fn heard(&mut self, id: WorkerId, message: &ToMaster, now: Instant, actions: &mut Vec<Action>) {
        let Some(worker) = self.workers.iter_mut().find(|worker| worker.id == id) else { return };
        worker.heard = now;
        match message {
            ToMaster::Ready => worker.ready = true,
            ToMaster::Load(load) => worker.load = *load,
            ToMaster::Serving(clients) => worker.serving = Some(*clients),
            ToMaster::Draining => {
                let unasked = worker.departure == Departure::No;
                worker.depart(Departure::Draining, now);
                if unasked {
                    self.wake_replacement(now);
                }
            }
            ToMaster::SyslogPlease | ToMaster::Alive => {}
        }
        self.limit_leaving(now, actions);
    }

    /// It takes no clients, but that says nothing about how it ended.
    pub(super) fn lost(&mut self, id: WorkerId, now: Instant) {
        if let Some(worker) = self.workers.iter_mut().find(|worker| worker.id == id) {
            worker.lost_at.get_or_insert(now);
        }
    }

    pub(super) fn not_started(&mut self, id: WorkerId, now: Instant) {
        self.workers.retain(|worker| worker.id != id);
        self.throttled_until = Some(now + self.policy.throttle);
    }

    pub(super) fn ended(
        &mut self,
        id: WorkerId,
        pid: i32,
        ending: Ending,
        stopping: bool,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        let Some(at) = self.workers.iter().position(|worker| worker.id == id) else { return };
        let worker = self.workers.swap_remove(at);
        let leaving = worker.departure != Departure::No || self.closed;
        if ending == Ending::Exit(0) {
            self.quick_ends = 0;
            if !worker.ready && !leaving {
                self.throttled_until = Some(now + PAUSE);
            }
            return;
        }
        let by_us = worker.force != Force::None;
        if !(by_us && matches!(ending, Ending::Signal(_)) || stopping && matches!(ending, Ending::Signal(9 | 15))) {
            actions.push(Action::Log(Line::Ended { path: self.policy.path.clone(), pid, ending }));
        }
        if leaving {
            return;
        }
        self.wake_replacement(now + PAUSE);
        if ending == Ending::Signal(9) && !by_us {
            // Somebody's `kill -9`, or the kernel's: no fault of the program.
            if !worker.ready {
                self.throttled_until = Some(now + PAUSE.min(self.policy.throttle));
            }
            return;
        }
        self.quick_ends = if now.duration_since(worker.started) < QUICK { self.quick_ends + 1 } else { 0 };
        if !worker.ready || self.quick_ends >= QUICK_ENDS {
            self.quick_ends = 0;
            actions.push(Action::Log(Line::BadStartup { path: self.policy.path.clone() }));
            self.throttled_until = Some(now + self.policy.throttle);
        }
    }

    // ---- what follows

    pub(super) fn newly_started(&mut self) -> Vec<WorkerId> {
        std::mem::take(&mut self.started)
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let mut times: Vec<Instant> = Vec::new();
        times.extend(self.throttled_until);
        if !self.closed {
            times.extend(self.probe.as_ref().filter(|probe| !probe.asked).map(|probe| probe.at));
            times.extend(self.wakeup_at);
            times.extend(self.stress_until);
        }
        times.extend(self.workers.iter().filter_map(|worker| self.worker_deadline(worker).map(|(at, _)| at)));
        times.into_iter().min()
    }

    pub(super) fn settle(&mut self, now: Instant, generation: u32, next_worker: &mut u64, actions: &mut Vec<Action>) {
        self.watch_over_workers(now, actions);
        if self.throttled_until.is_some_and(|until| until <= now) {
            self.throttled_until = None;
            actions.push(Action::Log(Line::ThrottleReleased { path: self.policy.path.clone() }));
        }
        if self.stress_until.is_some_and(|until| until <= now) {
            self.stress_until = None;
            self.drain_where(now, actions, |worker| worker.stressed);
        }
        if self.closed || self.throttled_until.is_some() {
            self.set_watch(false, actions);
            self.client_waits = false;
            self.limit_noticed = false;
            self.start_wanted = false;
            self.probe = None;
            if let (Some(wakeup), Some(at)) = (self.policy.wakeup, self.wakeup_at)
                && at <= now
            {
                self.wakeup_due = !self.closed;
                self.wakeup_at = Some(now + wakeup.period);
            }
            return;
        }
        self.grow_shares(actions);
        self.wake(now, generation, next_worker, actions);
        self.serve_clients(now, generation, next_worker, actions);
    }

    fn serve_clients(&mut self, now: Instant, generation: u32, next_worker: &mut u64, actions: &mut Vec<Action>) {
        let can_start = self.can_start();
        if std::mem::take(&mut self.start_wanted) && can_start && (!self.has_room() || self.may_spread()) {
            self.start(now, generation, next_worker, actions);
        }
        if self.has_room() {
            self.client_waits = false;
            self.limit_noticed = false;
            self.set_watch(false, actions);
            if !self.may_spread() {
                self.probe = None;
            } else if self.probe.is_none() {
                self.probe = Some(Probe { at: now + PROBE_FIRST, gap: PROBE_FIRST, hits: 0, asked: false });
            }
        } else if self.client_waits {
            self.set_watch(false, actions);
            if !can_start {
                self.client_waits = false;
                self.probe = None;
                self.reach_limit(now, actions);
            } else if self.workers.iter().any(Worker::is_active) {
                // The probe decides; without one the client is looked for again.
                if self.probe.is_none() {
                    self.client_waits = false;
                    self.set_watch(true, actions);
                }
            } else {
                self.client_waits = false;
                self.start(now, generation, next_worker, actions);
            }
        } else if !self.limit_noticed || can_start {
            self.limit_noticed = false;
            self.probe = None;
            self.set_watch(true, actions);
        }
        if let Some(probe) = &mut self.probe
            && !probe.asked
            && probe.at <= now
        {
            probe.asked = true;
            actions.push(Action::Probe(self.id));
        }
    }

    /// All is taken and somebody waits.
    fn reach_limit(&mut self, now: Instant, actions: &mut Vec<Action>) {
        self.limit_noticed = true;
        if !self.policy.has_stress() {
            return;
        }
        if self.warned_at.is_none_or(|at| now.duration_since(at) >= STRESS_PERIOD) {
            self.warned_at = Some(now);
            actions.push(Action::Log(Line::LimitReached {
                service: self.policy.name.clone(),
                listener: self.policy.listener.clone(),
                limit: self.policy.shown_limit(),
            }));
        }
        self.stress_until = Some(now + STRESS_PERIOD);
        // Full workers serve on what they have; as their clients leave, a worker with `stress=yes` takes the new ones.
        self.drain_where(now, actions, |worker| worker.ready && worker.load == Load::Full && !worker.stressed);
    }

    fn wake(&mut self, now: Instant, generation: u32, next_worker: &mut u64, actions: &mut Vec<Action>) {
        let Some(wakeup) = self.policy.wakeup else { return };
        if self.wakeup_at.is_some_and(|at| at <= now) {
            self.wakeup_due = true;
            self.wakeup_at = Some(now + wakeup.period);
        }
        if !self.wakeup_due {
            return;
        }
        let awake = self.workers.iter().find(|worker| worker.is_active()).map(|worker| worker.id);
        let woken = match awake {
            Some(id) => Some(id),
            None if self.can_start() => Some(self.start(now, generation, next_worker, actions)),
            None => None,
        };
        if let Some(id) = woken {
            self.wakeup_due = false;
            actions.push(Action::Tell(id, ToWorker::Wakeup));
        }
    }

    /// A service that is woken regularly does not wait for its turn when its worker is gone.
    fn wake_replacement(&mut self, at: Instant) {
        if self.policy.wakeup.is_some_and(|wakeup| !wakeup.only_if_used) && !self.closed {
            self.wakeup_at = Some(self.wakeup_at.map_or(at, |have| have.min(at)));
        }
    }

    fn start(&mut self, now: Instant, generation: u32, next_worker: &mut u64, actions: &mut Vec<Action>) -> WorkerId {
        *next_worker += 1;
        let id = WorkerId(*next_worker);
        let share = self.free().map_or(self.policy.limits.share, |free| free.min(self.policy.limits.share));
        let stress = self.stress_until.is_some();
        self.workers.push(Worker::new(id, share, stress, now));
        self.started.push(id);
        if let (Some(wakeup), None) = (self.policy.wakeup, self.wakeup_at) {
            self.wakeup_at = Some(now + wakeup.period);
        }
        actions.push(Action::Start {
            service: self.id,
            worker: id,
            message: ToWorker::Start {
                sessions: share,
                stress,
                solitary: self.policy.limits.solitary,
                generation,
                wakeup: self.policy.wakeup.map(|wakeup| wakeup.period),
            },
        });
        id
    }

    fn set_watch(&mut self, watch: bool, actions: &mut Vec<Action>) {
        if self.watched != watch {
            self.watched = watch;
            actions.push(if watch { Action::Watch(self.id) } else { Action::Unwatch(self.id) });
        }
    }
}
