//! Replaces a file as a whole: readers see the old text or the new one, never a part, and writers wait for each other.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use crate::error::Error;

/// A file that this process alone may replace, while it holds this.
pub(crate) struct Replacement {
    target: PathBuf,
    temporary: PathBuf,
    file: Flock<File>,
}

impl Replacement {
    /// Waits for other writers. A symbolic link stays one: the file that it leads to is replaced.
    ///
    /// # Errors
    /// The file does not exist, or its directory cannot be written.
    pub(crate) fn begin(path: &Path) -> Result<Replacement, Error> {
        let target = path.canonicalize().map_err(|source| failed("open", path, source))?;
        let mut temporary = target.clone().into_os_string();
        temporary.push(".tmp");
        let temporary = PathBuf::from(temporary);
        loop {
            let open = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .custom_flags(nix::libc::O_NOFOLLOW)
                .open(&temporary);
            let file = open.map_err(|source| failed("open", &temporary, source))?;
            let file = Flock::lock(file, FlockArg::LockExclusive)
                .map_err(|(_, errno)| failed("lock", &temporary, errno.into()))?;
            // Whoever held the lock may have renamed the file meanwhile; then this is another one.
            let mine = file.metadata().map_err(|source| failed("lock", &temporary, source))?;
            match std::fs::symlink_metadata(&temporary) {
                Ok(present) if present.ino() == mine.ino() && present.dev() == mine.dev() => {
                    return Ok(Replacement { target, temporary, file });
                }
                _ => {}
            }
        }
    }

    /// The present text.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn present(&self) -> Result<Vec<u8>, Error> {
        std::fs::read(&self.target).map_err(|source| failed("read", &self.target, source))
    }

    /// Puts `text` in its place, with the same owner and mode, on disk before it is seen.
    ///
    /// # Errors
    /// The old file is still there, as it was.
    pub(crate) fn commit(mut self, text: &[u8]) -> Result<(), Error> {
        let result = self.write(text);
        if result.is_err() {
            // What is left over would be taken up by the next writer anyway.
            let _ = std::fs::remove_file(&self.temporary);
        }
        result.map_err(|source| failed("write", &self.target, source))
    }

    /// Nothing is to be changed.
    pub(crate) fn abandon(self) {
        // As in `commit`.
        let _ = std::fs::remove_file(&self.temporary);
    }

    fn write(&mut self, text: &[u8]) -> std::io::Result<()> {
        let old = std::fs::metadata(&self.target)?;
        self.file.set_len(0)?;
        let present = self.file.metadata()?;
        if (present.uid(), present.gid()) != (old.uid(), old.gid()) {
            std::os::unix::fs::fchown(&*self.file, Some(old.uid()), Some(old.gid()))?;
        }
        self.file.set_permissions(std::fs::Permissions::from_mode(old.mode() & 0o7777))?;
        self.file.write_all(text)?;
        self.file.sync_all()?;
        std::fs::rename(&self.temporary, &self.target)?;
        match self.target.parent() {
            Some(directory) => File::open(directory)?.sync_all(),
            None => Ok(()),
        }
    }
}

fn failed(what: &'static str, path: &Path, source: std::io::Error) -> Error {
    Error::File { what, path: path.display().to_string(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mode_and_links_stay() {
        let directory = tempfile::tempdir().unwrap();
        let (real, link) = (directory.path().join("real"), directory.path().join("main.cf"));
        std::fs::write(&real, "old").unwrap();
        std::fs::set_permissions(&real, std::fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("real", &link).unwrap();
        let replacement = Replacement::begin(&link).unwrap();
        assert_eq!(replacement.present().unwrap(), b"old");
        replacement.commit(b"new").unwrap();
        assert_eq!(std::fs::read(&real).unwrap(), b"new");
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(std::fs::metadata(&real).unwrap().mode() & 0o7777, 0o640);
        Replacement::begin(&link).unwrap().abandon();
        let mut left: Vec<_> = directory.path().read_dir().unwrap().map(|e| e.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["main.cf", "real"]);
        assert!(Replacement::begin(&directory.path().join("missing")).is_err());
    }

    #[test]
    fn writers_wait_for_each_other() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("main.cf");
        std::fs::write(&path, "").unwrap();
        std::thread::scope(|scope| {
            for writer in 0..8 {
                let path = &path;
                scope.spawn(move || {
                    let replacement = Replacement::begin(path).unwrap();
                    let mut text = replacement.present().unwrap();
                    text.extend_from_slice(format!("{writer}\n").as_bytes());
                    replacement.commit(&text).unwrap();
                });
            }
        });
        let text = std::fs::read_to_string(&path).unwrap();
        let mut lines: Vec<_> = text.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["0", "1", "2", "3", "4", "5", "6", "7"]);
    }
}
