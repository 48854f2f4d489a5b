//! The door to `fork(2)`, for master and for programs that turn into somebody else.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use nix::unistd::{ForkResult, Pid};

/// Exit status of a child whose closure panicked (`EX_SOFTWARE`).
pub const PANICKED: i32 = 70;

/// Forks; the child runs `work` and ends with the status it returns, without running the parent's exit handlers or
/// flushing its buffers.
///
/// The child has copies of everything, pending output and locks held by other threads included, so a program that comes
/// here must be single-threaded: `None` is returned by [`threads`] only where `/proc` cannot say.
///
/// # Errors
/// The error of `fork(2)`; `Deadlock` when the program has more than one thread.
pub fn fork(work: impl FnOnce() -> i32) -> io::Result<Pid> {
    if threads().is_some_and(|n| n > 1) {
        return Err(io::Error::new(io::ErrorKind::Deadlock, "fork in a program with several threads"));
    }
    // SAFETY: single-threaded, as just checked, so the child may go on as if nothing had happened.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            let status = catch_unwind(AssertUnwindSafe(work)).unwrap_or(PANICKED);
            // SAFETY: ends this process at once.
            unsafe { libc::_exit(status) }
        }
    }
}

/// How many threads this process has; `None` where `/proc` is not there.
#[must_use]
pub fn threads() -> Option<usize> {
    Some(std::fs::read_dir("/proc/self/task").ok()?.count())
}
