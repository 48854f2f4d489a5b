//! The listing of the queue: what showq sends and postqueue shows.
//!
//! Memory is bounded however long the queue and however many recipients a message has: messages come one by one, and
//! those with many recipients in several parts. A small message costs one open and one read.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::fd::OwnedFd;

use bstr::BString;
use nix::sys::stat::fstat;
use serde::{Deserialize, Serialize};

use crate::record::{self, Reader, RecordType};
use crate::state::{self, State};
use crate::walk::{Found, Walk};
use crate::{Directory, Error, Logs, QueueId, Spool, log_file};

/// One message of the listing, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Where it is.
    pub directory: Directory,
    /// Its id.
    pub queue_id: QueueId,
    /// Arrival, seconds since the epoch.
    pub arrival: i64,
    /// Size of the content.
    pub size: u64,
    /// `postsuper -e` was said.
    pub forced_expire: bool,
    /// External form; `empty_address_recipient` for the null sender.
    pub sender: BString,
    /// The recipients that are still to be delivered.
    pub recipients: Vec<Recipient>,
    /// False when more recipients of the same message follow in the next entry.
    pub complete: bool,
}

/// One recipient of the listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipient {
    /// Before alias expansion, external form; empty when not known.
    pub original: BString,
    /// External form.
    pub address: BString,
    /// From the defer log.
    pub reason: Reason,
}

/// Why a recipient is still there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// Not tried yet.
    None,
    /// From the defer log.
    Delay(BString),
    /// From the bounce log.
    Bounce(BString),
}

/// The queues of a listing, in its order.
const QUEUES: [Directory; 5] =
    [Directory::Maildrop, Directory::Active, Directory::Incoming, Directory::Deferred, Directory::Hold];

/// Recipients in one entry, at most.
const PART: usize = 500;
/// Recipients that are known from the defer log and not shown again, at most; far beyond any message.
const MOST_SEEN: usize = 1_000_000;
/// Bytes of one read: the whole of most messages, and the envelope of the others.
const READ: usize = 8 << 10;

/// Goes through the queue, message by message.
#[derive(Debug)]
pub struct Listing {
    spool: Spool,
    empty_address: BString,
    now: i64,
    queues: std::slice::Iter<'static, Directory>,
    walk: Option<(Directory, Walk)>,
    logs: Logs,
    message: Option<Message>,
    buffers: Buffers,
}

/// Used for one message after the other.
#[derive(Debug, Default)]
struct Buffers {
    message: Vec<u8>,
    log: Vec<u8>,
    line: Vec<u8>,
}

/// A message of which more is to come.
#[derive(Debug)]
struct Message {
    head: Entry,
    reader: Reader<OwnedFd>,
    log: Option<log_file::Reader<log_file::LogFile>>,
    seen: HashSet<u64>,
    /// Offset of the extracted segment; content is read through when it is not known.
    extracted: Option<u64>,
    original: BString,
}

impl Listing {
    /// The listing of `spool`; `empty_address` (`empty_address_recipient`) stands for null addresses, `now` is seconds
    /// since the epoch.
    #[must_use]
    pub fn new(spool: Spool, empty_address: &str, now: i64) -> Listing {
        Listing {
            spool,
            empty_address: empty_address.into(),
            now,
            queues: QUEUES.iter(),
            walk: None,
            logs: Logs::new(Directory::Defer),
            message: None,
            buffers: Buffers::default(),
        }
    }

    /// The next message or part. `warn` gets what is wrong with a file, which is then left out as far as it cannot be
    /// read.
    ///
    /// # Errors
    /// Those of reading directories. Files that have left in the meantime are none.
    pub fn next_entry(&mut self, warn: &mut dyn FnMut(String)) -> io::Result<Option<Entry>> {
        loop {
            if let Some(message) = self.message.take() {
                return Ok(Some(self.part(message, warn)));
            }
            let Some((directory, mut walk)) = self.walk.take() else {
                let Some(directory) = self.queues.next() else { return Ok(None) };
                self.walk = Some((*directory, self.spool.walk(*directory)));
                continue;
            };
            if let Some(found) = walk.next_file()? {
                self.message = self.open(directory, &found, warn);
                self.walk = Some((directory, walk));
            }
        }
    }

