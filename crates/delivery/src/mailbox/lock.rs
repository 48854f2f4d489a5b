//! Locking of mbox files: `fcntl`, `flock` and `dotlock`, in the order of `mailbox_delivery_lock`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use config::Config;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, Flock, FlockArg, fcntl};

use super::Error;

/// A way to lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// A POSIX record lock on the whole file.
    Fcntl,
    /// A BSD lock.
    Flock,
    /// A file `NAME.lock` beside the mailbox.
    Dotlock,
}

/// How mailboxes are locked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `mailbox_delivery_lock` or `virtual_mailbox_lock`.
    pub methods: Vec<Method>,
    /// `deliver_lock_attempts`
    pub attempts: u32,
    /// `deliver_lock_delay`
    pub delay: Duration,
    /// `stale_lock_time`: an older dotlock is removed.
    pub stale: Duration,
    /// `strict_mailbox_ownership`: a mailbox of another account gets no mail.
    pub strict_ownership: bool,
}

/// A locked mailbox; unlocked when dropped.
#[derive(Debug)]
pub struct Locked {
    file: LockedFile,
    dotlock: Option<PathBuf>,
}

#[derive(Debug)]
enum LockedFile {
    Plain(File),
    Flock(Flock<File>),
}

impl Settings {
    /// Reads the settings; `parameter` has the methods.
    ///
    /// # Errors
    /// The first parameter that is wrong.
    pub fn load(config: &Config, parameter: &'static str) -> Result<Settings, config::Error> {
        let mut methods = Vec::new();
        for word in config.list(parameter)? {
            methods.push(match word.as_str() {
                "fcntl" => Method::Fcntl,
                "flock" => Method::Flock,
                "dotlock" => Method::Dotlock,
                _ => return Err(config.invalid_value("lock method", parameter, word)),
            });
        }
        Ok(Settings {
            methods,
            attempts: u32::try_from(config.int("deliver_lock_attempts")?).unwrap_or(1),
            delay: config.time("deliver_lock_delay")?,
            stale: config.time("stale_lock_time")?,
            strict_ownership: config.bool("strict_mailbox_ownership")?,
        })
    }
}

impl Locked {
    /// Locks `file`, which is the mailbox at `path`.
    ///
    /// # Errors
    /// [`Error::Locked`] when somebody else has it for too long.
    pub fn take(file: File, path: &Path, settings: &Settings) -> Result<Locked, Error> {
        let mut locked = Locked { file: LockedFile::Plain(file), dotlock: None };
        for method in &settings.methods {
            match method {
                Method::Fcntl => retry(settings, || fcntl_lock(locked.file()))?,
                Method::Flock => locked.flock(settings)?,
                Method::Dotlock => {
                    let name = dotlock_name(path);
                    retry(settings, || make_dotlock(&name, settings.stale)).map_err(|error| match error {
                        Error::Locked(why) => Error::Locked(format!("{}: {why}", name.display())),
                        other => other,
                    })?;
                    locked.dotlock = Some(name);
                }
            }
        }
        Ok(locked)
    }

    /// The mailbox.
    #[must_use]
    pub fn file(&self) -> &File {
        match &self.file {
            LockedFile::Plain(file) => file,
            LockedFile::Flock(file) => file,
        }
    }

    fn flock(&mut self, settings: &Settings) -> Result<(), Error> {
        let copy = self.file().try_clone().map_err(Error::system("dup"))?;
        let mut attempt = Some(copy);
        retry(settings, || {
            let file = attempt.take().ok_or_else(|| io::Error::from(ErrorKind::Other))?;
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(locked) => {
                    self.file = LockedFile::Flock(locked);
                    Ok(true)
                }
                Err((file, Errno::EAGAIN)) => {
                    attempt = Some(file);
                    Ok(false)
                }
                Err((_, error)) => Err(error.into()),
            }
        })
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        if let Some(name) = &self.dotlock
            && let Err(error) = fs::remove_file(name)
        {
            log::warning!("cannot remove lock file {}: {}", name.display(), sys::reason(&error));
        }
    }
}

fn retry(settings: &Settings, mut attempt: impl FnMut() -> io::Result<bool>) -> Result<(), Error> {
    for left in (0..settings.attempts.max(1)).rev() {
        if attempt().map_err(Error::system("lock"))? {
            return Ok(());
        }
        if left > 0 {
            std::thread::sleep(settings.delay);
        }
    }
    Err(Error::Locked("Resource temporarily unavailable".to_owned()))
}

fn fcntl_lock(file: &File) -> io::Result<bool> {
    let whole = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    match fcntl(file.as_fd(), FcntlArg::F_SETLK(&whole)) {
        Ok(_) => Ok(true),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn dotlock_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

fn make_dotlock(name: &Path, stale: Duration) -> io::Result<bool> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(name) {
        Ok(mut file) => {
            // Other programs look for a process id; an empty lock file locks as well.
            let _ = writeln!(file, "{}", std::process::id());
            Ok(true)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let age = fs::symlink_metadata(name)
                .and_then(|metadata| metadata.modified())
                .map(|modified| SystemTime::now().duration_since(modified).unwrap_or_default());
            if age.is_ok_and(|age| age > stale) {
                fs::remove_file(name)?;
            }
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(methods: &[Method]) -> Settings {
        Settings {
            methods: methods.to_vec(),
            attempts: 2,
            delay: Duration::ZERO,
            stale: Duration::from_secs(500),
            strict_ownership: true,
        }
    }

    #[test]
    fn a_dotlock_keeps_others_out_until_it_is_dropped_or_stale() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("box");
        let open = || OpenOptions::new().append(true).create(true).open(&path).expect("open");
        let first = Locked::take(open(), &path, &settings(&[Method::Dotlock])).expect("lock");
        let second = Locked::take(open(), &path, &settings(&[Method::Dotlock]));
        assert!(matches!(second, Err(Error::Locked(_))));
        drop(first);
        assert!(!dotlock_name(&path).exists());
        fs::write(dotlock_name(&path), "1").expect("write");
        let old = SystemTime::now() - Duration::from_secs(1000);
        File::options().write(true).open(dotlock_name(&path)).expect("open").set_modified(old).expect("age");
        Locked::take(open(), &path, &settings(&[Method::Dotlock])).expect("a stale lock is removed");
    }

    #[test]
    fn flock_keeps_others_out() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("box");
        let open = || OpenOptions::new().append(true).create(true).open(&path).expect("open");
        let first = Locked::take(open(), &path, &settings(&[Method::Fcntl, Method::Flock])).expect("lock");
        assert!(matches!(Locked::take(open(), &path, &settings(&[Method::Flock])), Err(Error::Locked(_))));
        drop(first);
        Locked::take(open(), &path, &settings(&[Method::Flock])).expect("free again");
    }
}
