//! Structure check and repair: names that do not match the inode, files in the wrong subdirectory, leftovers.
//!
//! A restored or copied queue has other inodes than its file names say, and ids are only unique because of them. So each
//! such message gets a new name, together with its logs. A new name may be another message's old one: files are renamed
//! to `ID#FIX` first, and lose the suffix when all have been. Run twice, or after a crash in the middle, it goes on where
//! it stopped.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use queue::{Directory, Entry, QueueId, Spool, recovery};

use crate::Clock;
use crate::messages::found;
use crate::request::{QUEUES, Structure, has_messages};

/// Marks a file whose new name is not free yet.
const SUFFIX: &str = "#FIX";

/// How long a name of [`queue::NewFile`] may be there without a word, in seconds: its writer is about to rename it.
const TEMPORARY: i64 = 60;

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repairs {
    /// Messages that were renamed.
    pub renamed: usize,
    /// Files that were moved to the subdirectory where they belong.
    pub moved: usize,
    /// Stale files that were removed.
    pub purged: usize,
}

/// Checks one spool.
pub struct Check<'a> {
    spool: &'a Spool,
    clock: Clock,
    purge: bool,
    structure: Option<Structure>,
    suffixed: bool,
    /// What was done.
    pub repairs: Repairs,
}

impl<'a> Check<'a> {
    /// Checks `spool`: `-p`, and `-s` or `-S`.
    #[must_use]
    pub fn new(spool: &'a Spool, clock: Clock, purge: bool, structure: Option<Structure>) -> Check<'a> {
        Check { spool, clock, purge, structure, suffixed: false, repairs: Repairs::default() }
    }

    /// Checks these queues, or all.
    ///
    /// # Errors
    /// Those of scans, moves and removals; what has left in the meantime is none.
    pub fn run(&mut self, queues: &[Directory]) -> io::Result<()> {
        let queues: Vec<Directory> =
            QUEUES.into_iter().filter(|queue| queues.is_empty() || queues.contains(queue)).collect();
        for directory in &queues {
            self.queue(*directory)?;
        }
        if self.suffixed {
            // The logs' directories have suffixed files whichever queues were named.
            for directory in QUEUES {
                self.drop_suffixes(directory)?;
            }
        }
        if self.structure.is_some() {
            for directory in &queues {
                remove_empty(&self.spool.directory(*directory), 0, self.depth(*directory))?;
            }
        }
        Ok(())
    }

    fn depth(&self, directory: Directory) -> usize {
        if self.spool.is_hashed(directory) { self.spool.layout().depth } else { 0 }
    }

    fn queue(&mut self, directory: Directory) -> io::Result<()> {
        log::debug!("queue: {}", directory.name());
        // Listed before the first change: a file moved within the directory could be met twice.
        let entries: Vec<Entry> = self.spool.scan_all(directory).collect::<io::Result<_>>()?;
        for entry in entries {
            let Some(metadata) = found(fs::symlink_metadata(&entry.path))? else { continue };
            if !metadata.is_file() {
                log::warning!("not a regular file: {}", entry.path.display());
                continue;
            }
            if self.purge && has_messages(directory) {
                let stale = found(recovery::is_stale(&entry, (self.clock)()))? == Some(true);
                if stale && found(fs::remove_file(&entry.path))?.is_some() {
                    self.repairs.purged += 1;
                    continue;
                }
            }
            self.file(directory, &entry, metadata.ino(), (self.clock)() - metadata.mtime())?;
        }
        Ok(())
    }

    fn file(&mut self, directory: Directory, entry: &Entry, inode: u64, age: i64) -> io::Result<()> {
        if let Some(id) = without_suffix(&entry.name) {
            // Left by a run that did not come to its end.
            self.suffixed = true;
            return self.place(directory, entry, &id, SUFFIX);
        }
        let Some(id) = &entry.id else {
            if age > TEMPORARY || !is_temporary(&entry.name) {
                log::warning!("bogus file name: {}", entry.path.display());
            }
            return Ok(());
        };
        let Some(structure) = self.structure else { return Ok(()) };
        if !has_messages(directory) {
            return self.place(directory, entry, id, "");
        }
        match self.proper_id(id, inode, structure) {
            None => {
                log::warning!("bogus file name: {}", entry.path.display());
                Ok(())
            }
            Some(proper) if proper == *id => self.place(directory, entry, id, ""),
            Some(proper) => self.rename(directory, entry, id, &proper),
        }
    }

    /// The id that a message in this inode should have; `None` for names that are none of ours.
    fn proper_id(&self, id: &QueueId, inode: u64, structure: Structure) -> Option<QueueId> {
        if !id.is_long() {
            let is_ours = id.as_str().bytes().all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b));
            return if is_ours { id.with_inode(inode) } else { None };
        }
        if !self.spool.layout().long_ids {
            return id.to_short(inode);
        }
        match structure {
            Structure::Usual => Some(id.clone()),
            Structure::Redundant => id.with_inode(inode),
        }
    }

    /// Moves a file to the subdirectory that its name asks for.
    fn place(&mut self, directory: Directory, entry: &Entry, id: &QueueId, suffix: &str) -> io::Result<()> {
        let path = with_suffix(&self.spool.path(directory, id), suffix);
        if path == entry.path {
            return Ok(());
        }
        if self.rename_file(&entry.path, &path)? {
            self.repairs.moved += 1;
        }
        Ok(())
    }

    /// Gives a message and its logs another id. The logs go first: what is left of an interrupted run is found by the
    /// message's name, which is still the old one.
    fn rename(&mut self, directory: Directory, entry: &Entry, old: &QueueId, new: &QueueId) -> io::Result<()> {
        for log in [Directory::Bounce, Directory::Defer, Directory::Trace] {
            let path = with_suffix(&self.spool.path(log, new), SUFFIX);
            self.rename_file(&self.spool.path(log, old), &path)?;
        }
        let path = with_suffix(&self.spool.path(directory, new), SUFFIX);
        if self.rename_file(&entry.path, &path)? {
            self.repairs.renamed += 1;
            self.suffixed = true;
        }
        Ok(())
    }

    fn drop_suffixes(&mut self, directory: Directory) -> io::Result<()> {
        let entries: Vec<Entry> = self.spool.scan_all(directory).collect::<io::Result<_>>()?;
        for entry in entries {
            if let Some(id) = without_suffix(&entry.name) {
                self.rename_file(&entry.path, &self.spool.path(directory, &id))?;
            }
        }
        Ok(())
    }

    /// False when the file has left, or its new name is taken, which is said.
    fn rename_file(&self, from: &Path, to: &Path) -> io::Result<bool> {
        match self.spool.rename_path_new(from, to) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                log::warning!("rename file {} as {}: {}", from.display(), to.display(), sys::reason(&error));
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

fn without_suffix(name: &OsStr) -> Option<QueueId> {
    name.to_str()?.strip_suffix(SUFFIX)?.parse().ok()
}

/// `microseconds.pid`
fn is_temporary(name: &OsStr) -> bool {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    name.to_str().and_then(|name| name.split_once('.')).is_some_and(|(left, right)| digits(left) && digits(right))
}

/// Removes empty subdirectories below the depth that is in use. Those in use stay: they are made again anyway.
fn remove_empty(path: &Path, level: usize, depth: usize) -> io::Result<()> {
    let Some(entries) = found(fs::read_dir(path))? else { return Ok(()) };
    for entry in entries {
        let entry = entry?;
        if entry.file_name().len() != 1 || !entry.file_type()?.is_dir() {
            continue;
        }
        remove_empty(&entry.path(), level + 1, depth)?;
        if level >= depth {
            match fs::remove_dir(entry.path()) {
                Err(error) if !matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotFound) => {
                    return Err(error);
                }
                _ => {}
            }
        }
    }
    Ok(())
}
