//! The queue directory: paths, hashing, and moves.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, OFlag, RenameFlags, renameat2};

use crate::new_file::NewFile;
use crate::scan::{Entry, Scan};
use crate::walk::Walk;
use crate::{Directory, QueueId};

/// How queue files are named and spread over subdirectories.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The directories that have subdirectories (`hash_queue_names`).
    pub hashed: Vec<Directory>,
    /// Levels of subdirectories, at least 1 (`hash_queue_depth`).
    pub depth: usize,
    /// New files get long ids (`enable_long_queue_ids`).
    pub long_ids: bool,
}

impl Default for Layout {
    fn default() -> Layout {
        Layout { hashed: vec![Directory::Deferred, Directory::Defer], depth: 1, long_ids: false }
    }
}

impl Layout {
    /// The layout of the three parameters' values. Names in `hash_queue_names` are compared without case; `maildrop`
    /// is never hashed, and names of directories that hold no queue files are passed over.
    #[must_use]
    pub fn new(hash_queue_names: &str, hash_queue_depth: usize, enable_long_queue_ids: bool) -> Layout {
        let separators = |c: char| c == ',' || c.is_ascii_whitespace();
        let hashed = hash_queue_names
            .split(separators)
            .filter_map(|name| Directory::from_name(&name.to_ascii_lowercase()))
            .filter(|directory| *directory != Directory::Maildrop)
            .collect();
        Layout { hashed, depth: hash_queue_depth.max(1), long_ids: enable_long_queue_ids }
    }
}

/// The queue directory of an instance.
///
/// Daemons have it as their working directory, inside a jail or not, so their paths are relative; tools and tests may
/// name it ([`Spool::at`]).
#[derive(Clone, Debug)]
pub struct Spool {
    root: PathBuf,
    layout: Layout,
}

impl Spool {
    /// The spool in the working directory.
    #[must_use]
    pub fn new(layout: Layout) -> Spool {
        Spool::at(PathBuf::new(), layout)
    }

    /// The spool below `root`.
    #[must_use]
    pub fn at(root: impl Into<PathBuf>, layout: Layout) -> Spool {
        Spool { root: root.into(), layout }
    }

    /// How files are named and spread.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The path of a directory.
    #[must_use]
    pub fn directory(&self, directory: Directory) -> PathBuf {
        let path = self.root.join(directory.name());
        if path.as_os_str().is_empty() { PathBuf::from(".") } else { path }
    }

    /// True when a directory has subdirectories.
    #[must_use]
    pub fn is_hashed(&self, directory: Directory) -> bool {
        directory != Directory::Maildrop && self.layout.hashed.contains(&directory)
    }

    /// The path of a file.
    #[must_use]
    pub fn path(&self, directory: Directory, id: &QueueId) -> PathBuf {
        let mut path = self.root.as_os_str().to_owned();
        path.reserve(2 + directory.name().len() + id.as_str().len() + 2 * self.layout.depth);
        if !path.is_empty() {
            path.push("/");
        }
        path.push(directory.name());
        for character in self.subdirectories(directory, id) {
            path.push("/");
            path.push(character.encode_utf8(&mut [0; 4]));
        }
        path.push("/");
        path.push(id.as_str());
        path.into()
    }

    /// Opens a queue file for reading.
    ///
    /// # Errors
    /// The error of `open(2)`; `NotFound` when the message has left.
    pub fn open_read(&self, directory: Directory, id: &QueueId) -> io::Result<File> {
        open(OpenOptions::new().read(true), &self.path(directory, id))
    }

    /// As [`Spool::open_read`], but the time of last access stays as it is: a listing of the whole queue has better things
    /// to do than to dirty every inode.
    ///
    /// # Errors
    /// As [`Spool::open_read`].
    pub fn open_unnoticed(&self, path: &Path) -> io::Result<File> {
        match open(OpenOptions::new().read(true).custom_flags(OFlag::O_NOATIME.bits()), path) {
            // Only the owner may.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => open(OpenOptions::new().read(true), path),
            result => result,
        }
    }

    /// True when a file that was found below these subdirectories of `directory` is where its name says.
    #[must_use]
    pub fn is_in_place(&self, directory: Directory, id: &QueueId, subdirectories: &str) -> bool {
        self.subdirectories(directory, id).eq(subdirectories.chars())
    }

