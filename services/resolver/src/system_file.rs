//! A file of the system that is read before the jail, and whether it is still what it was.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::OFlag;

/// Larger files are read up to here.
const LARGEST: u64 = 16 << 20;

/// What tells a file from its later self: change time, size and the number of its names.
type Fingerprint = (i64, i64, u64, u64);

/// The file as it was when it was read. What is looked at later are descriptors that were opened then, so a jail, or the
/// rights of another account, do not matter.
#[derive(Debug)]
pub(crate) struct SystemFile {
    watched: Vec<(File, Fingerprint)>,
}

impl SystemFile {
    /// The content of the file at `path`, empty when it cannot be read, and the means to notice that it changes: by
    /// rewriting, by replacement, by a symbolic link that leads elsewhere, or by coming into being.
    pub(crate) fn read(path: &Path) -> (SystemFile, Vec<u8>) {
        let mut file = SystemFile { watched: Vec::new() };
        file.watch(open(path, OFlag::O_PATH | OFlag::O_NOFOLLOW).ok().filter(is_symbolic_link));
        let mut bytes = Vec::new();
        match open(path, OFlag::O_NONBLOCK) {
            Ok(opened) => {
                file.watch(opened.try_clone().ok());
                if let Err(error) = opened.take(LARGEST).read_to_end(&mut bytes) {
                    log::warning!("read {}: {error}", path.display());
                    bytes.clear();
                }
            }
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    log::warning!("open {}: {error}", path.display());
                }
                file.watch(path.parent().and_then(|directory| open(directory, OFlag::O_PATH).ok()));
            }
        }
        (file, bytes)
    }

    /// Whether a process that starts now might read something else.
    pub(crate) fn has_changed(&self) -> bool {
        // An error of fstat(2) is no change.
        self.watched.iter().any(|(file, before)| file.metadata().is_ok_and(|now| fingerprint(&now) != *before))
    }

    fn watch(&mut self, file: Option<File>) {
        let metadata = file.as_ref().and_then(|file| file.metadata().ok());
        self.watched.extend(file.zip(metadata).map(|(file, metadata)| (file, fingerprint(&metadata))));
    }
}

fn open(path: &Path, flags: OFlag) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)
}

fn is_symbolic_link(file: &File) -> bool {
    file.metadata().is_ok_and(|metadata| metadata.file_type().is_symlink())
}

fn fingerprint(metadata: &Metadata) -> Fingerprint {
    (metadata.ctime(), metadata.ctime_nsec(), metadata.size(), metadata.nlink())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    /// A file in a directory of its own, read; then `change`.
    fn noticed(change: impl FnOnce(&Path)) -> bool {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("resolv.conf");
        fs::write(&path, "nameserver 192.0.2.1\n").expect("write");
        let (file, bytes) = SystemFile::read(&path);
        assert_eq!(bytes, b"nameserver 192.0.2.1\n");
        assert!(!file.has_changed());
        change(&path);
        file.has_changed()
    }

    #[test]
    fn rewriting_replacement_and_removal_are_noticed() {
        assert!(!noticed(|_| {}));
        assert!(noticed(|path| fs::write(path, "nameserver 192.0.2.22\n").expect("write")));
        assert!(noticed(|path| fs::remove_file(path).expect("remove")));
        assert!(noticed(|path| {
            let new = path.with_extension("new");
            fs::write(&new, "nameserver 192.0.2.2\n").expect("write");
            fs::rename(new, path).expect("rename");
        }));
        // An editor that keeps the old file under another name.
        assert!(noticed(|path| {
            let size = fs::metadata(path).expect("metadata").len();
            fs::hard_link(path, path.with_extension("old")).expect("link");
            fs::remove_file(path).expect("remove");
            fs::write(path, vec![b'#'; size as usize + 1]).expect("write");
            // The kept name alone would do for the number of names; give up one more.
            fs::remove_file(path.with_extension("old")).expect("remove");
        }));
    }

    #[test]
    fn a_symbolic_link_that_leads_elsewhere_is_noticed() {
        let directory = tempfile::tempdir().expect("directory");
        let at = |name: &str| directory.path().join(name);
        fs::write(at("one"), "1").expect("write");
        fs::write(at("two"), "2").expect("write");
        symlink(at("one"), at("link")).expect("link");
        let (file, bytes) = SystemFile::read(&at("link"));
        assert_eq!(bytes, b"1");
        assert!(!file.has_changed());
        fs::remove_file(at("link")).expect("remove");
        symlink(at("two"), at("link")).expect("link");
        assert!(file.has_changed());
    }

    #[test]
    fn a_missing_file_is_empty_until_it_comes_into_being() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("hosts");
        let (file, bytes) = SystemFile::read(&path);
        assert!(bytes.is_empty() && !file.has_changed());
        fs::write(&path, "192.0.2.7 new\n").expect("write");
        assert!(file.has_changed());
    }

    #[test]
    fn out_of_sight_means_unchanged() {
        // What a jail does: the path leads nowhere, the descriptors stay.
        let directory = tempfile::tempdir().expect("directory");
        let inner = directory.path().join("etc");
        fs::create_dir(&inner).expect("directory");
        fs::write(inner.join("hosts"), "192.0.2.7 old\n").expect("write");
        let (file, _) = SystemFile::read(&inner.join("hosts"));
        fs::rename(&inner, directory.path().join("elsewhere")).expect("rename");
        assert!(!file.has_changed());
    }
}
