//! Reading the content of a message for delivery.

use crate::error::{Error, Problem};
use crate::record::{ReadAt, Reader, RecordType};

/// A piece of content: a line, or a part of a line longer than line_length_limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// The text, without line end.
    pub bytes: &'a [u8],
    /// A line end follows; otherwise the next piece goes on in the same line.
    pub complete: bool,
}

/// The content of a message, from its first header line to its last line. Reads with `pread` only, so that any number
/// of readers can share a descriptor.
#[derive(Debug)]
pub struct Content<S> {
    reader: Reader<S>,
    ended: bool,
    /// In the middle of a long line.
    open: bool,
}

impl<S: ReadAt> Content<S> {
    /// The content that begins at `offset` ([`super::SizeRecord::content_offset`]).
    pub fn new(source: S, offset: u64) -> Content<S> {
        Content::with_reader(Reader::new(source, offset))
    }

    /// As [`Content::new`], with a reader that stands at the first content record.
    pub fn with_reader(reader: Reader<S>) -> Content<S> {
        Content { reader, ended: false, open: false }
    }

    /// The next piece; `None` after the last.
    ///
    /// # Errors
    /// [`Error::Malformed`] when the content does not end in an `X` or `E` record.
    pub fn next_line(&mut self) -> Result<Option<Line<'_>>, Error> {
        if self.ended {
            return Ok(None);
        }
        let at = self.reader.offset();
        let Some(record) = self.reader.read()? else { return Err(Error::malformed(at, Problem::MissingEnd)) };
        match record.kind {
            RecordType::Text | RecordType::Continued => {
                let complete = record.kind == RecordType::Text;
                self.open = !complete;
                Ok(Some(Line { bytes: record.data, complete }))
            }
            RecordType::Extracted | RecordType::End => {
                self.ended = true;
                Ok(None)
            }
            kind => Err(Error::malformed(record.offset, Problem::UnexpectedType(kind.byte().into()))),
        }
    }

    /// Appends pieces to `out`, each line with `line_end`, until it holds `limit` bytes or more; false at the end. A
    /// message whose last line has no end gets one.
    ///
    /// # Errors
    /// As [`Content::next_line`].
    pub fn read_into(&mut self, out: &mut Vec<u8>, limit: usize, line_end: &[u8]) -> Result<bool, Error> {
        while out.len() < limit {
            let was_open = self.open;
            let Some(line) = self.next_line()? else {
                if was_open {
                    self.open = false;
                    out.extend_from_slice(line_end);
                }
                return Ok(false);
            };
            out.extend_from_slice(line.bytes);
            if line.complete {
                out.extend_from_slice(line_end);
            }
        }
        Ok(true)
    }

    /// Skips the header lines and the empty line after them.
    ///
    /// # Errors
    /// As [`Content::next_line`].
    pub fn skip_header(&mut self) -> Result<(), Error> {
        let mut start_of_line = true;
        while let Some(line) = self.next_line()? {
            if start_of_line && line.complete && line.bytes.is_empty() {
                break;
            }
            start_of_line = line.complete;
        }
        Ok(())
    }

    /// The reader beneath, for its buffer.
    #[must_use]
    pub fn into_reader(self) -> Reader<S> {
        self.reader
    }
}
