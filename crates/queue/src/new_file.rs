//! New queue files: `incoming/<microseconds>.<pid>` first, then the id made of the file's own inode.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;
use std::process;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::{Directory, QueueId, Spool, state};

/// Tries to find a free temporary name. Another one is a microsecond away.
const ATTEMPTS: u32 = 1000;

/// A queue file that is being written. Dropped before [`NewFile::ready`], it is removed.
#[derive(Debug)]
pub struct NewFile {
    file: Option<Arc<File>>,
    path: PathBuf,
    id: QueueId,
    directory: Directory,
    created: Duration,
}

impl NewFile {
    pub(crate) fn create(spool: &Spool, directory: Directory) -> io::Result<NewFile> {
        let parent = spool.directory(directory);
        let pid = process::id();
        let mut attempt = 0;
        let (file, temporary) = loop {
            let path = parent.join(format!("{}.{pid}", now().subsec_micros()));
            match OpenOptions::new().read(true).write(true).create_new(true).mode(state::NEW).open(&path) {
                Ok(file) => break (file, path),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempt < ATTEMPTS => attempt += 1,
                Err(error) => return Err(error),
            }
        };
        let named = NewFile::name(spool, directory, &file, &temporary);
        match named {
            Ok((id, path, created)) => Ok(NewFile { file: Some(Arc::new(file)), path, id, directory, created }),
            Err(error) => {
                // Best effort: recovery finds it otherwise.
                let _ = fs::remove_file(&temporary);
                Err(error)
            }
        }
    }

    fn name(
        spool: &Spool,
        directory: Directory,
        file: &File,
        temporary: &std::path::Path,
    ) -> io::Result<(QueueId, PathBuf, Duration)> {
        let inode = file.metadata()?.ino();
        let time = now();
        let id = if spool.layout().long_ids {
            QueueId::long(time.as_secs(), time.subsec_micros(), inode)
        } else {
            QueueId::short(time.subsec_micros(), inode)
        };
        let path = spool.path(directory, &id);
        spool.rename_path(temporary, &path)?;
        Ok((id, path, time))
    }

    /// The id, final from the start.
    #[must_use]
    pub fn id(&self) -> &QueueId {
        &self.id
    }

    /// Where the file is.
    #[must_use]
    pub fn directory(&self) -> Directory {
        self.directory
    }

    /// When the id was made, since the epoch.
    #[must_use]
    pub fn created(&self) -> Duration {
        self.created
    }

    /// The open file.
    #[must_use]
    pub fn file(&self) -> &Arc<File> {
        self.file.as_ref().expect("the file is there until it is ready")
    }

    /// Moves the incomplete file, as to `hold`.
    ///
    /// # Errors
    /// The error of `rename(2)`.
    pub fn rename(&mut self, spool: &Spool, to: Directory) -> io::Result<()> {
        let path = spool.path(to, &self.id);
        spool.rename_path(&self.path, &path)?;
        self.path = path;
        self.directory = to;
        Ok(())
    }

    /// Says that the file is complete (mode 0700) and flushes it to disk. Only after this has come back may the client
    /// be told that the message is accepted. It blocks: not for an event loop.
    ///
    /// The bit is set before the flush so that one flush makes both last.
    ///
    /// # Errors
    /// The error of `fchmod(2)` or `fsync(2)`: the file is removed then.
    pub fn ready(self) -> io::Result<QueueId> {
        self.ready_with_mode(state::READY)
    }

    /// As [`NewFile::ready`] with the bits that `maildrop` wants ([`state::MAILDROP`]).
    ///
    /// # Errors
    /// As [`NewFile::ready`].
    pub fn ready_with_mode(mut self, mode: u32) -> io::Result<QueueId> {
        let file = self.file();
        file.set_permissions(Permissions::from_mode(mode))?;
        file.sync_all()?;
        self.file = None;
        Ok(self.id.clone())
    }

    /// Takes the file as it is, incomplete; nobody removes it but recovery.
    #[must_use]
    pub fn into_file(mut self) -> Arc<File> {
        self.file.take().expect("the file is there until it is ready")
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if self.file.is_some() {
            // Best effort: an incomplete file is ignored by everybody and purged later.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Layout;

    fn spool(long_ids: bool) -> (tempfile::TempDir, Spool) {
        let root = tempfile::tempdir().expect("directory");
        for name in ["incoming", "hold", "maildrop"] {
            fs::create_dir(root.path().join(name)).expect("mkdir");
        }
        let spool = Spool::at(root.path(), Layout { long_ids, ..Layout::default() });
        (root, spool)
    }

    #[test]
    fn the_id_is_that_of_the_inode() {
        for long in [false, true] {
            let (_root, spool) = spool(long);
            let new = spool.create(Directory::Incoming).expect("create");
            let metadata = new.file().metadata().expect("stat");
            assert_eq!(new.id().inode(), Some(metadata.ino()));
            assert_eq!(new.id().is_long(), long);
            assert_eq!(metadata.mode() & 0o777, state::NEW);
            let id = new.ready().expect("ready");
            let mode = fs::metadata(spool.path(Directory::Incoming, &id)).expect("stat").mode();
            assert_eq!(mode & 0o777, state::READY);
        }
    }

    /// What is on disk when a writer stops after each step, and that it is never taken for a message before the last.
    #[test]
    fn stopping_at_each_step() {
        let (root, spool) = spool(false);
        type Step = fn(NewFile, &Spool) -> Option<Directory>;
        let steps: [(&str, Step); 5] = [
            ("dropped", |new, _| {
                drop(new);
                None
            }),
            ("killed after create", |new, _| {
                let _ = new.into_file();
                Some(Directory::Incoming)
            }),
            ("killed after the move to hold", |mut new, spool| {
                new.rename(spool, Directory::Hold).expect("rename");
                let _ = new.into_file();
                Some(Directory::Hold)
            }),
            ("ready in hold", |mut new, spool| {
                new.rename(spool, Directory::Hold).expect("rename");
                new.ready().expect("ready");
                Some(Directory::Hold)
            }),
            ("ready", |new, _| {
                new.ready().expect("ready");
                Some(Directory::Incoming)
            }),
        ];
        for (name, step) in steps {
            let place = step(spool.create(Directory::Incoming).expect("create"), &spool);
            let mut found = Vec::new();
            for directory in [Directory::Incoming, Directory::Hold] {
                for entry in spool.scan_all(directory) {
                    let path = entry.expect("scan").path;
                    found.push((directory, state::of_mode(fs::metadata(&path).expect("stat").mode())));
                    fs::remove_file(path).expect("remove");
                }
            }
            let state = if name.starts_with("ready") { state::State::Ready } else { state::State::Incomplete };
            assert_eq!(found, place.map(|place| (place, state)).into_iter().collect::<Vec<_>>(), "{name}");
        }
        drop(root);
    }
}
