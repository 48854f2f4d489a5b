//! Reading the envelope of a message.

use bstr::{BString, ByteSlice};
use dsn::Return;

use super::recipients::is_recipient_attribute;
use super::size::{Form, SizeRecord};
use crate::error::{Error, Problem};
use crate::record::{self, ReadAt, Record, RecordType};

/// Most bytes of envelope records other than recipients, in one file.
pub const ENVELOPE_LIMIT: usize = 1 << 20;

/// Most named attributes that are kept of one file.
const MOST_ATTRIBUTES: usize = 1000;

/// The file of which queue is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Written by cleanup: everything is where the size record says.
    Queue,
    /// Written by postdrop, in `maildrop`: the size record counts for nothing.
    Maildrop,
}

/// The `W` record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Seconds since the epoch; negative when the sender was warned.
    pub time: i64,
    /// Where the record is, for [`super::mark_warned`].
    pub offset: u64,
}

/// What a queue file says about its message, recipients and content apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Envelope {
    /// The size record; zeros in `maildrop`, where content_offset alone is found by reading.
    pub size: SizeRecord,
    /// Arrival: seconds and microseconds since the epoch.
    pub arrival: (i64, i64),
    /// Envelope sender, internal form.
    pub sender: BString,
    /// When the file was made, seconds since the epoch (see [`Envelope::created`]).
    pub create_time: Option<i64>,
    /// Full name of a local sender.
    pub full_name: Option<BString>,
    /// Content filter, `transport:nexthop`.
    pub filter: Option<BString>,
    /// One address in place of all recipients.
    pub redirect: Option<BString>,
    /// VERP delimiters.
    pub verp: Option<[u8; 2]>,
    /// When the sender is warned about a delay.
    pub warning: Option<Warning>,
    /// `ENVID=`, decoded.
    pub envelope_id: Option<BString>,
    /// `RET=`.
    pub ret: Option<Return>,
    /// `7bit`, `8bit` or empty.
    pub encoding: String,
    /// Probe (256, 512) and record (1024) bits.
    pub trace_flags: u32,
    /// Where the attribute with `trace_flags` is, for [`super::kill_record`].
    pub trace_offset: Option<u64>,
    /// All other named attributes of the message, each once.
    pub attributes: Vec<(String, BString)>,
}

impl Envelope {
    /// A named attribute of the message, `encoding` and the others with a field of their own excepted.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&BString> {
        self.attributes.iter().find(|(have, _)| have == name).map(|(_, value)| value)
    }

    /// When the file was made, seconds since the epoch: what the age of the message counts from.
    #[must_use]
    pub fn created(&self) -> i64 {
        self.create_time.unwrap_or(self.arrival.0)
    }
}

/// Reads a queue file: the envelope at once, then recipients in batches, then the content.
#[derive(Debug)]
pub struct Reader<S> {
    pub(super) records: record::Reader<S>,
    pub(super) recipients_offset: u64,
    pub(super) extracted_offset: Option<u64>,
    envelope: Envelope,
}

impl<S: ReadAt> Reader<S> {
    /// Reads the envelope of a file that cleanup wrote.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Malformed`] for a file that belongs into `corrupt`.
    pub fn open(source: S) -> Result<Reader<S>, Error> {
        Reader::open_with(record::Reader::new(source, 0), Place::Queue)
    }

    /// As [`Reader::open`] with a record reader (and its buffer) of the caller's, at offset 0.
    ///
    /// # Errors
    /// As [`Reader::open`].
    pub fn open_with(records: record::Reader<S>, place: Place) -> Result<Reader<S>, Error> {
        let mut reader =
            Reader { records, recipients_offset: 0, extracted_offset: None, envelope: Envelope::default() };
        reader.read_envelope(place)?;
        Ok(reader)
    }

    /// The envelope.
    #[must_use]
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// Takes the envelope out, and the record reader for its buffer.
    #[must_use]
    pub fn into_parts(self) -> (Envelope, record::Reader<S>) {
        (self.envelope, self.records)
    }

