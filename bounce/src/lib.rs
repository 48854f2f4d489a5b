//! The bounce, defer and trace services: tell senders, and the postmaster, what became of mail.
//!
//! The logs of a message are written by qmgr. Here they are read when a notice is due ([`compose`]), and the notice is
//! handed to cleanup ([`submit`]) as new mail. A log goes away only after its notice is safely queued.

pub mod compose;
mod service;
pub mod settings;
pub mod submit;

pub use service::Bounce;
