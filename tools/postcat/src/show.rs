//! Showing one queue file.

use std::io::{self, Write};

use queue::record::{self, ReadAt, Reader, RecordType};
use sys::clock;

use crate::options::Options;

/// Why a file could not be shown to its end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read, or breaks off in the middle of a record.
    #[error(transparent)]
    Queue(#[from] queue::Error),
    /// The output is gone.
    #[error("write: {}", sys::reason(.0))]
    Output(io::Error),
}

/// Bytes that a queue file may begin with.
const FIRST: &[u8] = b"MCTcFILSDRO/WVA>K<ion";

/// Where in the message the file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Envelope,
    Header,
    Body,
}

/// Shows a queue file; `warn` gets what is odd about it.
///
/// # Errors
/// See [`Error`]. What was good before is shown.
pub fn show<S: ReadAt>(
    source: S,
    path: &str,
    options: &Options,
    out: &mut dyn Write,
    warn: &mut dyn FnMut(String),
) -> Result<(), Error> {
    let mut reader = Reader::new(source, options.start);
    // With an offset, who asks knows that it is one.
    if options.start == 0 && reader.peek()?.is_some_and(|first| !FIRST.contains(&first)) {
        warn(format!("{path}: input is not a valid queue file"));
        return Ok(());
    }
    let mut view = View { path, options, out, warn, part: Part::Envelope, in_line: false };
    if options.envelope && options.start == 0 {
        view.prefix(0, None)?;
        view.write(format!("*** ENVELOPE RECORDS {path} ***\n").as_bytes())?;
    }
    loop {
        let Some(record) = reader.read_any()? else { return Ok(()) };
        view.record(&record)?;
        match RecordType::from_byte(record.byte) {
            Some(RecordType::Pointer) if !options.raw => {
                let (offset, data) = (record.offset, record.data.to_vec());
                reader.follow(offset, &data)?;
            }
            Some(RecordType::End) if !options.raw => return Ok(()),
            _ => {}
        }
    }
}

struct View<'a> {
    path: &'a str,
    options: &'a Options,
    out: &'a mut dyn Write,
    warn: &'a mut dyn FnMut(String),
    part: Part,
    /// In the middle of a text line that is spread over records.
    in_line: bool,
}

