//! `:include:` files: whose word they are, and what they say.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use delivery::recipient_process;
use dsn::{Delivery, Dsn, Status};
use nix::fcntl::OFlag;
use sys::privileges::{self, Identity};

use crate::holder::{self, Holder};
use crate::settings::Settings;
use crate::user;

/// Largest `:include:` or `.forward` file, bytes.
pub(crate) const LARGEST_LIST: u64 = 16 << 20;

/// A list, and who acts for it: none for `default_privs`.
#[derive(Debug)]
pub(crate) struct List {
    pub(crate) text: Vec<u8>,
    pub(crate) identity: Option<Identity>,
}

/// Reads a list. In a user's name (`identity`), that user reads it. Otherwise the list is its holder's word: who could
/// put another file in its place reads it, and acts for it. What only root can have put there root reads, and
/// `default_privs` acts.
///
/// # Errors
/// The outcome for the recipient.
pub(crate) fn read(path: &Path, identity: Option<&Identity>, settings: &Settings) -> Result<List, Delivery> {
    let shown = path.display();
    // Somebody will mend it.
    let later = || Delivery::Deferred(Dsn::new(Status::transient(3, 5), "mail system configuration error"));
    let (reader, acting) = match identity {
        Some(identity) => (Some(identity.clone()), Some(identity.clone())),
        None if !privileges::is_root() => (Some(user::default_identity(settings).map_err(Delivery::Deferred)?), None),
        None => match holder::of(path) {
            Ok(Holder::Root(file)) => {
                return match read_all(file) {
                    Ok(text) => Ok(List { text, identity: None }),
                    Err(error) => {
                        log::warning!("cannot open include file {shown}: {}", sys::reason(&error));
                        Err(later())
                    }
                };
            }
            Ok(Holder::User(uid)) => {
                let holder = user::identity_of(uid).map_err(Delivery::Deferred)?.ok_or_else(|| {
                    log::warning!("{shown}: cannot find :include: file owner username");
                    later()
                })?;
                (Some(holder.clone()), Some(holder))
            }
            Ok(Holder::Anybody) => (Some(user::default_identity(settings).map_err(Delivery::Deferred)?), None),
            Err(error) => {
                log::warning!("unable to lookup :include: file {shown}: {}", sys::reason(&error));
                return Err(later());
            }
        },
    };
    let Some(reader) = reader else { return Err(later()) };
    match recipient_process::run(&reader, || open_and_read(path).map_err(|error| sys::reason(&error))) {
        Ok(Ok(text)) => Ok(List { text, identity: acting }),
        Ok(Err(why)) => {
            log::warning!("cannot open include file {shown}: {why}");
            Err(later())
        }
        Err(error) => Err(user::process_failed(&error)),
    }
}

fn open_and_read(path: &Path) -> io::Result<Vec<u8>> {
    // A FIFO must not hold delivery up.
    read_all(OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?)
}

fn read_all(file: File) -> io::Result<Vec<u8>> {
    use std::os::unix::fs::MetadataExt;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    if metadata.mode() & 0o002 != 0 {
        return Err(io::Error::other("the file is world writable"));
    }
    if metadata.len() > LARGEST_LIST {
        return Err(io::Error::other("file too large"));
    }
    let mut list = Vec::new();
    file.take(LARGEST_LIST).read_to_end(&mut list)?;
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_is_a_fifo_does_not_hold_delivery_up() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("fifo");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("fifo");
        assert_eq!(open_and_read(&path).map_err(|error| error.to_string()), Err("not a regular file".to_owned()));
    }

    #[test]
    fn what_everybody_writes_is_no_list() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("list");
        std::fs::write(&path, "joe").expect("write");
        assert_eq!(open_and_read(&path).expect("read"), b"joe");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).expect("chmod");
        assert!(open_and_read(&path).is_err());
    }
}
