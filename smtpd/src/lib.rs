//! smtpd: receives mail over SMTP.
//!
//! The protocol is `smtp_proto::server`, the decisions are in [`restrictions`]; what is here carries them out: the client's
//! connection, its name, the transaction with cleanup, the log.

mod client;
mod commands;
mod conversation;
mod execute;
mod footer;
mod notice;
mod notice_gate;
mod postdrop;
mod received;
pub mod restrictions;
mod rewrite_context;
mod service;
mod settings;
mod starttls;
mod storage;
mod stream;
mod transaction;
mod world;

pub use service::Smtpd;
