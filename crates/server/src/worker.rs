//! A worker process of a session service: how many sessions it has, and when it ends.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use ipc::master::{Load, ToMaster};
use tokio::sync::Notify;

use crate::control::Control;
use crate::peers::Peers;

/// The handle by which a service talks to its worker; cheap to clone.
#[derive(Clone)]
pub struct Worker(pub(crate) Rc<State>);

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").field("open", &self.0.open).field("limit", &self.0.limit).finish_non_exhaustive()
    }
}

pub(crate) struct State {
    pub(crate) control: Option<Control>,
    pub(crate) peers: Peers,
    /// Sessions at a time.
    limit: Cell<u32>,
    /// Master bounds the sessions of the service, and wants to know how many a draining worker still has.
    bounded: Cell<bool>,
    /// The bound on `limit` that the configuration sets.
    own_limit: u32,
    /// Sessions after which the worker is replaced.
    max_served: u64,
    served: Cell<u64>,
    open: Cell<u32>,
    /// Counts sessions and tasks, so that the minder sees those that were quick.
    begun: Cell<u64>,
    /// Activity that is no session but must end before the worker does.
    tasks: Cell<u32>,
    draining: Cell<bool>,
    failed: Cell<bool>,
    pub(crate) drain: Notify,
    /// The load or something else that the minder looks at has changed.
    pub(crate) changed: Notify,
    /// A session has ended while there was no room for another.
    pub(crate) room: Notify,
    reload_needed: RefCell<Box<dyn Fn() -> bool>>,
    /// Tables look changed from the start: somebody writes them just now, or they cannot be looked at from the jail. The
    /// worker serves a client all the same, lest processes follow each other without doing anything.
    changed_at_start: Cell<bool>,
}

/// Bounds of a worker.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) own_limit: u32,
    pub(crate) max_served: u64,
}

impl Worker {
    pub(crate) fn new(control: Option<Control>, peers: Peers, bounds: Bounds, share: u32) -> Worker {
        let worker = Worker(Rc::new(State {
            control,
            peers,
            limit: Cell::new(bounds.own_limit),
            bounded: Cell::new(false),
            own_limit: bounds.own_limit.max(1),
            max_served: bounds.max_served,
            served: Cell::new(0),
            open: Cell::new(0),
            begun: Cell::new(0),
            tasks: Cell::new(0),
            draining: Cell::new(false),
            failed: Cell::new(false),
            drain: Notify::new(),
            changed: Notify::new(),
            room: Notify::new(),
            reload_needed: RefCell::new(Box::new(|| false)),
            changed_at_start: Cell::new(false),
        }));
        worker.set_share(share);
        worker
    }

    /// A worker without a master, for tests of a session function by itself.
    #[must_use]
    pub fn stand_in() -> Worker {
        let bounds = Bounds { own_limit: 1000, max_served: 0 };
        Worker::new(None, Peers::only(nix::unistd::geteuid()), bounds, 0)
    }

