//! What all table servers share: the programs behind `ldap:`, `pgsql:`, `redis:`, ...
//!
//! A server is a [`TableType`]; [`run`] is its `main`. The rest is for its own use: configuration files ([`Attributes`]), templates
//! with `%s` and the like ([`Templates`]), a few connections to several hosts ([`Pool`]) and byte streams with bounds ([`Wire`]).

mod attributes;
mod hosts;
mod names;
mod pool;
mod scram;
mod service;
mod template;
mod tls;
mod wire;

pub use attributes::{Attributes, Choice};
pub use hosts::Host;
pub use pool::{Connector, Pool, PoolSettings, Trouble};
pub use scram::{Scram, ScramHash};
pub use service::{TableServer, run};
pub use template::{Quote, Results, Templates, verbatim};
pub use tls::{Tls, TlsOptions, Verify};
pub use wire::{ByteStream, Wire};

use bstr::BString;
use config::Config;

/// Why there is no answer: the text is for the log. Always a temporary error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Fault(pub String);

impl Fault {
    /// From anything that has a text.
    #[must_use]
    pub fn new(reason: impl std::fmt::Display) -> Fault {
        Fault(reason.to_string())
    }
}

/// A program that serves tables of one type, or a few that are alike.
pub trait TableType: 'static + Sized {
    /// `table-pgsql`
    const PROGRAM: &'static str;
    /// The words before the colon.
    const KINDS: &'static [&'static str];

    /// Opens `kind:name`. Called before privileges are dropped for the tables that the configuration names, else with the
    /// rights of the account for tables: whatever only root may read has to be read here.
    ///
    /// # Errors
    /// What is wrong with the table's configuration.
    fn open(kind: &str, name: &str, config: &Config) -> Result<Self, Fault>;

    /// The value of a key, which holds no NUL.
    ///
    /// # Errors
    /// There is no answer now.
    fn lookup(&self, key: &[u8]) -> impl Future<Output = Result<Option<BString>, Fault>>;

    /// Stores a value, in place of one that is there.
    ///
    /// # Errors
    /// It cannot be done now, or never.
    fn update(&self, _key: &[u8], _value: &[u8]) -> impl Future<Output = Result<(), Fault>> {
        std::future::ready(Err(Fault::new("map type does not support updates")))
    }

    /// Removes a key; whether it was there.
    ///
    /// # Errors
    /// It cannot be done now, or never.
    fn delete(&self, _key: &[u8]) -> impl Future<Output = Result<bool, Fault>> {
        std::future::ready(Err(Fault::new("map type does not support deleting entries")))
    }

    /// Whether a file that was read when the table was opened has changed, beside the table's configuration file.
    fn changed(&self) -> bool {
        false
    }
}
