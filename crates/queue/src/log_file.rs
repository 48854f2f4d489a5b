//! Bounce, defer and trace logs: what became of the recipients of a message, in a text file with the message's id.
//!
//! An entry is a block of `name=value` lines between empty lines. Old versions wrote `<address>: reason` lines instead,
//! which are still read, and still written along on request (backwards_bounce_logfile_compatibility).

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use bstr::{BString, ByteSlice};
use dsn::{Action, Notify, Status};

use crate::{Directory, QueueId, Spool, lock, state};

/// Longest line that is read, in bytes; the rest of a longer one is passed over.
const LONGEST_LINE: usize = 64 << 10;
/// Most bytes of one entry that are kept.
const LARGEST_ENTRY: usize = 256 << 10;

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
            recipient: "(recipient address unavailable)".into(),
            original_recipient: None,
            offset: None,
            dsn_original: None,
            notify: Notify::UNSPECIFIED,
            status,
            action,
            diagnostic: None,
            remote_mta: None,
            reason: "(description unavailable)".into(),
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
        Ok(file) => Ok(Some(Reader::new(LogFile { file, ended: false }, directory))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// An open log. A read that gives less than was asked for is its end: most logs are one `read(2)`.
#[derive(Debug)]
pub struct LogFile {
    file: File,
    ended: bool,
}

impl Read for LogFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.ended {
            return Ok(0);
        }
        let n = self.file.read(buffer)?;
        self.ended = n < buffer.len();
        Ok(n)
    }
}

/// The entries of a log, one after the other, with bounded memory.
#[derive(Debug)]
pub struct Reader<R> {
    input: BufReader<R>,
    directory: Directory,
    line: Vec<u8>,
}

impl<R: Read> Reader<R> {
    /// Reads a log of the kind that `directory` holds.
    pub fn new(input: R, directory: Directory) -> Reader<R> {
        Reader { input: BufReader::with_capacity(4 << 10, input), directory, line: Vec::new() }
    }

    /// The next entry.
    ///
    /// # Errors
    /// The error of `read(2)`. Lines that say nothing known are passed over.
    pub fn next_entry(&mut self) -> io::Result<Option<Entry>> {
        let mut entry = Entry::unknown(self.directory);
        let mut parts = Parts::default();
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
                seen |= old_line(&mut entry, line);
            } else if line[0].is_ascii_alphanumeric()
                && let Some((name, value)) = line.split_once_str(b"=")
            {
                seen |= parts.take(&mut entry, name, value);
            }
        }
        if !seen {
            return Ok(None);
        }
        parts.finish(&mut entry);
        Ok(Some(entry))
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

impl<R: Read> Iterator for Reader<R> {
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
            b"recipient" => entry.recipient = if value.is_empty() { "<>".into() } else { value.into() },
            b"original_recipient" => entry.original_recipient = some(value),
            b"offset" => entry.offset = text().parse().ok().filter(|offset| *offset > 0),
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

/// `<address>: reason`, as versions before 2.1 wrote it.
fn old_line(entry: &mut Entry, line: &[u8]) -> bool {
    let Some((address, reason)) = line[1..].split_once_str(b">: ") else { return false };
    entry.recipient = if address.is_empty() { "<>".into() } else { address.into() };
    entry.reason = reason.into();
    true
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
