//! Giving up what a process could still reach with the rights of its account: files and TCP by Landlock, system calls by
//! a seccomp filter. Both hold for this process and all that it starts, and never come back.
//!
//! Nothing here is needed for a program to work: where the kernel has less, less is given up, and the caller is told.

mod calls;
mod filter;
mod landlock;

use std::io;
use std::path::PathBuf;

pub use calls::Calls;

/// What may be done with a file, or with everything below a directory. Running a program is never among it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Opening for reading; listing directories.
    Read,
    /// Also writing, making, renaming and removing.
    Write,
}

/// What a process keeps.
#[derive(Clone, Debug, Default)]
pub struct Confinement {
    /// Files and directories; what does not exist or cannot be reached anyway is passed over.
    pub paths: Vec<(PathBuf, Access)>,
    /// TCP connections may be made.
    pub connects: bool,
    /// TCP ports may be bound, for connections from a certain address.
    pub binds: bool,
    /// Groups of system calls.
    pub calls: Calls,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confined {
    /// Files are confined.
    pub files: bool,
    /// TCP is confined.
    pub network: bool,
    /// System calls are filtered.
    pub calls: bool,
}

/// Gives up everything that `confinement` does not keep. The process must have one thread only.
///
/// # Errors
/// A step that the kernel knows but refuses. What was given up before it stays given up.
pub fn enter(confinement: &Confinement) -> io::Result<Confined> {
    // From here on no set-uid program can give anything back, and the two below need no rights.
    nix::sys::prctl::set_no_new_privs()?;
    let (files, network) = landlock::enter(confinement)?;
    let calls = filter::enter(&confinement.calls)?;
    Ok(Confined { files, network, calls })
}

/// What the kernel offers: Landlock for files, Landlock for TCP, system call filters.
#[must_use]
pub fn available() -> Confined {
    let version = landlock::version();
    Confined {
        files: version >= landlock::WITH_RENAMES,
        network: version >= landlock::WITH_TCP,
        calls: filter::is_available(),
    }
}

/// What this kernel lacks for confining daemons, for a line in the log; `None` when it has all of it but, maybe, TCP.
#[must_use]
pub fn lacking() -> Option<&'static str> {
    match available() {
        Confined { files: true, calls: true, .. } => None,
        Confined { files: true, calls: false, .. } => Some("no system call filters"),
        Confined { files: false, calls: true, .. } => Some("no Landlock"),
        Confined { .. } => Some("neither Landlock nor system call filters"),
    }
}

#[cfg(test)]
mod tests;