    /// The content, read with the same buffer.
    #[must_use]
    pub fn into_content(mut self) -> super::Content<S> {
        self.records.seek(self.envelope.size.content_offset);
        super::Content::with_reader(self.records)
    }

    fn read_envelope(&mut self, place: Place) -> Result<(), Error> {
        match place {
            Place::Queue => self.read_size()?,
            Place::Maildrop => {}
        }
        self.recipients_offset = self.records.offset();
        let mut facts = Facts::default();
        let mixed = self.envelope.size.mixed || place == Place::Maildrop;
        // Recipients seen, and all that follows them in this segment are recipients too: on to the next segment.
        let mut in_recipients = false;
        let mut extracted = false;
        loop {
            let at = self.records.offset();
            let Some(record) = self.records.read()? else { return Err(Error::malformed(at, Problem::MissingEnd)) };
            let is_recipient = match record.kind {
                RecordType::Recipient | RecordType::Done | RecordType::Canceled | RecordType::Original => true,
                RecordType::Attribute => is_recipient_attribute(record.data),
                _ => false,
            };
            if is_recipient && !in_recipients {
                in_recipients = true;
                if !extracted {
                    facts.check(at)?;
                    self.recipients_offset = at;
                }
                if !mixed {
                    if extracted {
                        return Ok(());
                    }
                    extracted = true;
                    in_recipients = false;
                    self.seek_extracted();
                }
                continue;
            }
            match record.kind {
                _ if is_recipient => {}
                RecordType::Message if !extracted => {
                    facts.check(at)?;
                    if !in_recipients {
                        self.recipients_offset = at;
                    }
                    if place == Place::Maildrop {
                        self.envelope.size.content_offset = self.records.offset();
                        return Ok(());
                    }
                    extracted = true;
                    in_recipients = false;
                    self.seek_extracted();
                }
                RecordType::End if extracted => return Ok(()),
                RecordType::Extracted if extracted => {}
                RecordType::Size if place == Place::Maildrop => {}
                RecordType::Message | RecordType::Text | RecordType::End | RecordType::Extracted | RecordType::Size => {
                    let kind = record.kind.byte().into();
                    return Err(Error::malformed(record.offset, Problem::UnexpectedType(kind)));
                }
                _ => facts.take(&mut self.envelope, &record)?,
            }
        }
    }

    fn seek_extracted(&mut self) {
        if let Some(offset) = self.extracted_offset {
            self.records.seek(offset);
        }
    }

    /// The size record; in files of old versions, what it does not say yet is found by reading the whole file.
    fn read_size(&mut self) -> Result<(), Error> {
        let size = match self.records.read_raw()? {
            Some(Record { kind: RecordType::Size, data, .. }) => SizeRecord::parse(data),
            Some(_) => Form::Unusable,
            None => return Err(Error::malformed(0, Problem::MissingEnd)),
        };
        let size = match size {
            Form::Known(size) => size,
            Form::SizeOnly(size) => self.scan_old_file(size)?,
            Form::Unusable => return Err(Error::malformed(0, Problem::Size)),
            Form::UnknownFlags => return Err(Error::malformed(0, Problem::Flags)),
        };
        self.extracted_offset = Some(size.content_offset.saturating_add(size.content_size));
        self.envelope.size = size;
        Ok(())
    }

    fn scan_old_file(&mut self, length: u64) -> Result<SizeRecord, Error> {
        // Nothing is known about the order of its records, so none is skipped.
        let mut size = SizeRecord { mixed: true, content_length: length, ..SizeRecord::default() };
        let start = self.records.offset();
        loop {
            let at = self.records.offset();
            match self.records.read()?.map(|record| record.kind) {
                Some(RecordType::Message) => size.content_offset = self.records.offset(),
                Some(RecordType::Extracted) if size.content_offset > 0 => {
                    size.content_size = at.saturating_sub(size.content_offset);
                }
                Some(RecordType::Recipient | RecordType::Done) => size.recipients += 1,
                Some(RecordType::End) => break,
                Some(_) => {}
                None => return Err(Error::malformed(at, Problem::MissingEnd)),
            }
        }
        if size.content_offset == 0 || size.content_size == 0 {
            return Err(Error::malformed(0, Problem::Size));
        }
        self.records.seek(start);
        self.records.set_jumps((0, 0));
        Ok(size)
    }
}

