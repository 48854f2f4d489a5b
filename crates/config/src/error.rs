//! What can be wrong with a configuration, always with the place where it is wrong.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A line of a file; lines count from 1, and a logical line is known by its first.
    File {
        /// The file, as it was opened.
        path: Arc<Path>,
        /// The first physical line of the entry.
        line: usize,
    },
    /// The built-in default.
    Default,
    /// Set after the file was read: `-o name=value` of a command or of a `master.cf` entry, or by the program itself.
    Override,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File { path, line } => write!(f, "{}, line {line}", path.display()),
            Origin::Default => f.write_str("built-in default"),
            Origin::Override => f.write_str("-o option"),
        }
    }
}

/// Errors of this crate. The texts are fit for a log line or for standard error.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be opened.
    #[error("open {}: {}", path.display(), sys::reason(source))]
    Open {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file could not be read.
    #[error("read {}: {}", path.display(), sys::reason(source))]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line that does not follow the syntax.
    #[error("{}, line {line}: {problem}: \"{text}\"", path.display())]
    Syntax {
        /// Which file.
        path: Arc<Path>,
        /// First physical line of the entry, from 1.
        line: usize,
        /// What is wrong, such as `missing '=' after attribute name`.
        problem: &'static str,
        /// The line, or the part that is wrong.
        text: String,
    },
    /// `name=value` or `{ name = value }` (as in `-o`) that does not follow the syntax.
    #[error("{problem}: \"{text}\"")]
    Assignment {
        /// What is wrong.
        problem: &'static str,
        /// The text.
        text: String,
    },
    /// A field of a `master.cf` entry.
    #[error("{}: line {line}: bad {field} value: \"{value}\"", path.display())]
    MasterField {
        /// Which file.
        path: Arc<Path>,
        /// First physical line of the entry, from 1.
        line: usize,
        /// Which of the eight fields.
        field: &'static str,
        /// Its text.
        value: String,
    },
    /// A parameter's value cannot be expanded.
    #[error("{origin}: parameter {name}: {reason}")]
    Expansion {
        /// Where the value was set.
        origin: Origin,
        /// Which parameter.
        name: String,
        /// Why.
        reason: ExpansionError,
    },
    /// A parameter's value is not of its type.
    #[error("{origin}: bad {kind} configuration: {name} = {value}")]
    BadValue {
        /// Where the value was set.
        origin: Origin,
        /// `boolean`, `numerical`, `time` ...
        kind: &'static str,
        /// Which parameter.
        name: String,
        /// The expanded value.
        value: String,
    },
    /// A number is outside its range (minimum or maximum as in the parameter table).
    #[error("{origin}: invalid {name} parameter value {value} {relation} {limit}")]
    Range {
        /// Where the value was set.
        origin: Origin,
        /// Which parameter.
        name: String,
        /// The value; for times in seconds, for texts their length.
        value: i64,
        /// `<` or `>`.
        relation: char,
        /// The limit.
        limit: i64,
    },
    /// A parameter that must not be empty is empty.
    #[error("{origin}: parameter {name} must not be empty")]
    Empty {
        /// Where the value was set.
        origin: Origin,
        /// Which parameter.
        name: String,
    },
    /// A name that the parameter table does not have: an error of the program, not of the user.
    #[error("unknown parameter: {0}")]
    Unknown(String),
    /// A value that the machine gives (interfaces, host name) cannot be had.
    #[error("parameter {name}: {reason}")]
    Host {
        /// Which parameter needs it.
        name: &'static str,
        /// Why not.
        reason: String,
    },
    /// A set-gid tool was asked to use a configuration directory that the default one does not authorise.
    #[error("unauthorized configuration directory name: {}", .0.display())]
    UnauthorizedDirectory(PathBuf),
}

/// Why a text with `$name` in it cannot be expanded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpansionError {
    /// `$` without a name behind it.
    #[error("empty macro name: \"{0}\"")]
    EmptyName(String),
    /// `${` or `$(` without its end.
    #[error("truncated macro reference: \"{0}\"")]
    Truncated(String),
    /// Something else was expected; the text up to there, and from there.
    #[error("{expected} expected at: \"...{before}>>>{after}\"")]
    Expected {
        /// What was expected.
        expected: &'static str,
        /// A few characters before.
        before: String,
        /// What follows.
        after: String,
    },
    /// A name with a character that names cannot have.
    #[error("attribute name syntax error at: \"...{before}>>>{after}\"")]
    Name {
        /// The name up to there.
        before: String,
        /// What follows.
        after: String,
    },
    /// Text behind the last part.
    #[error("unexpected input at: \"...{before}>>>{after}\"")]
    Unexpected {
        /// A few characters before.
        before: String,
        /// What follows.
        after: String,
    },
    /// A number in a comparison that is too large.
    #[error("bad conversion: {0}")]
    Number(String),
    /// An operand of `<level` and the like, or `compatibility_level`, is not `major[.minor[.patch]]`.
    #[error("malformed compatibility level syntax: \"{0}\"")]
    Level(String),
    /// Values that refer to each other more than 100 deep, or in a circle.
    #[error("unreasonable macro call nesting: \"{0}\"")]
    Nesting(String),
}

/// Something that works but is worth a line in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// A later line gives a parameter another value.
    Overriding {
        /// The later line.
        origin: Origin,
        /// Which parameter.
        name: String,
        /// The value that no longer counts.
        old: String,
    },
    /// White space before the first entry.
    LeadingSpace {
        /// Which file.
        path: Arc<Path>,
        /// The line.
        text: String,
    },
    /// A line with bytes that are not UTF-8; they were replaced.
    NotUtf8 {
        /// Where.
        origin: Origin,
    },
    /// Two `master.cf` entries with the same name and type; the later one counts.
    DuplicateService {
        /// Where the later one is.
        origin: Origin,
        /// Service name.
        name: String,
        /// Service type.
        kind: &'static str,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::Overriding { origin, name, old } => {
                write!(f, "{origin}: overriding earlier entry: {name}={old}")
            }
            Warning::LeadingSpace { path, text } => {
                write!(f, "{}: logical line must not start with whitespace: \"{text}\"", path.display())
            }
            Warning::NotUtf8 { origin } => write!(f, "{origin}: text is not UTF-8; unreadable bytes were replaced"),
            Warning::DuplicateService { origin, name, kind } => {
                write!(f, "{origin}: duplicate master.cf entry for service \"{name}\" ({kind}) -- using the last entry")
            }
        }
    }
}
