//! What is done on disk, and what qmgr is told. Blocking: runs on the thread pool.

use std::fs::{self, File, FileTimes};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use config::Config;
use ipc::flush::Request;
use ipc::qmgr::ToQmgr;
use queue::{Directory, QueueId, Spool, flush_log, state};

use crate::seconds;

/// The way to the queue manager.
pub trait Qmgr: Send + Sync {
    /// Forget which sites do not answer.
    ///
    /// # Errors
    /// Those of the socket.
    fn unthrottle(&self) -> io::Result<()>;

    /// Try these deferred messages now.
    ///
    /// # Errors
    /// Those of the socket.
    fn retry(&self, ids: &[QueueId]) -> io::Result<()>;
}

/// The real one, by its socket.
#[derive(Clone, Debug)]
pub struct ToSocket {
    path: PathBuf,
    timeout: Duration,
}

impl Qmgr for ToSocket {
    fn unthrottle(&self) -> io::Result<()> {
        ipc::blocking::trigger(&self.path, b"F", self.timeout).map_err(io::Error::other)
    }

    fn retry(&self, ids: &[QueueId]) -> io::Result<()> {
        let mut connection = ipc::blocking::Connection::connect(&self.path, Some(self.timeout))?;
        for ids in ids.chunks(500) {
            for id in ids {
                connection.queue(&ToQmgr::Retry(id.clone())).map_err(io::Error::other)?;
            }
            connection.flush().map_err(io::Error::other)?;
        }
        Ok(())
    }
}

/// Everything that the work needs; cheap to clone.
#[derive(Clone)]
pub struct Work {
    spool: Spool,
    attempts: u32,
    delay: Duration,
    refresh: Duration,
    purge: Duration,
    qmgr: Arc<dyn Qmgr>,
}

impl Work {
    /// Reads the settings.
    ///
    /// # Errors
    /// Those of the configuration.
    pub fn load(config: &Config) -> Result<Work, config::Error> {
        let path = PathBuf::from("public").join(config.string("queue_service_name")?);
        let timeout = config.time("trigger_timeout")?;
        Ok(Work {
            spool: Spool::open(config)?,
            attempts: u32::try_from(config.int("deliver_lock_attempts")?).unwrap_or(1),
            delay: config.time("deliver_lock_delay")?,
            refresh: config.time("fast_flush_refresh_time")?,
            purge: config.time("fast_flush_purge_time")?,
            qmgr: Arc::new(ToSocket { path, timeout }),
        })
    }

    /// The same work for another spool and queue manager, for tests.
    #[must_use]
    pub fn with(self, spool: Spool, qmgr: Arc<dyn Qmgr>) -> Work {
        Work { spool, qmgr, ..self }
    }

    /// Carries out a request whose site has been checked.
    ///
    /// # Errors
    /// Those of files, locks and of qmgr's socket. Nothing is forgotten then: the logs stay.
    pub fn run(&self, request: &Request, now: SystemTime) -> io::Result<()> {
        match request {
            Request::Add { site, queue_id } => match flush_log::name(site) {
                Some(log) => flush_log::append(&self.spool, &log, queue_id, self.attempts, self.delay),
                None => Ok(()),
            },
            Request::SendSite(site) => match flush_log::name(site) {
                Some(log) => {
                    self.qmgr.unthrottle()?;
                    self.send(&log, now)
                }
                None => Ok(()),
            },
            Request::SendMessage(id) => {
                self.hasten(id, now)?;
                self.qmgr.retry(std::slice::from_ref(id))
            }
            Request::Refresh => self.refresh(self.refresh, now),
            Request::Purge => self.refresh(Duration::ZERO, now),
        }
    }

    /// Gets the messages of one log going, and empties it.
    fn send(&self, log: &QueueId, now: SystemTime) -> io::Result<()> {
        flush_log::drain(&self.spool, log, self.attempts, self.delay, &mut |ids| {
            let mut waiting = Vec::new();
            for id in ids {
                if self.hasten(id, now)? {
                    waiting.push(id.clone());
                }
            }
            if waiting.is_empty() { Ok(()) } else { self.qmgr.retry(&waiting) }
        })?;
        Ok(())
    }

    /// Makes a deferred message due, and marks it to go before throttles; false when it is not there. Even if qmgr does not
    /// hear of it, its next scan finds it.
    fn hasten(&self, id: &QueueId, now: SystemTime) -> io::Result<bool> {
        for directory in [Directory::Deferred, Directory::Incoming] {
            let file = match self.spool.open_read(directory, id) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            if state::of(&file.metadata()?, seconds(now)) != state::State::Ready {
                return Ok(false);
            }
            make_due(&file, now)?;
            return Ok(directory == Directory::Deferred);
        }
        Ok(false)
    }

    /// Sends what was not asked for in `age`, and removes empty logs that were not used for long.
    fn refresh(&self, age: Duration, now: SystemTime) -> io::Result<()> {
        for entry in self.spool.scan_all(Directory::Flush) {
            let entry = entry?;
            let Some(log) = entry.id else {
                log::warning!("bogus flush log: {}", entry.path.display());
                continue;
            };
            let metadata = match fs::symlink_metadata(&entry.path) {
                Ok(metadata) if metadata.is_file() => metadata,
                Ok(_) => continue,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let past =
                |time: i64, age: Duration| seconds(now) - time >= i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
            if metadata.len() > 0 {
                if past(metadata.atime(), age) {
                    self.send(&log, now)?;
                }
            } else if past(metadata.mtime(), self.purge) {
                // Whoever appends at this moment has the message retried in its own time.
                match fs::remove_file(&entry.path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

fn make_due(file: &File, now: SystemTime) -> io::Result<()> {
    state::change(file, state::UNTHROTTLE, 0)?;
    file.set_times(FileTimes::new().set_accessed(now).set_modified(now))
}
