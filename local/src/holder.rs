//! Whose word a file is that a path names: everybody who could have put another file there has a say in it.
//!
//! A path is followed as the kernel does, and everything on the way is looked at: directories, symbolic links, the file.
//! A link from one user's directory into another's, or a link in `/tmp`, must not make us read or run in the name of
//! somebody who never said so.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use nix::unistd::Uid;

/// Symbolic links that are followed, as in the kernel.
const MOST_LINKS: usize = 40;

/// Who has a say in what a path names.
#[derive(Debug)]
pub(crate) enum Holder {
    /// Root alone. The file, open for reading.
    Root(File),
    /// This account, beside root.
    User(Uid),
    /// Several accounts, or everybody.
    Anybody,
}

/// Follows an absolute path.
///
/// # Errors
/// The errors of `open(2)`; what is at the end is no regular file.
pub(crate) fn of(path: &Path) -> io::Result<Holder> {
    let mut names: VecDeque<OsString> = names(path);
    let mut place = root()?;
    let mut say = Say { user: None, several: false, group: false, writers: Mode::empty() };
    say.take(&fstat(&place)?);
    let mut links = 0;
    while let Some(name) = names.pop_front() {
        let found =
            openat(&place, name.as_os_str(), OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())?;
        let status = fstat(&found)?;
        match kind(&status) {
            SFlag::S_IFLNK => {
                links += 1;
                if links > MOST_LINKS {
                    return Err(Errno::ELOOP.into());
                }
                say.entry(&status);
                let target = readlinkat(&found, OsStr::new(""))?;
                let target = Path::new(&target);
                if target.is_absolute() {
                    place = root()?;
                }
                for (at, name) in self::names(target).into_iter().enumerate() {
                    names.insert(at, name);
                }
            }
            SFlag::S_IFDIR => {
                say.take(&status);
                place = found;
            }
            SFlag::S_IFREG if names.is_empty() => {
                say.entry(&status);
                return say.verdict(|| {
                    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
                    Ok(File::from(openat(&place, name.as_os_str(), flags, Mode::empty())?))
                });
            }
            _ if names.is_empty() => return Err(io::Error::other("not a regular file")),
            _ => return Err(Errno::ENOTDIR.into()),
        }
    }
    Err(io::Error::other("not a regular file"))
}

fn root() -> io::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    Ok(nix::fcntl::open("/", flags, Mode::empty())?)
}

fn names(path: &Path) -> VecDeque<OsString> {
    let name = |component: Component<'_>| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsStr::from_bytes(b"..").to_owned()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().filter_map(name).collect()
}

fn kind(status: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(status.st_mode & SFlag::S_IFMT.bits())
}

/// Who was met on the way.
struct Say {
    user: Option<u32>,
    several: bool,
    /// A group has a say too: its owner let it in, but root's own rights are not for it.
    group: bool,
    /// Who puts files and links into the directory at hand.
    writers: Mode,
}

impl Say {
    fn owner(&mut self, uid: u32) {
        if uid != 0 {
            self.several |= self.user.is_some_and(|user| user != uid);
            self.user = Some(uid);
        }
    }

    /// A directory. In a sticky one that others may write to, nobody can have replaced a directory.
    fn take(&mut self, status: &FileStat) {
        self.owner(status.st_uid);
        let mode = Mode::from_bits_truncate(status.st_mode);
        self.writers = mode & (Mode::S_IWGRP | Mode::S_IWOTH);
        if !mode.contains(Mode::S_ISVTX) {
            self.let_in();
        }
    }

    /// A link or the file itself, which somebody may have moved or linked to here.
    fn entry(&mut self, status: &FileStat) {
        self.owner(status.st_uid);
        self.let_in();
    }

    fn let_in(&mut self) {
        self.several |= self.writers.contains(Mode::S_IWOTH);
        self.group |= self.writers.contains(Mode::S_IWGRP);
    }

    fn verdict(&self, open: impl FnOnce() -> io::Result<File>) -> io::Result<Holder> {
        match self.user {
            _ if self.several => Ok(Holder::Anybody),
            Some(user) => Ok(Holder::User(Uid::from_raw(user))),
            None if self.group => Ok(Holder::Anybody),
            None => open().map(Holder::Root),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    /// As root: `root`, `user 1000` or `anybody` for a path.
    fn said(path: &Path) -> String {
        match of(path) {
            Ok(Holder::Root(_)) => "root".into(),
            Ok(Holder::User(uid)) => format!("user {uid}"),
            Ok(Holder::Anybody) => "anybody".into(),
            Err(error) => sys::reason(&error),
        }
    }

    #[test]
    fn whoever_could_have_put_it_there_has_a_say() {
        if !sys::privileges::is_root() {
            return;
        }
        let top = tempfile::tempdir().expect("directory");
        let path = |name: &str| top.path().join(name);
        let directory = |name: &str, uid: u32, mode: u32| {
            fs::create_dir(path(name)).expect("mkdir");
            fs::set_permissions(path(name), Permissions::from_mode(mode)).expect("chmod");
            chown(path(name), Some(uid), None).expect("chown");
        };
        let file = |name: &str, uid: u32| {
            fs::write(path(name), "x").expect("write");
            chown(path(name), Some(uid), None).expect("chown");
        };
        let link = |name: &str, target: &str, uid: u32| {
            symlink(target, path(name)).expect("link");
            std::os::unix::fs::lchown(path(name), Some(uid), None).expect("chown");
        };
        directory("lists", 0, 0o755);
        directory("joe", 1000, 0o755);
        directory("ann", 1001, 0o700);
        directory("shared", 0, 0o1777);
        directory("shared/deep", 0, 0o755);
        directory("open", 0, 0o775);
        directory("team", 1000, 0o775);
        file("team/list", 1000);
        file("lists/staff", 0);
        file("lists/joe", 1000);
        file("joe/list", 1000);
        file("joe/gift", 0);
        file("ann/private", 1001);
        file("shared/deep/list", 0);
        file("shared/list", 0);
        file("open/list", 0);
        link("lists/link", "../joe/list", 0);
        link("lists/own", "staff", 0);
        link("joe/link", "../ann/private", 1000);
        link("joe/root", "../lists/staff", 1000);
        link("loop", "loop", 0);
        let cases = [
            ("lists/staff", "root"),
            ("lists/own", "root"),
            ("lists/../lists/staff", "root"),
            ("shared/deep/list", "root"),
            ("lists/joe", "user 1000"),
            ("lists/link", "user 1000"),
            ("joe/list", "user 1000"),
            ("joe/gift", "user 1000"),
            ("joe/root", "user 1000"),
            ("team/list", "user 1000"),
            ("ann/private", "user 1001"),
            ("joe/link", "anybody"),
            ("shared/list", "anybody"),
            ("open/list", "anybody"),
            ("loop", "Too many levels of symbolic links"),
            ("lists", "not a regular file"),
            ("lists/none", "No such file or directory"),
            ("lists/staff/x", "Not a directory"),
        ];
        for (name, expected) in cases {
            assert_eq!(said(&path(name)), expected, "{name}");
        }
    }
}
