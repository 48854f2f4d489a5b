//! Walking through a directory and its subdirectories, for those who touch every file.
//!
//! Names are read many at a time and given in the order of their inodes: files that were made one after the other lie side
//! by side, on the disk and in the kernel's memory. Files are opened and removed relative to their directory, which
//! saves the kernel the way there.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::NixPath;
use nix::dir::{Dir, OwningIter, Type};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};

/// Most levels of subdirectories that a walk goes down; each holds two descriptors and a batch of names.
const DEEPEST: usize = 32;
/// Names of one directory that are read at a time.
const BATCH: usize = 2048;

/// A file that a walk has come to: anything but a directory.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// The directory it is in.
    pub directory: BorrowedFd<'a>,
    /// Its name there.
    pub name: &'a CStr,
    /// The subdirectories on the way to it, a character each.
    pub subdirectories: &'a str,
}

impl Found<'_> {
    /// Opens it for reading as [`crate::Spool::open_unnoticed`] does.
    ///
    /// # Errors
    /// The error of `open(2)`; `NotFound` when it has left.
    pub fn open_unnoticed(&self) -> io::Result<OwnedFd> {
        open_unnoticed(self.directory, self.name)
    }

    /// What `fstatat(2)` says of it, or of the link when it is one; `None` when it has left.
    ///
    /// # Errors
    /// The error of `fstatat(2)`.
    pub fn stat(&self) -> io::Result<Option<FileStat>> {
        match fstatat(self.directory, self.name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::ENOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes it; false when it has left, or is a directory now.
    ///
    /// # Errors
    /// The error of `unlink(2)`.
    pub fn remove(&self) -> io::Result<bool> {
        remove(self.directory, self.name)
    }

    /// Its path, for a walk that began at `root`.
    #[must_use]
    pub fn path(&self, root: &Path) -> PathBuf {
        use std::os::unix::ffi::OsStrExt;
        let mut path = root.to_owned();
        let mut character = [0; 4];
        path.extend(self.subdirectories.chars().map(|name| Path::new(name.encode_utf8(&mut character)).to_owned()));
        path.push(std::ffi::OsStr::from_bytes(self.name.to_bytes()));
        path
    }
}

/// A walk. At any time it holds two descriptors for each level.
#[derive(Debug)]
pub struct Walk {
    root: Option<PathBuf>,
    levels: Vec<Level>,
    /// Names of all levels but the first.
    names: String,
}

impl Walk {
    /// Through `root`; when that is not there, there is nothing in it.
    #[must_use]
    pub fn new(root: PathBuf) -> Walk {
        Walk { root: Some(root), levels: Vec::new(), names: String::new() }
    }

    /// The next file. It may have left since its name was read.
    ///
    /// # Errors
    /// Those of opening and reading directories, but for directories that have left.
    pub fn next_file(&mut self) -> io::Result<Option<Found<'_>>> {
        if let Some(root) = self.root.take()
            && let Some(level) = Level::open(AT_FDCWD, &root)?
        {
            self.levels.push(level);
        }
        loop {
            let deepest = self.levels.len();
            let Some(level) = self.levels.last_mut() else { return Ok(None) };
            let Some(name) = level.step()? else {
                self.levels.pop();
                self.names.pop();
                continue;
            };
            if !name.is_directory {
                break;
            }
            // Hashing makes names of one character; other directories are not ours.
            let path = level.name(&name);
            let Some(character) = path.to_str().ok().and_then(single_character) else { continue };
            if deepest < DEEPEST
                && let Some(below) = Level::open(level.descriptor.as_fd(), path)?
            {
                self.levels.push(below);
                self.names.push(character);
            }
        }
        Ok(self.levels.last().map(|level| Found {
            directory: level.descriptor.as_fd(),
            name: level.name(&level.batch[level.next - 1]),
            subdirectories: &self.names,
        }))
    }
}

fn single_character(text: &str) -> Option<char> {
    let mut characters = text.chars();
    characters.next().filter(|_| characters.next().is_none())
}

/// One directory.
struct Level {
    descriptor: OwnedFd,
    entries: OwningIter,
    /// The names of the batch, each with a NUL.
    names: Vec<u8>,
    batch: Vec<Name>,
    /// The next of the batch.
    next: usize,
}

#[derive(Clone, Copy, Debug)]
struct Name {
    inode: u64,
    /// Place in `Level::names`.
    at: usize,
    is_directory: bool,
}

