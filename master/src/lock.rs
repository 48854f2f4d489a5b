//! The lock files that make sure that there is one master per queue and per data directory.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::libc::O_NOFOLLOW;

use crate::Error;
use crate::owner::{Owner, act_as};

/// A lock that is held for as long as this value lives.
#[derive(Debug)]
pub(crate) struct Lock {
    file: Flock<File>,
}

/// Takes the lock file `path`, made when missing.
///
/// # Errors
/// [`Error::Locked`] with the reason: somebody else holds it, or the file cannot be opened.
pub(crate) fn take(path: &Path, owner: Option<Owner>) -> Result<Lock, Error> {
    let failed = |reason: String| Error::Locked { path: path.display().to_string(), reason };
    let file = act_as(owner, || {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o644)
            .custom_flags(O_NOFOLLOW)
            .open(path)
    })?
    .map_err(|error| failed(format!("cannot open file: {}", sys::reason(&error))))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(file) => Ok(Lock { file }),
        Err((_, errno)) => Err(failed(format!("unable to set exclusive lock: {}", sys::reason(&errno.into())))),
    }
}

/// True when somebody holds the lock of `path`; without the file nobody does.
///
/// # Errors
/// [`Error::Locked`] when the file cannot be opened.
pub(crate) fn is_held(path: &Path) -> Result<bool, Error> {
    let failed = |reason: String| Error::Locked { path: path.display().to_string(), reason };
    let file = match OpenOptions::new().read(true).custom_flags(O_NOFOLLOW).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(failed(format!("cannot open file: {}", sys::reason(&error)))),
    };
    match Flock::lock(file, FlockArg::LockSharedNonblock) {
        Ok(_) => Ok(false),
        Err((_, Errno::EAGAIN)) => Ok(true),
        Err((_, errno)) => Err(failed(sys::reason(&errno.into()))),
    }
}

impl Lock {
    /// Writes our process id, in the form that scripts read: right-aligned in 32 columns.
    ///
    /// # Errors
    /// The error of the write.
    pub(crate) fn write_pid(&mut self, pid: i32) -> io::Result<()> {
        let line = format!("{pid:>32}\n");
        let mut file: &File = &self.file;
        file.rewind()?;
        file.write_all(line.as_bytes())?;
        file.set_len(line.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_and_the_pid_is_where_scripts_look_for_it() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("master.pid");
        assert!(!is_held(&path).expect("no file"));
        std::fs::write(&path, "something longer that an earlier version may have left here\n").expect("write");
        let mut lock = take(&path, None).expect("lock");
        lock.write_pid(4711).expect("write");
        assert_eq!(std::fs::read_to_string(&path).expect("read"), format!("{}4711\n", " ".repeat(28)));
        assert!(is_held(&path).expect("held"));
        let error = take(&path, None).expect_err("taken").to_string();
        assert!(error.ends_with("unable to set exclusive lock: Resource temporarily unavailable"), "{error}");
        drop(lock);
        assert!(!is_held(&path).expect("free"));
    }

    #[test]
    fn a_symbolic_link_is_not_followed() {
        let directory = tempfile::tempdir().expect("directory");
        let target = directory.path().join("target");
        let link = directory.path().join("master.lock");
        std::os::unix::fs::symlink(&target, &link).expect("link");
        take(&link, None).expect_err("a link");
        assert!(!target.exists());
    }
}
