//! Descriptors that master leaves open for a program it starts (the start-up contract of `ipc::master`).

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Mutex;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{SockType, getsockopt, sockopt};

/// Descriptors that were taken already: each can be had once.
static TAKEN: Mutex<BTreeSet<RawFd>> = Mutex::new(BTreeSet::new());

/// Takes over the descriptor `number`, which the parent process opened for us; it will not survive an exec.
///
/// To be called at start-up, before this process opens anything of its own.
///
/// # Errors
/// `NotFound` when it is not open, `AlreadyExists` when it was taken before, `InvalidInput` below 3.
pub fn take(number: RawFd) -> io::Result<OwnedFd> {
    if number < 3 {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    if !is_open(number) {
        return Err(io::Error::new(io::ErrorKind::NotFound, format!("descriptor {number} was not passed along")));
    }
    let mut taken = TAKEN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if !taken.insert(number) {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("descriptor {number} is in use")));
    }
    // SAFETY: it is open, it is not one that this process opened (the caller's promise: start-up), and nobody else has
    // got it from here.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    fcntl(&fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    Ok(fd)
}

/// Closes every descriptor from `first` up that whoever started this program left open.
///
/// To be called first thing in a program that passes its own descriptors on by number, before anything is opened.
///
/// # Errors
/// The error of `close_range(2)`; `InvalidInput` below 3.
pub fn close_from(first: RawFd) -> io::Result<()> {
    let Some(from) = u32::try_from(first).ok().filter(|number| *number >= 3) else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    };
    // SAFETY: works on numbers only; the caller's promise is that nobody owns a descriptor from there up yet.
    let result = unsafe { libc::close_range(from, u32::MAX, 0) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Closes every descriptor from 3 up but `keep`: for a child that goes on without what its parent holds.
///
/// To be called first thing in the child. Whatever it has of its parent that is behind a descriptor cannot be used any more,
/// and must not be dropped: the child ends by `_exit`.
///
/// # Errors
/// The error of `close_range(2)`.
pub fn close_others(keep: BorrowedFd<'_>) -> io::Result<()> {
    let kept = u32::try_from(keep.as_raw_fd()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    for (first, last) in [(3, kept.saturating_sub(1)), (kept + 1, u32::MAX)] {
        if first > last {
            continue;
        }
        // SAFETY: works on numbers only; the caller's promise is that their owners do not use or drop them any more.
        if unsafe { libc::close_range(first.max(3), last, 0) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// True when `number` is an open descriptor.
#[must_use]
pub fn is_open(number: RawFd) -> bool {
    borrowed(number).is_some_and(|fd| fcntl(fd, FcntlArg::F_GETFD).is_ok())
}

/// True when `number` is an open `SOCK_SEQPACKET` socket, as master's control socket is.
#[must_use]
pub fn is_packet_socket(number: RawFd) -> bool {
    is_open(number)
        && borrowed(number).is_some_and(|fd| matches!(getsockopt(&fd, sockopt::SockType), Ok(SockType::SeqPacket)))
}

/// Makes `from` the descriptor `to` of this process, open across an exec: master's half of the contract, in the child.
///
/// # Errors
/// The error of `dup2(2)`.
pub fn place(from: BorrowedFd<'_>, to: RawFd) -> io::Result<()> {
    if from.as_raw_fd() == to {
        fcntl(from, FcntlArg::F_SETFD(FdFlag::empty()))?;
        return Ok(());
    }
    // SAFETY: dup2 works on numbers only; the caller of this function in a forked child owns the whole table.
    let result = unsafe { libc::dup2(from.as_raw_fd(), to) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn borrowed(number: RawFd) -> Option<BorrowedFd<'static>> {
    if number < 0 {
        return None;
    }
    // SAFETY: used only for fcntl and getsockopt, which answer EBADF for a number that is not open.
    Some(unsafe { BorrowedFd::borrow_raw(number) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::IntoRawFd;

    #[test]
    fn a_descriptor_is_taken_once() {
        let number = OwnedFd::from(std::fs::File::open("/dev/null").expect("open")).into_raw_fd();
        // Moved to a number that no other test gets, as the numbers are shared by the whole process.
        // SAFETY: the number was just released by its owner.
        let owned = unsafe { OwnedFd::from_raw_fd(number) };
        let high = fcntl(&owned, FcntlArg::F_DUPFD(900)).expect("dup");
        drop(owned);
        assert!(is_open(high));
        assert!(!is_packet_socket(high));
        let taken = take(high).expect("take");
        assert_eq!(take(high).expect_err("twice").kind(), io::ErrorKind::AlreadyExists);
        let flags = fcntl(&taken, FcntlArg::F_GETFD).expect("flags");
        assert_eq!(flags & FdFlag::FD_CLOEXEC.bits(), FdFlag::FD_CLOEXEC.bits());
    }

    #[test]
    fn what_is_not_open_is_not_found() {
        assert_eq!(take(1_000_000).expect_err("closed").kind(), io::ErrorKind::NotFound);
        assert_eq!(take(1).expect_err("standard output").kind(), io::ErrorKind::InvalidInput);
        assert!(!is_open(-1));
    }
}
