//! The mail queue on disk: ids, directories, records, messages, and the logs beside them.

mod directory;
mod id;

pub use directory::Directory;
pub use id::{InvalidQueueId, QueueId};
