//! Records: `type (1 byte) length (1 to 4 bytes, 7 bits each, low bits first) data`.

mod reader;
mod source;
mod writer;

pub use reader::{DEFAULT_RECORD_LIMIT, Reader};
pub use source::{ReadAt, Sequential};
pub use writer::{Writer, put, put_parts, put_pointer};

/// Data bytes of a pointer record: `%15ld`.
pub const POINTER_DATA: usize = 15;
/// Bytes of a whole pointer record; room of this size must be kept where a pointer may be put later.
pub const POINTER_RECORD: usize = POINTER_DATA + 2;

/// One record of a queue file. The data stays in the reader's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// What it is.
    pub kind: RecordType,
    /// Where its type byte is in the file.
    pub offset: u64,
    /// Its data, of any bytes.
    pub data: &'a [u8],
}

/// One record of a file that may be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnyRecord<'a> {
    /// Its type byte, of whatever value.
    pub byte: u8,
    /// Where its type byte is in the file.
    pub offset: u64,
    /// Its data, of any bytes.
    pub data: &'a [u8],
}

macro_rules! record_types {
    ($($(#[$doc:meta])* $name:ident = $byte:literal, $text:literal;)*) => {
        /// What a record is. The byte `L` means a content filter outside of the content ([`RecordType::FILTER`]).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum RecordType { $($(#[$doc])* $name,)* }

        impl RecordType {
            /// Every type.
            pub const ALL: &'static [RecordType] = &[$(RecordType::$name,)*];

            /// The byte in the file.
            #[must_use]
            pub const fn byte(self) -> u8 {
                match self { $(RecordType::$name => $byte,)* }
            }

            /// The type of a byte.
            #[must_use]
            pub const fn from_byte(byte: u8) -> Option<RecordType> {
                match byte { $($byte => Some(RecordType::$name),)* _ => None }
            }

            /// The name that `postcat` shows.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(RecordType::$name => $text,)* }
            }
        }
    };
}

record_types! {
    /// Sizes and offsets, always the first record.
    Size = b'C', "message_size";
    /// Arrival time: seconds, microseconds.
    Time = b'T', "message_arrival_time";
    /// Full name of a local sender.
    FullName = b'F', "sender_fullname";
    /// Inspector transport, obsolete.
    Inspector = b'I', "content_inspector";
    /// Text without line end; in the envelope a content filter.
    Continued = b'L', "unterminated_text";
    /// Envelope sender, internal form.
    Sender = b'S', "sender";
    /// Recipient still to be delivered.
    Recipient = b'R', "recipient";
    /// Recipient that is done.
    Done = b'D', "done_recipient";
    /// Recipient that a milter has deleted.
    Canceled = b'/', "canceled_recipient";
    /// Recipient before virtual alias expansion; belongs to the recipient that follows.
    Original = b'O', "original_recipient";
    /// When to warn the sender about a delay.
    Warning = b'W', "warning_message_time";
    /// Named attribute.
    Attribute = b'A', "named_attribute";
    /// Record that no longer counts.
    Killed = b'K', "killed_record";
    /// One address in place of all recipients.
    Redirect = b'>', "redirect_to";
    /// VERP delimiters.
    Verp = b'V', "verp_delimiters";
    /// The content begins.
    Message = b'M', "message_content";
    /// Text with line end.
    Text = b'N', "regular_text";
    /// Filling.
    Padding = b'w', "padding";
    /// The content ends.
    Extracted = b'X', "extracted_info";
    /// Return-Receipt-To, obsolete.
    ReturnReceipt = b'r', "return_receipt";
    /// Errors-To, obsolete.
    ErrorsTo = b'e', "errors_to";
    /// Priority, obsolete.
    Priority = b'P', "priority";
    /// Reading goes on elsewhere.
    Pointer = b'p', "pointer_record";
    /// The message ends.
    End = b'E', "message_end";
}

impl RecordType {
    /// A content filter, in the envelope or the extracted segment.
    pub const FILTER: RecordType = RecordType::Continued;
}

/// The number of a `%15ld` field: blanks, an optional sign, digits, blanks.
#[must_use]
pub fn number(data: &[u8]) -> Option<i64> {
    let text = data.trim_ascii();
    let (negative, digits) = match text.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix(b"+").unwrap_or(text)),
    };
    if digits.is_empty() {
        return None;
    }
    let mut number = 0i64;
    for byte in digits {
        let digit = byte.is_ascii_digit().then(|| i64::from(byte - b'0'))?;
        number = number.checked_mul(10)?.checked_add(digit)?;
    }
    Some(if negative { -number } else { number })
}

/// Splits the data of an attribute record into name and value. Blanks around both are dropped.
#[must_use]
pub fn attribute(data: &[u8]) -> Option<(&str, &[u8])> {
    let equals = data.iter().position(|b| *b == b'=')?;
    let name = std::str::from_utf8(data[..equals].trim_ascii()).ok()?;
    (!name.is_empty() && !name.contains(|c: char| c.is_ascii_whitespace()))
        .then(|| (name, data[equals + 1..].trim_ascii()))
}

#[cfg(test)]
mod tests;
