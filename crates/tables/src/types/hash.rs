//! `hash:` and `btree:`: tables that used to be Berkeley DB files.
//!
//! `{path}.db` is read as it is. What our tools build under these names is LMDB beside it, `{path}.lmdb`. The newer of the
//! two counts.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bstr::BString;

use super::berkeley::Berkeley;
use super::lmdb::{self, Lmdb, Nul, without_nul};
use crate::error::{Error, Fault};
use crate::file_watch::FileWatch;
use crate::settings::Settings;
use crate::table::{EachEntry, Owner, Source};

/// `{path}.db`.
pub(crate) fn berkeley_name(name: &str) -> PathBuf {
    PathBuf::from(format!("{name}.db"))
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).ok()?.modified().ok()
}

/// Opens whichever file is there and newer.
pub(crate) fn open(name: &str, settings: &Settings) -> Result<Box<dyn Source>, Error> {
    let (berkeley, lmdb) = (berkeley_name(name), lmdb::file_name(name));
    match (modified(&berkeley), modified(&lmdb)) {
        (None, Some(_)) => Ok(Box::new(Lmdb::open(name, settings)?)),
        (Some(old), Some(new)) if new >= old => Ok(Box::new(Lmdb::open(name, settings)?)),
        (db, other) => {
            if db.is_some() && other.is_some() {
                log::warning!("{} is older than {}, which is used instead", lmdb.display(), berkeley.display());
            }
            Ok(Box::new(OldHash::open(&berkeley, name)?))
        }
    }
}

/// A table in a Berkeley DB file.
struct OldHash {
    berkeley: Berkeley,
    nul: Cell<Nul>,
    watch: FileWatch,
}

impl OldHash {
    fn open(path: &Path, name: &str) -> Result<Self, Error> {
        let berkeley = Berkeley::open(path)?;
        // Our tools touch the old file's permissions when they build its successor, so that those who have it open look.
        let watch = FileWatch::by_status(berkeley.file())
            .map_err(|source| Error::OpenDatabase { path: path.to_owned(), source })?;
        crate::stale::warn_if_older_than_source(berkeley.file(), path, Path::new(name));
        Ok(Self { berkeley, nul: Cell::new(Nul::Unknown), watch })
    }
}

impl Source for OldHash {
    fn lookup(&self, key: &[u8]) -> Result<Option<BString>, Fault> {
        if self.nul.get() != Nul::Without {
            let terminated = [key, b"\0"].concat();
            if let Some(value) = self.berkeley.get(&terminated)? {
                self.nul.set(Nul::With);
                return Ok(Some(without_nul(&value).into()));
            }
        }
        if self.nul.get() != Nul::With
            && let Some(value) = self.berkeley.get(key)?
        {
            self.nul.set(Nul::Without);
            return Ok(Some(without_nul(&value).into()));
        }
        Ok(None)
    }

    fn has_changed(&self) -> bool {
        self.watch.has_changed()
    }

    fn owner(&self) -> Owner {
        self.watch.owner()
    }

    fn entries(&self, each: &mut EachEntry<'_>) -> Option<Result<(), Fault>> {
        Some(self.berkeley.for_each(&mut |key, value| each(without_nul(key), without_nul(value))))
    }
}
