//! The one crate that may say `unsafe`: thin, checked doors to the operating system.
//!
//! Everything above asks here for what the standard library and `nix` offer only unsafely: descriptors received over
//! sockets, `fork`, `regcomp`, LMDB environments, descriptors inherited at start-up.

pub mod accounts;
pub mod clock;
pub mod confine;
pub mod datagrams;
pub mod environment;
pub mod fork;
pub mod inherited;
pub mod last_words;
#[cfg(feature = "lmdb")]
pub mod lmdb;
pub mod memory;
pub mod passing;
#[cfg(feature = "pcre")]
pub mod pcre;
pub mod posix_regex;
pub mod privileges;
#[cfg(feature = "readiness")]
pub mod readiness;
mod reason;
pub mod signals;
pub mod socket;

pub use reason::reason;
