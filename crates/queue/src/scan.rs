//! What is in a queue directory, as an iterator.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::QueueId;
use crate::walk::Walk;

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

/// An iterator over a directory: a [`Walk`] that gives paths.
#[derive(Debug)]
pub struct Scan {
    root: PathBuf,
    walk: Walk,
}

impl Scan {
    pub(crate) fn new(root: PathBuf) -> Scan {
        Scan { walk: Walk::new(root.clone()), root }
    }
}

impl Iterator for Scan {
    type Item = io::Result<Entry>;

    fn next(&mut self) -> Option<io::Result<Entry>> {
        let found = match self.walk.next_file().transpose()? {
            Ok(found) => found,
            Err(error) => return Some(Err(error)),
        };
        let name = OsStr::from_bytes(found.name.to_bytes()).to_owned();
        let id = name.to_str().and_then(|name| name.parse().ok());
        let subdirectories = found.subdirectories.to_owned();
        Some(Ok(Entry { path: found.path(&self.root), name, subdirectories, id }))
    }
}
