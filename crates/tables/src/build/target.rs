//! A table that can be written: `lmdb:`, `cdb:`, and `hash:`/`btree:`, which become LMDB.

use std::collections::HashSet;
use std::fs::{self, File, Permissions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bstr::{BStr, BString};
use nix::fcntl::{Flock, FlockArg};
use sys::lmdb::Environment;

use crate::error::Error;
use crate::settings::Settings;
use crate::table::shown;
use crate::types::{cdb, hash, lmdb};

/// A key and its value, without terminators.
pub type Entry = (BString, BString);

/// What happens to an entry whose key is there already. The first one stays unless it is replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Duplicates {
    /// A warning.
    #[default]
    Warn,
    /// Nothing (`-w`).
    Ignore,
    /// The last one stays (`-r`).
    Replace,
}

/// Whether stored keys and values end with a NUL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Terminator {
    /// As usual for the type: with one for LMDB, without for cdb.
    #[default]
    OfType,
    /// With (`-N`).
    Nul,
    /// Without (`-n`).
    None,
}

/// How a table is written.
#[derive(Clone, Copy, Debug)]
pub struct WriteOptions {
    /// Keys that are there already.
    pub duplicates: Duplicates,
    /// Terminators.
    pub terminator: Terminator,
    /// Permissions of a file that has to be made.
    pub mode: u32,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self { duplicates: Duplicates::default(), terminator: Terminator::default(), mode: 0o644 }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Format {
    Lmdb,
    /// `hash:`, `btree:`.
    LmdbBesideBerkeley,
    Cdb,
    /// Behind a table server; entry by entry only.
    Remote,
}

/// A table to write.
#[derive(Clone, Debug)]
pub struct Target {
    kind: String,
    name: String,
    format: Format,
}

impl Target {
    /// From `type:path` or `path`, which has the default type.
    ///
    /// # Errors
    /// A type that cannot be built.
    pub fn parse(text: &str, default_type: &str) -> Result<Self, Error> {
        let (kind, name) = text.split_once(':').unwrap_or((default_type, text));
        let unsupported = Error::Unsupported { kind: kind.to_owned(), operation: "bulk-mode creation" };
        let format = match kind {
            "lmdb" => Format::Lmdb,
            "hash" | "btree" => Format::LmdbBesideBerkeley,
            "cdb" => Format::Cdb,
            kind if crate::REMOTE_TYPES.iter().any(|remote| remote.name == kind && remote.changeable) => Format::Remote,
            kind if crate::REMOTE_TYPES.iter().any(|remote| remote.name == kind) => return Err(unsupported),
            kind if crate::open::LOCAL.contains(&kind) => return Err(unsupported),
            "dbm" | "sdbm" => return Err(Error::NotAvailable { kind: kind.to_owned() }),
            kind => return Err(Error::UnknownType { kind: kind.to_owned() }),
        };
        if name.is_empty() {
            return Err(Error::Name { name: text.to_owned(), reason: "expecting \"type:name\" form".to_owned() });
        }
        Ok(Self { kind: kind.to_owned(), name: name.to_owned(), format })
    }

    /// The source text: the path without the type.
    #[must_use]
    pub fn source(&self) -> &Path {
        Path::new(&self.name)
    }

    /// `type:path`.
    #[must_use]
    pub fn title(&self) -> String {
        format!("{}:{}", self.kind, self.name)
    }

    /// Whether the table can be made from a source file.
    ///
    /// # Errors
    /// It can only be changed entry by entry.
    pub fn can_be_built(&self) -> Result<(), Error> {
        if self.format == Format::Remote { Err(self.unsupported("bulk-mode creation")) } else { Ok(()) }
    }

