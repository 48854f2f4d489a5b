//! Bounce, defer and trace logs: what became of the recipients of a message, in a text file with the message's id.
//!
//! An entry is a block of `name=value` lines between empty lines. Old versions wrote `<address>: reason` lines instead,
//! which are still read, and still written along on request (backwards_bounce_logfile_compatibility).

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use bstr::{BString, ByteSlice};
use dsn::{Action, Notify, Status};

use crate::{Directory, QueueId, Spool, lock, state};

/// Longest line that is read, in bytes; the rest of a longer one is passed over.
const LONGEST_LINE: usize = 64 << 10;
/// Most bytes of one entry that are kept.
const LARGEST_ENTRY: usize = 256 << 10;
/// Bytes of one read of a log.
pub(crate) const BLOCK: usize = 4 << 10;

/// What stands for a recipient that an entry does not name.
const NO_RECIPIENT: &str = "(recipient address unavailable)";
/// What stands for a reason that an entry does not give.
const NO_REASON: &str = "(description unavailable)";
/// Names that [`Reader::next_brief`] leaves to [`Reader::next_entry`].
const KNOWN: [&[u8]; 8] =
    [b"dsn_orig_rcpt", b"notify_flags", b"status", b"action", b"diag_type", b"diag_text", b"mta_type", b"mta_mname"];

/// What became of one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// External (quoted) form; `<>` or empty for the null address.
    pub recipient: BString,
    /// External form of the recipient before alias expansion, when it differs.
    pub original_recipient: Option<BString>,
    /// Offset of the recipient's record in the queue file.
    pub offset: Option<u64>,
    /// `ORCPT=`, decoded: `type;address`.
    pub dsn_original: Option<BString>,
    /// `NOTIFY=`.
    pub notify: Notify,
    /// The enhanced status code.
    pub status: Status,
    /// What became of it.
    pub action: Action,
    /// Diagnostic type (`smtp`) and text.
    pub diagnostic: Option<(String, BString)>,
    /// MTA type (`dns`) and name.
    pub remote_mta: Option<(String, BString)>,
    /// For people.
    pub reason: BString,
}

impl Entry {
    /// The entry of a log that says nothing: what a reader of `directory` has to assume.
    #[must_use]
    pub fn unknown(directory: Directory) -> Entry {
        let (status, action) = match directory {
            Directory::Defer => (Status::transient(0, 0), Action::Delayed),
            _ => (Status::permanent(0, 0), Action::Failed),
        };
        Entry {
            recipient: NO_RECIPIENT.into(),
            original_recipient: None,
            offset: None,
            dsn_original: None,
            notify: Notify::UNSPECIFIED,
            status,
            action,
            diagnostic: None,
            remote_mta: None,
            reason: NO_REASON.into(),
        }
    }
}

/// How entries are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Append {
    /// Also as lines of the old form (backwards_bounce_logfile_compatibility).
    pub old_form: bool,
    /// Tries for the lock (deliver_lock_attempts).
    pub attempts: u32,
    /// Time between tries (deliver_lock_delay).
    pub delay: Duration,
    /// Flush to disk before the answer. The defer log can do without: what it says is said again at the next try.
    pub durable: bool,
}

impl Default for Append {
    fn default() -> Append {
        Append { old_form: true, attempts: 20, delay: Duration::from_secs(1), durable: true }
    }
}

/// Appends entries to the log of a message, all or none. Blocks for the lock and the disk: not for an event loop.
///
/// # Errors
/// The error of `open(2)`, `write(2)` or `fsync(2)`, after which the log is as it was; `WouldBlock` when the lock was
/// not free in time.
pub fn append(spool: &Spool, directory: Directory, id: &QueueId, entries: &[Entry], how: &Append) -> io::Result<()> {
    let mut text = Vec::with_capacity(256 * entries.len());
    for entry in entries {
        format(&mut text, entry, how.old_form);
    }
    let path = spool.path(directory, id);
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(state::NEW);
    let mut file = spool.open_creating(&options, &path)?;
    if !lock::exclusive(&file, how.attempts, how.delay)? {
        return Err(io::Error::new(io::ErrorKind::WouldBlock, "the log is locked"));
    }
    let length = file.metadata()?.len();
    let written = file.write_all(&text).and_then(|()| if how.durable { file.sync_data() } else { Ok(()) });
    if written.is_err() {
        // Half an entry would hide the next one. If even this fails, the reader copes.
        let _ = file.set_len(length);
    }
    written
}

