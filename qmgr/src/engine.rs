//! The loop: gives events to the scheduler and carries out what it says.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use queue::{QueueId, recovery};
use tokio::time::{Instant, sleep_until};

use crate::agents::{Flight, Pool};
use crate::disk;
use crate::intake::Intake;
use crate::message::Message;
use crate::scheduler::{Action, DeliveryId, Limits, MessageId, Moment, Scheduler, TransportId};
use crate::service::Qmgr;

/// Time between two looks at idle connections.
const SWEEP: Duration = Duration::from_secs(1);
/// How long a queue manager that ends may need to give back what it does not deliver.
const PATIENCE: Duration = Duration::from_secs(5);
/// Messages of which the file stays open while they wait.
const MOST_OPEN_FILES: usize = 500;

/// Everything that changes. It is borrowed for a moment at a time, never while waiting.
pub(crate) struct State {
    pub(crate) scheduler: Scheduler,
    pub(crate) messages: HashMap<MessageId, Message>,
    pub(crate) active: HashMap<QueueId, MessageId>,
    pub(crate) flights: HashMap<DeliveryId, Flight>,
    pub(crate) pools: HashMap<TransportId, Pool>,
    pub(crate) intake: Intake,
    /// Messages with recipients to be marked.
    pub(crate) touched: Vec<MessageId>,
    /// Address probes in the active queue.
    pub(crate) probes: usize,
    pub(crate) open_files: usize,
    /// The last number given to a connection or request.
    pub(crate) number: u64,
    pub(crate) draining: bool,
    next_sweep: Option<Moment>,
}

impl State {
    pub(crate) fn new(limits: Limits) -> State {
        State {
            scheduler: Scheduler::new(limits),
            messages: HashMap::new(),
            active: HashMap::new(),
            flights: HashMap::new(),
            pools: HashMap::new(),
            intake: Intake::new(),
            touched: Vec::new(),
            probes: 0,
            open_files: 0,
            number: 0,
            draining: false,
            next_sweep: None,
        }
    }

    /// A number that was not given before.
    pub(crate) fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    /// True while another waiting message may keep its descriptor.
    pub(crate) fn may_keep_file(&self) -> bool {
        self.open_files < MOST_OPEN_FILES
    }
}

impl Qmgr {
    /// From the start to the last delivery.
    pub(crate) async fn run(self: Rc<Self>) {
        self.take_over().await;
        let spool = self.spool.clone();
        let moved = self.worker().run_blocking(move || recovery::requeue_active(&spool, &mut |_| {})).await;
        if let Some(Err(error)) = moved {
            log::warning!("active queue: {}", sys::reason(&error));
        }
        self.begin_intake();
        loop {
            self.turn();
            if self.is_finished() {
                return;
            }
            let next = self.next_moment();
            tokio::select! {
                () = self.wake.notified() => {}
                () = async { sleep_until(Instant::from_std(self.started + next.unwrap_or_default())).await },
                    if next.is_some() => {}
                () = self.worker().draining(), if !self.state.borrow().draining => {
                    self.state.borrow_mut().draining = true;
                }
            }
        }
    }

    /// Waits until a queue manager that ends has given back what nobody delivers. What it still delivers is locked.
    async fn take_over(&self) {
        let spool = self.spool.clone();
        match self.worker().run_blocking(move || disk::take_over(&spool, PATIENCE)).await {
            Some(Ok((place, alone))) => {
                if !alone {
                    log::warning!(
                        "another queue manager has not let go of the active queue; going on without its word"
                    );
                }
                *self.place.borrow_mut() = Some(place);
            }
            Some(Err(error)) => log::warning!("active queue: {}", sys::reason(&error)),
            None => {}
        }
    }

    /// When something happens by itself.
    fn next_moment(&self) -> Option<Moment> {
        let state = self.state.borrow();
        [state.scheduler.next_tick(), state.next_sweep, state.intake.next_moment()].into_iter().flatten().min()
    }

    /// Everything that can be done now.
    fn turn(self: &Rc<Self>) {
        let now = self.now();
        if self.state.borrow().scheduler.next_tick().is_some_and(|tick| tick <= now) {
            self.state.borrow_mut().scheduler.tick(now);
        }
        self.sweep(now);
        self.act();
        if !self.state.borrow().draining {
            self.take_messages();
            self.act();
        }
        self.mark_touched();
        if self.state.borrow().draining {
            self.give_back();
            self.keep_locked();
            // What is left is locked, each by itself.
            self.place.borrow_mut().take();
        }
        self.say_if_behind();
    }

