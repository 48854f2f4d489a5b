//! What can go wrong with a table.

use std::io;
use std::path::PathBuf;

use bstr::BString;

/// A table, or a list of tables, cannot be opened or built.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name has no `type:` or the rest does not fit the type.
    #[error("{name}: bad table name: {reason}")]
    Name {
        /// The name as configured.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A type that no version knows.
    #[error("unsupported dictionary type: {kind}")]
    UnknownType {
        /// The word before the colon.
        kind: String,
    },
    /// A type that the reference has on some systems and that has no place here.
    #[error("table type {kind} is not available")]
    NotAvailable {
        /// The word before the colon.
        kind: String,
    },
    /// The parameter forbids this type or feature.
    #[error("{name}: {reason}")]
    Forbidden {
        /// `type:name`.
        name: String,
        /// Which rule forbids it.
        reason: String,
    },
    /// A file cannot be opened or read.
    #[error("open {}: {}", path.display(), sys::reason(source))]
    Open {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// An indexed file cannot be opened or read.
    #[error("open database {}: {}", path.display(), sys::reason(source))]
    OpenDatabase {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("write {}: {}", path.display(), sys::reason(source))]
    Write {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file is not what its name says, or damaged.
    #[error("{}: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The type cannot do what was asked (listing, updating, deleting).
    #[error("{kind}: map type does not support {operation}")]
    Unsupported {
        /// The table type.
        kind: String,
        /// What was asked.
        operation: &'static str,
    },
    /// A list element makes no sense.
    #[error("{title}: bad pattern \"{pattern}\": {reason}")]
    Pattern {
        /// The parameter.
        title: String,
        /// The element.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A parameter that tables depend on has a bad value.
    #[error(transparent)]
    Config(#[from] config::Error),
}

/// A lookup that has no answer now. Always a temporary error (4xx, defer), never "not found".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{table} lookup error for \"{key}\": {reason}")]
pub struct LookupError {
    /// `type:name` of the table that failed.
    pub table: String,
    /// The key, at most 100 bytes of it.
    pub key: BString,
    /// The cause, for the log and never for a client.
    pub reason: String,
}

/// Why one table could not answer; [`LookupError`] adds where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Fault(pub String);

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}
