//! What a crash can leave behind, and what becomes of it.
//!
//! | left behind by | looks like | put right by |
//! | --- | --- | --- |
//! | a writer before it had its id | `incoming/<usec>.<pid>`, mode 0600 | [`purge`], when it is old |
//! | a writer before the flush | `incoming/ID`, `hold/ID`, `maildrop/ID`, mode 0600 | [`purge`], when it is old; never delivered |
//! | a writer after the flush, before its answer | mode 0700 in `incoming` | delivered: the client may send it again |
//! | qmgr with messages in work | files in `active` | [`requeue_active`] |
//! | qmgr between outcome and mark | recipient still `R` | tried again: a duplicate, never a loss |
//! | qmgr between last mark and removal | file without recipients in `active` | the next qmgr finds it done and removes it |
//! | anybody inside a log entry | half an entry in `defer` or `bounce` | readers start again at the next empty line |

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;

use crate::state::{self, State};
use crate::{Directory, Entry, QueueId, Spool};

/// Age after which an incomplete file has certainly no writer any more, in seconds.
pub const STALE: i64 = 7 * 86_400;

/// Moves everything from `active` back to `incoming`: for a queue manager that starts. `each` gets the ids moved.
///
/// # Errors
/// The error of the scan or of `rename(2)`; a file that has left in the meantime is none.
pub fn requeue_active(spool: &Spool, each: &mut dyn FnMut(&QueueId)) -> io::Result<usize> {
    // Collected first: a file renamed within a hashed directory could be listed twice otherwise.
    let ids: Vec<QueueId> = spool.scan(Directory::Active).collect::<io::Result<_>>()?;
    let mut moved = 0;
    for id in &ids {
        match spool.rename(id, Directory::Active, Directory::Incoming) {
            Ok(()) => {
                moved += 1;
                each(id);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(moved)
}

/// True for a file that nobody is going to complete: not ready, and untouched for [`STALE`] seconds.
///
/// # Errors
/// The error of `lstat(2)`.
pub fn is_stale(entry: &Entry, now: i64) -> io::Result<bool> {
    let metadata = fs::symlink_metadata(&entry.path)?;
    Ok(state::of(&metadata, now) == State::Incomplete && now - metadata.mtime() > STALE)
}

/// Removes stale files from a directory; `each` gets what was removed.
///
/// # Errors
/// The error of the scan or of `unlink(2)`; a file that has left in the meantime is none.
pub fn purge(spool: &Spool, directory: Directory, now: i64, each: &mut dyn FnMut(&Entry)) -> io::Result<usize> {
    let mut removed = 0;
    for entry in spool.scan_all(directory) {
        let entry = entry?;
        let result = is_stale(&entry, now).and_then(|stale| {
            if stale {
                fs::remove_file(&entry.path)?;
            }
            Ok(stale)
        });
        match result {
            Ok(true) => {
                removed += 1;
                each(&entry);
            }
            Ok(false) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Layout;
    use std::fs::{File, Permissions};
    use std::os::unix::fs::PermissionsExt;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn after_a_crash() {
        let root = tempfile::tempdir().expect("directory");
        for name in ["incoming", "active"] {
            fs::create_dir(root.path().join(name)).expect("mkdir");
        }
        let spool = Spool::at(root.path(), Layout { hashed: vec![Directory::Active], ..Layout::default() });
        let now = 2_000_000_000;
        let file = |path: &str, mode: u32, age: i64| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("parent")).expect("mkdir");
            let file = File::create(&path).expect("create");
            file.set_permissions(Permissions::from_mode(mode)).expect("chmod");
            let time = UNIX_EPOCH + Duration::from_secs(u64::try_from(now - age).expect("positive"));
            file.set_modified(time).expect("utime");
        };
        file("incoming/123.456", 0o600, STALE + 1);
        file("incoming/A1", 0o600, STALE + 1);
        file("incoming/A2", 0o600, STALE - 1);
        file("incoming/A3", 0o700, STALE + 1);
        file("active/B/B1", 0o700, 5);
        let mut removed = Vec::new();
        purge(&spool, Directory::Incoming, now, &mut |entry| removed.push(entry.name.clone())).expect("purge");
        removed.sort();
        assert_eq!(removed, ["123.456", "A1"]);
        assert_eq!(requeue_active(&spool, &mut |_| {}).expect("requeue"), 1);
        let mut left: Vec<QueueId> = spool.scan(Directory::Incoming).collect::<io::Result<_>>().expect("scan");
        left.sort();
        let left: Vec<&str> = left.iter().map(QueueId::as_str).collect();
        assert_eq!(left, ["A2", "A3", "B1"]);
    }
}
