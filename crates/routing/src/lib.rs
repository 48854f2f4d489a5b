//! Where mail goes: completing addresses, address classes, transports and next hops, and which recipients exist.
//!
//! [`Rewriter`] completes addresses and needs no table. [`Classes`] says who is responsible for a domain. [`Resolver`]
//! finds transport, next hop and recipient. [`Recipients`] knows which recipients of our own domains exist.
//! Lookup tables are asked asynchronously; a table that fails makes a temporary error, never another route.

mod classes;
mod error;
mod recipients;
mod resolver;
mod rewriter;
mod transport;

pub use classes::Classes;
pub use error::Error;
pub use recipients::{Recipients, UnknownIn, Verdict};
pub use resolver::Resolver;
pub use rewriter::{Context, Rewriter};

/// `recipient_delimiter` with `owner_request_special`.
fn delimiters(config: &config::Config) -> Result<address::Delimiters, Error> {
    let set = config.string("recipient_delimiter")?;
    Ok(address::Delimiters::new(set.as_bytes(), config.bool("owner_request_special")?))
}