    /// True from the moment on when the worker takes no new clients: sessions should come to an end at their next
    /// boundary (after the reply to a command, after a transaction).
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.0.draining.get()
    }

    /// Waits until the worker drains; for `select!` beside a read from an idle client.
    pub async fn draining(&self) {
        let drain = self.0.drain.notified();
        if !self.is_draining() {
            drain.await;
        }
    }

    /// Asks for this worker to be replaced: no new clients, an exit when all sessions are done.
    pub fn start_draining(&self) {
        if !self.0.draining.replace(true) {
            self.tell(ToMaster::Draining);
            self.tell_serving();
            self.0.drain.notify_waiters();
            self.0.room.notify_waiters();
            self.0.changed.notify_one();
        }
    }

    /// Starts draining when a table has changed; to be called by long sessions between transactions. True while
    /// draining.
    pub fn drain_if_reload_needed(&self) -> bool {
        let first_due = self.0.changed_at_start.get() && self.0.begun.get() == 0;
        if !self.is_draining() && !first_due && (self.0.reload_needed.borrow())() {
            self.start_draining();
        }
        self.is_draining()
    }

    /// The worker cannot go on: it drains and reports a failure to master. The caller logs why.
    pub fn fail(&self) {
        self.0.failed.set(true);
        self.start_draining();
    }

    /// Runs a task that the worker waits for before it ends. A panic in it makes the worker drain.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let guard = TaskGuard::new(self.clone());
        tokio::task::spawn_local(async move {
            let _guard = guard;
            task.await;
        });
    }

    /// Runs a task that ends with the worker. A panic in it makes the worker drain.
    pub fn spawn_background(&self, task: impl Future<Output = ()> + 'static) {
        let guard = PanicGuard(self.clone());
        tokio::task::spawn_local(async move {
            let _guard = guard;
            task.await;
        });
    }

    /// Runs what would hold up the event loop (`fsync`, above all) on the small thread pool. `None` only when `work`
    /// panicked.
    pub async fn run_blocking<R: Send + 'static>(&self, work: impl FnOnce() -> R + Send + 'static) -> Option<R> {
        tokio::task::spawn_blocking(work).await.ok()
    }

    /// Open sessions.
    #[must_use]
    pub fn sessions(&self) -> u32 {
        self.0.open.get()
    }

    /// Sessions that may be open at a time.
    #[must_use]
    pub fn session_limit(&self) -> u32 {
        self.0.limit.get()
    }

    /// Lets the calling session count as several: takes up to `most` of the places that are left beside its own. For
    /// sessions on whose one connection several clients' worth of work is done at a time.
    #[must_use]
    pub fn take_places(&self, most: u32) -> Places {
        let count = self.0.limit.get().saturating_sub(self.0.open.get()).min(most);
        self.change_open(|open| open + count);
        Places { worker: self.clone(), count }
    }

    /// Who may call whom here.
    #[must_use]
    pub fn peers(&self) -> &Peers {
        &self.0.peers
    }

    pub(crate) fn set_reload_check(&self, check: impl Fn() -> bool + 'static) {
        if check() {
            log::debug!("tables have changed since they were opened");
            self.0.changed_at_start.set(true);
        }
        *self.0.reload_needed.borrow_mut() = Box::new(check);
    }

    pub(crate) fn set_share(&self, share: u32) {
        let limit = if share == 0 { self.0.own_limit } else { share.min(self.0.own_limit) };
        self.0.limit.set(limit);
        self.0.bounded.set(share != 0);
        self.0.room.notify_waiters();
        self.0.changed.notify_one();
    }

    /// What a draining worker no longer needs of its share goes to its successor.
    fn tell_serving(&self) {
        if self.is_draining() && self.0.bounded.get() {
            self.tell(ToMaster::Serving(self.0.open.get()));
        }
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.0.failed.get()
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.0.open.get() > 0 || self.0.tasks.get() > 0
    }

    pub(crate) fn load(&self) -> Load {
        match self.0.open.get() {
            open if open >= self.0.limit.get() => Load::Full,
            0 => Load::Idle,
            _ => Load::Some,
        }
    }

    pub(crate) fn tell(&self, message: ToMaster) {
        if let Some(control) = &self.0.control {
            control.tell(&message);
        }
    }

    /// Waits until there is room for a session; false when the worker drains.
    pub(crate) async fn wait_for_room(&self) -> bool {
        loop {
            let room = self.0.room.notified();
            if self.is_draining() {
                return false;
            }
            if self.0.open.get() < self.0.limit.get() {
                return true;
            }
            room.await;
        }
    }

    fn change_open(&self, change: impl FnOnce(u32) -> u32) {
        let before = self.load();
        self.0.open.set(change(self.0.open.get()));
        if self.load() != before {
            self.0.changed.notify_one();
        }
    }
}

/// One open session.
pub(crate) struct SessionGuard(Worker);

impl SessionGuard {
    pub(crate) fn new(worker: Worker) -> SessionGuard {
        worker.change_open(|open| open + 1);
        worker.0.served.set(worker.0.served.get() + 1);
        worker.0.begun.set(worker.0.begun.get() + 1);
        SessionGuard(worker)
    }
}

impl Drop for SessionGuard {
    fn drop(&mut self) {
        let worker = &self.0;
        let max_served = worker.0.max_served;
        if std::thread::panicking() || (max_served > 0 && worker.0.served.get() >= max_served) {
            worker.start_draining();
        }
        let full = worker.load() == Load::Full;
        worker.change_open(|open| open - 1);
        worker.tell_serving();
        if full {
            worker.0.room.notify_one();
        }
        if worker.is_draining() && !worker.is_busy() {
            worker.0.changed.notify_one();
        }
    }
}

