//! The receiving end.
//!
//! A [`Session`] takes bytes and gives [`Step`]s: read more, carry out a [`Task`] and answer for it, take content, close.
//! It does no I/O, knows no clock but what it is told, and decides nothing about access: that is the caller's task.

mod command;
mod data;
mod deadline;
mod ehlo;
mod history;
mod input;
mod parameters;
mod problem;
mod reply;
mod session;
mod settings;
#[cfg(test)]
mod tests;
mod token;

pub use command::{Counts, Verb};
pub use data::{Bare, DataDecoder, Decoded};
pub use deadline::Deadline;
pub use history::History;
pub use input::Input;
pub use parameters::{Body, MailParameters, RecipientParameters};
pub use problem::Problems;
pub use reply::{Footer, finish_reply};
pub use session::{Ending, MailCommand, Note, RecipientCommand, Session, Step, Task};
pub use settings::{BareNewline, CommandLists, Settings};
