//! Recipients, in batches.

use bstr::BString;
use dsn::Notify;
use serde::{Deserialize, Serialize};

use super::envelope::Reader;
use crate::error::{Error, Problem};
use crate::record::{self, ReadAt, RecordType};

/// One recipient that is still to be delivered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recipient {
    /// Where its record is, for [`super::mark_done`].
    pub offset: u64,
    /// Internal form.
    pub address: BString,
    /// Before virtual alias expansion, internal form; empty when not known.
    pub original: BString,
    /// `ORCPT=`, decoded: `type;address`.
    pub dsn_original: Option<BString>,
    /// `NOTIFY=`.
    pub notify: Notify,
}

/// Where reading goes on; plain numbers, so that a queue manager can keep one for each large message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    offset: u64,
    extracted: bool,
    jumps: (u32, u64),
}

/// Some recipients of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// In the order of the file.
    pub recipients: Vec<Recipient>,
    /// Where the next batch begins; `None` when there are no more.
    pub next: Option<Position>,
    /// Recipients in this stretch of the file that are done or canceled.
    pub done: u64,
}

impl<S: ReadAt> Reader<S> {
    /// Where the first recipient of the message is.
    #[must_use]
    pub fn first_recipient(&self) -> Position {
        Position { offset: self.recipients_offset, extracted: false, jumps: (0, 0) }
    }

    /// Reads up to `limit` recipients from `position` on. Recipients that are done are passed over.
    ///
    /// # Errors
    /// [`Error::Malformed`] when the file does not reach its end record in order.
    pub fn recipients(&mut self, position: Position, limit: usize) -> Result<Batch, Error> {
        let mut batch = Batch::default();
        let mut next = Recipient::default();
        let mut extracted = position.extracted;
        self.records.seek(position.offset);
        self.records.set_jumps(position.jumps);
        loop {
            if batch.recipients.len() >= limit {
                let (offset, jumps) = (self.records.offset(), self.records.jumps());
                batch.next = Some(Position { offset, extracted, jumps });
                return Ok(batch);
            }
            let at = self.records.offset();
            let Some(record) = self.records.read()? else { return Err(Error::malformed(at, Problem::MissingEnd)) };
            match record.kind {
                RecordType::Recipient => {
                    next.offset = record.offset;
                    next.address = record.data.into();
                    batch.recipients.push(std::mem::take(&mut next));
                }
                RecordType::Done | RecordType::Canceled => {
                    next = Recipient::default();
                    batch.done += 1;
                }
                RecordType::Original => next.original = record.data.into(),
                RecordType::Attribute => recipient_attribute(&mut next, record.data),
                RecordType::Message if extracted => {
                    return Err(Error::malformed(record.offset, Problem::UnexpectedType('M')));
                }
                RecordType::Message => {
                    extracted = true;
                    match self.extracted_offset {
                        Some(offset) => self.records.seek(offset),
                        None => self.skip_content()?,
                    }
                }
                RecordType::End => return Ok(batch),
                RecordType::Text => {
                    return Err(Error::malformed(record.offset, Problem::UnexpectedType('N')));
                }
                _ => {}
            }
        }
    }

    /// Content of a file whose size record says nothing is read through.
    fn skip_content(&mut self) -> Result<(), Error> {
        loop {
            let at = self.records.offset();
            match self.records.read()?.map(|record| record.kind) {
                Some(RecordType::Extracted) => return Ok(()),
                Some(RecordType::Text | RecordType::Continued) => {}
                Some(kind) => return Err(Error::malformed(at, Problem::UnexpectedType(kind.byte().into()))),
                None => return Err(Error::malformed(at, Problem::MissingEnd)),
            }
        }
    }
}

/// Attributes that belong to the recipient after them.
pub(super) fn is_recipient_attribute(data: &[u8]) -> bool {
    matches!(record::attribute(data), Some(("notify_flags" | "dsn_orig_rcpt", _)))
}

fn recipient_attribute(recipient: &mut Recipient, data: &[u8]) {
    match record::attribute(data) {
        Some(("dsn_orig_rcpt", value)) if !value.is_empty() => recipient.dsn_original = Some(value.into()),
        Some(("notify_flags", value)) => {
            let bits = record::number(value).and_then(|n| u8::try_from(n).ok());
            recipient.notify = bits.and_then(Notify::from_bits).unwrap_or_default();
        }
        _ => {}
    }
}
