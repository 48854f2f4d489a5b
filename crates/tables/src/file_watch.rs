//! Noticing that a table's file changed: the open descriptor's modification time and link count.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;

/// The file as it was when opened. The descriptor stays open, so a jail does not matter.
pub(crate) struct FileWatch {
    file: File,
    modified: Option<(i64, i64)>,
}

impl FileWatch {
    /// Notices rewriting and replacement.
    pub(crate) fn by_content(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self { file: file.try_clone()?, modified: Some((metadata.mtime(), metadata.mtime_nsec())) })
    }

    /// Notices replacement only: tables with several writers show new content without being opened again.
    pub(crate) fn by_link(file: &File) -> io::Result<Self> {
        Ok(Self { file: file.try_clone()?, modified: None })
    }

    /// Whether the open file is gone from its directory or was written to. An error of `fstat(2)` is no change.
    pub(crate) fn has_changed(&self) -> bool {
        self.file.metadata().is_ok_and(|metadata| {
            metadata.nlink() == 0
                || self.modified.is_some_and(|modified| modified != (metadata.mtime(), metadata.mtime_nsec()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn replacement_and_rewriting_are_noticed() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("t");
        fs::write(&path, "a").expect("write");
        let file = File::options().write(true).open(&path).expect("open");
        let (content, link) = (FileWatch::by_content(&file).expect("stat"), FileWatch::by_link(&file).expect("stat"));
        assert!(!content.has_changed() && !link.has_changed());
        file.set_modified(std::time::UNIX_EPOCH).expect("time");
        assert!(content.has_changed() && !link.has_changed());
        fs::remove_file(&path).expect("remove");
        assert!(link.has_changed());
    }
}
