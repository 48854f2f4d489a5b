//! What the queue manager does to the queue on disk, each as one blocking function. The short ones also run on the event
//! loop, where the message was written a moment ago and is in memory; nothing here flushes but [`write_logs`].
//!
//! | step | a crash in it leaves | the next start |
//! | --- | --- | --- |
//! | [`take`]: rename, open, lock | a file in `active` or where it was | moves it back to `incoming` |
//! | delivery | recipients still `R` in `active` | tries them again |
//! | [`write_logs`]: log, flush, mark | a reason without mark: the recipient is still `R` | tries it again |
//! | notice | the log, and nothing but marks | finds no recipient, sends the notice |
//! | [`put_off`]: defer log, marks, time, rename | a file in `active` | moves it back to `incoming` |
//! | removal | a file without recipients | finds nothing to do, removes it |

use std::fs::{File, FileTimes};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime};

use queue::message::{Envelope, Position, Reader, Recipient};
use queue::{Directory, QueueId, Spool, lock, log_file, message, state};

/// Recipients that are read together with the envelope.
pub(crate) const FIRST_BATCH: usize = 100;

/// A message that was just taken into the active queue.
pub(crate) struct Taken {
    pub(crate) envelope: Envelope,
    pub(crate) recipients: Vec<Recipient>,
    pub(crate) next: Option<Position>,
    /// Open for reading, locked shared.
    pub(crate) file: OwnedFd,
    /// Permission bits before they were cleared.
    pub(crate) mode: u32,
    /// Logs that earlier tries have left.
    pub(crate) logs: Logs,
}

/// Which logs of a message exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Logs {
    pub(crate) bounce: bool,
    pub(crate) defer: bool,
    pub(crate) trace: bool,
}

/// Why a message is not in the active queue.
#[derive(Debug)]
pub(crate) enum NotTaken {
    /// It has left, or is not complete.
    Gone,
    /// An agent of an earlier queue manager still has it; it is back in `incoming`.
    Busy,
    /// It was malformed and is in `corrupt` now.
    Corrupt,
    /// The system said no; it is where it was, or will be found at the next start.
    Failed(io::Error),
}

/// Takes a message into the active queue and reads its envelope and first recipients. `fresh`: cleanup has just
/// announced it, so that it cannot have logs.
pub(crate) fn take(spool: &Spool, id: &QueueId, from: Directory, fresh: bool) -> Result<Taken, NotTaken> {
    let gone_or = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => NotTaken::Gone,
        _ => NotTaken::Failed(error),
    };
    spool.rename(id, from, Directory::Active).map_err(gone_or)?;
    let taken = read_taken(spool, id, from, fresh);
    if let Err(NotTaken::Failed(_)) = &taken {
        // If even this fails, the next start finds it.
        let _ = spool.rename(id, Directory::Active, from);
    }
    taken
}

fn read_taken(spool: &Spool, id: &QueueId, from: Directory, fresh: bool) -> Result<Taken, NotTaken> {
    let gone_or = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => NotTaken::Gone,
        _ => NotTaken::Failed(error),
    };
    let file = spool.open_read(Directory::Active, id).map_err(gone_or)?;
    let metadata = file.metadata().map_err(NotTaken::Failed)?;
    match state::of_mode(metadata.mode()) {
        state::State::Ready => {}
        state::State::Corrupt => {
            return Err(put_aside(spool, id));
        }
        _ => {
            return Err(spool.rename(id, Directory::Active, from).map_or_else(gone_or, |()| NotTaken::Gone));
        }
    }
    if !lock::exclusive_nonblocking(&file).map_err(NotTaken::Failed)? {
        return Err(spool.rename(id, Directory::Active, Directory::Incoming).map_or_else(gone_or, |()| NotTaken::Busy));
    }
    let mode = metadata.mode();
    let mut logs = Logs::default();
    if !fresh {
        logs = look_for_logs(spool, id);
        if logs.defer && !state::is_forced_expire(mode) {
            log_file::remove(spool, Directory::Defer, id).map_err(NotTaken::Failed)?;
            logs.defer = false;
        }
        if state::is_unthrottled(mode) {
            state::change(&file, 0, state::UNTHROTTLE).map_err(NotTaken::Failed)?;
        }
    }
    match read_first(&file) {
        Ok((envelope, recipients, next)) => {
            // From here on agents hold it too.
            if !lock::shared_nonblocking(&file).map_err(NotTaken::Failed)? {
                return Err(NotTaken::Failed(io::ErrorKind::WouldBlock.into()));
            }
            Ok(Taken { envelope, recipients, next, file: file.into(), mode, logs })
        }
        Err(error) if error.is_malformed() => {
            log::warning!("{id}: {error}");
            Err(put_aside(spool, id))
        }
        Err(error) => Err(NotTaken::Failed(io::Error::other(error))),
    }
}

