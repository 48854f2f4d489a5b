//! The records of a submission: what may be there, in which order, and what is left out.

use std::io::{self, BufReader, Read};
use std::time::Duration;

use bstr::BString;
use dsn::{Notify, Return};
use queue::record::{self, RecordType, Writer};

/// Longest record that is taken, in bytes; callers cut lines at line_length_limit.
const LONGEST_RECORD: usize = 1 << 20;
/// Bytes of the status notice's identification (RFC 3461 4.4).
const LONGEST_ENVELOPE_ID: usize = 100;

/// Why a submission is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The caller went away before the end.
    #[error("unexpected end of input")]
    Truncated,
    /// Not a record, or longer than any record.
    #[error("malformed record")]
    Malformed,
    /// A record that is not allowed here.
    #[error("unexpected record type {0:?}")]
    Unexpected(char),
    /// No sender before the recipients, or two.
    #[error("wrong number of senders")]
    Senders,
    /// Not somebody that this user may send as.
    #[error("sender {0} not allowed")]
    Sender(BString),
    /// Whether the sender is allowed cannot be known now.
    #[error("{0}")]
    Lookup(String),
    /// `message_size_limit`
    #[error("message file too big")]
    Size,
    /// A signal.
    #[error("signal {0}")]
    Signal(i32),
    /// Standard input.
    #[error("read: {}", sys::reason(.0))]
    Read(#[from] io::Error),
    /// The file.
    #[error("write: {}", sys::reason(.0))]
    Write(io::Error),
}

/// Input that can tell that a signal, not an error, ended it.
pub(crate) trait Interruptible: Read {
    /// The signal.
    fn interrupted(&self) -> Option<i32>;
}

