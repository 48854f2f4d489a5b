//! The directories below `queue_directory`.

use serde::{Deserialize, Serialize};

/// A directory that holds queue files, or logs named after them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Directory {
    /// Local submissions, written by postdrop.
    Maildrop,
    /// New messages, being written or just written by cleanup.
    Incoming,
    /// Messages that the queue manager has opened.
    Active,
    /// Messages that wait for another try.
    Deferred,
    /// Messages that wait for the administrator.
    Hold,
    /// Messages that could not be read.
    Corrupt,
    /// Failure reasons, one file a message.
    Bounce,
    /// Delay reasons, one file a message.
    Defer,
    /// Success and probe reports, one file a message.
    Trace,
    /// One file a destination: the ids of its deferred messages.
    Flush,
    /// Messages kept for the administrator by debugging options.
    Saved,
}

impl Directory {
    /// Every directory, in the order in which queue listings go where they name several.
    pub const ALL: [Directory; 11] = [
        Directory::Maildrop,
        Directory::Active,
        Directory::Incoming,
        Directory::Deferred,
        Directory::Hold,
        Directory::Corrupt,
        Directory::Bounce,
        Directory::Defer,
        Directory::Trace,
        Directory::Flush,
        Directory::Saved,
    ];

    /// The name on disk.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Directory::Maildrop => "maildrop",
            Directory::Incoming => "incoming",
            Directory::Active => "active",
            Directory::Deferred => "deferred",
            Directory::Hold => "hold",
            Directory::Corrupt => "corrupt",
            Directory::Bounce => "bounce",
            Directory::Defer => "defer",
            Directory::Trace => "trace",
            Directory::Flush => "flush",
            Directory::Saved => "saved",
        }
    }

    /// The directory of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Directory> {
        Directory::ALL.into_iter().find(|directory| directory.name() == name)
    }
}
