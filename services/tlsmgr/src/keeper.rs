//! The keeper of files: reads those of the configuration, and again when they were renewed.
//!
//! Keys are often for root alone, and tlsmgr is not root. So where tlsmgr starts as root, a child stays root and does one
//! thing: it watches the paths that it was born with, and sends what is in the files. It takes no orders. Elsewhere a thread
//! does the same.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use ipc::blocking::Connection;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use serde::{Deserialize, Serialize};

/// Largest file that is read.
const LARGEST_FILE: u64 = 2 << 20;
/// Files of a directory that are read.
const MOST_FILES: usize = 20_000;
/// Symbolic links that are followed one after the other, to watch where they lead.
const MOST_LINKS: usize = 8;
/// A renewal is several writes: nothing is read before the files have been the same for this long, in milliseconds.
const SETTLE: u16 = 200;
/// How often files are looked at when nothing is heard of them (file systems of other hosts), in milliseconds.
const LOOK: u16 = 60_000;

/// What is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Paths {
    /// Files.
    pub files: BTreeSet<PathBuf>,
    /// Directories whose files count, and those of the directories in them.
    pub directories: BTreeSet<PathBuf>,
}

/// The content of each file, or why it could not be read.
pub type Files = BTreeMap<PathBuf, Result<Vec<u8>, String>>;

/// What the keeper says, in this order: files, the end; and again, for each renewal.
#[derive(Debug, Serialize, Deserialize)]
pub enum FromKeeper {
    /// A file.
    File(PathBuf, Result<Vec<u8>, String>),
    /// That was all.
    End,
}

/// What tells a file from its later self.
type Stamps = BTreeMap<PathBuf, Option<(u64, u64, u64, i64, i64)>>;

impl Paths {
    /// All files, those of the directories included.
    fn all(&self) -> BTreeSet<PathBuf> {
        let mut all = self.files.clone();
        for directory in &self.directories {
            for entry in entries(directory) {
                if entry.is_dir() {
                    all.extend(entries(&entry).filter(|path| path.is_file()));
                } else {
                    all.insert(entry);
                }
            }
        }
        if all.len() > MOST_FILES {
            all = all.into_iter().take(MOST_FILES).collect();
        }
        all
    }

    fn stamps(&self) -> Stamps {
        let stamp = |path: &Path| {
            let found = std::fs::metadata(path).ok()?;
            Some((found.dev(), found.ino(), found.size(), found.ctime(), found.ctime_nsec()))
        };
        self.all().into_iter().map(|path| (path.clone(), stamp(&path))).collect()
    }

    /// Reads them.
    #[must_use]
    pub fn read(&self) -> Files {
        self.all().into_iter().map(|path| (path.clone(), read(&path))).collect()
    }

    /// The directories in which something happens when a file is renewed: its own, and those of links on the way to it.
    fn watched(&self) -> BTreeSet<PathBuf> {
        let mut watched = self.directories.clone();
        for path in self.all() {
            let mut path = path;
            for _ in 0..MOST_LINKS {
                let Some(parent) = path.parent() else { break };
                let existing = parent.ancestors().find(|ancestor| ancestor.is_dir());
                watched.extend(existing.map(Path::to_owned));
                // The directory may itself be a link, as with deployments that switch one.
                if let Ok(target) = std::fs::read_link(parent) {
                    watched.extend(parent.parent().map(Path::to_owned));
                    watched.extend(parent.parent().map(|above| above.join(target)));
                }
                match std::fs::read_link(&path) {
                    Ok(target) => path = parent.join(target),
                    Err(_) => break,
                }
            }
        }
        watched
    }

    fn watch(&self) -> Option<Inotify> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).ok()?;
        let events = AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_MOVED_FROM
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_ATTRIB;
        for directory in self.watched() {
            // What cannot be watched is looked at now and then.
            let _ = inotify.add_watch(&directory, events);
        }
        Some(inotify)
    }
}

fn entries(directory: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let visible = entries.filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."));
    visible.take(MOST_FILES).map(|entry| entry.path())
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    use std::io::Read;
    use std::os::unix::fs::OpenOptionsExt;
    // Something that is no file must not hold us up.
    let opened = std::fs::OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path);
    let file = opened.map_err(|error| sys::reason(&error))?;
    let mut content = Vec::new();
    file.take(LARGEST_FILE).read_to_end(&mut content).map_err(|error| sys::reason(&error))?;
    Ok(content)
}

/// The files as they are now, and their keeper's end of a socket: whoever holds ours hears of renewals until it is dropped.
///
/// # Errors
/// The keeper cannot be started.
pub fn start(paths: Paths, as_child: bool) -> io::Result<(Files, UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    // Looked at before the files are read: what changes in between is read twice rather than never.
    let stamps = paths.stamps();
    let files = paths.read();
    if as_child {
        let keeper = move || {
            if sys::inherited::close_others(theirs.as_fd()).is_err() {
                return 1;
            }
            keep(&paths, stamps, theirs);
            0
        };
        sys::fork::fork(keeper)?;
    } else {
        std::thread::Builder::new().name("keeper".into()).spawn(move || keep(&paths, stamps, theirs))?;
    }
    Ok((files, ours))
}

