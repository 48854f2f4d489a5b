//! The orderly end: who takes mail in goes first, who writes the log goes last, and nobody may take for ever.

use std::time::{Duration, Instant};

use super::worker::Force;
use super::{Action, Supervisor};
use crate::programs::Stage;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Services up to this stage take nobody new and finish what they have.
    Drain(Stage),
    /// `SIGTERM` to all but the log.
    Terminate,
    /// `SIGKILL` to all but the log.
    Kill,
    /// Last words that wait at the log's socket get somebody to write them: the log program may not run just now.
    StartLog,
    /// The log takes what was said up to now, and ends.
    DrainLog,
    /// `SIGKILL` to whoever is left.
    KillAll,
}

/// Each step with the longest time it may take. Together they stay below the five seconds after which `postfix stop`
/// uses force.
const STEPS: [(Step, Duration); 8] = [
    (Step::Drain(Stage::Intake), Duration::from_millis(1000)),
    (Step::Drain(Stage::Queue), Duration::from_millis(1300)),
    (Step::Drain(Stage::Support), Duration::from_millis(600)),
    (Step::Terminate, Duration::from_millis(300)),
    (Step::Kill, Duration::from_millis(300)),
    (Step::StartLog, Duration::from_millis(500)),
    (Step::DrainLog, Duration::from_millis(300)),
    (Step::KillAll, Duration::from_millis(200)),
];
const TERMINATE: usize = 3;

#[derive(Debug)]
pub(super) struct Stopping {
    step: usize,
    entered: bool,
    deadline: Instant,
}

impl Stopping {
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }
}

impl Supervisor {
    pub(super) fn begin_stop(&mut self, immediately: bool, now: Instant) {
        match &mut self.stopping {
            None => {
                let step = if immediately { TERMINATE } else { 0 };
                self.stopping = Some(Stopping { step, entered: false, deadline: now });
            }
            Some(stopping) if stopping.step < TERMINATE => {
                *stopping = Stopping { step: TERMINATE, entered: false, deadline: now };
            }
            Some(_) => {}
        }
    }

    pub(super) fn advance_stop(&mut self, now: Instant, actions: &mut Vec<Action>) {
        loop {
            let Some(stopping) = &mut self.stopping else { return };
            let Some((step, bound)) = STEPS.get(stopping.step).copied() else { return };
            if !stopping.entered {
                stopping.entered = true;
                stopping.deadline = now + bound;
                self.enter(step, now, actions);
                continue;
            }
            if now < stopping.deadline && !self.is_clear(step) {
                return;
            }
            let Some(stopping) = &mut self.stopping else { return };
            stopping.step += 1;
            stopping.entered = false;
        }
    }

    /// Every step has been gone through; those that have nobody left to wait for take no time.
    pub(super) fn stop_is_complete(&self) -> bool {
        self.stopping.as_ref().is_some_and(|stopping| stopping.step >= STEPS.len())
    }

    fn enter(&mut self, step: Step, now: Instant, actions: &mut Vec<Action>) {
        for service in self.services.values_mut() {
            let in_scope = scope(step, service.stage());
            if !in_scope {
                continue;
            }
            if step == Step::StartLog {
                service.look_for_last_words(actions);
                continue;
            }
            service.close(now, actions);
            match step {
                Step::Drain(_) | Step::StartLog | Step::DrainLog => {}
                Step::Terminate => service.force_all(Force::Terminated, now, actions),
                Step::Kill | Step::KillAll => service.force_all(Force::Killed, now, actions),
            }
        }
    }

    fn is_clear(&self, step: Step) -> bool {
        let mut in_scope = self.services.values().filter(|service| scope(step, service.stage()));
        match step {
            Step::StartLog => in_scope.all(|service| !service.is_about_to_start()),
            _ => in_scope.all(|service| service.workers.is_empty()),
        }
    }
}

fn scope(step: Step, stage: Stage) -> bool {
    match step {
        Step::Drain(up_to) => stage <= up_to,
        Step::Terminate | Step::Kill => stage < Stage::Log,
        Step::StartLog => stage == Stage::Log,
        Step::DrainLog | Step::KillAll => true,
    }
}
