//! Deleting, holding, releasing, requeueing and expiring messages, one by one or all.
//!
//! It is safe while the mail system runs: a message changes its place with one `rename` and its state with one `chmod`, a
//! name that is taken is not overwritten, and files that are still being written are left alone.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use log::lines::{self, PostsuperAction};
use queue::state::{self, State};
use queue::{Directory, Found, Logs, QueueId, Spool};

use crate::Clock;
use crate::request::{Action, has_messages};

/// How many messages were touched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// `-r`
    pub requeued: usize,
    /// `-d`
    pub deleted: usize,
    /// `-e`, `-f`
    pub expired: usize,
    /// `-h`
    pub held: usize,
    /// `-H`, `-f`
    pub released: usize,
}

/// Works on one spool.
pub struct Messages<'a> {
    spool: &'a Spool,
    clock: Clock,
    logs: Vec<Logs>,
    /// What was done.
    pub counts: Counts,
}

/// Directories with a log for each message.
const LOGS: [Directory; 3] = [Directory::Defer, Directory::Bounce, Directory::Trace];

/// A message moves from queue to queue while it is looked for; the second round finds what overtook the first.
const ROUNDS: usize = 2;

/// The queues that an action looks into when none is named, for one message.
fn default_queues(action: Action) -> &'static [Directory] {
    use Directory::{Active, Deferred, Hold, Incoming};
    match action {
        Action::Hold => &[Incoming, Active, Deferred],
        Action::Release => &[Hold],
        Action::Delete | Action::Expire | Action::ExpireAndRelease | Action::Requeue => {
            &[Hold, Incoming, Active, Deferred]
        }
    }
}

/// qmgr alone puts files there, and complete ones only: no need to look.
fn is_always_complete(directory: Directory) -> bool {
    matches!(directory, Directory::Deferred | Directory::Active)
}

/// True when an action can be applied to the messages of a queue. Mail in `maildrop` has not been through cleanup: it can
/// be deleted, and nothing else.
fn applies(action: Action, directory: Directory) -> bool {
    match action {
        Action::Delete => has_messages(directory),
        Action::Hold => has_messages(directory) && !matches!(directory, Directory::Hold | Directory::Maildrop),
        Action::Release => directory == Directory::Hold,
        Action::Expire | Action::ExpireAndRelease | Action::Requeue => {
            has_messages(directory) && directory != Directory::Maildrop
        }
    }
}

