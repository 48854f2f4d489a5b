//! Why the program ends early.

use std::io;

use crate::request::Usage;

/// Why the program ends early.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A mistake on the command line.
    #[error("{0}")]
    Usage(#[from] Usage),
    /// The configuration is wrong.
    #[error("{0}")]
    Config(#[from] config::Error),
    /// A list of users cannot be read.
    #[error("{0}")]
    Tables(String),
    /// The calling user may not do this.
    #[error("User {name}({uid}) is not allowed to {what}")]
    NotAllowed {
        /// Of the caller.
        name: String,
        /// Of the caller.
        uid: u32,
        /// `view the mail queue`, `flush the mail queue`
        what: &'static str,
    },
    /// Nobody listens, and the caller may not read the queue.
    #[error("Queue report unavailable - mail system is down")]
    NoReport,
    /// Nobody listens.
    #[error("Cannot flush mail queue - mail system is down")]
    NoFlush,
    /// The socket is there, but not for us.
    #[error("Connect to the Postfix {service} service: {}", sys::reason(error))]
    Connect {
        /// `showq`
        service: String,
        /// Why.
        error: io::Error,
    },
    /// What came is no listing, or not all of it.
    #[error("malformed showq server response: {0}")]
    Response(ipc::Error),
    /// `-i` with something else than an id.
    #[error("Cannot flush queue ID - invalid name: \"{0}\"")]
    QueueId(String),
    /// `-s` with something else than a site.
    #[error("Cannot flush mail queue - invalid destination: \"{0}\"")]
    Site(String),
    /// `-s` for a site that is not in fast_flush_domains.
    #[error("Flush service is not configured for destination \"{0}\"")]
    NotConfigured(String),
    /// The queue cannot be read directly.
    #[error("{}: {}", .0, sys::reason(.1))]
    Queue(String, io::Error),
    /// Root cannot become the owner of the queue.
    #[error("{0}")]
    Privileges(#[from] sys::privileges::Error),
    /// The output does not take it.
    #[error("output write error: {}", sys::reason(.0))]
    Output(io::Error),
}

impl Error {
    /// 69 (unavailable) whatever went wrong, as the reference ends when it runs; its source knows others.
    pub const EXIT_CODE: u8 = 69;

    /// The reader of our output has seen enough, and wants to hear nothing.
    #[must_use]
    pub fn is_closed_pipe(&self) -> bool {
        matches!(self, Error::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}
