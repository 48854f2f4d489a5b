//! daemons, tools → table servers (`private/proxymap`, `private/table-pgsql`, ...): questions to lookup tables that are
//! not opened in the asker's own process. Requests carry a number and may be answered in any order.

mod blocking;
mod client;

pub use blocking::BlockingClient;
pub use client::Client;

use std::sync::atomic::{AtomicBool, Ordering};

use bstr::BString;
use serde::{Deserialize, Serialize};

/// Longest key that a server takes (bytes).
pub const MAX_KEY: usize = 64 << 10;
/// Longest value that travels in an answer (bytes); what is longer is a failure.
pub const MAX_VALUE: usize = 1 << 20;

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// The asker's number, repeated in the answer.
    pub id: u32,
    /// What to do.
    pub request: Request,
}

/// What to do with which table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// `type:name`, as configured.
    pub table: String,
    /// `tables::Flags` as a number: how the asker would have opened the table.
    pub flags: u16,
    /// The key.
    pub key: BString,
    /// Lookup, or a change.
    pub operation: Operation,
}

/// What to do with a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operation {
    /// Look it up; answered with the value.
    Lookup,
    /// Store this value, in place of one that is there; answered with an empty value.
    Update(BString),
    /// Remove it; answered with an empty value, or with `None` when it was not there.
    Delete,
}

/// The answer to a [`Question`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The question's number.
    pub id: u32,
    /// The value, that there is none, or why nothing can be said: always a temporary error. The text is for the log.
    pub outcome: Outcome,
}

/// What a server says.
pub type Outcome = Result<Option<BString>, String>;

static DAEMON: AtomicBool = AtomicBool::new(false);

/// Says that this process is a daemon under master: table servers are reached over their sockets. Tools, and daemons that
/// a user started by hand, run the servers' programs for themselves.
pub fn use_sockets() {
    DAEMON.store(true, Ordering::Relaxed);
}

/// Whether table servers are reached over their sockets.
#[must_use]
pub fn uses_sockets() -> bool {
    DAEMON.load(Ordering::Relaxed)
}