    /// Opens a message and reads as far as its sender; `None` when there is nothing to show.
    fn open(&mut self, directory: Directory, found: &Found<'_>, warn: &mut dyn FnMut(String)) -> Option<Message> {
        let queue_id: QueueId = found.name.to_str().ok()?.parse().ok()?;
        if !self.spool.is_in_place(directory, &queue_id, found.subdirectories) {
            return None;
        }
        let path = || found.path(&self.spool.directory(directory)).display().to_string();
        let file = match found.open_unnoticed() {
            Ok(file) => file,
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    warn(format!("open {}: {}", path(), sys::reason(&error)));
                }
                return None;
            }
        };
        let stat = fstat(&file).ok()?;
        if state::of_stat(&stat, self.now) != State::Ready {
            return None;
        }
        let mut head = Entry {
            directory,
            queue_id,
            arrival: stat.st_mtime,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            forced_expire: state::is_forced_expire(stat.st_mode),
            sender: BString::default(),
            recipients: Vec::new(),
            complete: false,
        };
        let mut reader = Reader::with_buffer(file, 0, take(&mut self.buffers.message, READ));
        let mut extracted = None;
        match read_head(&mut reader, &mut head, &mut extracted, &self.empty_address) {
            Ok(true) => {}
            other => {
                let reason = other.err().map_or_else(|| "no sender".to_owned(), |error| error.to_string());
                warn(format!("{}: {reason}", path()));
                self.buffers.message = reader.into_buffer();
                return None;
            }
        }
        let log = self.logs.open(&self.spool, &head.queue_id).unwrap_or_else(|error| {
            warn(format!("defer log of {}: {}", head.queue_id, sys::reason(&error)));
            None
        });
        let log = log.map(|file| {
            let file = log_file::LogFile::new(file, take(&mut self.buffers.log, log_file::BLOCK));
            log_file::Reader::with_line(file, Directory::Defer, std::mem::take(&mut self.buffers.line))
        });
        Some(Message { head, reader, log, seen: HashSet::new(), extracted, original: BString::default() })
    }

    /// The next recipients of a message, which is put back when it has more.
    fn part(&mut self, mut message: Message, warn: &mut dyn FnMut(String)) -> Entry {
        let mut recipients = Vec::new();
        let complete = message.fill(&mut recipients, &self.empty_address, &mut self.buffers).unwrap_or_else(|error| {
            let path = self.spool.path(message.head.directory, &message.head.queue_id);
            warn(format!("{}: {error}", path.display()));
            true
        });
        if complete {
            self.buffers.message = message.reader.into_buffer();
            return Entry { recipients, complete, ..message.head };
        }
        let entry = Entry { recipients, complete, ..message.head.clone() };
        self.message = Some(message);
        entry
    }
}

/// A buffer of `size` bytes, out of `buffer` when that has not grown.
fn take(buffer: &mut Vec<u8>, size: usize) -> Vec<u8> {
    let buffer = std::mem::take(buffer);
    if buffer.len() == size { buffer } else { vec![0; size] }
}

/// Reads up to the sender; false when there is none.
fn read_head(
    reader: &mut Reader<OwnedFd>,
    head: &mut Entry,
    extracted: &mut Option<u64>,
    empty_address: &BString,
) -> Result<bool, Error> {
    while let Some(record) = reader.read()? {
        match record.kind {
            RecordType::Size if head.directory != Directory::Maildrop => {
                if let Some((size, end)) = crate::message::listed_size(record.data) {
                    head.size = size;
                    *extracted = end;
                }
            }
            RecordType::Time => {
                let seconds = record.data.split(u8::is_ascii_whitespace).next().and_then(record::number);
                head.arrival = seconds.filter(|seconds| *seconds > 0).unwrap_or(head.arrival);
            }
            RecordType::Sender => {
                head.sender = shown(record.data, empty_address);
                return Ok(true);
            }
            RecordType::Recipient | RecordType::Message | RecordType::End => return Ok(false),
            _ => {}
        }
    }
    Ok(false)
}