/// Removes the log of a message; false when there is none.
///
/// # Errors
/// The error of `unlink(2)`.
pub fn remove(spool: &Spool, directory: Directory, id: &QueueId) -> io::Result<bool> {
    match fs::remove_file(spool.path(directory, id)) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Opens the log of a message; `None` when there is none.
///
/// # Errors
/// The error of `open(2)`.
pub fn read(spool: &Spool, directory: Directory, id: &QueueId) -> io::Result<Option<Reader<LogFile>>> {
    match spool.open_unnoticed(&spool.path(directory, id)) {
        Ok(file) => Ok(Some(Reader::new(LogFile::new(file, vec![0; BLOCK]), directory))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// An open log. A read that gives less than was asked for is its end: most logs are one `read(2)`.
#[derive(Debug)]
pub struct LogFile {
    /// `None` after the end.
    file: Option<File>,
    buffer: Vec<u8>,
    position: usize,
    filled: usize,
}

impl LogFile {
    /// Reads `file` through `buffer`, as much as that is long at a time.
    pub(crate) fn new(file: File, buffer: Vec<u8>) -> LogFile {
        LogFile { file: Some(file), buffer, position: 0, filled: 0 }
    }
}

impl Read for LogFile {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut have = self.fill_buf()?;
        let n = have.read(out)?;
        self.consume(n);
        Ok(n)
    }
}

impl BufRead for LogFile {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.position == self.filled
            && let Some(file) = &mut self.file
        {
            self.position = 0;
            self.filled = 0;
            self.filled = file.read(&mut self.buffer)?;
            if self.filled < self.buffer.len() {
                self.file = None;
            }
        }
        Ok(&self.buffer[self.position..self.filled])
    }

    fn consume(&mut self, amount: usize) {
        self.position = self.filled.min(self.position + amount);
    }
}

/// The entries of a log, one after the other, with bounded memory.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    directory: Directory,
    line: Vec<u8>,
}

/// What a listing wants of an entry.
#[derive(Debug)]
pub(crate) struct Brief {
    pub(crate) recipient: BString,
    pub(crate) original_recipient: BString,
    pub(crate) offset: Option<u64>,
    pub(crate) reason: BString,
}

/// A line that says something.
enum Line<'a> {
    Pair(&'a [u8], &'a [u8]),
    /// `<address>: reason`, as versions before 2.1 wrote it.
    Old(&'a [u8], &'a [u8]),
}

impl Reader<LogFile> {
    /// The buffers of the file and of lines, for another reader.
    pub(crate) fn into_buffers(self) -> (Vec<u8>, Vec<u8>) {
        (self.input.buffer, self.line)
    }
}

impl<R: BufRead> Reader<R> {
    /// Reads a log of the kind that `directory` holds.
    pub fn new(input: R, directory: Directory) -> Reader<R> {
        Reader::with_line(input, directory, Vec::new())
    }

    /// As [`Reader::new`], with the buffer for lines of an earlier one.
    pub(crate) fn with_line(input: R, directory: Directory, line: Vec<u8>) -> Reader<R> {
        Reader { input, directory, line }
    }

    /// The next entry.
    ///
    /// # Errors
    /// The error of `read(2)`. Lines that say nothing known are passed over.
    pub fn next_entry(&mut self) -> io::Result<Option<Entry>> {
        let mut entry = Entry::unknown(self.directory);
        let mut parts = Parts::default();
        let seen = self.block(|line| match line {
            Line::Pair(name, value) => parts.take(&mut entry, name, value),
            Line::Old(address, reason) => {
                entry.recipient = or_null(address);
                entry.reason = reason.into();
                true
            }
        })?;
        parts.finish(&mut entry);
        Ok(seen.then_some(entry))
    }

    /// As [`Reader::next_entry`], without what a listing does not show.
    pub(crate) fn next_brief(&mut self) -> io::Result<Option<Brief>> {
        let (mut recipient, mut original, mut offset, mut reason) = (None, None, None, None);
        let seen = self.block(|line| {
            match line {
                Line::Pair(b"recipient", value) => recipient = Some(or_null(value)),
                Line::Pair(b"original_recipient", value) => original = some(value),
                Line::Pair(b"offset", value) => offset = offset_of(value),
                Line::Pair(b"reason", value) => reason = some(value).or(reason.take()),
                Line::Pair(name, _) => return KNOWN.contains(&name),
                Line::Old(address, text) => (recipient, reason) = (Some(or_null(address)), Some(text.into())),
            }
            true
        })?;
        Ok(seen.then(|| Brief {
            recipient: recipient.unwrap_or_else(|| NO_RECIPIENT.into()),
            original_recipient: original.unwrap_or_default(),
            offset,
            reason: reason.unwrap_or_else(|| NO_REASON.into()),
        }))
    }

    /// Gives the lines of the next block to `take`, which says whether it knows the line; false when there was none
    /// that it knew before the end.
    fn block(&mut self, mut take: impl FnMut(Line<'_>) -> bool) -> io::Result<bool> {
        let mut seen = false;
        let mut size = 0;
        while self.read_line()? {
            let line = &self.line[..];
            if line.is_empty() {
                if seen {
                    break;
                }
                continue;
            }
            size += line.len();
            if size > LARGEST_ENTRY {
                continue;
            }
            if line[0] == b'<' {
                if let Some((address, reason)) = line[1..].split_once_str(b">: ") {
                    seen |= take(Line::Old(address, reason));
                }
            } else if line[0].is_ascii_alphanumeric()
                && let Some(equals) = line.find_byte(b'=')
            {
                seen |= take(Line::Pair(&line[..equals], &line[equals + 1..]));
            }
        }
        Ok(seen)
    }

    fn read_line(&mut self) -> io::Result<bool> {
        self.line.clear();
        let limit = LONGEST_LINE as u64;
        if self.input.by_ref().take(limit).read_until(b'\n', &mut self.line)? == 0 {
            return Ok(false);
        }
        if self.line.last() == Some(&b'\n') {
            self.line.pop();
        } else if self.line.len() == LONGEST_LINE {
            self.input.skip_until(b'\n')?;
        }
        make_printable(&mut self.line);
        Ok(true)
    }
}

impl<R: BufRead> Iterator for Reader<R> {
    type Item = io::Result<Entry>;