    /// The file that is written.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        match self.format {
            Format::Lmdb | Format::LmdbBesideBerkeley => lmdb::file_name(&self.name),
            Format::Cdb => cdb::file_name(&self.name),
            Format::Remote => PathBuf::from(&self.name),
        }
    }

    /// Opens the table for changes entry by entry, as long as what is returned is kept: a process cannot change what it has
    /// open for reading only. A table that is not there is made, and belongs to the directory's owner. `None` for types that
    /// need no such preparation.
    ///
    /// # Errors
    /// The file cannot be opened or made.
    pub fn keep_writable(&self, settings: &Settings) -> Result<Option<KeptWritable>, Error> {
        if !matches!(self.format, Format::Lmdb | Format::LmdbBesideBerkeley) {
            return Ok(None);
        }
        let path = self.file();
        if !path.exists() {
            self.rebuild(&[], settings, &WriteOptions { mode: 0o600, ..WriteOptions::default() })?;
            let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
            if nix::unistd::geteuid().is_root()
                && let Some(owner) = directory.and_then(|directory| fs::metadata(directory).ok())
            {
                std::os::unix::fs::chown(&path, Some(owner.uid()), Some(owner.gid()))
                    .map_err(|source| Error::Write { path: path.clone(), source })?;
            }
        }
        Ok(Some(KeptWritable { _environment: self.open_lmdb(settings, 0o600)? }))
    }

    /// Replaces the whole content in one step: whoever reads sees the old table or the new one.
    ///
    /// # Errors
    /// The file cannot be written; then the old content is still there.
    pub fn rebuild(&self, entries: &[Entry], settings: &Settings, options: &WriteOptions) -> Result<(), Error> {
        match self.format {
            Format::Cdb => self.write_cdb(entries, options),
            Format::Remote => Err(self.unsupported("bulk-mode creation")),
            Format::Lmdb | Format::LmdbBesideBerkeley => self.write_lmdb(entries, settings, options, true),
        }
    }

    /// Adds entries to what is there (`-i`).
    ///
    /// # Errors
    /// The file cannot be written, or the type only builds whole tables; then nothing is changed.
    pub fn update(&self, entries: &[Entry], settings: &Settings, options: &WriteOptions) -> Result<(), Error> {
        match self.format {
            Format::Cdb => Err(self.unsupported("incremental updates")),
            Format::Remote => self.change_remote(entries, settings, options),
            Format::Lmdb | Format::LmdbBesideBerkeley => {
                self.bring_over(settings, options)?;
                self.write_lmdb(entries, settings, options, false)
            }
        }
    }

    /// Removes keys (`-d`); whether there was any of them.
    ///
    /// # Errors
    /// The file is not there or cannot be written, or the type only builds whole tables; then nothing is changed.
    pub fn delete(&self, keys: &[BString], settings: &Settings) -> Result<bool, Error> {
        if self.format == Format::Cdb {
            return Err(self.unsupported("deleting entries"));
        }
        if self.format == Format::Remote {
            let table = self.open_remote(settings)?;
            let mut any = false;
            for key in keys {
                any |= self.changed(table.change(key, None))?;
            }
            return Ok(any);
        }
        self.bring_over(settings, &WriteOptions::default())?;
        let path = self.file();
        if let Err(source) = fs::metadata(&path) {
            return Err(Error::OpenDatabase { path, source });
        }
        let environment = self.open_lmdb(settings, 0o644)?;
        let mut any = false;
        environment
            .write(|transaction| {
                any = false;
                for key in keys {
                    // Either form may be in the file.
                    any |= transaction.delete(&[key.as_slice(), b"\0"].concat())?;
                    any |= transaction.delete(key)?;
                }
                Ok(())
            })
            .map_err(|error| write_error(&path, error))?;
        Ok(any)
    }

    fn open_remote(&self, settings: &Settings) -> Result<std::rc::Rc<crate::Table>, Error> {
        crate::open::open(&self.title(), settings, crate::Flags::DEFAULT)
    }

    fn changed(&self, outcome: Option<Result<bool, crate::LookupError>>) -> Result<bool, Error> {
        let outcome = outcome.ok_or_else(|| self.unsupported("incremental updates"))?;
        outcome.map_err(|error| Error::Name { name: self.title(), reason: error.reason })
    }

    fn change_remote(&self, entries: &[Entry], settings: &Settings, options: &WriteOptions) -> Result<(), Error> {
        let table = self.open_remote(settings)?;
        for (key, value) in entries {
            if options.duplicates != Duplicates::Replace {
                let there = table.lookup(key);
                if there.map_err(|error| Error::Name { name: self.title(), reason: error.reason })?.is_some() {
                    if options.duplicates == Duplicates::Warn {
                        self.warn_of_duplicate(key);
                    }
                    continue;
                }
            }
            self.changed(table.change(key, Some(value)))?;
        }
        Ok(())
    }

    fn unsupported(&self, operation: &'static str) -> Error {
        Error::Unsupported { kind: self.kind.clone(), operation }
    }

    fn open_lmdb(&self, settings: &Settings, mode: u32) -> Result<Arc<Environment>, Error> {
        let path = self.file();
        let failed = |source| Error::OpenDatabase { path: path.clone(), source };
        let made = File::options().read(true).write(true).create_new(true).mode(mode & 0o600).open(&path);
        match made {
            // The mode is the one asked for, whatever the umask.
            Ok(file) => file.set_permissions(Permissions::from_mode(mode)).map_err(failed)?,
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(error)),
        }
        Environment::open_writable(&path, settings.lmdb_map_size, mode).map_err(|error| lmdb::open_error(&path, error))
    }

    /// `hash:` tables that are still Berkeley DB: their entries are taken over before a change to part of them.
    fn bring_over(&self, settings: &Settings, options: &WriteOptions) -> Result<(), Error> {
        if self.format != Format::LmdbBesideBerkeley {
            return Ok(());
        }
        let modified = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
        let old = hash::berkeley_name(&self.name);
        let Some(written) = modified(&old) else { return Ok(()) };
        if modified(&self.file()).is_some_and(|newer| newer >= written) {
            return Ok(());
        }
        let table = hash::open(&self.name, settings)?;
        let mut entries = Vec::new();
        let listed = table.entries(&mut |key, value| {
            entries.push((key.into(), value.into()));
            Ok(())
        });
        if let Some(Err(fault)) = listed {
            return Err(Error::Format { path: old, reason: fault.to_string() });
        }
        let mode = fs::metadata(&old).map_or(options.mode, |metadata| metadata.mode() & 0o644);
        let options = WriteOptions { duplicates: Duplicates::Ignore, mode, ..*options };
        self.write_lmdb(&entries, settings, &options, true)
    }

    fn write_lmdb(
        &self,
        entries: &[Entry],
        settings: &Settings,
        options: &WriteOptions,
        whole: bool,
    ) -> Result<(), Error> {
        let path = self.file();
        let terminator: &[u8] = if options.terminator == Terminator::None { b"" } else { b"\0" };
        for (key, _) in entries {
            if key.is_empty() || key.len() + terminator.len() > sys::lmdb::MAX_KEY {
                let (length, most) = (key.len(), sys::lmdb::MAX_KEY - terminator.len());
                let reason = format!("key of {length} bytes (most: {most}): \"{}\"", shown(key));
                return Err(Error::Format { path, reason });
            }
        }
        let is_first = !path.exists();
        let environment = self.open_lmdb(settings, options.mode)?;
        let replace = options.duplicates == Duplicates::Replace;
        let mut repeated: Vec<&BString> = Vec::new();
        let mut stored_key = Vec::new();
        let mut stored_value = Vec::new();
        environment
            .write(|transaction| {
                repeated.clear();
                if whole {
                    transaction.clear()?;
                }
                for (key, value) in entries {
                    for (stored, text) in [(&mut stored_key, key), (&mut stored_value, value)] {
                        stored.clear();
                        stored.extend_from_slice(text);
                        stored.extend_from_slice(terminator);
                    }
                    if !transaction.put(&stored_key, &stored_value, replace)? {
                        repeated.push(key);
                    }
                }
                Ok(())
            })
            .map_err(|error| write_error(&path, error))?;
        if options.duplicates == Duplicates::Warn {
            for key in repeated {
                self.warn_of_duplicate(key);
            }
        }
        self.leave_a_sign(is_first);
        Ok(())
    }

    fn warn_of_duplicate(&self, key: &BString) {
        // The mark of a whole alias table is set again by every change.
        if key == "@" {
            return;
        }
        log::warning!("{}: duplicate entry: \"{key}\"", self.title());
    }

    /// Lets programs that have the Berkeley DB file open know that it has a successor: its status changes, not its time.
    /// It is said once; scripts that rebuild tables every night are not to complain every night.
    fn leave_a_sign(&self, is_first: bool) {
        if self.format != Format::LmdbBesideBerkeley {
            return;
        }
        let old = hash::berkeley_name(&self.name);
        let Ok(metadata) = fs::metadata(&old) else { return };
        if is_first {
            log::warning!("{} is out of date now; {} is used instead", old.display(), self.file().display());
        }
        if let Err(error) = fs::set_permissions(&old, metadata.permissions()) {
            log::warning!("{}: {error}; daemons may go on with it until they are restarted", old.display());
        }
    }

    fn write_cdb(&self, entries: &[Entry], options: &WriteOptions) -> Result<(), Error> {
        let path = self.file();
        let mut temporary = path.clone().into_os_string();
        temporary.push(".tmp");
        let temporary = PathBuf::from(temporary);
        let failed = |source| Error::Write { path: temporary.clone(), source };

        let kept = self.unique(entries, options.duplicates);
        let terminator: &[u8] = if options.terminator == Terminator::Nul { b"\0" } else { b"" };
        let stored: Vec<(Vec<u8>, Vec<u8>)> = kept
            .iter()
            .map(|(key, value)| ([key.as_slice(), terminator].concat(), [value.as_slice(), terminator].concat()))
            .collect();

        // Another tool may be renaming the file that we are about to lock.
        let file = loop {
            let file = File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(options.mode & 0o600)
                .open(&temporary)
                .map_err(failed)?;
            let locked = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| failed(error.into()))?;
            let same = fs::metadata(&temporary).and_then(|there| Ok(there.ino() == locked.metadata()?.ino()));
            if same.unwrap_or(false) {
                break locked;
            }
        };
        file.set_len(0).map_err(failed)?;
        file.set_permissions(Permissions::from_mode(options.mode)).map_err(failed)?;
        let mut output = BufWriter::new(&*file);
        cdb::write(&mut output, stored.iter().map(|(key, value)| (key.as_slice(), value.as_slice())))
            .map_err(failed)?;
        output.flush().map_err(failed)?;
        drop(output);
        file.sync_all().map_err(failed)?;
        fs::rename(&temporary, &path).map_err(|source| Error::Write { path, source })
    }

    /// The entries that stay when keys repeat.
    fn unique<'e>(&self, entries: &'e [Entry], duplicates: Duplicates) -> Vec<&'e Entry> {
        let mut seen = HashSet::new();
        let mut kept: Vec<&Entry> = Vec::new();
        if duplicates == Duplicates::Replace {
            kept.extend(entries.iter().rev().filter(|(key, _)| seen.insert(BStr::new(key))));
            kept.reverse();
            return kept;
        }
        for entry in entries {
            if seen.insert(BStr::new(&entry.0)) {
                kept.push(entry);
            } else if duplicates == Duplicates::Warn {
                self.warn_of_duplicate(&entry.0);
            }
        }
        kept
    }
}

/// See [`Target::keep_writable`].
pub struct KeptWritable {
    _environment: Arc<Environment>,
}

impl std::fmt::Debug for KeptWritable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeptWritable")
    }
}

fn write_error(path: &Path, error: sys::lmdb::Error) -> Error {
    match error {
        sys::lmdb::Error::Io(source) => Error::Write { path: path.to_owned(), source },
        error => Error::Format { path: path.to_owned(), reason: error.to_string() },
    }
}
