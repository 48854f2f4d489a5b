//! Turning a fork of master into a program: the sending half of the start-up contract (`ipc::master`).

use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use ipc::master::{CONTROL_FD, FIRST_LISTENER_FD};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::unistd::{Pid, execve};

/// Exit status of a child that could not become the program.
const NOT_EXECUTED: i32 = 126;

/// What a child becomes.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    /// Path of the file.
    pub path: CString,
    /// Arguments, the name first.
    pub arguments: Vec<CString>,
    /// `name=value`.
    pub environment: Vec<CString>,
}

/// A child that was started.
#[derive(Debug)]
pub(crate) struct Child {
    /// Its process id.
    pub pid: Pid,
    /// Our end of the control socket: packets, non-blocking.
    pub control: OwnedFd,
}

/// Starts a program with the control socket and the listeners at the agreed descriptors. Descriptors 0 to 2 are ours.
///
/// # Errors
/// The error of `socketpair(2)` or `fork(2)`. When the program cannot be executed, the child says so in the log and
/// ends with a failure.
pub(crate) fn start(program: &Program, listeners: &[BorrowedFd<'_>]) -> io::Result<Child> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let (control, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
    // What waits in the log's buffer must not be written twice.
    log::flush();
    let pid = sys::fork::fork(|| {
        log::after_fork();
        let Err(error) = become_program(program, theirs.as_fd(), listeners);
        log::fatal!("exec {}: {}", program.path.to_string_lossy(), sys::reason(&error));
        log::flush();
        NOT_EXECUTED
    })?;
    Ok(Child { pid, control })
}

fn become_program(program: &Program, control: BorrowedFd<'_>, listeners: &[BorrowedFd<'_>]) -> io::Result<Infallible> {
    // First out of the way, so that no descriptor is overwritten before it is in its place.
    let count = i32::try_from(listeners.len()).map_err(|_| Errno::EMFILE)?;
    let above = FIRST_LISTENER_FD + count;
    let control = raise(control, above)?;
    let listeners = listeners.iter().map(|fd| raise(*fd, above)).collect::<io::Result<Vec<OwnedFd>>>()?;
    sys::inherited::place(control.as_fd(), CONTROL_FD)?;
    for (number, fd) in (FIRST_LISTENER_FD..).zip(&listeners) {
        sys::inherited::place(fd.as_fd(), number)?;
    }
    sys::signals::defaults()?;
    let arguments: Vec<&CStr> = program.arguments.iter().map(CString::as_c_str).collect();
    let environment: Vec<&CStr> = program.environment.iter().map(CString::as_c_str).collect();
    Ok(execve(&program.path, &arguments, &environment)?)
}

/// A copy of `fd` that is not below `above`.
fn raise(fd: BorrowedFd<'_>, above: i32) -> io::Result<OwnedFd> {
    let number = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(above))?;
    sys::inherited::take(number)
}
