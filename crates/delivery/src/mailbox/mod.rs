//! Mailboxes: mbox files and Maildirs. The caller has become the owner already.

pub mod lock;
pub mod maildir;
pub mod mbox;
mod text;

pub use text::{Copy, Prepended};

use std::io;

use dsn::{Dsn, Status};

/// Why a mailbox was not changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call.
    #[error("{what}: {}", sys::reason(source))]
    System {
        /// What was attempted.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// The mailbox is locked by somebody else for too long.
    #[error("unable to lock for exclusive access: {0}")]
    Locked(String),
    /// `mailbox_size_limit` or `virtual_mailbox_limit`.
    #[error("mailbox size limit exceeded")]
    Full,
    /// Not a file, or not one that mail may be written to.
    #[error("{0}")]
    NotAMailbox(String),
    /// `strict_mailbox_ownership`: the mailbox is another account's.
    #[error("destination {0} is not owned by recipient")]
    Owner(String),
    /// The queue file cannot be read.
    #[error("{0}")]
    Content(#[from] queue::Error),
}

impl Error {
    pub(crate) fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
        let what = what.into();
        move |source| Error::System { what, source }
    }

    /// Status and reason for the recipient; `what` begins the reason (`cannot update mailbox ...`).
    #[must_use]
    pub fn dsn(&self, what: &str) -> Dsn {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded};
        let status = match self {
            Error::Full => Status::permanent(2, 2),
            Error::System { source, .. } if matches!(source.kind(), FileTooLarge | QuotaExceeded) => {
                Status::permanent(2, 2)
            }
            Error::NotAMailbox(_) => Status::permanent(2, 0),
            Error::Content(_) => Status::transient(3, 0),
            Error::System { .. } | Error::Locked(_) | Error::Owner(_) => Status::transient(2, 0),
        };
        Dsn::new(status, format!("{what}. {self}"))
    }
}