    fn next(&mut self) -> Option<io::Result<Entry>> {
        self.next_entry().transpose()
    }
}

/// The halves of pairs: each counts only with the other.
#[derive(Default)]
struct Parts {
    diagnostic_type: Option<String>,
    diagnostic_text: Option<BString>,
    mta_type: Option<String>,
    mta_name: Option<BString>,
}

impl Parts {
    fn take(&mut self, entry: &mut Entry, name: &[u8], value: &[u8]) -> bool {
        let text = || value.to_str_lossy().into_owned();
        match name {
            b"recipient" => entry.recipient = or_null(value),
            b"original_recipient" => entry.original_recipient = some(value),
            b"offset" => entry.offset = offset_of(value),
            b"dsn_orig_rcpt" => entry.dsn_original = some(value),
            b"notify_flags" => {
                entry.notify = text().parse().ok().and_then(Notify::from_bits).unwrap_or_default();
            }
            b"status" => entry.status = text().parse().unwrap_or(entry.status),
            b"action" => entry.action = Action::from_word(value).unwrap_or(entry.action),
            b"diag_type" => self.diagnostic_type = Some(text()),
            b"diag_text" => self.diagnostic_text = some(value),
            b"mta_type" => self.mta_type = Some(text()),
            b"mta_mname" => self.mta_name = some(value),
            b"reason" if value.is_empty() => {}
            b"reason" => entry.reason = value.into(),
            _ => return false,
        }
        true
    }

    fn finish(self, entry: &mut Entry) {
        entry.diagnostic = self.diagnostic_type.zip(self.diagnostic_text);
        entry.remote_mta = self.mta_type.zip(self.mta_name);
    }
}

fn some(value: &[u8]) -> Option<BString> {
    (!value.is_empty()).then(|| value.into())
}

fn or_null(address: &[u8]) -> BString {
    if address.is_empty() { "<>".into() } else { address.into() }
}

fn offset_of(value: &[u8]) -> Option<u64> {
    value.to_str().ok()?.parse().ok().filter(|offset| *offset > 0)
}

fn format(out: &mut Vec<u8>, entry: &Entry, old_form: bool) {
    let mut line = |name: &str, value: &[u8]| {
        out.extend_from_slice(name.as_bytes());
        let from = out.len();
        out.extend_from_slice(value);
        make_printable(&mut out[from..]);
        out.push(b'\n');
    };
    let null = entry.recipient.is_empty() || entry.recipient == "<>";
    line("", b"");
    if old_form {
        let address: &[u8] = if null { b"" } else { &entry.recipient };
        line("", &[b"<", address, b">: ", &entry.reason].concat());
    }
    line("recipient=", if null { b"<>" } else { &entry.recipient });
    if let Some(original) = &entry.original_recipient
        && !original.is_empty()
        && !original.eq_ignore_ascii_case(&entry.recipient)
    {
        line("original_recipient=", original);
    }
    if let Some(offset) = entry.offset.filter(|offset| *offset > 0) {
        line("offset=", offset.to_string().as_bytes());
    }
    if let Some(original) = entry.dsn_original.as_ref().filter(|text| !text.is_empty()) {
        line("dsn_orig_rcpt=", original);
    }
    if !entry.notify.is_unspecified() {
        line("notify_flags=", entry.notify.bits().to_string().as_bytes());
    }
    line("status=", entry.status.to_string().as_bytes());
    line("action=", entry.action.word().as_bytes());
    if let Some((kind, text)) = &entry.diagnostic {
        line("diag_type=", kind.as_bytes());
        line("diag_text=", text);
    }
    if let Some((kind, name)) = &entry.remote_mta {
        line("mta_type=", kind.as_bytes());
        line("mta_mname=", name);
    }
    line("reason=", &entry.reason);
    line("", b"");
}

/// Control characters, and bytes that are not UTF-8, become `?`.
pub(crate) fn make_printable(text: &mut [u8]) {
    if text.iter().all(|byte| matches!(byte, b' '..=b'~')) {
        return;
    }
    let mut at = 0;
    while at < text.len() {
        let (character, length) = bstr::decode_utf8(&text[at..]);
        match character {
            Some(character) if !character.is_control() => at += length,
            _ => {
                let end = at + length.max(1);
                text[at..end].fill(b'?');
                at = end;
            }
        }
    }
}

#[cfg(test)]
mod tests;
