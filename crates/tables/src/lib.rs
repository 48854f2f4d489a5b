//! Lookup tables: `type:name` pairs from keys to values, lists of tables ([`Maps`]) and lists of patterns ([`MatchList`]).
//!
//! A table error is never "not found": it is a temporary error, and the caller defers. Types that live in files of this
//! machine are served in the process; types that need a client of a database are programs of their own behind a socket,
//! for which the asynchronous lookups wait without holding up anybody else.

mod address_lookup;
pub mod base64;
pub mod build;
pub mod cidr;
pub mod command;
mod error;
pub mod file_values;
mod file_watch;
mod flags;
pub mod fold;
pub mod keys;
pub mod list;
mod maps;
mod match_list;
pub mod open;
mod settings;
pub mod source;
mod stale;
mod table;
mod types;

pub use address_lookup::{AddressHit, AddressQuery, LocalDomains, Strategy};
pub use error::{Error, Fault, LookupError};
pub use flags::Flags;
pub use maps::{Hit, Maps};
pub use match_list::{Kind, MatchList};
pub use settings::{Servers, Settings, parent_domain_matches_subdomains};
pub use table::{EachEntry, Owner, Table};
pub use types::remote::{REMOTE_TYPES, RemoteType};
