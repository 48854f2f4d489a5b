//! Writing a message, in the order that every reader expects.

use std::fs::File;
use std::sync::Arc;

use bstr::ByteSlice;
use dsn::Notify;

use super::size::{SIZE_DATA, SizeRecord};
use crate::error::Error;
use crate::record::{self, POINTER_DATA, RecordType};

/// How a message is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Longest piece of a line in a record, in bytes (line_length_limit).
    pub line_length_limit: usize,
    /// Leave places for what milters may want to change afterwards.
    pub milter_places: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options { line_length_limit: 2048, milter_places: false }
    }
}

/// Where a message can be changed later: offsets of the records that were left for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// The sender record; it and its padding have room for a pointer.
    pub sender: Option<u64>,
    /// Pointer where recipients can be appended, and the record after it.
    pub recipients: Option<u64>,
    /// Pointer at the end of the header.
    pub header: Option<u64>,
    /// First record of the body (after the empty line).
    pub body: Option<u64>,
    /// Pointer at the end of the body.
    pub body_end: Option<u64>,
    /// Pointer where extracted attributes can be appended.
    pub meta: Option<u64>,
}

/// A finished message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// What the size record says.
    pub size: SizeRecord,
    /// Bytes of the file.
    pub file_size: u64,
    /// Places for later changes.
    pub places: Places,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Segment {
    Envelope,
    Header,
    Body,
    Extracted,
}

/// Writes a queue file: envelope, content, extracted records, and at last the size record. A message that fits into the
/// buffer is one write.
#[derive(Debug)]
pub struct Writer {
    out: record::Writer,
    options: Options,
    segment: Segment,
    /// Recipients have begun in this segment.
    in_recipients: bool,
    /// Text of the line being put together from chunks.
    partial: Vec<u8>,
    /// Continued records of the present line have been written.
    open_line: bool,
    notify_bits: u8,
    size: SizeRecord,
    places: Places,
}

impl Writer {
    /// Begins a message in an empty file.
    ///
    /// # Errors
    /// The error of `pwrite(2)`, here and in all other functions.
    pub fn new(file: Arc<File>, options: Options) -> Result<Writer, Error> {
        let mut out = record::Writer::new(file);
        out.put(RecordType::Size, &[b' '; SIZE_DATA])?;
        Ok(Writer {
            out,
            options,
            segment: Segment::Envelope,
            in_recipients: false,
            partial: Vec::new(),
            open_line: false,
            notify_bits: 0,
            size: SizeRecord::default(),
            places: Places::default(),
        })
    }

    /// Send options for the size record.
    pub fn set_send_options(&mut self, send_options: u32) {
        self.size.send_options = send_options;
    }

