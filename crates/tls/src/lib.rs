//! TLS.
pub mod certificate;
pub mod ciphers;
pub mod fingerprint;
pub mod groups;
mod level;
mod md5;
mod protocols;

pub use level::Level;
pub use protocols::Protocols;
