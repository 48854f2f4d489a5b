//! What the permission bits of a queue file say.
//!
//! | mode | meaning | who sets it |
//! | --- | --- | --- |
//! | 0600 | being written; everybody else leaves it alone | cleanup, postdrop |
//! | 0700 | complete | cleanup, before the flush to disk |
//! | 0744 | complete, and pickup need not be root to read it | postdrop, in `maildrop` |
//! | 0400 | found unreadable; to be put aside | delivery agents |
//! | +0040 | to be tried before others, throttled destination or not | flush |
//! | +0010 | to be returned to its sender at the next try | `postsuper -e` |
//!
//! ```text
//! (create 0600) --ready--> 0700 in incoming --> active --> removed
//!       |                     ^                   |  ^
//!       | crash: purged       |  start, reload    v  |
//!       v                     +----------------- active <-> deferred, hold; corrupt
//! ```

use std::fs::{File, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use nix::sys::stat::{FileStat, SFlag};

/// Being written.
pub const NEW: u32 = 0o600;
/// Complete.
pub const READY: u32 = 0o700;
/// Complete, in `maildrop`.
pub const MAILDROP: u32 = 0o744;
/// Unreadable.
pub const CORRUPT: u32 = 0o400;
/// Deliver regardless of throttles.
pub const UNTHROTTLE: u32 = 0o040;
/// Return to sender.
pub const FORCE_EXPIRE: u32 = 0o010;

/// How long a complete file may have a second name, in seconds: `rename` of another program that was killed in
/// the middle leaves two.
const TWO_NAMES: i64 = 60;

/// The state of a queue file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not a regular file, or with bits that no state has: nobody touches it.
    Foreign,
    /// Being written, or left over from a crash.
    Incomplete,
    /// Complete.
    Ready,
    /// To be put aside.
    Corrupt,
}

/// The state of a file from its metadata; `now` is seconds since the epoch.
#[must_use]
pub fn of(metadata: &Metadata, now: i64) -> State {
    of_parts(metadata.mode(), metadata.nlink() > 1, metadata.ctime(), now)
}

/// As [`of`], from what `fstat(2)` says.
#[must_use]
pub fn of_stat(stat: &FileStat, now: i64) -> State {
    of_parts(stat.st_mode, stat.st_nlink > 1, stat.st_ctime, now)
}

fn of_parts(mode: u32, has_more_names: bool, changed: i64, now: i64) -> State {
    if mode & SFlag::S_IFMT.bits() != SFlag::S_IFREG.bits() {
        return State::Foreign;
    }
    if has_more_names && now - changed <= TWO_NAMES {
        return State::Incomplete;
    }
    of_mode(mode)
}

/// The state that the permission bits alone say.
#[must_use]
pub const fn of_mode(mode: u32) -> State {
    match mode & 0o700 {
        READY => State::Ready,
        CORRUPT => State::Corrupt,
        _ => State::Incomplete,
    }
}

/// True when the message is to be returned at the next try.
#[must_use]
pub const fn is_forced_expire(mode: u32) -> bool {
    mode & FORCE_EXPIRE != 0
}

/// True when the message goes before throttles.
#[must_use]
pub const fn is_unthrottled(mode: u32) -> bool {
    mode & UNTHROTTLE != 0
}

/// Sets and clears permission bits of an open queue file.
///
/// # Errors
/// The error of `fstat(2)` or `fchmod(2)`.
pub fn change(file: &File, set: u32, clear: u32) -> io::Result<()> {
    let mode = file.metadata()?.mode() & 0o777;
    let wanted = (mode | set) & !clear;
    if wanted == mode { Ok(()) } else { file.set_permissions(Permissions::from_mode(wanted)) }
}

/// Marks an open queue file as unreadable: qmgr will move it to `corrupt`.
///
/// # Errors
/// The error of `fchmod(2)`.
pub fn mark_corrupt(file: &File) -> io::Result<()> {
    file.set_permissions(Permissions::from_mode(CORRUPT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states() {
        let cases = [
            (0o600, State::Incomplete),
            (0o700, State::Ready),
            (0o744, State::Ready),
            (0o750, State::Ready),
            (0o710, State::Ready),
            (0o400, State::Corrupt),
            (0o000, State::Incomplete),
            (0o500, State::Incomplete),
        ];
        for (mode, state) in cases {
            assert_eq!(of_mode(mode), state, "{mode:o}");
        }
        assert!(is_forced_expire(0o710) && !is_forced_expire(0o740));
        assert!(is_unthrottled(0o740) && !is_unthrottled(0o710));
    }

    #[test]
    fn bits_change_alone() {
        let file = tempfile::tempfile().expect("temporary file");
        file.set_permissions(Permissions::from_mode(READY)).expect("chmod");
        change(&file, FORCE_EXPIRE | UNTHROTTLE, 0).expect("set");
        assert_eq!(file.metadata().expect("stat").mode() & 0o777, 0o750);
        change(&file, 0, UNTHROTTLE).expect("clear");
        let metadata = file.metadata().expect("stat");
        assert_eq!(metadata.mode() & 0o777, 0o710);
        assert_eq!(of(&metadata, metadata.ctime()), State::Ready);
        mark_corrupt(&file).expect("mark");
        assert_eq!(of_mode(file.metadata().expect("stat").mode()), State::Corrupt);
    }
}
