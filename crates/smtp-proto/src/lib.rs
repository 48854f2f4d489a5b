//! SMTP and LMTP: grammar and state machines without I/O (RFC 5321, 2033, 1870, 2034, 2920, 3461, 6152).
//!
//! [`client`] has what a sender needs: [`client::ReplyReader`], [`client::DotStuffer`], [`client::Capabilities`] and
//! [`client::command`]. [`server`] has what a receiver needs: the line and data decoder (`server::Input`), the command
//! grammar and the session's state machine. [`xtext`] and [`Keywords`] belong to both ends.

pub mod client;
mod keyword;
pub mod server;
pub mod xtext;

pub use keyword::Keywords;
