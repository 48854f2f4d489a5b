//! `lmdb:`: `{path}.lmdb`, the same file as the reference's.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bstr::BString;
use sys::lmdb::{Environment, MAX_KEY};

use crate::error::{Error, Fault};
use crate::file_watch::FileWatch;
use crate::settings::Settings;
use crate::table::{EachEntry, Owner, Source};

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
        let value = |value: &[u8]| BString::from(without_nul(value));
        if key.is_empty() || key.len() >= MAX_KEY {
            // The terminated form does not fit; the plain one may, by a byte.
            let fits = (key.len() == MAX_KEY && self.nul.get() != Nul::With).then_some(key);
            return self.environment.get_first(fits, |_, found| value(found)).map_err(failed);
        }
        let mut buffer = [0; MAX_KEY];
        buffer[..key.len()].copy_from_slice(key);
        let terminated = &buffer[..=key.len()];
        match self.nul.get() {
            Nul::With => self.environment.get(terminated, value).map_err(failed),
            Nul::Without => self.environment.get(key, value).map_err(failed),
            Nul::Unknown => {
                let forms = [(terminated, Nul::With), (key, Nul::Without)];
                let found = self
                    .environment
                    .get_first(forms.map(|(form, _)| form), |number, found| (forms[number].1, value(found)))
                    .map_err(failed)?;
                Ok(found.map(|(form, found)| {
                    self.nul.set(form);
                    found
                }))
            }
        }
    }

    fn has_changed(&self) -> bool {
        self.watch.has_changed()
    }

    fn owner(&self) -> Owner {
        self.watch.owner()
    }

    fn entries(&self, each: &mut EachEntry<'_>) -> Option<Result<(), Fault>> {
        let result = self.environment.for_each(|key, value| each(without_nul(key), without_nul(value)));
        Some(result.map_err(|error| Fault(error.to_string())))
    }
}
