//! LMDB files as mail tables have them: one file without a lock file, its users kept apart by `fcntl(2)` record locks.
//!
//! Opening an environment with `MDB_NOLOCK` is unsafe because LMDB then relies on its users to keep readers away from a
//! writer's pages. Here every transaction runs under a lock on the whole file, shared for reading and exclusive for
//! writing, as every other program that opens such files does.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use heed::types::Bytes;
use heed::{Database, EnvFlags, EnvOpenOptions, MdbError, PutFlags, WithoutTls};
use nix::fcntl::{FcntlArg, fcntl};

/// Longest key that LMDB takes.
pub const MAX_KEY: usize = 511;

/// Failed opening, reading or writing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Of the operating system.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Of LMDB.
    #[error("{0}")]
    Database(heed::Error),
    /// The file is open in this process in a way that does not fit.
    #[error("the file is already open in this process")]
    Busy,
    /// The map cannot grow any more.
    #[error("the memory map cannot grow beyond {0} bytes")]
    TooLarge(usize),
}

impl From<heed::Error> for Error {
    fn from(error: heed::Error) -> Self {
        match error {
            heed::Error::Io(error) => Self::Io(error),
            heed::Error::EnvAlreadyOpened => Self::Busy,
            error => Self::Database(error),
        }
    }
}

type Env = heed::Env<WithoutTls>;

/// An open file; shared by everyone in the process who opens it.
pub struct Environment {
    env: Env,
    database: Database<Bytes, Bytes>,
    file: File,
    writable: bool,
    /// One transaction at a time in the process: the record lock does not keep our own threads apart.
    turn: Mutex<()>,
}

static OPEN: Mutex<Option<HashMap<PathBuf, Weak<Environment>>>> = Mutex::new(None);

/// LMDB wants whole pages.
fn whole_pages(bytes: usize) -> usize {
    const UNIT: usize = 1 << 16;
    bytes.clamp(UNIT, isize::MAX as usize - UNIT).next_multiple_of(UNIT)
}

impl Environment {
    /// Opens an existing file for reading.
    ///
    /// # Errors
    /// The file cannot be opened, or is no LMDB file.
    pub fn open(path: &Path, map_size: usize) -> Result<Arc<Self>, Error> {
        Self::shared(path, map_size, None)
    }

    /// Opens a file for reading and writing; one that is not there is created with `mode`, subject to the umask.
    ///
    /// # Errors
    /// As [`Self::open`]; [`Error::Busy`] when this process has it open for reading.
    pub fn open_writable(path: &Path, map_size: usize, mode: u32) -> Result<Arc<Self>, Error> {
        Self::shared(path, map_size, Some(mode))
    }

    fn shared(path: &Path, map_size: usize, create: Option<u32>) -> Result<Arc<Self>, Error> {
        let mut options = OpenOptions::new();
        options.read(true);
        if let Some(mode) = create {
            options.write(true).create(true).mode(mode);
        }
        let file = options.open(path)?;
        let name = path.canonicalize()?;
        let mut guard = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        let open = guard.get_or_insert_default();
        open.retain(|_, environment| environment.strong_count() > 0);
        if let Some(environment) = open.get(&name).and_then(Weak::upgrade) {
            let (ours, asked) = (environment.file.metadata()?, file.metadata()?);
            let same_file = (ours.dev(), ours.ino()) == (asked.dev(), asked.ino());
            if same_file && (environment.writable || create.is_none()) {
                return Ok(environment);
            }
            return Err(Error::Busy);
        }
        let environment = Arc::new(Self::fresh(&name, file, map_size, create.is_some())?);
        open.insert(name, Arc::downgrade(&environment));
        Ok(environment)
    }

