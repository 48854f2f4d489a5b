//! Noticing that a table's file changed: the open descriptor's times and link count.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;

use crate::table::Owner;

/// What must stay as it was.
#[derive(Clone, Copy)]
enum Watched {
    Link,
    Content { modified: (i64, i64) },
    Status { changed: (i64, i64) },
}

/// The file as it was when opened. The descriptor stays open, so a jail does not matter.
pub(crate) struct FileWatch {
    file: File,
    watched: Watched,
}

fn modified(metadata: &Metadata) -> (i64, i64) {
    (metadata.mtime(), metadata.mtime_nsec())
}

fn status_changed(metadata: &Metadata) -> (i64, i64) {
    (metadata.ctime(), metadata.ctime_nsec())
}

impl FileWatch {
    /// Notices rewriting and replacement.
    pub(crate) fn by_content(file: &File) -> io::Result<Self> {
        let watched = Watched::Content { modified: modified(&file.metadata()?) };
        Ok(Self { file: file.try_clone()?, watched })
    }

    /// Notices replacement only: tables with several writers show new content without being opened again.
    pub(crate) fn by_link(file: &File) -> io::Result<Self> {
        Ok(Self { file: file.try_clone()?, watched: Watched::Link })
    }

    /// Notices rewriting, replacement and changes of owner or permissions.
    pub(crate) fn by_status(file: &File) -> io::Result<Self> {
        let watched = Watched::Status { changed: status_changed(&file.metadata()?) };
        Ok(Self { file: file.try_clone()?, watched })
    }

    /// Whose file it is.
    pub(crate) fn owner(&self) -> Owner {
        match self.file.metadata() {
            Ok(metadata) if metadata.uid() == 0 => Owner::Root,
            Ok(metadata) => Owner::User(metadata.uid()),
            Err(_) => Owner::Unknown,
        }
    }

    /// Whether the open file is gone from its directory or is not as it was. An error of `fstat(2)` is no change.
    pub(crate) fn has_changed(&self) -> bool {
        self.file.metadata().is_ok_and(|metadata| {
            metadata.nlink() == 0
                || match self.watched {
                    Watched::Link => false,
                    Watched::Content { modified: before } => before != modified(&metadata),
                    Watched::Status { changed } => changed != status_changed(&metadata),
                }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn replacement_and_rewriting_are_noticed() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("t");
        fs::write(&path, "a").expect("write");
        let file = File::options().write(true).open(&path).expect("open");
        file.set_permissions(Permissions::from_mode(0o600)).expect("mode");
        let (content, link) = (FileWatch::by_content(&file).expect("stat"), FileWatch::by_link(&file).expect("stat"));
        assert!(!content.has_changed() && !link.has_changed());
        file.set_modified(std::time::UNIX_EPOCH).expect("time");
        assert!(content.has_changed() && !link.has_changed());
        fs::remove_file(&path).expect("remove");
        assert!(link.has_changed());
    }
}
