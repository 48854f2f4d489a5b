//! The mail queue on disk: ids, directories, records, messages, and the logs beside them.
//!
//! | module | what |
//! | --- | --- |
//! | [`Spool`] | paths, hashing, new files, moves, scans |
//! | [`record`] | the typed records that every queue file is made of |
//! | [`message`] | whole messages: writing, the envelope, recipients in batches, content, in-place edits |
//! | [`state`] | what the permission bits of a queue file say |
//! | [`log_file`] | bounce, defer and trace logs |
//! | [`flush_log`] | per-site logs of deferred messages |
//! | [`listing`] | what `mailq` shows |
//! | [`recovery`] | what a crash can leave behind, and how it is put right |
//! | [`lock`] | `flock(2)` with bounded tries |
//!
//! The format is that of Postfix, byte for byte: either suite reads what the other wrote.

mod directory;
mod error;
pub mod flush_log;
mod id;
pub mod listing;
pub mod lock;
pub mod log_file;
mod logs;
pub mod message;
mod new_file;
pub mod record;
pub mod recovery;
mod scan;
mod settings;
mod spool;
pub mod state;
mod walk;

pub use directory::Directory;
pub use error::{Error, Problem};
pub use id::{InvalidQueueId, QueueId};
pub use logs::Logs;
pub use new_file::NewFile;
pub use scan::{Entry, Scan};
pub use spool::{Layout, Spool};
pub use walk::{Found, Walk};