    fn fresh(path: &Path, file: File, map_size: usize, writable: bool) -> Result<Self, Error> {
        let mut options = EnvOpenOptions::new().read_txn_without_tls();
        options.map_size(whole_pages(map_size.max(usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX))));
        let mut flags = EnvFlags::NO_SUB_DIR | EnvFlags::NO_LOCK;
        if !writable {
            flags |= EnvFlags::READ_ONLY;
        }
        // A new file gets its first pages while it is opened, and that wants the lock too.
        let locked = Locked::take(&file, writable)?;
        // SAFETY: NO_LOCK leaves it to us to keep readers and writers apart: `read` and `write` below are the only ways
        // to a transaction, and each holds the record lock that all programs using these files take.
        let options = unsafe { options.flags(flags) };
        // SAFETY: the file is mapped. Whoever changes it without the lock, or truncates it, could harm us; such files are
        // only writable by those who may change this program's configuration.
        let env: Env = unsafe { options.open(path) }?;
        let database = if writable {
            let mut transaction = env.write_txn()?;
            let database = env.create_database(&mut transaction, None)?;
            transaction.commit()?;
            database
        } else {
            let transaction = env.read_txn()?;
            let database = env
                .open_database(&transaction, None)?
                .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no main database"))?;
            transaction.commit()?;
            database
        };
        drop(locked);
        Ok(Self { env, database, file, writable, turn: Mutex::new(()) })
    }

    /// The open descriptor, to watch the file with.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The value of a key, shown to `with` while the file is locked.
    ///
    /// # Errors
    /// The lock or the file fails.
    pub fn get<T>(&self, key: &[u8], with: impl FnOnce(&[u8]) -> T) -> Result<Option<T>, Error> {
        self.get_first([key], |_, value| with(value))
    }

    /// The value of the first key that is there, under one lock; `with` gets the number of the key too.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn get_first<'k, T>(
        &self,
        keys: impl IntoIterator<Item = &'k [u8]>,
        with: impl FnOnce(usize, &[u8]) -> T,
    ) -> Result<Option<T>, Error> {
        self.read(|database, transaction| {
            for (number, key) in keys.into_iter().enumerate() {
                match database.get(transaction, key) {
                    Ok(Some(value)) => return Ok(Some(with(number, value))),
                    // Nothing can be stored under a key of that length.
                    Ok(None) | Err(heed::Error::Mdb(MdbError::BadValSize)) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Ok(None)
        })
    }

    /// Gives every entry in key order to `each`; the file stays locked meanwhile.
    ///
    /// # Errors
    /// The lock or the file fails, or `each` does.
    pub fn for_each(&self, mut each: impl FnMut(&[u8], &[u8]) -> io::Result<()>) -> Result<(), Error> {
        self.read(|database, transaction| {
            for entry in database.iter(transaction)? {
                let (key, value) = entry?;
                each(key, value)?;
            }
            Ok(())
        })
    }

    fn read<T>(
        &self,
        work: impl FnOnce(&Database<Bytes, Bytes>, &heed::RoTxn<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let _locked = Locked::take(&self.file, false)?;
        let transaction = match self.env.read_txn() {
            Err(heed::Error::Mdb(MdbError::MapResized)) => {
                // SAFETY: we hold our turn, so no transaction is active. 0 takes over the file's size.
                unsafe { self.env.resize(0) }?;
                self.env.read_txn()?
            }
            other => other?,
        };
        work(&self.database, &transaction)
    }

    /// Runs `work` in one transaction under the exclusive lock and commits. When the map is full it is doubled and `work`
    /// runs again from the start.
    ///
    /// # Errors
    /// The lock or the file fails, or `work` does; then nothing is changed.
    pub fn write<T>(&self, mut work: impl FnMut(&mut Transaction<'_>) -> Result<T, Error>) -> Result<T, Error> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let _locked = Locked::take(&self.file, true)?;
        loop {
            let outcome = self.attempt(&mut work);
            let full = |error: &heed::Error| matches!(error, heed::Error::Mdb(MdbError::MapFull));
            let resized = |error: &heed::Error| matches!(error, heed::Error::Mdb(MdbError::MapResized));
            match outcome {
                Err(Error::Database(error)) if full(&error) => {
                    let size = self.env.info().map_size;
                    let doubled =
                        size.checked_mul(2).filter(|size| *size <= isize::MAX as usize).ok_or(Error::TooLarge(size))?;
                    // SAFETY: we hold our turn and the attempt's transaction is gone.
                    unsafe { self.env.resize(doubled) }?;
                }
                Err(Error::Database(error)) if resized(&error) => {
                    // SAFETY: as above; 0 takes over the file's size.
                    unsafe { self.env.resize(0) }?;
                }
                outcome => return outcome,
            }
        }
    }

    fn attempt<T>(&self, work: &mut impl FnMut(&mut Transaction<'_>) -> Result<T, Error>) -> Result<T, Error> {
        let mut transaction = Transaction { database: self.database, inner: self.env.write_txn()? };
        let result = work(&mut transaction)?;
        transaction.inner.commit()?;
        Ok(result)
    }
}

/// A change in progress.
pub struct Transaction<'e> {
    database: Database<Bytes, Bytes>,
    inner: heed::RwTxn<'e>,
}

impl Transaction<'_> {
    /// Removes every entry.
    ///
    /// # Errors
    /// Of the file.
    pub fn clear(&mut self) -> Result<(), Error> {
        Ok(self.database.clear(&mut self.inner)?)
    }

    /// Adds an entry; `false` when the key is there already and `replace` is not set.
    ///
    /// # Errors
    /// Of the file; a key of no bytes or more than [`MAX_KEY`].
    pub fn put(&mut self, key: &[u8], value: &[u8], replace: bool) -> Result<bool, Error> {
        let flags = if replace { PutFlags::empty() } else { PutFlags::NO_OVERWRITE };
        match self.database.put_with_flags(&mut self.inner, flags, key, value) {
            Ok(()) => Ok(true),
            Err(heed::Error::Mdb(MdbError::KeyExist)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes an entry; whether there was one.
    ///
    /// # Errors
    /// Of the file.
    pub fn delete(&mut self, key: &[u8]) -> Result<bool, Error> {
        match self.database.delete(&mut self.inner, key) {
            Ok(found) => Ok(found),
            Err(heed::Error::Mdb(MdbError::BadValSize)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// A record lock on the whole file, released on drop.
struct Locked<'f>(&'f File);

impl<'f> Locked<'f> {
    fn take(file: &'f File, exclusive: bool) -> io::Result<Self> {
        lock(file, if exclusive { libc::F_WRLCK } else { libc::F_RDLCK })?;
        Ok(Self(file))
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        // Unlocking a range that is locked does not fail.
        let _ = lock(self.0, libc::F_UNLCK);
    }
}

fn lock(file: &File, kind: i32) -> io::Result<()> {
    let range = libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    loop {
        // The lock belongs to our description of the file: it conflicts with other programs' record locks, but closing
        // another descriptor of the same file (LMDB has its own) does not lose it.
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let request = FcntlArg::F_OFD_SETLKW(&range);
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let request = FcntlArg::F_SETLKW(&range);
        match fcntl(file, request) {
            Ok(_) => return Ok(()),
            Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_the_map_grows() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("t.lmdb");
        let writer = Environment::open_writable(&path, 1 << 16, 0o644).expect("create");
        writer
            .write(|transaction| {
                transaction.clear()?;
                for number in 0..10_000_u32 {
                    assert!(transaction.put(&number.to_be_bytes(), &[7; 100], false)?);
                }
                assert!(!transaction.put(&5_u32.to_be_bytes(), b"x", false)?);
                Ok(())
            })
            .expect("write");
        assert_eq!(writer.get(&5_u32.to_be_bytes(), <[u8]>::len).expect("read"), Some(100));
        assert!(matches!(Environment::open(&path, 1 << 16), Ok(same) if Arc::ptr_eq(&same, &writer)));
        drop(writer);
        let reader = Environment::open(&path, 1 << 16).expect("open");
        let mut count = 0;
        reader
            .for_each(|_, _| {
                count += 1;
                Ok(())
            })
            .expect("read");
        assert_eq!(count, 10_000);
        assert!(matches!(Environment::open_writable(&path, 1 << 16, 0o644), Err(Error::Busy)));
        assert_eq!(reader.get(&[1; 600], <[u8]>::len).expect("no such key"), None);
    }

    #[test]
    fn files_that_are_no_databases_are_refused() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("t.lmdb");
        std::fs::write(&path, vec![b'x'; 8192]).expect("write");
        assert!(Environment::open(&path, 1 << 16).is_err());
        assert!(matches!(Environment::open(&directory.path().join("none"), 1 << 16), Err(Error::Io(_))));
    }
}
