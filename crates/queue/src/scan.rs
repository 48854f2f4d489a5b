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
    /// The subdirectories on the way to it, a character each.
    pub subdirectories: String,
    /// Its name as a queue id; `None` for temporary names and what does not belong here.
    pub id: Option<QueueId>,
}

/// An iterator over a directory; at any time it holds one descriptor for each level.
#[derive(Debug)]
pub struct Scan {
    todo: Option<PathBuf>,
    levels: Vec<ReadDir>,
    /// Names of all levels but the first.
    names: String,
}

impl Scan {
    pub(crate) fn new(root: PathBuf) -> Scan {
        Scan { todo: Some(root), levels: Vec::new(), names: String::new() }
    }

    fn enter(&mut self, path: PathBuf, name: Option<char>) -> io::Result<()> {
        if self.levels.len() >= DEEPEST {
            return Ok(());
        }
        match fs::read_dir(path) {
            Ok(listing) => {
                self.levels.push(listing);
                self.names.extend(name);
            }
            // Somebody removed it in the meantime, or it was never made: there is nothing in it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn step(&mut self) -> io::Result<Option<Entry>> {
        if let Some(root) = self.todo.take() {
            self.enter(root, None)?;
        }
        while let Some(level) = self.levels.last_mut() {
            let Some(entry) = level.next() else {
                self.levels.pop();
                self.names.pop();
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
                if let (1, Some(character)) = (name.len(), name.to_str().and_then(|name| name.chars().next())) {
                    self.enter(entry.path(), Some(character))?;
                }
                continue;
            }
            let id = name.to_str().and_then(|name| name.parse().ok());
            let subdirectories = self.names.clone();
            return Ok(Some(Entry { path: entry.path(), name, subdirectories, id }));
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
