//! Delivery to a Maildir: written below `tmp`, flushed, then linked into `new` under a name of its own.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{BufWriter, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use super::{Copy, Error, Prepended};
use crate::Content;

/// Delivers into the Maildir at `path`; it and its three directories are made (0700) when they are not there. `limit`
/// bounds the message, in bytes.
///
/// # Errors
/// See [`Error`]; nothing is left in `new` then.
pub fn deliver(
    path: &Path,
    hostname: &str,
    prepended: &Prepended,
    content: &mut Content,
    limit: Option<u64>,
) -> Result<(), Error> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let temporary_name = format!("{}.P{}.{hostname}", now.as_secs(), std::process::id());
    let temporary = path.join("tmp").join(&temporary_name);
    let file = create(path, &temporary)?;
    let written = write(&file, prepended, content, limit);
    let result = written.and_then(|()| {
        let metadata = file.metadata().map_err(Error::system("fstat"))?;
        let name = format!(
            "{}.V{:x}I{:x}M{:06}.{hostname}",
            now.as_secs(),
            metadata.dev(),
            metadata.ino(),
            now.subsec_micros()
        );
        let new = path.join("new");
        move_into(&temporary, &new.join(name), path)?;
        // The name must survive a power cut as the content does.
        File::open(&new).and_then(|directory| directory.sync_all()).map_err(Error::system("fsync new"))
    });
    if result.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    result
}

fn create(path: &Path, temporary: &Path) -> Result<File, Error> {
    let open = || OpenOptions::new().write(true).create_new(true).mode(0o600).open(temporary);
    let what = || format!("create maildir file {}", temporary.display());
    match open() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            make_directories(path)?;
            open().map_err(Error::system(what()))
        }
        // Left behind by a process with our number that did not end well.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            fs::remove_file(temporary).map_err(Error::system(what()))?;
            open().map_err(Error::system(what()))
        }
        other => other.map_err(Error::system(what())),
    }
}

fn make_directories(path: &Path) -> Result<(), Error> {
    for name in ["tmp", "new", "cur"] {
        let directory = path.join(name);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&directory)
            .map_err(Error::system(format!("create maildir {}", directory.display())))?;
    }
    Ok(())
}

fn write(file: &File, prepended: &Prepended, content: &mut Content, limit: Option<u64>) -> Result<(), Error> {
    let mut output = BufWriter::with_capacity(64 << 10, file);
    let head = prepended.to_bytes();
    output.write_all(&head).map_err(Error::system("write"))?;
    let written = Copy::Plain.write(content, &mut output)?;
    if limit.is_some_and(|limit| written + head.len() as u64 > limit) {
        return Err(Error::Full);
    }
    output.flush().map_err(Error::system("write"))?;
    file.sync_data().map_err(Error::system("fsync"))
}

/// Moves the finished message into `new`; the target name cannot exist, as it has the inode in it.
fn move_into(temporary: &Path, target: &Path, path: &Path) -> Result<(), Error> {
    let what = || format!("rename maildir file to {}", target.display());
    match fs::rename(temporary, target) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            make_directories(path)?;
            fs::rename(temporary, target).map_err(Error::system(what()))
        }
        other => other.map_err(Error::system(what())),
    }
}