impl<'a> Messages<'a> {
    /// Works on `spool`; `clock` tells seconds since the epoch.
    #[must_use]
    pub fn new(spool: &'a Spool, clock: Clock) -> Messages<'a> {
        Messages { spool, clock, logs: LOGS.map(Logs::new).into(), counts: Counts::default() }
    }

    /// Applies an action to one message, in `queues` or where the action looks by itself.
    ///
    /// # Errors
    /// None for a message that is not there.
    pub fn one(&mut self, action: Action, id: &QueueId, queues: &[Directory]) -> io::Result<()> {
        let queues = if queues.is_empty() { default_queues(action) } else { queues };
        for _ in 0..ROUNDS {
            for directory in queues {
                if applies(action, *directory) && self.apply(action, *directory, id, true)? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Applies an action to all messages in `queues`, or everywhere. Lines for single messages are not logged.
    ///
    /// # Errors
    /// Those of the scan, and of the changes.
    pub fn all(&mut self, action: Action, queues: &[Directory]) -> io::Result<()> {
        let everywhere: Vec<Directory> = crate::request::QUEUES.to_vec();
        let queues = if queues.is_empty() { &everywhere } else { queues };
        // Three useless system calls for each message are too much when there are many.
        let in_use = LOGS.into_iter().filter(|log| self.spool.scan_all(*log).next().is_some());
        self.logs = in_use.map(Logs::new).collect();
        for directory in queues.iter().filter(|directory| has_messages(**directory)) {
            if applies(action, *directory) {
                self.all_in(action, *directory)?;
            }
        }
        self.logs = LOGS.map(Logs::new).into();
        if action == Action::Delete {
            for directory in queues.iter().filter(|directory| !has_messages(**directory)) {
                self.delete_logs(*directory)?;
            }
        }
        Ok(())
    }

    fn all_in(&mut self, action: Action, directory: Directory) -> io::Result<()> {
        let mut walk = self.spool.walk(directory);
        while let Some(found) = walk.next_file()? {
            let Some(id) = found.name.to_str().ok().and_then(|name| name.parse::<QueueId>().ok()) else { continue };
            if !self.spool.is_in_place(directory, &id, found.subdirectories) {
                continue;
            }
            if action != Action::Delete {
                self.apply(action, directory, &id, false)?;
            } else if (is_always_complete(directory) || self.is_ready(&found)?) && found.remove()? {
                self.deleted(&id, false)?;
            }
        }
        Ok(())
    }

    fn is_ready(&self, found: &Found<'_>) -> io::Result<bool> {
        Ok(found.stat()?.is_some_and(|stat| state::of_stat(&stat, (self.clock)()) == State::Ready))
    }

    /// True when the message was there.
    fn apply(&mut self, action: Action, directory: Directory, id: &QueueId, told: bool) -> io::Result<bool> {
        let path = self.spool.path(directory, id);
        if action == Action::Delete && is_always_complete(directory) {
            return self.delete(id, &path, told);
        }
        let Some(metadata) = found(fs::symlink_metadata(&path))? else { return Ok(false) };
        if state::of(&metadata, (self.clock)()) != State::Ready {
            return Ok(false);
        }
        let tell = |what| {
            if told {
                lines::postsuper(id.as_str(), what);
            }
        };
        match action {
            Action::Delete => return self.delete(id, &path, told),
            Action::Hold => {
                if found(self.spool.rename_new(id, directory, Directory::Hold))?.is_none() {
                    return Ok(false);
                }
                self.counts.held += 1;
                tell(PostsuperAction::Held);
            }
            Action::Release => {
                if found(self.spool.rename_new(id, directory, Directory::Deferred))?.is_none() {
                    return Ok(false);
                }
                self.counts.released += 1;
                tell(PostsuperAction::Released);
            }
            Action::Requeue => {
                if found(self.spool.rename_new(id, directory, Directory::Maildrop))?.is_none() {
                    return Ok(false);
                }
                self.counts.requeued += 1;
                tell(PostsuperAction::Requeued);
            }
            Action::Expire | Action::ExpireAndRelease => {
                if !state::is_forced_expire(metadata.mode()) {
                    let mode = metadata.mode() & 0o777 | state::FORCE_EXPIRE;
                    if found(fs::set_permissions(&path, Permissions::from_mode(mode)))?.is_none() {
                        return Ok(false);
                    }
                    self.counts.expired += 1;
                    tell(PostsuperAction::Expired);
                }
                if action == Action::ExpireAndRelease && directory == Directory::Hold {
                    return self.apply(Action::Release, directory, id, told);
                }
            }
        }
        Ok(true)
    }

    fn delete(&mut self, id: &QueueId, path: &Path, told: bool) -> io::Result<bool> {
        match fs::remove_file(path) {
            Ok(()) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::IsADirectory) => {
                return Ok(false);
            }
            Err(error) => return Err(error),
        }
        self.deleted(id, told)?;
        Ok(true)
    }

    /// The message has gone, its logs follow: a log without its message does no harm, a message without its log has lost
    /// its reasons.
    fn deleted(&mut self, id: &QueueId, told: bool) -> io::Result<()> {
        for logs in &mut self.logs {
            logs.remove(self.spool, id)?;
        }
        self.counts.deleted += 1;
        if told {
            lines::postsuper(id.as_str(), PostsuperAction::Removed);
        }
        Ok(())
    }

    fn delete_logs(&self, directory: Directory) -> io::Result<()> {
        for id in self.spool.scan(directory) {
            found(self.spool.remove(directory, &id?))?;
        }
        Ok(())
    }
}

/// `None` for what has left in the meantime.
pub(crate) fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
