//! The system's account databases (`getpwnam`, `getgrnam`), also from within a jail.
//!
//! Where accounts come from (files, LDAP, a directory service) is not to be seen from a jail, and what is not there looks
//! as if nobody had an account. So a program that [`announce`]d that it will look accounts up gets a child outside of the
//! jail which does nothing else ([`answer_from_outside`]); it ends when the program does.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, setsockopt, socketpair, sockopt};
use nix::sys::time::TimeVal;
use nix::unistd::{Group, User};

use crate::{fork, inherited};

/// Which database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Database {
    /// Users: `name:password:uid:gid:gecos:home:shell`.
    Passwd,
    /// Groups: `name:password:gid:members`.
    Group,
}

/// Longest name that is asked for, in bytes.
const LONGEST_NAME: usize = 1024;
/// Longest entry; groups can have many members.
const LONGEST_ENTRY: usize = 128 << 10;
/// How long an answer may take: a directory service may have to be reached.
const PATIENCE_SECONDS: i64 = 60;
/// The socket of the child that answers.
const SOCKET: i32 = 3;

static ANNOUNCED: AtomicBool = AtomicBool::new(false);
static OUTSIDE: Mutex<Outside> = Mutex::new(Outside::None);

enum Outside {
    /// Accounts are looked up by this process itself.
    None,
    Child(OwnedFd),
    /// The child has ended, or does not keep up; there are no more answers.
    Gone,
}

/// To be called before the jail by whoever will look accounts up.
pub fn announce() {
    ANNOUNCED.store(true, Ordering::Relaxed);
}

/// True when somebody has [`announce`]d lookups.
#[must_use]
pub fn is_announced() -> bool {
    ANNOUNCED.load(Ordering::Relaxed)
}

/// Forks the child that answers from where this process is now. `prepare` runs in the child, which goes away if it
/// fails; it is the place to give up rights.
///
/// # Errors
/// Of the system; also when this program has several threads.
pub fn answer_from_outside(prepare: impl FnOnce() -> bool) -> io::Result<()> {
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    let patience = TimeVal::new(PATIENCE_SECONDS, 0);
    setsockopt(&ours, sockopt::ReceiveTimeout, &patience)?;
    setsockopt(&ours, sockopt::SendTimeout, &patience)?;
    fork::fork(|| {
        // It ends with its parent, which closes the socket; until then it has to answer.
        for ignored in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGPIPE] {
            // SAFETY: no handler runs.
            let _ = unsafe { signal(ignored, SigHandler::SigIgn) };
        }
        // The parent's listeners and files stay the parent's. Nothing here closes a descriptor that it thinks it owns:
        // the child ends without running destructors.
        let placed = inherited::place(theirs.as_fd(), SOCKET).and_then(|()| inherited::close_from(SOCKET + 1));
        if placed.is_err() || !prepare() {
            return 1;
        }
        answer();
        0
    })?;
    *OUTSIDE.lock().unwrap_or_else(PoisonError::into_inner) = Outside::Child(ours);
    Ok(())
}

/// True when the child has gone: this process cannot look accounts up any more and should be replaced.
#[must_use]
pub fn is_lost() -> bool {
    matches!(*OUTSIDE.lock().unwrap_or_else(PoisonError::into_inner), Outside::Gone)
}

/// The entry of `name`, as one line without line end; `None` when there is none.
///
/// # Errors
/// The database cannot be asked now.
pub fn look_up(database: Database, name: &str) -> io::Result<Option<String>> {
    if name.is_empty() || name.len() > LONGEST_NAME || name.contains('\0') {
        return Ok(None);
    }
    let mut outside = OUTSIDE.lock().unwrap_or_else(PoisonError::into_inner);
    let child = match &*outside {
        Outside::None => return entry(database, name),
        Outside::Child(child) => child,
        Outside::Gone => return Err(io::ErrorKind::NotConnected.into()),
    };
    let answer = ask(child, database, name);
    // An answer that comes too late would be taken for that of the next question.
    if answer.is_err() {
        *outside = Outside::Gone;
    }
    match answer? {
        Answer::Entry(line) => Ok(line),
        Answer::Failed(text) => Err(io::Error::other(text)),
    }
}