impl Message {
    /// Appends up to [`PART`] recipients; true when these were the last.
    fn fill(
        &mut self,
        recipients: &mut Vec<Recipient>,
        empty_address: &BString,
        buffers: &mut Buffers,
    ) -> Result<bool, Error> {
        while let Some(log) = &mut self.log {
            let Some(entry) = log.next_brief()? else {
                if let Some(log) = self.log.take() {
                    (buffers.log, buffers.line) = log.into_buffers();
                }
                break;
            };
            if self.seen.len() < MOST_SEEN {
                self.seen.insert(key(entry.offset, &entry.recipient));
            }
            recipients.push(Recipient {
                original: entry.original_recipient,
                address: entry.recipient,
                reason: Reason::Delay(entry.reason),
            });
            if recipients.len() >= PART {
                return Ok(false);
            }
        }
        while recipients.len() < PART {
            let Some(record) = self.reader.read()? else { return Ok(true) };
            match record.kind {
                RecordType::Original => self.original = record.data.into(),
                RecordType::Recipient => {
                    let offset = record.offset;
                    let original = std::mem::take(&mut self.original);
                    let address = shown(record.data, empty_address);
                    let is_seen = !self.seen.is_empty()
                        && (self.seen.contains(&key(Some(offset), &address))
                            || self.seen.contains(&key(None, &address)));
                    if !is_seen {
                        let original = if original.is_empty() { original } else { shown(&original, empty_address) };
                        recipients.push(Recipient { original, address, reason: Reason::None });
                    }
                }
                RecordType::Done | RecordType::Canceled => self.original.clear(),
                RecordType::Message => {
                    if let Some(offset) = self.extracted.take() {
                        self.reader.seek(offset);
                    }
                }
                RecordType::End => return Ok(true),
                _ => {}
            }
        }
        Ok(false)
    }
}

/// A recipient of the defer log, so that it is not shown again from the queue file.
fn key(offset: Option<u64>, address: &BString) -> u64 {
    let mut hasher = DefaultHasher::new();
    (offset.unwrap_or(0), address).hash(&mut hasher);
    hasher.finish()
}

