//! The one crate that may say `unsafe`: thin, checked doors to the operating system.
//!
//! Everything above asks here for what the standard library and `nix` offer only unsafely: descriptors received over
//! sockets, `fork`, `regcomp`, LMDB environments, descriptors inherited at start-up.

pub mod environment;
#[cfg(feature = "lmdb")]
pub mod lmdb;
pub mod passing;
#[cfg(feature = "pcre")]
pub mod pcre;
pub mod posix_regex;
