//! Messages as streams of lines: headers, MIME structure, dates, folding and down-conversion. No I/O, no `String`s.
//!
//! Lines come without their line end, together with whether they are complete: queue files and readers cut very long
//! lines into pieces (`line_length_limit`).
//!
//! * [`Name`] is the table of headers that a mail system treats specially;
//! * [`Parser`] splits a message into logical headers and body lines, through nested MIME entities;
//! * [`downgrade`] turns 8-bit MIME content into quoted-printable on the way to a 7-bit peer;
//! * [`date`], [`fold`], [`received`] and [`encoded_word`] make header text.

pub mod date;
pub mod downgrade;
pub mod encoded_word;
pub mod fold;
mod header;
pub mod mime;
mod name;
pub mod received;

pub use header::{body_of, is_header, name_length, value};
pub use mime::{Class, EndOfHeaders, Header, Limits, Line, Parser, Problem, Problems, Step};
pub use name::Name;