/// Places that a session has taken beside its own ([`Worker::take_places`]), until it is dropped.
#[derive(Debug)]
pub struct Places {
    worker: Worker,
    count: u32,
}

impl Places {
    /// How many.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Gives back all but `count` of them.
    pub fn keep(&mut self, count: u32) {
        let given_back = self.count.saturating_sub(count);
        if given_back == 0 {
            return;
        }
        self.count -= given_back;
        let full = self.worker.load() == Load::Full;
        self.worker.change_open(|open| open - given_back);
        self.worker.tell_serving();
        if full {
            self.worker.0.room.notify_waiters();
        }
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        self.keep(0);
    }
}

/// One task that must end before the worker does.
pub(crate) struct TaskGuard(Worker);

impl TaskGuard {
    pub(crate) fn new(worker: Worker) -> TaskGuard {
        worker.0.tasks.set(worker.0.tasks.get() + 1);
        worker.0.begun.set(worker.0.begun.get() + 1);
        TaskGuard(worker)
    }
}

impl Drop for TaskGuard {
    fn drop(&mut self) {
        let worker = &self.0;
        if std::thread::panicking() {
            worker.start_draining();
        }
        worker.0.tasks.set(worker.0.tasks.get() - 1);
        worker.0.changed.notify_one();
    }
}

struct PanicGuard(Worker);

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.start_draining();
        }
    }
}

/// When the minder lets a worker end, and what master hears in between.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Minding {
    /// A worker without sessions ends after this long; `None`: never.
    pub(crate) max_idle: Option<Duration>,
    /// How long a draining worker waits for its sessions.
    pub(crate) drain_limit: Duration,
    /// How often the watchdog wants to hear that the event loop turns.
    pub(crate) beat: Duration,
}

/// Load reports downward wait this long, so that a short pause in the work is not reported.
const IDLE_PAUSE: Duration = Duration::from_secs(1);
const ROOM_PAUSE: Duration = Duration::from_millis(50);
/// Proofs of life, and looks at the tables, while there are sessions.
const ALIVE: Duration = Duration::from_secs(10);

/// Minds the worker until its end.
pub(crate) async fn mind(worker: &Worker, minding: Minding, beat: impl Fn()) {
    use tokio::time::{Instant, sleep_until};
    let mut reported = Load::Idle;
    let mut lower_since: Option<Instant> = None;
    let mut idle_since = Instant::now();
    let mut drain_since: Option<Instant> = None;
    let mut next_alive = Instant::now() + ALIVE;
    let mut begun = 0;
    loop {
        beat();
        let now = Instant::now();
        let busy = worker.is_busy();
        if worker.is_draining() {
            let since = *drain_since.get_or_insert(now);
            if !busy {
                return;
            }
            if now >= since + minding.drain_limit {
                log::warning!("{} sessions did not end in time and are cut off", worker.sessions());
                return;
            }
        } else if busy || begun != worker.0.begun.get() {
            idle_since = now;
        } else if minding.max_idle.is_some_and(|limit| now >= idle_since + limit) {
            worker.start_draining();
            return;
        }
        begun = worker.0.begun.get();
        let load = worker.load();
        if rank(load) > rank(reported) {
            worker.tell(ToMaster::Load(load));
            reported = load;
        }
        let pause = if load == Load::Idle { IDLE_PAUSE } else { ROOM_PAUSE };
        if load == reported {
            lower_since = None;
        } else if now >= *lower_since.get_or_insert(now) + pause {
            worker.tell(ToMaster::Load(load));
            reported = load;
            lower_since = None;
        }
        if !busy {
            next_alive = now + ALIVE;
        } else if now >= next_alive {
            worker.tell(ToMaster::Alive);
            worker.drain_if_reload_needed();
            next_alive = now + ALIVE;
        }
        let mut wake = now + minding.beat;
        if let Some(since) = lower_since {
            wake = wake.min(since + pause);
        }
        if let Some(since) = drain_since {
            wake = wake.min(since + minding.drain_limit);
        }
        if busy {
            wake = wake.min(next_alive);
        } else if let Some(limit) = minding.max_idle {
            wake = wake.min(idle_since + limit);
        }
        tokio::select! {
            () = worker.0.changed.notified() => {}
            () = sleep_until(wake) => {}
        }
    }
}

fn rank(load: Load) -> u8 {
    match load {
        Load::Idle => 0,
        Load::Some => 1,
        Load::Full => 2,
    }
}
