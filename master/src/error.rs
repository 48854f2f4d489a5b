//! What can keep master from working.

use nix::errno::Errno;

/// Errors of master.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `main.cf` or `master.cf` cannot be used.
    #[error(transparent)]
    Config(#[from] config::Error),
    /// A wrong command line.
    #[error("{0}")]
    Usage(String),
    /// A parameter or field with a value that means nothing.
    #[error("bad {what} value: {value}")]
    Value {
        /// The parameter, or the field with file and line.
        what: String,
        /// What it says.
        value: String,
    },
    /// `mail_owner` does not exist, or cannot be looked up.
    #[error(transparent)]
    Account(#[from] sys::privileges::Error),
    /// The effective identity cannot be changed.
    #[error("cannot act as the mail system owner: {0}")]
    Identity(Errno),
    /// A lock file cannot be had.
    #[error("open lock file {path}: {reason}")]
    Locked {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// The address of a service is taken, or not ours.
    #[error("bind {address} port {port}: {reason}")]
    Bind {
        /// IP address.
        address: String,
        /// TCP port.
        port: u16,
        /// Why.
        reason: String,
    },
    /// A socket or pipe in the queue directory cannot be made.
    #[error("listen at {path}: {reason}")]
    Listen {
        /// Relative to the queue directory.
        path: String,
        /// Why.
        reason: String,
    },
    /// A host that does not exist, or has no address of an enabled protocol (`inet_protocols`).
    #[error("bad hostname or network address: {0}")]
    Host(String),
    /// A port name that nobody knows.
    #[error("unknown port in service name: {0}")]
    Port(String),
    /// The child of `-w` did not get through.
    #[error("{0}")]
    Initialisation(&'static str),
    /// A system call without which nothing works.
    #[error("{call}: {reason}")]
    Call {
        /// The call, with its argument.
        call: String,
        /// Why.
        reason: String,
    },
}

impl Error {
    /// For system calls.
    pub(crate) fn call(call: impl Into<String>) -> impl FnOnce(std::io::Error) -> Error {
        let call = call.into();
        move |error| Error::Call { call, reason: sys::reason(&error) }
    }
}
