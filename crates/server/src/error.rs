//! Why a daemon does not start.

use std::io;

/// Why a daemon does not start; the text of its `fatal:` line.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration is wrong or cannot be read.
    #[error(transparent)]
    Config(#[from] config::Error),
    /// An option that this program does not have, or without its value.
    #[error("bad command line: {0}")]
    Usage(String),
    /// Not started by master.
    #[error("do not run this command by hand: it is started by master(8)")]
    ByHand,
    /// Master left, or did not say what the start-up contract asks for.
    #[error("start-up contract: {0}")]
    Contract(String),
    /// The service entry in master.cf does not fit the program.
    #[error("service {service}: {problem}")]
    Entry {
        /// Name in master.cf.
        service: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// The account does not exist or cannot be taken.
    #[error(transparent)]
    Privileges(#[from] sys::privileges::Error),
    /// A system call.
    #[error("{what}: {}", sys::reason(.source))]
    System {
        /// What was attempted.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// What a service found wrong in its own preparations.
    #[error("{0}")]
    Service(String),
}

impl StartError {
    /// A service's own reason.
    #[must_use]
    pub fn service(reason: impl std::fmt::Display) -> StartError {
        StartError::Service(reason.to_string())
    }

    pub(crate) fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> StartError {
        let what = what.into();
        move |source| StartError::System { what, source }
    }
}
