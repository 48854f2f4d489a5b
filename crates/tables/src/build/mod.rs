//! Making and changing indexed tables: what postmap, postalias and newaliases do.

mod alias_database;
mod compile;
mod owner;
mod target;

pub use alias_database::rebuild_alias_database;
pub use compile::{CompileOptions, Syntax, compile, compile_entries, read_entries};
pub use target::{Duplicates, Entry, KeptWritable, Target, Terminator, WriteOptions};
