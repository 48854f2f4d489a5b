//! The queue manager as a service: who calls, and how it starts and ends.

use std::cell::{OnceCell, RefCell};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use config::Config;
use ipc::Kind;
use ipc::qmgr::{FromQmgr, ToQmgr};
use queue::{Directory, Spool};
use server::{Account, Callers, Client, SessionService, StartError, Startup, Worker};
use tables::MatchList;
use tokio::sync::{Notify, watch};

use crate::disk::LogForm;
use crate::engine::State;
use crate::notices::{Flush, Notices};
use crate::resolve;
use crate::scheduler::Moment;
use crate::settings::Settings;

/// See the crate.
pub struct Qmgr {
    pub(crate) settings: Settings,
    /// soft_bounce, and how log lines show addresses and times.
    pub(crate) delivery: delivery::Settings,
    pub(crate) spool: Spool,
    /// `private/`, where agents listen.
    pub(crate) private: PathBuf,
    pub(crate) form: LogForm,
    pub(crate) fast_flush: MatchList,
    pub(crate) started: Instant,
    pub(crate) state: RefCell<State>,
    /// Something has changed: the loop takes a turn.
    pub(crate) wake: Notify,
    /// New mail comes in faster than it is taken.
    pub(crate) behind: watch::Sender<bool>,
    pub(crate) rewrite: resolve::Client,
    pub(crate) notices: Notices,
    pub(crate) flush: Flush,
    /// The lock of the one queue manager that takes messages; held until everything idle was given back.
    pub(crate) place: RefCell<Option<File>>,
    worker: OnceCell<Worker>,
}

impl Qmgr {
    /// A queue manager for the queue below `root` (empty: the working directory).
    ///
    /// # Errors
    /// Those of the configuration.
    pub fn new(config: &Config, root: &Path) -> Result<Qmgr, StartError> {
        let settings = Settings::load(config)?;
        let depth = usize::try_from(config.int("hash_queue_depth")?).unwrap_or(1);
        let layout =
            queue::Layout::new(&config.string("hash_queue_names")?, depth, config.bool("enable_long_queue_ids")?);
        let parent = config.list("parent_domain_matches_subdomains")?.iter().any(|name| name == "fast_flush_domains");
        let spec = config.string("fast_flush_domains")?;
        let fast_flush = MatchList::open(&spec, config, "fast_flush_domains", tables::Kind::Domains, parent)
            .map_err(StartError::service)?;
        let private = root.join("private");
        Ok(Qmgr {
            delivery: delivery::Settings::load(config, "qmgr")?,
            spool: Spool::at(root, layout),
            form: LogForm {
                old_form: settings.old_log_form,
                attempts: settings.lock_attempts,
                delay: settings.lock_delay,
            },
            fast_flush,
            started: Instant::now(),
            state: RefCell::new(State::new(settings.limits.clone())),
            wake: Notify::new(),
            behind: watch::Sender::new(false),
            rewrite: resolve::Client::new(private.join(&settings.rewrite_service), settings.ipc_timeout),
            notices: Notices::new(private.clone(), settings.notice_timeout),
            flush: Flush::new(root.join("public").join(&settings.flush_service), settings.ipc_timeout),
            place: RefCell::default(),
            worker: OnceCell::new(),
            private,
            settings,
        })
    }

    /// Time as the scheduler counts it.
    pub(crate) fn now(&self) -> Moment {
        self.started.elapsed()
    }

    /// The handle to the daemon skeleton.
    pub(crate) fn worker(&self) -> &Worker {
        self.worker.get().expect("set before the first task runs")
    }

    /// Messages in the active queue.
    #[must_use]
    pub fn active_messages(&self) -> usize {
        self.state.borrow().messages.len()
    }
}

/// Seconds since the epoch.
pub(crate) fn epoch_seconds() -> i64 {
    epoch().0
}

/// Seconds and microseconds since the epoch.
pub(crate) fn epoch() -> (i64, i64) {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    (i64::try_from(since.as_secs()).unwrap_or(i64::MAX), i64::from(since.subsec_micros()))
}

impl SessionService for Qmgr {
    const PROGRAM: &'static str = "qmgr";
    const ACCOUNT: Account = Account::MailOwner;
    const CALLERS: Callers = Callers::ALL;
    const SOLITARY: bool = true;
    const LASTING: bool = true;

    fn prepare(start: &Startup) -> Result<Qmgr, StartError> {
        Qmgr::new(&start.config, Path::new(""))
    }

    async fn started(self: Rc<Self>, worker: Worker) {
        if self.worker.set(worker.clone()).is_err() {
            return;
        }
        let this = self.clone();
        worker.spawn_background(async move { this.rewrite.serve().await });
        let this = self.clone();
        worker.spawn_background(async move { this.flush.serve().await });
        // The worker waits for the loop: it ends when what is on the way has come home.
        worker.spawn(self.run());
    }

    async fn session(self: Rc<Self>, client: Client, worker: Worker) {
        // Everybody may wake the queue manager; only the queue's owner may say what is in it.
        let trusted = match &client {
            Client::Unix { peer, .. } => server::peers::check(worker.peers(), *peer, Callers::OWNER),
            _ => false,
        };
        let Some(mut connection) = client.into_connection() else { return };
        let mut behind = self.behind.subscribe();
        let mut announces = false;
        loop {
            let outcome = tokio::select! {
                frame = connection.receive_frame() => match frame {
                    Ok(None) => return,
                    Ok(Some(frame)) if frame.kind == Kind::Trigger => {
                        let characters = frame.payload.to_vec();
                        self.wake_up(&characters);
                        Ok(())
                    }
                    Ok(Some(_)) if !trusted => Err(ipc::Error::Protocol("messages are for the owner of the queue")),
                    Ok(Some(frame)) => frame.message().map(|message| match message {
                        ToQmgr::Ready(id) => {
                            let first = !std::mem::replace(&mut announces, true);
                            if first && *behind.borrow() {
                                behind.mark_changed();
                            }
                            self.announce(id, Directory::Incoming);
                        }
                        ToQmgr::Retry(id) => self.announce(id, Directory::Deferred),
                    }),
                    Err(error) => Err(error),
                },
                Ok(()) = behind.changed(), if announces => {
                    let now = *behind.borrow_and_update();
                    connection.send(&FromQmgr::Behind(now)).await
                }
                () = worker.draining() => return,
            };
            if let Err(error) = outcome {
                log::warning!("problem talking to a client: {error}");
                return;
            }
        }
    }

    async fn trigger(self: Rc<Self>, characters: Vec<u8>, _worker: Worker) {
        self.wake_up(&characters);
    }

    fn watchdog_timeout(&self) -> Option<Duration> {
        Some(self.settings.watchdog)
    }

    fn reload_needed(&self) -> bool {
        self.fast_flush.changed()
    }
}
