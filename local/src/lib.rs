//! Local delivery: aliases, `.forward` files, mailboxes, commands.
//!
//! [`agent`] is the program. [`recipient`] decides, for one recipient, what its name stands for, following aliases and
//! lists; [`user`] delivers to a user of the machine; everything that touches a user's files runs in a child that has
//! become the user. [`forward`] sends mail on through cleanup.

pub mod agent;
pub mod command;
pub mod destination;
pub mod forward;
mod holder;
mod list_file;
mod luser_relay;
mod names;
mod pass;
pub mod recipient;
pub mod settings;
pub mod user;