impl Interruptible for &mut crate::input::Input {
    fn interrupted(&self) -> Option<i32> {
        self.interrupted
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Segment {
    Envelope,
    Content,
    Extracted,
}

/// Copies a submission from `input`, with the arrival time in front. `allowed` decides about the sender.
pub(crate) fn copy<I: Interruptible>(
    input: I,
    mut output: Writer,
    limit: u64,
    now: Duration,
    allowed: impl Fn(&[u8]) -> Result<bool, String>,
) -> Result<(), Error> {
    let mut input = BufReader::with_capacity(64 << 10, input);
    let arrival = format!("{} {}", now.as_secs(), now.subsec_micros());
    output.put(RecordType::Time, arrival.as_bytes()).map_err(Error::Write)?;
    let mut segment = Segment::Envelope;
    let mut senders = 0;
    let mut data = Vec::new();
    loop {
        let byte = match read_record(&mut input, &mut data) {
            Ok(byte) => byte,
            Err(error) => return Err(input.get_ref().interrupted().map_or(error, Error::Signal)),
        };
        let Some(kind) = RecordType::from_byte(byte) else { return Err(Error::Unexpected(byte.into())) };
        let keep = match (segment, kind) {
            (Segment::Envelope, RecordType::Message) => {
                segment = Segment::Content;
                true
            }
            (Segment::Content, RecordType::Extracted) => {
                segment = Segment::Extracted;
                true
            }
            (Segment::Extracted, RecordType::End) => break,
            (Segment::Envelope, RecordType::Sender) => {
                senders += 1;
                if !allowed(&data).map_err(Error::Lookup)? {
                    return Err(Error::Sender(data.into()));
                }
                true
            }
            // The time is ours.
            (Segment::Envelope, RecordType::Time) => false,
            (Segment::Envelope, RecordType::Size | RecordType::FullName | RecordType::Verp) => true,
            (Segment::Envelope | Segment::Extracted, RecordType::Recipient) => {
                if senders != 1 {
                    return Err(Error::Senders);
                }
                true
            }
            (Segment::Content, RecordType::Text | RecordType::Continued) => true,
            (Segment::Envelope | Segment::Extracted, RecordType::Attribute) => is_allowed(&data),
            _ => return Err(Error::Unexpected(byte.into())),
        };
        if keep {
            output.put(kind, &data).map_err(Error::Write)?;
        }
        if limit > 0 && output.offset() > limit {
            return Err(Error::Size);
        }
    }
    if senders != 1 {
        return Err(Error::Senders);
    }
    output.put(RecordType::End, b"").map_err(Error::Write)?;
    output.flush().map_err(Error::Write)
}

/// Reads one record; its type byte.
fn read_record(input: &mut impl Read, data: &mut Vec<u8>) -> Result<u8, Error> {
    let mut byte = [0u8; 1];
    let mut next = |input: &mut dyn Read| -> Result<u8, Error> {
        match input.read_exact(&mut byte) {
            Ok(()) => Ok(byte[0]),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(Error::Truncated),
            Err(error) => Err(error.into()),
        }
    };
    let kind = next(input)?;
    let (mut length, mut shift) = (0usize, 0);
    loop {
        let part = next(input)?;
        length |= usize::from(part & 0x7f) << shift;
        if part & 0x80 == 0 {
            break;
        }
        shift += 7;
        if shift > 21 {
            return Err(Error::Malformed);
        }
    }
    if length > LONGEST_RECORD {
        return Err(Error::Malformed);
    }
    data.resize(length, 0);
    match input.read_exact(data) {
        Ok(()) => Ok(kind),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(Error::Truncated),
        Err(error) => Err(error.into()),
    }
}

/// The attributes that a submission may have, with values that make sense; others are left out.
fn is_allowed(data: &[u8]) -> bool {
    let Some((name, value)) = record::attribute(data) else {
        log::warning!("uid={}: ignoring malformed attribute record", nix::unistd::getuid());
        return false;
    };
    let number = || std::str::from_utf8(value).ok().and_then(|text| text.parse::<u32>().ok());
    let bits = || number().and_then(|number| u8::try_from(number).ok());
    let fits = match name {
        "encoding" => matches!(value, b"7bit" | b"8bit" | b""),
        "envelope_id" => value.len() <= LONGEST_ENVELOPE_ID && value.iter().all(|byte| (32..127).contains(byte)),
        "ret_flags" => bits().and_then(Return::from_bits).is_some(),
        "notify_flags" => bits().and_then(Notify::from_bits).is_some(),
        "dsn_orig_rcpt" => value.contains(&b';') && !value.iter().any(u8::is_ascii_control),
        // Verification by a user, and a report about the delivery; not a probe of the mail system's own.
        "trace_flags" => number().is_some_and(|flags| flags & !(512 | 1024) == 0),
        "rewrite_context" => matches!(value, b"local" | b"remote"),
        _ => false,
    };
    if !fits {
        log::warning!("uid={}: ignoring attribute record: {name}", nix::unistd::getuid());
    }
    fits
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use queue::record::{RecordType as R, put};

    use super::*;

    struct Bytes<'a>(&'a [u8]);

    impl Read for Bytes<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.read(buffer)
        }
    }

    impl Interruptible for Bytes<'_> {
        fn interrupted(&self) -> Option<i32> {
            None
        }
    }

    fn take(records: &[(R, &str)], limit: u64) -> Result<Vec<String>, String> {
        let mut bytes = Vec::new();
        for (kind, text) in records {
            put(&mut bytes, *kind, text.as_bytes());
        }
        let file = Arc::new(tempfile::tempfile().expect("file"));
        let allowed = |sender: &[u8]| Ok(sender != b"root");
        copy(Bytes(&bytes), Writer::new(Arc::clone(&file)), limit, Duration::new(7, 5000), allowed)
            .map_err(|error| error.to_string())?;
        let mut reader = queue::record::Reader::new(file, 0);
        let mut lines = Vec::new();
        while let Some(record) = reader.read_raw().expect("record") {
            lines.push(format!("{} {}", record.kind.byte() as char, String::from_utf8_lossy(record.data)));
        }
        Ok(lines)
    }

    #[test]
    fn a_submission_is_copied_with_our_time() {
        let records = [
            (R::Time, "1 1"),
            (R::Attribute, "rewrite_context=local"),
            (R::Attribute, "sasl_username=x"),
            (R::FullName, "n"),
            (R::Sender, "a"),
            (R::Attribute, "notify_flags=99"),
            (R::Attribute, "notify_flags=10"),
            (R::Recipient, "r"),
            (R::Message, ""),
            (R::Text, "A: b"),
            (R::Continued, "x"),
            (R::Extracted, ""),
            (R::Recipient, "s"),
            (R::End, ""),
        ];
        assert_eq!(
            take(&records, 0).expect("taken"),
            [
                "T 7 5",
                "A rewrite_context=local",
                "F n",
                "S a",
                "A notify_flags=10",
                "R r",
                "M ",
                "N A: b",
                "L x",
                "X ",
                "R s",
                "E ",
            ]
        );
        assert_eq!(take(&records, 20), Err("message file too big".to_owned()));
    }

    #[test]
    fn what_is_refused() {
        let end = [(R::Message, ""), (R::Extracted, ""), (R::End, "")];
        let cases: [(&[(R, &str)], &str); 7] = [
            (&[(R::Recipient, "r")], "wrong number of senders"),
            (&[(R::Sender, "a"), (R::Sender, "b"), (R::Recipient, "r")], "wrong number of senders"),
            (&[(R::Sender, "root")], "sender root not allowed"),
            (&[(R::Sender, "a"), (R::Done, "r")], "unexpected record type 'D'"),
            (&[(R::Sender, "a"), (R::Pointer, "0")], "unexpected record type 'p'"),
            (&[(R::Sender, "a"), (R::Continued, "f:n")], "unexpected record type 'L'"),
            (&[(R::Sender, "a"), (R::Redirect, "x@y")], "unexpected record type '>'"),
        ];
        for (start, problem) in cases {
            assert_eq!(take(&[start, &end].concat(), 0), Err(problem.to_owned()));
        }
        assert_eq!(take(&[(R::Sender, "a")], 0), Err("unexpected end of input".to_owned()));
    }
}
