//! Descriptors of any kind on the event loop.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Watches `fd`, which must be non-blocking, for bytes to read.
///
/// # Errors
/// The error of `epoll_ctl(2)`.
pub fn watch(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd is open for as long as it lives, nobody else may close it, and it never changes its number.
    Ok(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?)
}
