//! The logs of many messages, one after the other: their directories stay open.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use crate::walk;
use crate::{Directory, QueueId, Spool};

/// Subdirectories that are kept open: all of them at the usual depth of one.
const KEPT: usize = 64;

/// One of the directories of logs.
#[derive(Debug)]
pub struct Logs {
    directory: Directory,
    /// Subdirectories by name, the last used one first; `None` is not there.
    open: Vec<(String, Option<OwnedFd>)>,
    wanted: String,
}

impl Logs {
    /// The logs in `directory`: `defer`, `bounce` or `trace`.
    #[must_use]
    pub fn new(directory: Directory) -> Logs {
        Logs { directory, open: Vec::new(), wanted: String::new() }
    }

    /// Opens the log of a message for reading; `None` when there is none. A subdirectory that was not there once is not
    /// looked for again.
    ///
    /// # Errors
    /// The error of `open(2)`.
    pub fn open(&mut self, spool: &Spool, id: &QueueId) -> io::Result<Option<File>> {
        let Some(directory) = self.directory_of(spool, id)? else { return Ok(None) };
        match walk::open_unnoticed(directory.as_fd(), id.as_str()) {
            Ok(file) => Ok(Some(file.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes the log of a message; false when there is none.
    ///
    /// # Errors
    /// The error of `unlink(2)`.
    pub fn remove(&mut self, spool: &Spool, id: &QueueId) -> io::Result<bool> {
        match self.directory_of(spool, id)? {
            Some(directory) => walk::remove(directory.as_fd(), id.as_str()),
            None => {
                // It may be made later; who removes must know.
                self.open.swap_remove(0);
                Ok(false)
            }
        }
    }

    fn directory_of(&mut self, spool: &Spool, id: &QueueId) -> io::Result<Option<&OwnedFd>> {
        self.wanted.clear();
        self.wanted.extend(spool.subdirectories(self.directory, id));
        match self.open.iter().position(|(name, _)| *name == self.wanted) {
            Some(at) => self.open.swap(0, at),
            None => {
                let mut path: PathBuf = spool.directory(self.directory);
                path.extend(self.wanted.chars().map(String::from));
                let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
                let descriptor = match open(&path, flags, Mode::empty()) {
                    Ok(descriptor) => Some(descriptor),
                    Err(Errno::ENOENT) => None,
                    Err(error) => return Err(error.into()),
                };
                self.open.truncate(KEPT - 1);
                self.open.push((self.wanted.clone(), descriptor));
                let last = self.open.len() - 1;
                self.open.swap(0, last);
            }
        }
        Ok(self.open.first().and_then(|(_, descriptor)| descriptor.as_ref()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Layout;
    use std::fs;

    #[test]
    fn more_subdirectories_than_are_kept() {
        let root = tempfile::tempdir().expect("directory");
        fs::create_dir(root.path().join("defer")).expect("mkdir");
        let spool = Spool::at(root.path(), Layout { depth: 2, ..Layout::default() });
        let ids: Vec<QueueId> = (0..KEPT + 20).map(|n| format!("{n:02X}AAA1").parse().expect("id")).collect();
        let mut logs = Logs::new(Directory::Defer);
        assert!(!logs.remove(&spool, &ids[0]).expect("none yet"));
        for id in &ids {
            let path = spool.path(Directory::Defer, id);
            fs::create_dir_all(path.parent().expect("a directory")).expect("mkdir");
            fs::write(path, b"log").expect("write");
        }
        let missing: QueueId = "FFAAA1".parse().expect("id");
        for _ in 0..2 {
            assert!(ids.iter().all(|id| logs.open(&spool, id).expect("open").is_some()));
            assert!(logs.open(&spool, &missing).expect("open").is_none());
        }
        assert!(ids.iter().all(|id| logs.remove(&spool, id).expect("remove")));
        assert!(ids.iter().all(|id| !logs.remove(&spool, id).expect("gone")));
    }
}