enum Answer {
    Entry(Option<String>),
    Failed(String),
}

fn ask(child: &OwnedFd, database: Database, name: &str) -> io::Result<Answer> {
    let kind = if database == Database::Passwd { b'u' } else { b'g' };
    let mut question = vec![kind];
    question.extend_from_slice(name.as_bytes());
    send(child.as_raw_fd(), &question, MsgFlags::MSG_NOSIGNAL)?;
    let mut buffer = vec![0; LONGEST_ENTRY];
    let length = recv(child.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match buffer[..length].split_first() {
        Some((b'+', line)) => Ok(Answer::Entry(Some(text(line)))),
        Some((b'-', _)) => Ok(Answer::Entry(None)),
        Some((_, reason)) => Ok(Answer::Failed(text(reason))),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// The child's loop.
fn answer() {
    let mut buffer = vec![0; LONGEST_NAME + 1];
    loop {
        let length = match recv(SOCKET, &mut buffer, MsgFlags::empty()) {
            Ok(0) => return,
            Ok(length) => length,
            Err(Errno::EINTR) => continue,
            Err(_) => return,
        };
        let name = std::str::from_utf8(&buffer[1..length]).unwrap_or_default();
        let database = if buffer[0] == b'u' { Database::Passwd } else { Database::Group };
        let (mark, text) = match entry(database, name) {
            Ok(Some(line)) if line.len() < LONGEST_ENTRY => (b'+', line),
            Ok(Some(_)) => (b'!', "the entry is too long".to_owned()),
            Ok(None) => (b'-', String::new()),
            Err(error) => (b'!', error.to_string()),
        };
        let mut reply = vec![mark];
        reply.extend_from_slice(text.as_bytes());
        if send(SOCKET, &reply, MsgFlags::MSG_NOSIGNAL).is_err() {
            return;
        }
    }
}

fn entry(database: Database, name: &str) -> io::Result<Option<String>> {
    Ok(match database {
        Database::Passwd => User::from_name(name)?.map(|user| {
            format!(
                "{}:{}:{}:{}:{}:{}:{}",
                user.name,
                user.passwd.to_string_lossy(),
                user.uid,
                user.gid,
                user.gecos.to_string_lossy(),
                user.dir.display(),
                user.shell.display()
            )
        }),
        Database::Group => Group::from_name(name)?.map(|group| {
            format!("{}:{}:{}:{}", group.name, group.passwd.to_string_lossy(), group.gid, group.mem.join(","))
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// Set in the process that [`with_a_child`] runs in.
    const MARK: &str = "SYS_TEST_ACCOUNTS";

    #[test]
    fn entries() {
        assert!(look_up(Database::Passwd, "root").expect("look up").expect("root").starts_with("root:x:0:0:"));
        assert!(look_up(Database::Group, "daemon").expect("look up").expect("daemon").starts_with("daemon:x:1:"));
        for nobody in ["no-such-account", "", "a\0b", &"x".repeat(5000)] {
            assert_eq!(look_up(Database::Passwd, nobody).expect("look up"), None);
        }
    }

    /// Not a test: the single-threaded process that has a child, when the test below starts it.
    #[test]
    fn with_a_child() {
        if std::env::var_os(MARK).is_none() {
            return;
        }
        // The test harness has a thread of its own; where tests run one by one in its main thread, it does not.
        match answer_from_outside(|| true) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Deadlock => return,
            Err(error) => panic!("{error}"),
        }
        entries();
        assert!(!is_lost());
    }

    #[test]
    fn a_child_gives_the_same_answers() {
        let status = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "accounts::tests::with_a_child", "--test-threads=1"])
            .env(MARK, "1")
            .status();
        assert!(status.expect("run").success());
    }
}
