//! What can go wrong with a queue file.

use std::io;

/// An error of the queue.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system said no: temporary, try again.
    #[error("{}", sys::reason(.0))]
    Io(#[from] io::Error),
    /// The file is not a well-formed queue file: it belongs into `corrupt/`.
    #[error("malformed queue file at offset {offset}: {problem}")]
    Malformed {
        /// Where in the file, in bytes.
        offset: u64,
        /// What is wrong there.
        problem: Problem,
    },
    /// Records were written in an order that no reader accepts; an error in the calling program.
    #[error("record of type {0:?} does not belong into this segment")]
    Order(char),
}

/// What is wrong with a queue file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A byte that starts a record is no known type.
    #[error("unknown record type 0x{0:02x}")]
    UnknownType(u8),
    /// A known type where it may not be.
    #[error("unexpected record type {0:?}")]
    UnexpectedType(char),
    /// More than four length bytes.
    #[error("too many length bits")]
    LengthBits,
    /// The file ends inside a record.
    #[error("unexpected end of file in a record")]
    TruncatedRecord,
    /// The file ends before the end record.
    #[error("unexpected end of file before the end record")]
    MissingEnd,
    /// A record is longer than the reader accepts.
    #[error("record of {0} bytes is too long")]
    RecordTooLong(usize),
    /// The data of a pointer record is no offset.
    #[error("malformed pointer record")]
    Pointer,
    /// Pointer records go round in circles.
    #[error("too many backward pointers")]
    PointerLoop,
    /// The first record is not a usable size record.
    #[error("malformed or missing size record")]
    Size,
    /// Flags in the size record that this version does not know.
    #[error("unknown message flags in the size record")]
    Flags,
    /// No arrival time before the recipients.
    #[error("missing arrival time record")]
    MissingTime,
    /// The arrival time is no number.
    #[error("malformed arrival time record")]
    Time,
    /// No sender before the recipients.
    #[error("missing sender record")]
    MissingSender,
    /// A second sender.
    #[error("duplicate sender record")]
    DuplicateSender,
    /// More envelope than any program of ours or the reference's writes.
    #[error("envelope information exceeds {limit} bytes", limit = crate::message::ENVELOPE_LIMIT)]
    EnvelopeTooLarge,
    /// An in-place edit does not find the record that it is to change.
    #[error("no such record at this place")]
    NotThere,
}

impl Error {
    pub(crate) fn malformed(offset: u64, problem: Problem) -> Error {
        Error::Malformed { offset, problem }
    }

    /// True when the file itself is bad, and trying again will not help.
    #[must_use]
    pub fn is_malformed(&self) -> bool {
        matches!(self, Error::Malformed { .. })
    }
}