fn read_first(file: &File) -> Result<(Envelope, Vec<Recipient>, Option<Position>), queue::Error> {
    let mut reader = Reader::open(file)?;
    let batch = reader.recipients(reader.first_recipient(), FIRST_BATCH)?;
    Ok((reader.into_parts().0, batch.recipients, batch.next))
}

/// Reads further recipients of a message in the active queue.
pub(crate) fn read_more(
    spool: &Spool,
    id: &QueueId,
    position: Position,
    count: usize,
) -> Result<message::Batch, queue::Error> {
    let file = spool.open_read(Directory::Active, id)?;
    Reader::open(&file)?.recipients(position, count)
}

/// Opens a message of the active queue for an agent, locked shared.
pub(crate) fn open_for_agent(spool: &Spool, id: &QueueId) -> io::Result<OwnedFd> {
    let file = spool.open_read(Directory::Active, id)?;
    if lock::shared_nonblocking(&file)? {
        Ok(file.into())
    } else {
        Err(io::Error::new(io::ErrorKind::WouldBlock, "the message is locked"))
    }
}

/// Moves a message of the active queue to `corrupt`.
pub(crate) fn save_corrupt(spool: &Spool, id: &QueueId) -> io::Result<()> {
    match spool.rename(id, Directory::Active, Directory::Corrupt) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The same for one that is malformed at first sight.
fn put_aside(spool: &Spool, id: &QueueId) -> NotTaken {
    log::lines::saving_corrupt(id.as_str(), Directory::Active.name());
    save_corrupt(spool, id).map_or_else(NotTaken::Failed, |()| NotTaken::Corrupt)
}

/// Takes the place of an earlier queue manager: it has let go of everything that no agent has, or takes longer than we
/// can wait (false). The lock is the result's.
pub(crate) fn take_over(spool: &Spool, patience: Duration) -> io::Result<(File, bool)> {
    const STEP: Duration = Duration::from_millis(10);
    let place = File::open(spool.directory(Directory::Active))?;
    let attempts = u32::try_from(patience.as_millis() / STEP.as_millis()).unwrap_or(u32::MAX);
    let taken = lock::exclusive(&place, attempts, STEP)?;
    Ok((place, taken))
}

/// How often a message is looked for in both directories: while a queue manager that starts tries one that we still
/// have, it goes to `active` and back.
const LOOKS: usize = 5;

/// Where a message of ours is: a queue manager that starts while we end moves it back to `incoming`.
fn located(spool: &Spool, id: &QueueId) -> io::Result<(Directory, File)> {
    let mut missing = io::Error::from(io::ErrorKind::NotFound);
    for _ in 0..LOOKS {
        for directory in [Directory::Active, Directory::Incoming] {
            match spool.open_write(directory, id) {
                Ok(file) => return Ok((directory, file)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => missing = error,
                Err(error) => return Err(error),
            }
        }
    }
    Err(missing)
}

/// Marks recipients as done. A message that has left needs no marks.
pub(crate) fn mark(spool: &Spool, id: &QueueId, offsets: &[u64]) -> io::Result<()> {
    if offsets.is_empty() {
        return Ok(());
    }
    let file = match located(spool, id) {
        Ok((_, file)) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for offset in offsets {
        message::mark_done(&file, *offset).map_err(io::Error::other)?;
    }
    Ok(())
}

/// How logs are written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogForm {
    pub(crate) old_form: bool,
    pub(crate) attempts: u32,
    pub(crate) delay: Duration,
}

impl LogForm {
    fn how(self, durable: bool) -> log_file::Append {
        log_file::Append { old_form: self.old_form, attempts: self.attempts, delay: self.delay, durable }
    }
}

/// Writes failures and successes that senders are to be told of, durably, and only then marks their recipients. Deferrals
/// among them are neither flushed nor marked. The result is the marks that could not be made.
///
/// # Errors
/// Why a log was not written; then nothing is marked.
pub(crate) fn write_logs(
    spool: &Spool,
    id: &QueueId,
    form: LogForm,
    entries: &[(Directory, log_file::Entry)],
) -> io::Result<Vec<u64>> {
    for directory in [Directory::Bounce, Directory::Trace, Directory::Defer] {
        let part: Vec<log_file::Entry> =
            entries.iter().filter(|(have, _)| *have == directory).map(|(_, entry)| entry.clone()).collect();
        if !part.is_empty() {
            log_file::append(spool, directory, id, &part, &form.how(directory != Directory::Defer))?;
        }
    }
    let done = entries.iter().filter(|(directory, _)| *directory != Directory::Defer);
    let offsets: Vec<u64> = done.filter_map(|(_, entry)| entry.offset).collect();
    match mark(spool, id, &offsets) {
        Ok(()) => Ok(Vec::new()),
        Err(error) => {
            log::warning!("{id}: mark recipients: {}", sys::reason(&error));
            Ok(offsets)
        }
    }
}

/// Writes why recipients wait.
pub(crate) fn write_deferrals(
    spool: &Spool,
    id: &QueueId,
    form: LogForm,
    entries: &[log_file::Entry],
) -> io::Result<()> {
    let here = |directory| spool.path(directory, id).exists();
    // A log for a message that was deleted meanwhile would stay for ever.
    if entries.is_empty() || !(here(Directory::Active) || here(Directory::Incoming)) {
        return Ok(());
    }
    log_file::append(spool, Directory::Defer, id, entries, &form.how(false))
}

/// Puts a message into `deferred` until a time.
pub(crate) fn put_off(spool: &Spool, id: &QueueId, until: SystemTime) -> io::Result<()> {
    let (directory, file) = match located(spool, id) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    if directory != Directory::Active {
        // Another queue manager has it now.
        return Ok(());
    }
    file.set_times(FileTimes::new().set_accessed(until).set_modified(until))?;
    spool.rename(id, directory, Directory::Deferred)
}

/// Puts a message back to `incoming`, for the next queue manager.
pub(crate) fn give_back(spool: &Spool, id: &QueueId) -> io::Result<()> {
    match spool.rename(id, Directory::Active, Directory::Incoming) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Notes that the sender was told about a delay.
pub(crate) fn mark_warned(spool: &Spool, id: &QueueId, offset: u64) -> io::Result<()> {
    let (_, file) = located(spool, id)?;
    message::mark_warned(&file, offset).map_err(io::Error::other)
}

/// Notes that a requested report was sent.
pub(crate) fn mark_traced(spool: &Spool, id: &QueueId, offset: u64) -> io::Result<()> {
    let (_, file) = located(spool, id)?;
    message::kill_record(&file, offset).map_err(io::Error::other)
}

/// Removes a message. One that has left already is none.
pub(crate) fn remove(spool: &Spool, id: &QueueId) -> io::Result<()> {
    for _ in 0..LOOKS {
        for directory in [Directory::Active, Directory::Incoming] {
            match spool.remove(directory, id) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => return other,
            }
        }
    }
    Ok(())
}

/// The logs of a message.
pub(crate) fn look_for_logs(spool: &Spool, id: &QueueId) -> Logs {
    let exists = |directory| spool.path(directory, id).exists();
    Logs { bounce: exists(Directory::Bounce), defer: exists(Directory::Defer), trace: exists(Directory::Trace) }
}