/// Watches until the other end is closed. Must not log: as a child it has nothing to log to.
fn keep(paths: &Paths, mut known: Stamps, socket: UnixStream) {
    let mut connection = Connection::new(socket);
    loop {
        let watch = paths.watch();
        let now = paths.stamps();
        if now == known {
            match wait(connection.stream(), watch.as_ref(), LOOK) {
                Woken::Closed => return,
                Woken::Changed | Woken::Time => {}
            }
        }
        let Some(settled) = settle(paths, connection.stream()) else { return };
        if settled == known {
            continue;
        }
        known = settled;
        for (path, content) in paths.read() {
            if connection.send(&FromKeeper::File(path, content)).is_err() {
                return;
            }
        }
        if connection.send(&FromKeeper::End).is_err() {
            return;
        }
    }
}

/// Waits until the files have stayed the same for a while; `None` when the other end has closed.
fn settle(paths: &Paths, socket: &UnixStream) -> Option<Stamps> {
    let mut before = paths.stamps();
    loop {
        if matches!(wait(socket, None, SETTLE), Woken::Closed) {
            return None;
        }
        let now = paths.stamps();
        if now == before {
            return Some(now);
        }
        before = now;
    }
}

enum Woken {
    Closed,
    Changed,
    Time,
}

fn wait(socket: &UnixStream, watch: Option<&Inotify>, milliseconds: u16) -> Woken {
    let mut fds = vec![PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    fds.extend(watch.map(|watch| PollFd::new(watch.as_fd(), PollFlags::POLLIN)));
    let _ = poll(&mut fds, PollTimeout::from(milliseconds));
    let ready = |at: usize| fds.get(at).and_then(PollFd::any).unwrap_or(false);
    // Nobody sends us anything: what is ready there is the end.
    if ready(0) {
        Woken::Closed
    } else if ready(1) {
        Woken::Changed
    } else {
        Woken::Time
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn next(connection: &mut Connection) -> Files {
        let mut files = Files::new();
        loop {
            match connection.expect::<FromKeeper>().expect("a word of the keeper") {
                FromKeeper::File(path, content) => drop(files.insert(path, content)),
                FromKeeper::End => return files,
            }
        }
    }

    #[test]
    fn renewals_are_noticed_however_they_are_made() {
        let directory = tempfile::tempdir().expect("directory");
        let at = |name: &str| directory.path().join(name);
        for name in ["archive", "live", "many", "many/sub"] {
            fs::create_dir(at(name)).expect("directory");
        }
        fs::write(at("archive/1"), "one").expect("write");
        symlink("../archive/1", at("live/key")).expect("link");
        fs::write(at("plain"), "a").expect("write");
        let paths =
            Paths { files: [at("live/key"), at("plain"), at("missing")].into(), directories: [at("many")].into() };
        let (files, socket) = start(paths, false).expect("keeper");
        let mut connection = Connection::new(socket);
        assert_eq!(files[&at("live/key")], Ok(b"one".to_vec()));
        assert_eq!(files[&at("missing")], Err("No such file or directory".to_owned()));
        assert_eq!(files.len(), 3);
        // A link that leads elsewhere, as certbot makes it.
        fs::write(at("archive/2"), "two").expect("write");
        symlink("../archive/2", at("live/new")).expect("link");
        fs::rename(at("live/new"), at("live/key")).expect("rename");
        assert_eq!(next(&mut connection)[&at("live/key")], Ok(b"two".to_vec()));
        // Where the link leads.
        fs::write(at("archive/2"), "three").expect("write");
        assert_eq!(next(&mut connection)[&at("live/key")], Ok(b"three".to_vec()));
        // In place, by replacement, out of nothing, and in directories.
        fs::write(at("plain"), "bb").expect("write");
        assert_eq!(next(&mut connection)[&at("plain")], Ok(b"bb".to_vec()));
        fs::write(at("new"), "c").expect("write");
        fs::rename(at("new"), at("missing")).expect("rename");
        assert_eq!(next(&mut connection)[&at("missing")], Ok(b"c".to_vec()));
        fs::write(at("many/x.pem"), "x").expect("write");
        assert_eq!(next(&mut connection)[&at("many/x.pem")], Ok(b"x".to_vec()));
        fs::write(at("many/sub/y.pem"), "y").expect("write");
        assert_eq!(next(&mut connection)[&at("many/sub/y.pem")], Ok(b"y".to_vec()));
        fs::remove_file(at("many/x.pem")).expect("remove");
        assert!(!next(&mut connection).contains_key(&at("many/x.pem")));
    }
}
