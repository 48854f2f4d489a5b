//! The sending end: replies, capabilities, commands and the end-of-data encoding.

mod capabilities;
pub mod command;
mod content;
mod reply;

pub use capabilities::{Capabilities, Size};
pub use content::DotStuffer;
pub use reply::{Reply, ReplyError, ReplyReader};