impl Level {
    /// `None` when somebody removed it in the meantime, or it was never made.
    fn open<P: NixPath + ?Sized>(directory: BorrowedFd<'_>, path: &P) -> io::Result<Option<Level>> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let descriptor = match retry(|| openat(directory, path, flags, Mode::empty())) {
            Ok(descriptor) => descriptor,
            Err(Errno::ENOENT) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let entries = Dir::from_fd(descriptor.try_clone()?)?.into_iter();
        Ok(Some(Level { descriptor, entries, names: Vec::new(), batch: Vec::new(), next: 0 }))
    }

    fn name(&self, name: &Name) -> &CStr {
        CStr::from_bytes_until_nul(&self.names[name.at..]).unwrap_or_default()
    }

    fn step(&mut self) -> io::Result<Option<Name>> {
        if self.next == self.batch.len() && !self.fill()? {
            return Ok(None);
        }
        self.next += 1;
        Ok(Some(self.batch[self.next - 1]))
    }

    /// Reads the next batch; false at the end.
    fn fill(&mut self) -> io::Result<bool> {
        self.names.clear();
        self.batch.clear();
        self.next = 0;
        while self.batch.len() < BATCH {
            let Some(entry) = self.entries.next().transpose()? else { break };
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let is_directory = match entry.file_type() {
                Some(kind) => kind == Type::Directory,
                // A file system that does not tell.
                None => match fstatat(&self.descriptor, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
                    Ok(stat) => SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) == SFlag::S_IFDIR,
                    Err(Errno::ENOENT) => continue,
                    Err(error) => return Err(error.into()),
                },
            };
            self.batch.push(Name { inode: entry.ino(), at: self.names.len(), is_directory });
            self.names.extend_from_slice(name.to_bytes_with_nul());
        }
        self.batch.sort_unstable_by_key(|name| name.inode);
        Ok(!self.batch.is_empty())
    }
}

impl std::fmt::Debug for Level {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Level")
            .field("descriptor", &self.descriptor)
            .field("left", &(self.batch.len() - self.next))
            .finish()
    }
}

/// Opens a file for reading; the time of last access stays as it is.
pub(crate) fn open_unnoticed<P: NixPath + ?Sized>(directory: BorrowedFd<'_>, name: &P) -> io::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    match retry(|| openat(directory, name, flags | OFlag::O_NOATIME, Mode::empty())) {
        // Only the owner may.
        Err(Errno::EPERM) => Ok(retry(|| openat(directory, name, flags, Mode::empty()))?),
        result => Ok(result?),
    }
}

/// Removes a file; false when it is not there, or is a directory.
pub(crate) fn remove<P: NixPath + ?Sized>(directory: BorrowedFd<'_>, name: &P) -> io::Result<bool> {
    match unlinkat(directory, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) => Ok(true),
        Err(Errno::ENOENT | Errno::EISDIR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Again, when a signal came between.
fn retry<T>(mut call: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::fs;

    fn paths(root: &Path) -> Vec<PathBuf> {
        let mut walk = Walk::new(root.to_owned());
        let mut found = Vec::new();
        while let Some(file) = walk.next_file().expect("walk") {
            let path = file.path(Path::new(""));
            fstatat(file.directory, file.name, AtFlags::empty()).expect("it is there");
            found.push(path);
        }
        found
    }

    #[test]
    fn everything_once_at_any_depth() {
        let root = tempfile::tempdir().expect("directory");
        let mut wanted = BTreeSet::new();
        for directory in ["", "A", "A/b", "\u{e9}"] {
            fs::create_dir_all(root.path().join(directory)).expect("mkdir");
            for number in 0..BATCH + 10 {
                let path = Path::new(directory).join(format!("file{number}"));
                fs::write(root.path().join(&path), b"").expect("write");
                wanted.insert(path);
            }
        }
        fs::create_dir(root.path().join("not ours")).expect("mkdir");
        fs::write(root.path().join("not ours/x"), b"").expect("write");
        let found = paths(root.path());
        assert_eq!(found.len(), wanted.len());
        assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), wanted);
        assert!(paths(&root.path().join("missing")).is_empty());
    }

    #[test]
    fn what_leaves_in_the_meantime_is_no_error() {
        let root = tempfile::tempdir().expect("directory");
        for name in ["a", "b"] {
            fs::create_dir(root.path().join(name)).expect("mkdir");
            fs::write(root.path().join(name).join("x"), b"").expect("write");
        }
        let mut walk = Walk::new(root.path().to_owned());
        let first = walk.next_file().expect("walk").expect("one").path(root.path());
        for name in ["a", "b"] {
            fs::remove_dir_all(root.path().join(name)).expect("remove");
        }
        assert!(first.ends_with("x"));
        assert!(walk.next_file().expect("the other is gone").is_none());
    }
}
