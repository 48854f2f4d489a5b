//! The size record: six numbers of fifteen columns at the beginning of every queue file.

use dsn::Notify;

use crate::record;

/// Data bytes of a size record.
pub const SIZE_DATA: usize = 6 * record::POINTER_DATA + 5;

/// The bits of [`SizeRecord::send_options`] that this version knows: SMTPUTF8 requested 1, header 2, sender 4,
/// recipient 8, `TLS-Required: no` 16, REQUIRETLS 32.
pub const SEND_OPTIONS: u32 = 63;

/// Recipients are mixed with other records, so that none may be skipped unseen.
const MIXED: i64 = 1;

/// What the size record says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SizeRecord {
    /// Bytes of file between the first content record and the `X` record.
    pub content_size: u64,
    /// Offset of the first content record.
    pub content_offset: u64,
    /// Recipients when the file was written.
    pub recipients: u64,
    /// Recipient records are mixed with others.
    pub mixed: bool,
    /// All recipients' `NOTIFY=` bits together.
    pub notify: Notify,
    /// Bytes of content for `size=`, listings and the SMTP SIZE parameter.
    pub content_length: u64,
    /// Send options ([`SEND_OPTIONS`]).
    pub send_options: u32,
}

/// What a size record of any age turns out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Three to six numbers.
    Known(SizeRecord),
    /// One number: the size alone; offsets must be found by reading.
    SizeOnly(u64),
    /// Nothing to rely on (`maildrop`, or malformed).
    Unusable,
    /// Flags of a future version.
    UnknownFlags,
}

/// For listings: the size to show, and the offset of the extracted segment where the record says it.
pub(crate) fn listed_size(data: &[u8]) -> Option<(u64, Option<u64>)> {
    match SizeRecord::parse(data) {
        Form::Known(size) => Some((size.content_length, size.content_offset.checked_add(size.content_size))),
        Form::SizeOnly(size) => Some((size, None)),
        Form::Unusable | Form::UnknownFlags => None,
    }
}

impl SizeRecord {
    /// The record's data.
    #[must_use]
    pub fn to_data(&self) -> [u8; SIZE_DATA] {
        let flags = i64::from(self.mixed) | i64::from(self.notify.bits()) << 1;
        let text = format!(
            "{:>15} {:>15} {:>15} {:>15} {:>15} {:>15}",
            self.content_size,
            self.content_offset,
            self.recipients,
            flags,
            self.content_length,
            self.send_options & SEND_OPTIONS,
        );
        let mut data = [b' '; SIZE_DATA];
        // A number wider than its column is beyond any file system; the record keeps its width whatever comes.
        let length = text.len().min(SIZE_DATA);
        data[..length].copy_from_slice(&text.as_bytes()[..length]);
        data
    }

    pub(crate) fn parse(data: &[u8]) -> Form {
        let mut fields = [0i64; 6];
        let mut count = 0;
        for word in data.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()) {
            let (Some(field), Some(number)) = (fields.get_mut(count), record::number(word)) else { break };
            *field = number;
            count += 1;
        }
        let unsigned = |n: i64| u64::try_from(n).unwrap_or(0);
        let [content_size, content_offset, recipients, flags, content_length, send_options] = fields;
        if count == 1 && content_size > 0 {
            return Form::SizeOnly(unsigned(content_size));
        }
        if count < 3 || content_size <= 0 || content_offset <= 0 {
            return Form::Unusable;
        }
        if !(0..32).contains(&flags) {
            return Form::UnknownFlags;
        }
        // The union over recipients may well hold NEVER together with others.
        let notify = [Notify::NEVER, Notify::SUCCESS, Notify::FAILURE, Notify::DELAY]
            .into_iter()
            .filter(|notify| (flags >> 1) as u8 & notify.bits() != 0)
            .fold(Notify::UNSPECIFIED, Notify::union);
        Form::Known(SizeRecord {
            content_size: unsigned(content_size),
            content_offset: unsigned(content_offset),
            recipients: unsigned(recipients),
            mixed: flags & MIXED != 0,
            notify,
            content_length: unsigned(if content_length > 0 { content_length } else { content_size }),
            send_options: unsigned(send_options) as u32 & SEND_OPTIONS,
        })
    }
}
