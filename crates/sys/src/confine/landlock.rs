//! Landlock (landlock(7)): a process forbids itself files and TCP ports.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::{Access, Confinement};

/// The first version that knows renames from one directory to another; without them no queue can work.
pub(super) const WITH_RENAMES: u32 = 2;
const WITH_TRUNCATION: u32 = 3;
/// The first version that knows TCP.
pub(super) const WITH_TCP: u32 = 4;
const WITH_DEVICES: u32 = 5;
const WITH_SCOPES: u32 = 6;

const EXECUTE: u64 = 1;
const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIRECTORY: u64 = 1 << 3;
const REMOVE_DIRECTORY: u64 = 1 << 4;
const REMOVE_FILE: u64 = 1 << 5;
const MAKE_CHARACTER_DEVICE: u64 = 1 << 6;
const MAKE_DIRECTORY: u64 = 1 << 7;
const MAKE_FILE: u64 = 1 << 8;
const MAKE_SOCKET: u64 = 1 << 9;
const MAKE_FIFO: u64 = 1 << 10;
const MAKE_BLOCK_DEVICE: u64 = 1 << 11;
const MAKE_LINK: u64 = 1 << 12;
const RENAME_ACROSS: u64 = 1 << 13;
const TRUNCATE: u64 = 1 << 14;
const DEVICE_IOCTL: u64 = 1 << 15;

const BIND_TCP: u64 = 1;
const CONNECT_TCP: u64 = 1 << 1;

const SCOPE_ABSTRACT_SOCKETS: u64 = 1;
const SCOPE_SIGNALS: u64 = 1 << 1;

/// What can be allowed for something that is no directory.
const OF_FILES: u64 = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | DEVICE_IOCTL;
/// What writers of a directory need.
const WRITING: u64 = WRITE_FILE
    | REMOVE_DIRECTORY
    | REMOVE_FILE
    | MAKE_DIRECTORY
    | MAKE_FILE
    | MAKE_SOCKET
    | MAKE_FIFO
    | MAKE_LINK
    | RENAME_ACROSS
    | TRUNCATE;

/// `struct landlock_ruleset_attr`
#[repr(C)]
struct Ruleset {
    files: u64,
    network: u64,
    scopes: u64,
}

/// `struct landlock_path_beneath_attr`
#[repr(C, packed)]
struct PathBeneath {
    allowed: u64,
    parent: i32,
}

const CREATE_VERSION: u32 = 1;
const RULE_PATH_BENEATH: u32 = 1;

/// The kernel's version of Landlock; 0 where it has none or does not use it.
pub(super) fn version() -> u32 {
    // SAFETY: with this flag the call reads no memory and answers with a number.
    let version = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<Ruleset>(), 0usize, CREATE_VERSION)
    };
    u32::try_from(version).unwrap_or(0)
}

/// What a kernel of this version can be asked to watch.
fn known(version: u32) -> u64 {
    let mut known = EXECUTE
        | READ_FILE
        | READ_DIRECTORY
        | MAKE_CHARACTER_DEVICE
        | MAKE_BLOCK_DEVICE
        | (WRITING & !(RENAME_ACROSS | TRUNCATE));
    for (since, right) in [(WITH_RENAMES, RENAME_ACROSS), (WITH_TRUNCATION, TRUNCATE), (WITH_DEVICES, DEVICE_IOCTL)] {
        if version >= since {
            known |= right;
        }
    }
    known
}

/// Gives up what is not kept; says whether files and TCP are confined now.
pub(super) fn enter(confinement: &Confinement) -> io::Result<(bool, bool)> {
    let version = version();
    if version < WITH_RENAMES {
        return Ok((false, false));
    }
    let watched = known(version);
    let tcp = version >= WITH_TCP;
    let mut network = 0;
    if tcp {
        network |= if confinement.connects { 0 } else { CONNECT_TCP };
        network |= if confinement.binds { 0 } else { BIND_TCP };
    }
    let scopes = if version >= WITH_SCOPES { SCOPE_ABSTRACT_SOCKETS | SCOPE_SIGNALS } else { 0 };
    let ruleset = create(&Ruleset { files: watched, network, scopes }, version)?;
    for (path, access) in &confinement.paths {
        let wanted = READ_FILE | READ_DIRECTORY | if *access == Access::Write { WRITING } else { 0 };
        allow(&ruleset, path, wanted & watched)?;
    }
    // SAFETY: the descriptor is a rule set; the call reads no memory.
    let outcome = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0u32) };
    if outcome != 0 { Err(io::Error::last_os_error()) } else { Ok((true, tcp)) }
}

fn create(ruleset: &Ruleset, version: u32) -> io::Result<OwnedFd> {
    // An older kernel wants an older, shorter form.
    let fields = match version {
        WITH_SCOPES.. => 3,
        WITH_TCP.. => 2,
        _ => 1,
    };
    let size = fields * size_of::<u64>();
    // SAFETY: `ruleset` has three fields, `size` is at most their length, and the kernel only reads them.
    let fd = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::from_ref(ruleset), size, 0u32) };
    match i32::try_from(fd) {
        // SAFETY: a new descriptor that nobody else knows.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

fn allow(ruleset: &OwnedFd, path: &Path, wanted: u64) -> io::Result<()> {
    let flags = libc::O_PATH | libc::O_CLOEXEC;
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    let allowed = if file.metadata()?.is_dir() { wanted } else { wanted & OF_FILES };
    let rule = PathBeneath { allowed, parent: file.as_raw_fd() };
    // SAFETY: `rule` is of the kind that the number says, and the kernel only reads it.
    let outcome = unsafe {
        libc::syscall(
            libc::SYS_landlock_add_rule,
            ruleset.as_raw_fd(),
            RULE_PATH_BENEATH,
            std::ptr::from_ref(&rule),
            0u32,
        )
    };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