    /// Where the next record goes.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.out.offset()
    }

    /// Recipients so far.
    #[must_use]
    pub fn recipients(&self) -> u64 {
        self.size.recipients
    }

    /// Bytes of content so far, records included.
    #[must_use]
    pub fn content_size(&self) -> u64 {
        match self.segment {
            Segment::Envelope => 0,
            Segment::Header | Segment::Body => self.out.offset() - self.size.content_offset,
            Segment::Extracted => self.size.content_size,
        }
    }

    /// Arrival time: seconds and microseconds since the epoch.
    pub fn arrival(&mut self, (seconds, microseconds): (i64, i64)) -> Result<(), Error> {
        self.other(RecordType::Time, format!("{seconds} {microseconds}").as_bytes())
    }

    /// A named attribute of the message. One with an empty value is left out, as the reference does; the answer is false
    /// then.
    pub fn attribute(&mut self, name: &str, value: &[u8]) -> Result<bool, Error> {
        if value.is_empty() {
            return Ok(false);
        }
        self.before_other(RecordType::Attribute)?;
        self.out.put_parts(RecordType::Attribute, &[name.as_bytes(), b"=", value])?;
        Ok(true)
    }

    /// Full name of a local sender.
    pub fn full_name(&mut self, name: &[u8]) -> Result<(), Error> {
        self.other(RecordType::FullName, name)
    }

    /// Content filter, `transport:nexthop`; in the envelope or the extracted segment.
    pub fn filter(&mut self, filter: &[u8]) -> Result<(), Error> {
        self.other(RecordType::FILTER, filter)
    }

    /// The envelope sender, internal form.
    pub fn sender(&mut self, sender: &[u8]) -> Result<(), Error> {
        self.expect(RecordType::Sender, &[Segment::Envelope])?;
        let offset = self.out.put(RecordType::Sender, sender)?;
        if self.options.milter_places {
            self.pad(RecordType::Pointer, sender.len())?;
            self.places.sender = Some(offset);
        }
        Ok(())
    }

    /// When the sender is to be warned about a delay, seconds since the epoch.
    pub fn warning_time(&mut self, seconds: i64) -> Result<(), Error> {
        self.other(RecordType::Warning, format!("{seconds:>POINTER_DATA$}").as_bytes())
    }

    /// VERP delimiters.
    pub fn verp(&mut self, delimiters: [u8; 2]) -> Result<(), Error> {
        self.other(RecordType::Verp, &delimiters)
    }

    /// One address in place of all recipients.
    pub fn redirect(&mut self, address: &[u8]) -> Result<(), Error> {
        self.other(RecordType::Redirect, address)
    }

    /// A recipient (`address`, internal form), the recipient before alias expansion (`original`, internal form), and what
    /// the sender asked for it. In the envelope, or in the extracted segment for recipients from headers.
    pub fn recipient(
        &mut self,
        address: &[u8],
        original: &[u8],
        dsn_original: Option<&[u8]>,
        notify: Notify,
    ) -> Result<(), Error> {
        self.expect(RecordType::Recipient, &[Segment::Envelope, Segment::Extracted])?;
        if self.segment == Segment::Extracted && !self.in_recipients {
            self.place_meta()?;
        }
        self.in_recipients = true;
        if !notify.is_unspecified() {
            let value = notify.bits().to_string();
            self.out.put_parts(RecordType::Attribute, &[b"notify_flags=", value.as_bytes()])?;
            self.notify_bits |= notify.bits();
        }
        if let Some(dsn_original) = dsn_original.filter(|text| !text.is_empty()) {
            self.out.put_parts(RecordType::Attribute, &[b"dsn_orig_rcpt=", dsn_original])?;
        }
        self.out.put(RecordType::Original, original)?;
        self.out.put(RecordType::Recipient, address)?;
        self.size.recipients += 1;
        Ok(())
    }

    /// Notices that are owed beside those that the recipients' records ask for: what the trace log says of an expanded
    /// alias. The size record shows them, so that the queue manager has the log sent.
    pub fn note_notify(&mut self, notify: Notify) {
        self.notify_bits |= notify.bits();
    }

    /// Ends the envelope and begins the content.
    pub fn begin_content(&mut self) -> Result<(), Error> {
        self.expect(RecordType::Message, &[Segment::Envelope])?;
        if self.options.milter_places && self.in_recipients {
            self.places.recipients = Some(self.out.put_pointer(0)?);
        }
        self.out.put(RecordType::Message, b"")?;
        self.size.content_offset = self.out.offset();
        self.segment = Segment::Header;
        Ok(())
    }

    /// One whole header, its lines separated by LF, without a line end at the end; generated or rewritten.
    pub fn header(&mut self, lines: &[u8]) -> Result<(), Error> {
        self.expect(RecordType::Text, &[Segment::Header])?;
        for (n, line) in lines.split_str(b"\n").enumerate() {
            self.line(line)?;
            if n == 0 && self.options.milter_places {
                self.pad(RecordType::Padding, line.len())?;
            }
        }
        Ok(())
    }

    /// Ends the header: the empty line, and places around it. Content without any header or body skips it.
    pub fn end_header(&mut self, empty_line: bool) -> Result<(), Error> {
        self.expect(RecordType::Text, &[Segment::Header])?;
        if self.options.milter_places {
            self.places.header = Some(self.out.put_pointer(0)?);
        }
        if empty_line {
            self.out.put(RecordType::Text, b"")?;
        }
        self.places.body = Some(self.out.offset());
        self.segment = Segment::Body;
        Ok(())
    }

    /// One line, without its end. Long ones are split.
    pub fn line(&mut self, line: &[u8]) -> Result<(), Error> {
        self.expect(RecordType::Text, &[Segment::Header, Segment::Body])?;
        let limit = self.options.line_length_limit;
        let mut rest = line;
        while rest.len() >= limit && !rest.is_empty() {
            let (piece, more) = rest.split_at(limit.max(1));
            self.out.put(RecordType::Continued, piece)?;
            rest = more;
        }
        self.out.put(RecordType::Text, rest)?;
        Ok(())
    }

    /// Content as it comes: lines that end in LF, cut anywhere. Lines go from the chunk into the file's buffer; only
    /// what a cut leaves is kept apart.
    pub fn chunk(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.expect(RecordType::Text, &[Segment::Header, Segment::Body])?;
        let limit = self.options.line_length_limit.max(1);
        let mut rest = bytes;
        while let Some(end) = rest.find_byte(b'\n') {
            let (line, more) = (&rest[..end], &rest[end + 1..]);
            if self.partial.is_empty() && line.len() < limit {
                self.out.put(RecordType::Text, line)?;
            } else {
                self.part(line)?;
                self.out.put(RecordType::Text, &self.partial)?;
                self.partial.clear();
            }
            self.open_line = false;
            rest = more;
        }
        self.part(rest)
    }

    /// Takes a part of a line; whole pieces of line_length_limit leave at once.
    fn part(&mut self, mut part: &[u8]) -> Result<(), Error> {
        let limit = self.options.line_length_limit.max(1);
        while self.partial.len() + part.len() >= limit {
            let (fits, more) = part.split_at(limit - self.partial.len());
            self.partial.extend_from_slice(fits);
            self.out.put(RecordType::Continued, &self.partial)?;
            self.partial.clear();
            self.open_line = true;
            part = more;
        }
        self.partial.extend_from_slice(part);
        Ok(())
    }

    /// Ends the content and begins the extracted segment. A last line without LF gets its end.
    pub fn end_content(&mut self) -> Result<(), Error> {
        self.expect(RecordType::Extracted, &[Segment::Header, Segment::Body])?;
        if !self.partial.is_empty() {
            self.out.put(RecordType::Continued, &self.partial)?;
            self.partial.clear();
            self.open_line = true;
        }
        if self.open_line {
            self.out.put(RecordType::Text, b"")?;
            self.open_line = false;
        }
        if self.options.milter_places {
            if self.segment == Segment::Header {
                self.places.header = Some(self.out.put_pointer(0)?);
                self.places.body = Some(self.out.offset());
            }
            self.places.body_end = Some(self.out.put_pointer(0)?);
        }
        self.size.content_size = self.out.offset() - self.size.content_offset;
        self.size.content_length = self.size.content_size;
        self.out.put(RecordType::Extracted, b"")?;
        self.segment = Segment::Extracted;
        self.in_recipients = false;
        Ok(())
    }

    /// Ends the message, fills in the size record and writes what waits. Neither flushes to disk nor sets the ready
    /// bit: that is [`crate::NewFile::ready`].
    pub fn finish(mut self) -> Result<Summary, Error> {
        self.expect(RecordType::End, &[Segment::Extracted])?;
        if !self.in_recipients {
            self.place_meta()?;
        }
        if self.options.milter_places && self.places.recipients.is_none() {
            self.places.recipients = Some(self.out.put_pointer(0)?);
        }
        self.out.put(RecordType::End, b"")?;
        let union = [Notify::NEVER, Notify::SUCCESS, Notify::FAILURE, Notify::DELAY];
        self.size.notify = union
            .into_iter()
            .filter(|notify| self.notify_bits & notify.bits() != 0)
            .fold(Notify::UNSPECIFIED, Notify::union);
        self.out.patch(2, &self.size.to_data())?;
        self.out.flush()?;
        Ok(Summary { size: self.size, file_size: self.out.offset(), places: self.places })
    }

    fn place_meta(&mut self) -> Result<(), Error> {
        if self.options.milter_places && self.places.meta.is_none() {
            self.places.meta = Some(self.out.put_pointer(0)?);
        }
        Ok(())
    }

    /// A record that is neither recipient nor content.
    fn other(&mut self, kind: RecordType, data: &[u8]) -> Result<(), Error> {
        self.before_other(kind)?;
        self.out.put(kind, data)?;
        Ok(())
    }

    fn before_other(&mut self, kind: RecordType) -> Result<(), Error> {
        self.expect(kind, &[Segment::Envelope, Segment::Extracted])?;
        self.size.mixed |= self.in_recipients;
        Ok(())
    }

    fn expect(&self, kind: RecordType, allowed: &[Segment]) -> Result<(), Error> {
        if allowed.contains(&self.segment) { Ok(()) } else { Err(Error::Order(kind.byte().into())) }
    }

    /// Fills up a record with `length` bytes of text so that a pointer has room in its place.
    fn pad(&mut self, kind: RecordType, length: usize) -> Result<(), Error> {
        if length < POINTER_DATA {
            // Type and length take two of the bytes.
            let width = (POINTER_DATA - length).max(3) - 2;
            self.out.put(kind, format!("{:>width$}", 0).as_bytes())?;
        }
        Ok(())
    }
}
