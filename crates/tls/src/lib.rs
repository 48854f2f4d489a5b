//! TLS, both ends: levels, policies, verification, and what log lines and headers say of it. rustls and aws-lc-rs are behind it;
//! no other crate of the mail system but tlsmgr speaks to them.
//!
//! A server is a [`Server`] made of [`ServerSettings`]; [`Server::accept`] turns a TCP connection into a [`TlsStream`] with its
//! [`TlsFacts`]. Private keys are not here: tlsmgr has them, shows their certificates and signs (`ipc::tlsmgr`).
//!
//! The client's end will use the same pieces: [`Level`], [`Protocols`], [`ciphers`], [`groups`], [`Roots`], `Signers`, `TlsStream`
//! over `rustls::Connection`. Its verifier, with DANE (RFC 7672) beside PKIX and fingerprints, belongs beside [`Roots`].

pub mod certificate;
pub mod ciphers;
mod facts;
pub mod fingerprint;
pub mod groups;
mod key_set;
mod keys;
mod level;
mod log_level;
mod md5;
mod protocols;
mod server;
mod settings;
mod signing;
mod stream;
mod tickets;
mod verify;
mod witness;

pub use facts::{PeerCertificate, Signature, TlsFacts};
pub use fingerprint::Digest;
pub use key_set::{key_set, oddities};
pub use level::Level;
pub use log_level::LogLevel;
pub use protocols::Protocols;
pub use server::{HandshakeError, Server};
pub use settings::{ServerSettings, SettingsError};
pub use signing::{Signers, schemes};
pub use stream::TlsStream;
pub use tickets::Tickets;
pub use verify::Roots;