impl View<'_> {
    fn record(&mut self, record: &record::AnyRecord<'_>) -> Result<(), Error> {
        let kind = RecordType::from_byte(record.byte);
        match kind {
            Some(RecordType::Message) => {
                if self.part != Part::Envelope {
                    (self.warn)(format!("{}: out-of-order message content marker", self.path));
                }
                self.part = Part::Header;
                self.in_line = false;
                return self.marker(record, "MESSAGE CONTENTS");
            }
            Some(RecordType::Extracted) => {
                if self.part == Part::Envelope {
                    (self.warn)(format!("{}: out-of-order extracted segment marker", self.path));
                }
                self.part = Part::Envelope;
                return self.marker(record, "HEADER EXTRACTED");
            }
            Some(RecordType::End) => {
                self.part = Part::Envelope;
                return self.marker(record, "MESSAGE FILE END");
            }
            Some(RecordType::Text | RecordType::Continued) => {
                if self.part == Part::Header && !self.in_line && !is_header_line(record.data) {
                    self.part = Part::Body;
                }
                self.in_line = kind == Some(RecordType::Continued);
            }
            Some(RecordType::Pointer | RecordType::Padding) if !self.options.verbose => return Ok(()),
            _ => {}
        }
        let wanted = match self.part {
            Part::Envelope => self.options.envelope,
            Part::Header => self.options.header,
            Part::Body => self.options.body,
        };
        if wanted { self.line(kind, record) } else { Ok(()) }
    }

    fn line(&mut self, kind: Option<RecordType>, record: &record::AnyRecord<'_>) -> Result<(), Error> {
        let data = record.data;
        let attribute = match kind {
            Some(RecordType::Attribute) => match self.attribute(data) {
                Some(pair) => Some(pair),
                None => return Ok(()),
            },
            _ => None,
        };
        self.prefix(record.offset, Some(record.byte))?;
        let name = kind.map_or_else(|| name_of_unknown(record.byte), RecordType::name);
        match (kind, attribute) {
            (Some(RecordType::Time | RecordType::Warning), _) => self.time(name, data),
            (_, Some(("create_time", value))) => self.time("create_time", value),
            (_, Some((attribute, value))) => {
                self.write(&[name.as_bytes(), b": ", attribute.as_bytes(), b"=", value, b"\n"].concat())
            }
            (Some(RecordType::Continued), _) if self.part == Part::Envelope => self.named("content_filter", data),
            (Some(RecordType::Continued), _) => {
                if self.options.verbose {
                    return self.named(name, data);
                }
                self.write(data)?;
                // With offsets every record has a line of its own.
                if self.options.offsets { self.write(b"\n") } else { Ok(()) }
            }
            (Some(RecordType::Text), _) if !self.options.verbose => {
                self.write(data)?;
                self.write(b"\n")
            }
            _ => self.named(name, data),
        }
    }

    fn attribute<'d>(&mut self, data: &'d [u8]) -> Option<(&'d str, &'d [u8])> {
        let pair = record::attribute(data);
        if pair.is_none() {
            let text = log::show(data);
            let what = if data.contains(&b'=') {
                format!("missing attribute name: {text}")
            } else {
                format!("missing '=' after attribute name: {text}")
            };
            (self.warn)(format!("{}: malformed attribute: {what}", self.path));
        }
        pair
    }

    fn named(&mut self, name: &str, data: &[u8]) -> Result<(), Error> {
        self.write(&[name.as_bytes(), b": ", data, b"\n"].concat())
    }

    fn time(&mut self, name: &str, data: &[u8]) -> Result<(), Error> {
        let seconds = data.trim_ascii().split(u8::is_ascii_whitespace).next().and_then(record::number).unwrap_or(0);
        self.write(format!("{name}: {}\n", clock::local(seconds).asctime()).as_bytes())
    }

    fn marker(&mut self, record: &record::AnyRecord<'_>, text: &str) -> Result<(), Error> {
        if !self.options.envelope {
            return Ok(());
        }
        self.prefix(record.offset, Some(record.byte))?;
        let line = format!("*** {text} {} ***\n", self.path);
        self.write(line.as_bytes())
    }

    /// `byte` is absent for the first marker, which stands for no record.
    fn prefix(&mut self, offset: u64, byte: Option<u8>) -> Result<(), Error> {
        let mut text = String::new();
        if self.options.file_names {
            text = format!("{}: ", self.path);
        }
        if let Some(byte) = byte {
            if self.options.offsets {
                text.push_str(&format!("{offset:>9} "));
            }
            if self.options.decimal_types {
                text.push_str(&format!("{byte:>3} "));
            }
        }
        self.write(text.as_bytes())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.out.write_all(bytes).map_err(Error::Output)
    }
}

/// A header field's first line, or a line that continues one (RFC 5322 2.2).
fn is_header_line(line: &[u8]) -> bool {
    if line.first().is_some_and(|byte| matches!(byte, b' ' | b'\t')) {
        return true;
    }
    let Some(colon) = line.iter().position(|byte| *byte == b':') else { return false };
    let name = line[..colon].trim_ascii_end();
    !name.is_empty() && name.iter().all(u8::is_ascii_graphic)
}

/// Types that only the protocols of old versions had; they are in no file.
fn name_of_unknown(byte: u8) -> &'static str {
    match byte {
        b'c' => "queue_file_create_time",
        b'f' => "flags",
        b'<' => "dsn_return_flags",
        b'i' => "dsn_envelope_id",
        b'o' => "dsn_original_recipient",
        b'n' => "dsn_notify_flags",
        _ => "unknown_record_type",
    }
}

#[cfg(test)]
mod tests;