/// Keeps track of what must be there, and of what was there first.
#[derive(Default)]
struct Facts {
    time: bool,
    sender: bool,
    bytes: usize,
}

impl Facts {
    /// Nothing of a message can be delivered without these.
    fn check(&self, offset: u64) -> Result<(), Error> {
        match (self.time, self.sender) {
            (true, true) => Ok(()),
            (false, _) => Err(Error::malformed(offset, Problem::MissingTime)),
            (true, false) => Err(Error::malformed(offset, Problem::MissingSender)),
        }
    }

    fn take(&mut self, envelope: &mut Envelope, record: &Record<'_>) -> Result<(), Error> {
        self.bytes += record.data.len() + 8;
        if self.bytes > ENVELOPE_LIMIT {
            return Err(Error::malformed(record.offset, Problem::EnvelopeTooLarge));
        }
        match record.kind {
            RecordType::Time if !self.time => {
                let time = arrival(record.data).ok_or_else(|| Error::malformed(record.offset, Problem::Time))?;
                envelope.arrival = time;
                self.time = true;
            }
            RecordType::Sender if self.sender => {
                return Err(Error::malformed(record.offset, Problem::DuplicateSender));
            }
            RecordType::Sender => {
                envelope.sender = record.data.into();
                self.sender = true;
            }
            RecordType::FullName => {
                envelope.full_name.get_or_insert_with(|| record.data.into());
            }
            RecordType::FILTER => envelope.filter = text(record.data),
            RecordType::Redirect => envelope.redirect = text(record.data),
            RecordType::Verp => {
                if let [before, after] = record.data {
                    envelope.verp.get_or_insert([*before, *after]);
                }
            }
            RecordType::Warning => {
                if let Some(time) = record::number(record.data) {
                    envelope.warning.get_or_insert(Warning { time, offset: record.offset });
                }
            }
            RecordType::Attribute => {
                if let Some((name, value)) = record::attribute(record.data) {
                    attribute(envelope, name, value, record.offset);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

fn text(data: &[u8]) -> Option<BString> {
    (!data.is_empty()).then(|| data.into())
}

/// `seconds microseconds`, or the seconds alone.
fn arrival(data: &[u8]) -> Option<(i64, i64)> {
    let mut words = data.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let seconds = record::number(words.next()?)?;
    let microseconds = words.next().map_or(Some(0), record::number)?;
    (seconds > 0 && (0..1_000_000).contains(&microseconds)).then_some((seconds, microseconds))
}

fn attribute(envelope: &mut Envelope, name: &str, value: &[u8], offset: u64) {
    match name {
        "create_time" => envelope.create_time = record::number(value).filter(|time| *time > 0),
        "envelope_id" => envelope.envelope_id = text(value),
        "ret_flags" => {
            let bits = record::number(value).and_then(|bits| u8::try_from(bits).ok());
            envelope.ret = bits.and_then(Return::from_bits);
        }
        "encoding" => value.to_str_lossy().as_ref().clone_into(&mut envelope.encoding),
        "trace_flags" => {
            envelope.trace_flags = record::number(value).and_then(|bits| u32::try_from(bits).ok()).unwrap_or(0);
            envelope.trace_offset = Some(offset);
        }
        _ if value.is_empty() => {}
        _ => {
            // Who sent a message must not be changed by what comes later in the file.
            let first_wins = name.starts_with("sasl_") || matches!(name, "log_ident" | "rewrite_context");
            let full = envelope.attributes.len() >= MOST_ATTRIBUTES;
            match envelope.attributes.iter_mut().find(|(have, _)| have == name) {
                Some(_) if first_wins => {}
                Some((_, have)) => *have = value.into(),
                // cleanup stops far below this (queue_file_attribute_count_limit).
                None if full => {}
                None => envelope.attributes.push((name.to_owned(), value.into())),
            }
        }
    }
}