/// External form, printable.
fn shown(address: &[u8], empty_address: &BString) -> BString {
    let mut text = if address.is_empty() { empty_address.clone() } else { address::external(address) };
    log_file::make_printable(&mut text);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Layout;
    use crate::log_file::{Append, Entry as LogEntry, append};
    use crate::message::{Options, Writer};
    use dsn::Notify;
    use std::fs;
    use std::sync::Arc;

    struct House {
        root: tempfile::TempDir,
        spool: Spool,
    }

    impl House {
        fn new() -> House {
            let root = tempfile::tempdir().expect("directory");
            for directory in Directory::ALL {
                fs::create_dir(root.path().join(directory.name())).expect("mkdir");
            }
            let spool = Spool::at(root.path(), Layout::default());
            House { root, spool }
        }

        fn message(&self, directory: Directory, sender: &[u8], recipients: &[&str], body: usize) -> QueueId {
            let mut new = self.spool.create(Directory::Incoming).expect("create");
            let mut writer = Writer::new(Arc::clone(new.file()), Options::default()).expect("writer");
            writer.arrival((1_700_000_000, 5)).expect("arrival");
            writer.sender(sender).expect("sender");
            let (envelope, extracted) = recipients.split_at(recipients.len() / 2);
            for recipient in envelope {
                writer.recipient(recipient.as_bytes(), b"o@x", None, Notify::UNSPECIFIED).expect("recipient");
            }
            writer.begin_content().expect("content");
            writer.chunk(&vec![b'x'; body]).expect("chunk");
            writer.end_content().expect("end");
            for recipient in extracted {
                writer.recipient(recipient.as_bytes(), b"", None, Notify::UNSPECIFIED).expect("recipient");
            }
            writer.finish().expect("finish");
            new.rename(&self.spool, directory).expect("rename");
            new.ready().expect("ready")
        }

        fn list(&self) -> (Vec<Entry>, Vec<String>) {
            let mut listing = Listing::new(self.spool.clone(), "MAILER-DAEMON", 2_000_000_000);
            let (mut entries, mut warnings) = (Vec::new(), Vec::new());
            while let Some(entry) = listing.next_entry(&mut |text| warnings.push(text)).expect("list") {
                entries.push(entry);
            }
            (entries, warnings)
        }
    }

    fn addresses(entry: &Entry) -> Vec<String> {
        entry.recipients.iter().map(|recipient| recipient.address.to_string()).collect()
    }

    #[test]
    fn queues_in_order_and_all_recipients() {
        let house = House::new();
        let hold = house.message(Directory::Hold, b"", &["a@x", "b b@x"], 100_000);
        let deferred = house.message(Directory::Deferred, b"s@x", &["a@x", "b@x", "c@x"], 10);
        let active = house.message(Directory::Active, b"s\x01@x", &["a@x"], 10);
        let (entries, warnings) = house.list();
        assert!(warnings.is_empty(), "{warnings:?}");
        let ids: Vec<&QueueId> = entries.iter().map(|entry| &entry.queue_id).collect();
        assert_eq!(ids, [&active, &deferred, &hold]);
        assert_eq!(entries[0].sender, "\"s?\"@x");
        assert_eq!(entries[1].arrival, 1_700_000_000);
        assert_eq!(addresses(&entries[1]), ["a@x", "b@x", "c@x"]);
        assert_eq!(entries[1].recipients[0].original, "o@x");
        assert_eq!(entries[2].sender, "MAILER-DAEMON");
        assert_eq!(addresses(&entries[2]), ["a@x", "\"b b\"@x"]);
        assert!(entries[2].size > 100_000 && entries.iter().all(|entry| entry.complete));
    }

    #[test]
    fn reasons_come_first_and_once() {
        let house = House::new();
        let id = house.message(Directory::Deferred, b"s@x", &["a@x", "b@x"], 10);
        let entry = LogEntry { recipient: "b@x".into(), reason: "why".into(), ..LogEntry::unknown(Directory::Defer) };
        append(&house.spool, Directory::Defer, &id, &[entry], &Append::default()).expect("log");
        let (entries, _) = house.list();
        assert_eq!(addresses(&entries[0]), ["b@x", "a@x"]);
        assert_eq!(entries[0].recipients[0].reason, Reason::Delay("why".into()));
        assert_eq!(entries[0].recipients[1].reason, Reason::None);
    }

    #[test]
    fn many_recipients_come_in_parts() {
        let house = House::new();
        let names: Vec<String> = (0..1700).map(|n| format!("r{n}@x")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let id = house.message(Directory::Deferred, b"s@x", &names, 10);
        let entries: Vec<LogEntry> = (0..600)
            .map(|n| LogEntry { recipient: format!("r{n}@x").into(), ..LogEntry::unknown(Directory::Defer) })
            .collect();
        append(&house.spool, Directory::Defer, &id, &entries, &Append::default()).expect("log");
        let (entries, _) = house.list();
        assert_eq!(entries.iter().map(|entry| entry.recipients.len()).sum::<usize>(), 1700);
        assert!(entries.iter().all(|entry| entry.recipients.len() <= PART && entry.queue_id == id));
        let complete: Vec<bool> = entries.iter().map(|entry| entry.complete).collect();
        assert_eq!(complete, [false, false, false, true]);
    }

    #[test]
    fn what_is_no_message_is_left_out() {
        let house = House::new();
        house.message(Directory::Active, b"s@x", &["a@x"], 10);
        let new = house.spool.create(Directory::Incoming).expect("create");
        let garbage = house.root.path().join("hold/AAAAA1");
        fs::write(&garbage, b"garbage").expect("write");
        fs::set_permissions(&garbage, std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("chmod");
        fs::create_dir(house.root.path().join("hold/AAAAA2")).expect("mkdir");
        fs::write(house.root.path().join("deferred/AAAAA3"), b"at the wrong depth").expect("write");
        let (entries, warnings) = house.list();
        assert_eq!((entries.len(), warnings.len()), (1, 1), "{warnings:?}");
        drop(new);
    }
}
