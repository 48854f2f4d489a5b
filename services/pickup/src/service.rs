//! Scanning the maildrop directory.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use ipc::Connection;
use queue::{Directory, Layout, QueueId, Spool, lock};
use server::{Account, Callers, Client, SessionService, StartError, Startup, Worker};
use tokio::task::JoinSet;

use crate::settings::Settings;
use crate::submission::{Submission, Unfit};
use crate::transfer::{Error, transfer};

/// Submissions that are with cleanup at a time: their flushes to disk share journal commits.
const PARALLEL: usize = 10;

/// The service.
pub struct Service {
    settings: Settings,
    spool: Spool,
    root: PathBuf,
    scanning: Cell<bool>,
    again: Cell<bool>,
    connections: RefCell<Vec<Connection>>,
}

impl Service {
    /// Puts a service together; `root` is the queue directory, as this process sees it.
    #[must_use]
    pub fn new(settings: Settings, spool: Spool, root: &Path) -> Service {
        Service {
            settings,
            spool,
            root: root.to_owned(),
            scanning: Cell::new(false),
            again: Cell::new(false),
            connections: RefCell::default(),
        }
    }

    /// Takes everything that is there now. A wake-up in the meantime makes one more round.
    async fn scan(self: Rc<Self>) {
        self.again.set(true);
        if self.scanning.replace(true) {
            return;
        }
        let alone = self.alone().await;
        while self.again.replace(false) {
            Rc::clone(&self).round().await;
        }
        drop(alone);
        self.connections.borrow_mut().clear();
        self.scanning.set(false);
    }

    /// Waits for a pickup that ends and still takes what it has found: no file goes to cleanup twice. The lock is the
    /// result's.
    async fn alone(&self) -> Option<File> {
        const PAUSE: Duration = Duration::from_millis(50);
        let directory = self.spool.directory(Directory::Maildrop);
        let locked = async {
            let place = File::open(&directory)?;
            while !lock::exclusive_nonblocking(&place)? {
                tokio::time::sleep(PAUSE).await;
            }
            Ok::<_, std::io::Error>(place)
        };
        locked.await.map_err(|error| log::warning!("lock {}: {error}", directory.display())).ok()
    }

    async fn round(self: Rc<Self>) {
        let mut found = VecDeque::new();
        for entry in self.spool.scan(Directory::Maildrop) {
            match entry {
                Ok(id) => found.push_back(id),
                Err(error) => {
                    log::warning!("scan maildrop: {}", sys::reason(&error));
                    break;
                }
            }
        }
        let mut running = JoinSet::new();
        loop {
            while running.len() < PARALLEL
                && let Some(id) = found.pop_front()
            {
                running.spawn_local(Rc::clone(&self).take(id));
            }
            if running.join_next().await.is_none() {
                return;
            }
        }
    }

    /// One file: to cleanup and away, or aside, or left for the next time.
    async fn take(self: Rc<Self>, name: QueueId) {
        let submission = match Submission::open(&self.spool.path(Directory::Maildrop, &name)) {
            Ok(submission) => submission,
            Err(Unfit::NotReady) => return,
            Err(Unfit::Io(error)) => {
                log::warning!("open maildrop/{name}: {}", sys::reason(&error));
                return;
            }
            Err(unfit @ Unfit::Malformed { .. }) => {
                log::warning!("maildrop/{name}: {unfit}");
                self.put_aside(&name);
                return;
            }
        };
        let outcome = tokio::time::timeout(self.settings.ipc_timeout, self.submit(&name, submission)).await;
        match outcome.unwrap_or(Err(Error::Cleanup(ipc::Error::Timeout))) {
            Ok(_) => {
                if let Err(error) = self.spool.remove(Directory::Maildrop, &name) {
                    log::warning!("remove maildrop/{name}: {}", sys::reason(&error));
                }
            }
            Err(error) if error.is_lasting() => {
                log::warning!("maildrop/{name}: {error}");
                self.put_aside(&name);
            }
            Err(error) => log::warning!("maildrop/{name}: {error} -- will try again later"),
        }
    }

    async fn submit(&self, name: &QueueId, submission: Submission) -> Result<QueueId, Error> {
        let kept = self.connections.borrow_mut().pop().filter(Connection::is_idle_and_open);
        let mut connection = match kept {
            Some(connection) => connection,
            None => {
                let path = self.root.join("public").join(&self.settings.cleanup_service);
                Connection::connect(&path).await.map_err(ipc::Error::Io)?
            }
        };
        let outcome = transfer(&mut connection, name, submission, &self.settings).await;
        if matches!(outcome, Ok(_) | Err(Error::Refused(_))) {
            self.connections.borrow_mut().push(connection);
        }
        outcome
    }

    fn put_aside(&self, name: &QueueId) {
        match self.spool.rename(name, Directory::Maildrop, Directory::Corrupt) {
            Ok(()) => log::warning!("saving corrupt file \"{name}\" from queue \"maildrop\" to queue \"corrupt\""),
            Err(error) => log::warning!("rename maildrop/{name} to corrupt: {}", sys::reason(&error)),
        }
    }
}

impl SessionService for Service {
    const PROGRAM: &'static str = "pickup";
    const ACCOUNT: Account = Account::MailOwner;
    const CALLERS: Callers = Callers::ALL;
    const SOLITARY: bool = true;

    fn prepare(start: &Startup) -> Result<Service, StartError> {
        let config = &start.config;
        let layout = Layout::new(
            &config.string("hash_queue_names")?,
            usize::try_from(config.int("hash_queue_depth")?).unwrap_or(1),
            config.bool("enable_long_queue_ids")?,
        );
        // Daemons run in the queue directory.
        Ok(Service::new(Settings::load(config)?, Spool::new(layout), Path::new("")))
    }

    async fn session(self: Rc<Self>, _client: Client, _worker: Worker) {
        // Only wake-ups are served; the skeleton has taken those.
    }

    async fn trigger(self: Rc<Self>, _characters: Vec<u8>, _worker: Worker) {
        self.scan().await;
    }
}
