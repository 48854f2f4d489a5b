//! tlsmgr: holds the private keys of all TLS servers and clients, and signs for them; makes the keys of session tickets.
//!
//! Nobody else has a key: who talks to strangers shows the certificates that tlsmgr names ([`ipc::tlsmgr`]) and has the one
//! message of a handshake signed that proves the key ([`shape`]). Files are read by a [`keeper`], which notices renewed
//! ones; [`store`] takes them up when they fit together, and keeps what it has when they do not.

pub mod keeper;
pub mod pairs;
mod rotation;
mod service;
mod settings;
pub mod shape;
pub mod store;

pub use service::Tlsmgr;
