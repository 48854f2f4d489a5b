//! Appending to an mbox file: all of the message, or nothing.

use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, ErrorKind, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use nix::unistd::geteuid;

use super::lock::{Locked, Settings};
use super::{Copy, Error, Prepended};
use crate::Content;

/// Appends a message to the mbox at `path`, which is made (0600) when it is not there. `limit` bounds the file, in bytes.
///
/// # Errors
/// See [`Error`]; the file is then as it was before.
pub fn append(
    path: &Path,
    prepended: &Prepended,
    content: &mut Content,
    limit: Option<u64>,
    locking: &Settings,
) -> Result<(), Error> {
    let (file, regular) = open(path)?;
    if !regular {
        // A device such as /dev/null: nothing to lock, nothing to undo.
        return write(&file, prepended, content).map(drop);
    }
    if locking.strict_ownership && file.metadata().map_err(Error::system("fstat"))?.uid() != geteuid().as_raw() {
        return Err(Error::Owner(path.display().to_string()));
    }
    let locked = Locked::take(file, path, locking)?;
    still_there(locked.file(), path)?;
    let end = locked.file().seek(SeekFrom::End(0)).map_err(Error::system("seek"))?;
    let outcome = write(locked.file(), prepended, content)
        .and_then(|written| if limit.is_some_and(|limit| end + written > limit) { Err(Error::Full) } else { Ok(()) })
        .and_then(|()| locked.file().sync_data().map_err(Error::system("fsync")));
    if outcome.is_err()
        && let Err(error) = locked.file().set_len(end)
    {
        log::warning!("{}: cannot undo an unfinished delivery: {}", path.display(), sys::reason(&error));
    }
    outcome
}

/// Opens without following a symbolic link in the last component that somebody else than root could have put there.
fn open(path: &Path) -> Result<(File, bool), Error> {
    let what = || format!("open {}", path.display());
    let existing = |flags| {
        let flags = libc::O_NONBLOCK | libc::O_NOCTTY | flags;
        OpenOptions::new().append(true).read(true).custom_flags(flags).open(path)
    };
    let file = match existing(libc::O_NOFOLLOW) {
        Ok(file) => file,
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => {
            if !is_link_of_root(path).map_err(Error::system(what()))? {
                return Err(Error::NotAMailbox(format!("{} is a symbolic link", path.display())));
            }
            existing(0).map_err(Error::system(what()))?
        }
        Err(error) if error.kind() == ErrorKind::NotFound => OpenOptions::new()
            .append(true)
            .read(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(Error::system(what()))?,
        Err(error) => return Err(Error::system(what())(error)),
    };
    let metadata = file.metadata().map_err(Error::system(what()))?;
    if metadata.file_type().is_file() {
        if metadata.nlink() > 1 {
            return Err(Error::NotAMailbox(format!("{} has {} links", path.display(), metadata.nlink())));
        }
        return Ok((file, true));
    }
    if metadata.file_type().is_char_device() {
        return Ok((file, false));
    }
    Err(Error::NotAMailbox(format!("{} is not a regular file", path.display())))
}

/// A link that root made, in a directory where only root can make one.
fn is_link_of_root(path: &Path) -> std::io::Result<bool> {
    let link = fs::symlink_metadata(path)?;
    let directory = fs::metadata(path.parent().unwrap_or(Path::new("/")))?;
    Ok(link.uid() == 0 && directory.uid() == 0 && directory.mode() & 0o022 == 0)
}

/// While we waited for the lock somebody may have moved the mailbox away.
fn still_there(file: &File, path: &Path) -> Result<(), Error> {
    let ours = file.metadata().map_err(Error::system("fstat"))?;
    match fs::metadata(path) {
        Ok(there) if there.ino() == ours.ino() && there.dev() == ours.dev() => Ok(()),
        _ => Err(Error::Locked("the file was replaced".to_owned())),
    }
}

fn write(file: &File, prepended: &Prepended, content: &mut Content) -> Result<u64, Error> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs().cast_signed());
    let mut head = separator(&prepended.sender, now);
    head.extend_from_slice(&prepended.to_bytes());
    let mut output = BufWriter::with_capacity(64 << 10, file);
    output.write_all(&head).map_err(Error::system("write"))?;
    let written = Copy::Mbox.write(content, &mut output)?;
    output.flush().map_err(Error::system("write"))?;
    Ok(written + head.len() as u64)
}

/// The line before each message: `From sender  Fri Nov 20 10:25:43 2026`.
#[must_use]
pub fn separator(sender: &[u8], seconds: i64) -> Vec<u8> {
    const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let local = sys::clock::local(seconds);
    let date = format!(
        "{} {} {:2} {:02}:{:02}:{:02} {}",
        DAYS[local.weekday], MONTHS[local.month], local.day, local.hour, local.minute, local.second, local.year
    );
    let sender = if sender.is_empty() { b"MAILER-DAEMON" } else { sender };
    [b"From ", sender, b"  ", date.as_bytes(), b"\n"].concat()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn problem(path: &Path) -> String {
        open(path).map_or_else(|error| error.to_string(), |(_, regular)| format!("opened, regular: {regular}"))
    }

    #[test]
    fn links_that_others_may_have_made_are_not_followed() {
        let directory = tempfile::tempdir().expect("directory");
        let (target, link) = (directory.path().join("target"), directory.path().join("link"));
        fs::write(&target, "precious").expect("write");
        symlink(&target, &link).expect("link");
        // The directory must be writable by others for this test to hold when root runs it.
        let shared = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        fs::set_permissions(directory.path(), shared).expect("chmod");
        assert_eq!(problem(&link), format!("{} is a symbolic link", link.display()));
        assert_eq!(problem(&target), "opened, regular: true");
        fs::hard_link(&target, directory.path().join("other")).expect("hard link");
        assert_eq!(problem(&target), format!("{} has 2 links", target.display()));
    }

    #[test]
    fn a_fifo_does_not_hold_delivery_up() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("fifo");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("fifo");
        assert_eq!(problem(&path), format!("{} is not a regular file", path.display()));
        assert_eq!(problem(Path::new("/dev/null")), "opened, regular: false");
    }
}