    /// The subdirectories of `directory` that a file is in, a character each.
    pub(crate) fn subdirectories(&self, directory: Directory, id: &QueueId) -> impl Iterator<Item = char> {
        id.hash_characters(if self.is_hashed(directory) { self.layout.depth } else { 0 })
    }

    /// Opens a queue file for reading and for in-place changes.
    ///
    /// # Errors
    /// The error of `open(2)`; `NotFound` when the message has left.
    pub fn open_write(&self, directory: Directory, id: &QueueId) -> io::Result<File> {
        open(OpenOptions::new().read(true).write(true), &self.path(directory, id))
    }

    /// Makes a new file, mode 0600, and names it after its inode and the time.
    ///
    /// # Errors
    /// The error of `open(2)` or `rename(2)`: full disk, missing directory, no permission.
    pub fn create(&self, directory: Directory) -> io::Result<NewFile> {
        NewFile::create(self, directory)
    }

    /// Moves a file to another directory, making subdirectories on demand.
    ///
    /// # Errors
    /// The error of `rename(2)`; `NotFound` when the message has left.
    pub fn rename(&self, id: &QueueId, from: Directory, to: Directory) -> io::Result<()> {
        self.rename_path(&self.path(from, id), &self.path(to, id))
    }

    pub(crate) fn rename_path(&self, from: &Path, to: &Path) -> io::Result<()> {
        match fs::rename(from, to) {
            // Either end may be what is missing.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::symlink_metadata(from)?;
                self.make_parent(to)?;
                fs::rename(from, to)
            }
            result => result,
        }
    }

    /// As [`Spool::rename`], but never over another file of that name.
    ///
    /// # Errors
    /// `AlreadyExists`, besides those of [`Spool::rename`].
    pub fn rename_new(&self, id: &QueueId, from: Directory, to: Directory) -> io::Result<()> {
        self.rename_path_new(&self.path(from, id), &self.path(to, id))
    }

    /// As [`Spool::rename_new`] for a path below the queue directory, such as [`crate::Entry::path`].
    ///
    /// # Errors
    /// As [`Spool::rename_new`].
    pub fn rename_path_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        let rename = || Ok(renameat2(AT_FDCWD, from, AT_FDCWD, to, RenameFlags::RENAME_NOREPLACE)?);
        match rename() {
            Err(error) if io::Error::kind(&error) == io::ErrorKind::NotFound => {
                fs::symlink_metadata(from)?;
                self.make_parent(to)?;
                rename()
            }
            result => result,
        }
    }

    /// Removes a file.
    ///
    /// # Errors
    /// The error of `unlink(2)`; `NotFound` when it has left.
    pub fn remove(&self, directory: Directory, id: &QueueId) -> io::Result<()> {
        fs::remove_file(self.path(directory, id))
    }

    /// Removes logs of an earlier message with the same id; to be called for every new file.
    ///
    /// # Errors
    /// The error of `unlink(2)`; a log that is not there is none.
    pub fn remove_stale_logs(&self, id: &QueueId) -> io::Result<()> {
        for log in [Directory::Defer, Directory::Bounce, Directory::Trace] {
            crate::log_file::remove(self, log, id)?;
        }
        Ok(())
    }

    /// The ids of all files in a directory, as far as they are where their names say they should be. Whether a file is
    /// complete is for its opener to see ([`crate::state`]).
    pub fn scan(&self, directory: Directory) -> impl Iterator<Item = io::Result<QueueId>> + use<> {
        let spool = self.clone();
        self.scan_all(directory).filter_map(move |entry| match entry {
            Ok(Entry { id: Some(id), subdirectories, .. }) => {
                spool.is_in_place(directory, &id, &subdirectories).then_some(Ok(id))
            }
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        })
    }

    /// The same as [`Spool::scan_all`] for those who touch every file: without paths.
    #[must_use]
    pub fn walk(&self, directory: Directory) -> Walk {
        Walk::new(self.directory(directory))
    }

    /// Everything in a directory and its subdirectories, misplaced and misnamed files included.
    #[must_use]
    pub fn scan_all(&self, directory: Directory) -> Scan {
        Scan::new(self.directory(directory))
    }

    /// Opens for writing, making subdirectories on demand.
    pub(crate) fn open_creating(&self, options: &OpenOptions, path: &Path) -> io::Result<File> {
        match open(options, path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.make_parent(path)?;
                open(options, path)
            }
            result => result,
        }
    }

    /// Makes the subdirectories (mode 0700) above a file. The queue directory and its own directories must be there:
    /// making them is for the installation, with the right owners.
    fn make_parent(&self, path: &Path) -> io::Result<()> {
        let Some(parent) = path.parent() else { return Ok(()) };
        let below = parent.strip_prefix(&self.root).unwrap_or(parent);
        let mut directory = self.root.clone();
        for (level, part) in below.components().enumerate() {
            directory.push(part);
            if level == 0 {
                continue;
            }
            match DirBuilder::new().mode(0o700).create(&directory) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

fn open(options: &OpenOptions, path: &Path) -> io::Result<File> {
    loop {
        match options.open(path) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spool() -> (tempfile::TempDir, Spool) {
        let root = tempfile::tempdir().expect("directory");
        for directory in Directory::ALL {
            fs::create_dir(root.path().join(directory.name())).expect("mkdir");
        }
        let spool = Spool::at(root.path(), Layout { depth: 2, ..Layout::default() });
        (root, spool)
    }

    #[test]
    fn paths() {
        let short: QueueId = "6FE759B8904".parse().expect("id");
        let long: QueueId = "4jWBMJ1H67z1Tpvp".parse().expect("id");
        let spool = Spool::new(Layout::new("Deferred,DEFER  maildrop pid", 2, false));
        let cases = [
            (Directory::Incoming, &short, "incoming/6FE759B8904"),
            (Directory::Maildrop, &short, "maildrop/6FE759B8904"),
            (Directory::Deferred, &short, "deferred/6/F/6FE759B8904"),
            (Directory::Defer, &long, "defer/2/C/4jWBMJ1H67z1Tpvp"),
        ];
        for (directory, id, path) in cases {
            assert_eq!(spool.path(directory, id), Path::new(path));
        }
        let rooted = Spool::at("/spool", Layout::default());
        assert_eq!(rooted.path(Directory::Deferred, &short), Path::new("/spool/deferred/6/6FE759B8904"));
    }

    #[test]
    fn moves_make_subdirectories() {
        let (_root, spool) = spool();
        let new = spool.create(Directory::Incoming).expect("create");
        let id = new.id().clone();
        let _ = new.into_file();
        spool.rename(&id, Directory::Incoming, Directory::Deferred).expect("rename");
        assert_eq!(spool.scan(Directory::Incoming).count(), 0);
        let found: Vec<QueueId> = spool.scan(Directory::Deferred).collect::<io::Result<_>>().expect("scan");
        assert_eq!(found, std::slice::from_ref(&id));
        spool.open_write(Directory::Deferred, &id).expect("open");
        spool.remove(Directory::Deferred, &id).expect("remove");
        let missing = spool.rename(&id, Directory::Deferred, Directory::Active).expect_err("gone");
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        let new = spool.create(Directory::Incoming).expect("create");
        fs::write(spool.path(Directory::Active, new.id()), b"x").expect("write");
        let taken = spool.rename_new(new.id(), Directory::Incoming, Directory::Active).expect_err("taken");
        assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
        spool.rename_new(new.id(), Directory::Incoming, Directory::Deferred).expect("free");
    }

    #[test]
    fn a_file_at_the_wrong_depth_is_not_seen_by_name() {
        let (_root, spool) = spool();
        let flat = Spool::at(spool.root.clone(), Layout { hashed: Vec::new(), ..Layout::default() });
        let new = flat.create(Directory::Deferred).expect("create");
        let id = new.id().clone();
        let _ = new.into_file();
        assert_eq!(spool.scan(Directory::Deferred).count(), 0);
        assert_eq!(spool.scan_all(Directory::Deferred).count(), 1);
        assert_eq!(flat.scan(Directory::Deferred).next().expect("one").expect("scan"), id);
    }

    #[test]
    fn a_missing_directory_is_empty() {
        let root = tempfile::tempdir().expect("directory");
        let spool = Spool::at(root.path(), Layout::default());
        assert_eq!(spool.scan(Directory::Deferred).count(), 0);
        assert!(spool.create(Directory::Incoming).is_err());
    }
}