    /// Carries out what the scheduler says.
    fn act(self: &Rc<Self>) {
        loop {
            let Some(action) = self.state.borrow_mut().scheduler.next_action() else { return };
            match action {
                Action::Connect(transport) => self.connect(transport),
                Action::Deliver { delivery, transport, message, recipients } => {
                    self.deliver(delivery, transport, message, recipients);
                }
                Action::Defer { message, recipients, why } => self.defer(message, &recipients, &why),
                Action::Read { message, count } => self.read(message, count),
                Action::Done(message) => self.scheduled(message),
                Action::Clogged { transport, destination, share, total } => {
                    log::warning!("mail for {destination} is using up {share} of {total} active queue entries");
                    log::warning!("this may slow down other mail deliveries");
                    log::warning!(
                        "you may need to raise {transport}_destination_concurrency_limit, or lower the connect and \
                         helo timeouts of {transport}"
                    );
                    log::warning!("you may need a master.cf transport of its own for {destination}");
                    log::warning!("please avoid flushing the whole queue when there is lots of deferred mail");
                    log::warning!("to turn off these warnings specify: qmgr_clog_warn_time = 0");
                }
            }
        }
    }

    /// Closes connections that are idle, or have served their time.
    fn sweep(&self, now: Moment) {
        let mut state = self.state.borrow_mut();
        if state.next_sweep.is_some_and(|at| at > now) {
            return;
        }
        let State { pools, scheduler, .. } = &mut *state;
        for (transport, pool) in pools.iter_mut() {
            let room = pool.close_idle(now, self.settings.idle, self.settings.connection_lifetime);
            if room > 0 {
                scheduler.disconnected(now, *transport, room);
            }
        }
        let any = pools.values().any(|pool| !pool.is_empty());
        state.next_sweep = any.then_some(now + SWEEP);
        if !any {
            self.notices.close_idle();
        }
    }

    /// A connection has come: idle ones are looked for from now on.
    pub(crate) fn sweep_later(&self) {
        let now = self.now();
        let mut state = self.state.borrow_mut();
        state.next_sweep.get_or_insert(now + SWEEP);
    }

    /// The message has left the active queue.
    pub(crate) fn forget(&self, id: MessageId) {
        let mut state = self.state.borrow_mut();
        if let Some(message) = state.messages.remove(&id) {
            state.active.remove(&message.id);
            state.open_files -= usize::from(message.file.is_some());
            state.probes -= usize::from(message.is_probe());
        }
        drop(state);
        self.wake.notify_one();
    }

    /// While draining: messages without deliveries on the way go back to `incoming`, for the next queue manager.
    fn give_back(self: &Rc<Self>) {
        let idle: Vec<(MessageId, QueueId)> = {
            let state = self.state.borrow();
            let idle = state.messages.iter().filter(|(_, message)| {
                message.in_flight == 0 && !message.writing && !message.finishing && !message.scheduled
            });
            idle.map(|(id, message)| (*id, message.id.clone())).collect()
        };
        let form = disk::LogForm { attempts: 1, ..self.form };
        for (number, id) in idle {
            let (unmarked, deferrals) = {
                let mut state = self.state.borrow_mut();
                let Some(message) = state.messages.get_mut(&number) else { continue };
                (std::mem::take(&mut message.unmarked), std::mem::take(&mut message.deferrals))
            };
            let marked = disk::mark(&self.spool, &id, &unmarked);
            // Why some wait is for those who look before the next try.
            let written = disk::write_deferrals(&self.spool, &id, form, &deferrals);
            let moved = disk::give_back(&self.spool, &id);
            for error in [marked, written, moved].into_iter().filter_map(Result::err) {
                log::warning!("{id}: {}", sys::reason(&error));
            }
            self.forget(number);
        }
    }

    /// While draining: the next queue manager leaves alone what is locked, and we still have.
    fn keep_locked(&self) {
        let mut state = self.state.borrow_mut();
        let State { messages, open_files, .. } = &mut *state;
        for message in messages.values_mut().filter(|message| message.file.is_none()) {
            // One that cannot be opened has left.
            if let Ok(file) = disk::open_for_agent(&self.spool, &message.id) {
                message.file = Some(Rc::new(file));
                *open_files += 1;
            }
        }
    }

    /// True when nothing is left to wait for.
    fn is_finished(&self) -> bool {
        let state = self.state.borrow();
        state.draining && state.messages.is_empty() && state.intake.is_idle()
    }
}
