//! Locks on queue files and logs: `flock(2)`, as the reference uses on Linux.
//!
//! qmgr takes a queue file exclusively while it reads and assigns; agents (and whoever reads it for a notice) hold it
//! shared. A lock belongs to the open file and goes with its last descriptor.

use std::fs::{File, TryLockError};
use std::io;
use std::thread;
use std::time::Duration;

/// Takes the lock for one; false when somebody has it.
///
/// # Errors
/// The error of `flock(2)`.
pub fn exclusive_nonblocking(file: &File) -> io::Result<bool> {
    taken(file.try_lock())
}

/// Takes the lock for many; false when somebody has it for one.
///
/// # Errors
/// The error of `flock(2)`.
pub fn shared_nonblocking(file: &File) -> io::Result<bool> {
    taken(file.try_lock_shared())
}

/// Takes the lock for one, with `attempts` tries and `delay` between them (`deliver_lock_attempts`,
/// `deliver_lock_delay`); false when all were in vain. Blocks: not for an event loop.
///
/// # Errors
/// The error of `flock(2)`.
pub fn exclusive(file: &File, attempts: u32, delay: Duration) -> io::Result<bool> {
    for attempt in 0..attempts.max(1) {
        if attempt > 0 {
            thread::sleep(delay);
        }
        if exclusive_nonblocking(file)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn taken(result: Result<(), TryLockError>) -> io::Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_or_many() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("q");
        let one = File::create(&path).expect("create");
        let two = File::open(&path).expect("open");
        let three = File::open(&path).expect("open");
        assert!(shared_nonblocking(&one).expect("lock"));
        assert!(shared_nonblocking(&two).expect("lock"));
        assert!(!exclusive_nonblocking(&three).expect("lock"));
        drop((one, two));
        assert!(exclusive(&three, 1, Duration::ZERO).expect("lock"));
        let four = File::open(&path).expect("open");
        assert!(!exclusive(&four, 3, Duration::from_millis(1)).expect("lock"));
    }
}
