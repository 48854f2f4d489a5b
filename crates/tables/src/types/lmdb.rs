//! `lmdb:`: `{path}.lmdb`, the same file as the reference's.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bstr::BString;
use sys::lmdb::{Environment, MAX_KEY};

use crate::error::{Error, Fault};
use crate::file_watch::FileWatch;
use crate::settings::Settings;
use crate::table::{EachEntry, Source};

/// Whether keys and values end with a NUL in this file: unknown until a lookup finds something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Nul {
    Unknown,
    With,
    Without,
}

/// An open file.
pub(crate) struct Lmdb {
    environment: Arc<Environment>,
    nul: Cell<Nul>,
    watch: FileWatch,
}

/// `{path}.lmdb`.
pub(crate) fn file_name(name: &str) -> PathBuf {
    PathBuf::from(format!("{name}.lmdb"))
}

impl Lmdb {
    pub(crate) fn open(name: &str, settings: &Settings) -> Result<Self, Error> {
        let path = file_name(name);
        let environment = Environment::open(&path, settings.lmdb_map_size).map_err(|error| open_error(&path, error))?;
        // The content may change under the open file; only another file in its place is a change.
        let watch = FileWatch::by_link(environment.file())
            .map_err(|source| Error::OpenDatabase { path: path.clone(), source })?;
        crate::stale::warn_if_older_than_source(environment.file(), &path, Path::new(name));
        Ok(Self { environment, nul: Cell::new(Nul::Unknown), watch })
    }
}

/// The error of opening as ours.
pub(crate) fn open_error(path: &Path, error: sys::lmdb::Error) -> Error {
    match error {
        sys::lmdb::Error::Io(source) => Error::OpenDatabase { path: path.to_owned(), source },
        error => Error::Format { path: path.to_owned(), reason: error.to_string() },
    }
}

/// A value without the NUL at its end.
pub(crate) fn without_nul(value: &[u8]) -> &[u8] {
    value.strip_suffix(b"\0").unwrap_or(value)
}

impl Source for Lmdb {
    fn lookup(&self, key: &[u8]) -> Result<Option<BString>, Fault> {
        let failed = |error: sys::lmdb::Error| Fault(error.to_string());
        if self.nul.get() != Nul::Without && key.len() < MAX_KEY {
            let mut buffer = [0; MAX_KEY];
            buffer[..key.len()].copy_from_slice(key);
            let terminated = &buffer[..=key.len()];
            if let Some(value) = self.environment.get(terminated, |value| without_nul(value).into()).map_err(failed)? {
                self.nul.set(Nul::With);
                return Ok(Some(value));
            }
        }
        if self.nul.get() != Nul::With
            && !key.is_empty()
            && let Some(value) = self.environment.get(key, |value| without_nul(value).into()).map_err(failed)?
        {
            self.nul.set(Nul::Without);
            return Ok(Some(value));
        }
        Ok(None)
    }

    fn has_changed(&self) -> bool {
        self.watch.has_changed()
    }

    fn entries(&self, each: &mut EachEntry<'_>) -> Option<Result<(), Fault>> {
        let result = self.environment.for_each(|key, value| each(without_nul(key), without_nul(value)));
        Some(result.map_err(|error| Fault(error.to_string())))
    }
}
