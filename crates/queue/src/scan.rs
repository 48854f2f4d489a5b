//! Walking through a directory and its subdirectories.

use std::ffi::OsString;
use std::fs::{self, ReadDir};
use std::io;
use std::path::PathBuf;

use crate::QueueId;

/// Most levels of subdirectories that a scan goes down; each holds a descriptor.
const DEEPEST: usize = 64;

/// Something in a queue directory that is no subdirectory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its path, below the directory that was asked for.
    pub path: PathBuf,
    /// Its name.
    pub name: OsString,
    /// Its name as a queue id; `None` for temporary names and what does not belong here.
    pub id: Option<QueueId>,
}

/// An iterator over a directory; at any time it holds one descriptor for each level.
#[derive(Debug)]
pub struct Scan {
    todo: Option<PathBuf>,
    levels: Vec<ReadDir>,
}

impl Scan {
    pub(crate) fn new(root: PathBuf) -> Scan {
        Scan { todo: Some(root), levels: Vec::new() }
    }

    fn enter(&mut self, path: PathBuf) -> io::Result<()> {
        if self.levels.len() >= DEEPEST {
            return Ok(());
        }
        match fs::read_dir(path) {
            Ok(listing) => self.levels.push(listing),
            // Somebody removed it in the meantime, or it was never made: there is nothing in it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn step(&mut self) -> io::Result<Option<Entry>> {
        if let Some(root) = self.todo.take() {
            self.enter(root)?;
        }
        while let Some(level) = self.levels.last_mut() {
            let Some(entry) = level.next() else {
                self.levels.pop();
                continue;
            };
            let entry = entry?;
            let name = entry.file_name();
            let is_directory = match entry.file_type() {
                Ok(kind) => kind.is_dir(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            if is_directory {
                // Hashing makes names of one character; other directories are not ours.
                if name.len() == 1 {
                    self.enter(entry.path())?;
                }
                continue;
            }
            let id = name.to_str().and_then(|name| name.parse().ok());
            return Ok(Some(Entry { path: entry.path(), name, id }));
        }
        Ok(None)
    }
}

impl Iterator for Scan {
    type Item = io::Result<Entry>;

    fn next(&mut self) -> Option<io::Result<Entry>> {
        self.step().transpose()
    }
}
