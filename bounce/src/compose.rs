//! Which notices a message's log calls for, and their content.

use std::fs::File;
use std::io;
use std::sync::Arc;

use bstr::{BString, ByteSlice};
use dsn::notice::{Kind, Notice, Recipient, Returned};
use dsn::{Action, Notify, Return};
use ipc::bounce::{Notice as Wanted, Request};
use message::date::{self, Zone};
use queue::log_file::{self, Entry};
use queue::{Directory, Spool};

use crate::settings::Settings;

/// A notice that is ready to be submitted.
#[derive(Debug)]
pub struct Outgoing {
    /// Envelope sender of the notice; empty for the null sender.
    pub sender: BString,
    /// Envelope recipient, internal form.
    pub recipient: BString,
    /// Whom it tells.
    pub addressee: Addressee,
    /// The notice, without the returned message.
    pub notice: Notice,
}

/// Whom a notice tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addressee {
    /// The sender of the message.
    Sender,
    /// The postmaster, by `notify_classes`.
    Postmaster,
}

/// The message that a notice is about.
#[derive(Debug)]
pub struct Original {
    /// The queue file; none when it can no longer be read.
    pub file: Option<Arc<File>>,
    /// Offset of the first content record.
    pub content_offset: u64,
    content_length: u64,
    arrival: i64,
    message_id: Option<BString>,
}

/// Most recipients in one notice; the rest of an enormous message goes into further ones.
pub const RECIPIENTS_PER_NOTICE: usize = 10_000;
/// Text of recipients and reasons at which a notice is full.
const BYTES_PER_NOTICE: usize = 4 << 20;

impl Original {
    /// Looks at the message's queue file. One that is gone or broken still gets its notice.
    #[must_use]
    pub fn open(spool: &Spool, request: &Request) -> Original {
        let missing = Original { file: None, content_offset: 0, content_length: 0, arrival: 0, message_id: None };
        let Ok(file) = spool.open_read(request.directory, &request.queue_id) else { return missing };
        let file = Arc::new(file);
        let Ok(reader) = queue::message::Reader::open(Arc::clone(&file)) else { return missing };
        let envelope = reader.envelope();
        Original {
            content_offset: envelope.size.content_offset,
            content_length: envelope.size.content_length,
            arrival: envelope.arrival.0,
            message_id: envelope.attribute("message_id").cloned().filter(|id| !id.contains(&b'\n')),
            file: Some(file),
        }
    }
}

/// The log that a request is about, read a part at a time: however long it is, everything in it is told.
#[derive(Debug)]
pub struct Log(Option<log_file::Reader<log_file::LogFile>>);

impl Log {
    /// Opens it; a log that does not exist has no entries.
    ///
    /// # Errors
    /// The error of the log file.
    pub fn open(spool: &Spool, directory: Directory, request: &Request) -> io::Result<Log> {
        Ok(Log(log_file::read(spool, directory, &request.queue_id)?))
    }

    /// As many entries as one notice has; none after the last.
    ///
    /// # Errors
    /// The error of the log file.
    pub fn next_part(&mut self) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        let mut size = 0;
        while entries.len() < RECIPIENTS_PER_NOTICE && size < BYTES_PER_NOTICE {
            let Some(entry) = self.0.as_mut().map_or(Ok(None), log_file::Reader::next_entry)? else {
                self.0 = None;
                break;
            };
            let diagnostic = entry.diagnostic.as_ref().map_or(0, |(_, text)| text.len());
            size += entry.recipient.len() + entry.reason.len() + diagnostic;
            entries.push(entry);
        }
        Ok(entries)
    }
}

/// True for a message that is itself a notice to the postmaster: nobody is told that it could not be delivered.
#[must_use]
pub fn is_our_own(request: &Request, settings: &Settings) -> bool {
    let (bare, _) = address::split(&settings.double_bounce_sender);
    request.sender.eq_ignore_ascii_case(&settings.double_bounce_sender) || request.sender.eq_ignore_ascii_case(bare)
}

/// The notices that a part of the log calls for.
#[must_use]
pub fn notices(
    request: &Request,
    entries: &[Entry],
    original: &Original,
    settings: &Settings,
    now: i64,
) -> Vec<Outgoing> {
    let composer = Composer { request, original, settings, now };
    let mut all = Vec::new();
    let wanted: Vec<&Entry> = entries.iter().filter(|entry| is_wanted(request.notice, entry.notify)).collect();
    if is_our_own(request, settings) {
        return all;
    }
    let entries: Vec<&Entry> = entries.iter().collect();
    match request.notice {
        Wanted::Failure if request.sender.is_empty() => {
            if settings.notifies("bounce") || settings.notifies("2bounce") {
                composer.add(&mut all, &entries, Addressee::Postmaster, &settings.double_bounce_recipient, false);
            }
        }
        Wanted::Failure => {
            composer.add_for_sender(&mut all, &wanted);
            if settings.notifies("bounce") {
                composer.add(&mut all, &entries, Addressee::Postmaster, &settings.bounce_recipient, true);
            }
        }
        Wanted::Delay if request.sender.is_empty() => {
            if settings.notifies("delay") {
                composer.add(&mut all, &entries, Addressee::Postmaster, &settings.delay_recipient, true);
            }
        }
        Wanted::Delay => {
            composer.add_for_sender(&mut all, &wanted);
            if settings.notifies("delay") {
                composer.add(&mut all, &entries, Addressee::Postmaster, &settings.delay_recipient, true);
            }
        }
        Wanted::Success if request.sender.is_empty() => {}
        Wanted::Success => composer.add_for_sender(&mut all, &entries),
    }
    all
}

/// Whether the sender wants to hear about a recipient (RFC 3461 4.1).
fn is_wanted(notice: Wanted, notify: Notify) -> bool {
    let wants = |bit| notify.is_unspecified() || notify.contains(bit);
    match notice {
        Wanted::Failure => wants(Notify::FAILURE),
        Wanted::Delay => wants(Notify::DELAY),
        // A trace log has only what was asked for.
        Wanted::Success => true,
    }
}

struct Composer<'a> {
    request: &'a Request,
    original: &'a Original,
    settings: &'a Settings,
    now: i64,
}

impl Composer<'_> {
    /// To the sender; one notice per recipient for VERP mail, so that each comes back to its own address.
    fn add_for_sender(&self, all: &mut Vec<Outgoing>, entries: &[&Entry]) {
        match self.request.verp {
            Some(delimiters) => {
                for entry in entries {
                    let to = verp_address(&self.request.sender, &entry.recipient, delimiters);
                    self.add(all, &[*entry], Addressee::Sender, &to, false);
                }
            }
            None => self.add(all, entries, Addressee::Sender, &self.request.sender, false),
        }
    }

    fn add(&self, all: &mut Vec<Outgoing>, entries: &[&Entry], addressee: Addressee, to: &[u8], copy: bool) {
        if entries.is_empty() {
            return;
        }
        let sender = match addressee {
            Addressee::Sender => BString::default(),
            Addressee::Postmaster => self.settings.double_bounce_sender.clone(),
        };
        let notice = self.notice(entries, addressee, to, copy);
        all.push(Outgoing { sender, recipient: to.into(), addressee, notice });
    }

    fn notice(&self, entries: &[&Entry], addressee: Addressee, to: &[u8], copy: bool) -> Notice {
        let (settings, request) = (self.settings, self.request);
        let kind = match request.notice {
            Wanted::Failure => Kind::Failure,
            Wanted::Delay => Kind::Delay,
            Wanted::Success if entries.iter().any(|entry| is_probe(entry.action)) => Kind::Verify,
            Wanted::Success => Kind::Success,
        };
        let template = settings.template(kind);
        let postmaster = addressee == Addressee::Postmaster;
        let local = |seconds: i64| {
            let zone = sys::clock::local(seconds);
            date::format(seconds, Zone { offset: zone.offset, name: &sys::clock::zone_name(seconds) })
        };
        Notice {
            kind,
            postmaster_copy: postmaster,
            date: local(self.now),
            from: template.from.clone(),
            subject: if postmaster { template.postmaster_subject.clone() } else { template.subject.clone() },
            to: address::external(to),
            message_id: self.original.message_id.clone(),
            charset: template.charset.clone(),
            text: if postmaster { BString::default() } else { template.text.clone() },
            boundary: format!("{}.{}/{}", request.queue_id, self.now, settings.myhostname),
            myhostname: settings.myhostname.clone(),
            mail_name: settings.mail_name.clone(),
            queue_id: request.queue_id.to_string(),
            sender: address::external(&request.sender),
            envelope_id: request.envelope_id.as_ref().map(|id| smtp_proto::xtext::encode(id)),
            arrival: local(if self.original.arrival > 0 { self.original.arrival } else { self.now }),
            retry_until: Some(local(self.original.arrival + settings.maximal_queue_lifetime)),
            recipients: entries.iter().map(|entry| recipient(entry)).collect(),
            returned: self.returned(kind, copy),
            smtputf8: request.send_options & 1 != 0,
            eight_bit: request.encoding == "8bit",
        }
    }

    /// How much of the message comes back: all of a failure, within bounce_size_limit and unless `RET=HDRS`.
    fn returned(&self, kind: Kind, copy: bool) -> Returned {
        let small = self.settings.bounce_size_limit == 0
            || (self.original.content_length > 0 && self.original.content_length <= self.settings.bounce_size_limit);
        if self.original.file.is_none() {
            Returned::Unavailable
        } else if kind == Kind::Failure && !copy && small && self.request.ret != Some(Return::Headers) {
            Returned::Full
        } else {
            Returned::Headers
        }
    }
}

fn is_probe(action: Action) -> bool {
    matches!(action, Action::Deliverable | Action::Undeliverable)
}

/// The sender address with the recipient in it: `owner+user=domain@list` for `owner@list` and delimiters `+=`.
fn verp_address(sender: &[u8], recipient: &[u8], [first, second]: [u8; 2]) -> BString {
    let Some((local, domain)) = sender.rsplit_once_str(b"@") else { return sender.into() };
    let recipient = address::internal(recipient);
    let encoded: Vec<u8> = match recipient.rsplit_once_str(b"@") {
        Some((user, host)) => [user, &[second], host].concat(),
        None => recipient.into(),
    };
    [local, &[first], &encoded, b"@", domain].concat().into()
}

fn recipient(entry: &Entry) -> Recipient {
    Recipient {
        address: entry.recipient.clone(),
        original: entry.original_recipient.clone(),
        dsn_original: entry.dsn_original.clone(),
        action: entry.action,
        dsn: dsn::Dsn {
            status: entry.status,
            reason: entry.reason.clone(),
            diagnostic: entry.diagnostic.clone(),
            remote_mta: entry.remote_mta.clone(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::Config;
    use dsn::Status;

    fn settings(extra: &str) -> Settings {
        let text = format!("myhostname = mail.example\nmyorigin = example\n{extra}");
        Settings::load(&Config::from_text(&text).expect("main.cf")).expect("settings")
    }

    fn request(notice: Wanted, sender: &str) -> Request {
        Request {
            notice,
            directory: Directory::Active,
            queue_id: "ABC".parse().expect("id"),
            sender: sender.into(),
            envelope_id: None,
            ret: None,
            encoding: String::new(),
            send_options: 0,
            verp: None,
        }
    }

    fn entry(recipient: &str, notify: Notify) -> Entry {
        let status = Status::permanent(1, 1);
        Entry { recipient: recipient.into(), notify, status, ..Entry::unknown(Directory::Bounce) }
    }

    fn compose(request: &Request, entries: &[Entry], settings: &Settings) -> Vec<String> {
        let original =
            Original { file: None, content_offset: 0, content_length: 0, arrival: 1_000_000, message_id: None };
        notices(request, entries, &original, settings, 1_000_100)
            .iter()
            .map(|one| {
                let about: Vec<String> = one.notice.recipients.iter().map(|r| r.address.to_string()).collect();
                format!("<{}> -> {}: {}", one.sender, one.recipient, about.join(" "))
            })
            .collect()
    }

    #[test]
    fn the_sender_hears_about_what_it_did_not_decline() {
        let entries = [entry("a@y", Notify::UNSPECIFIED), entry("b@y", Notify::NEVER), entry("c@y", Notify::DELAY)];
        let plain = settings("notify_classes =");
        let failure = request(Wanted::Failure, "s@x");
        assert_eq!(compose(&failure, &entries, &plain), ["<> -> s@x: a@y"]);
        assert_eq!(compose(&request(Wanted::Delay, "s@x"), &entries, &plain), ["<> -> s@x: a@y c@y"]);
        assert!(compose(&failure, &entries[1..2], &plain).is_empty(), "no empty notice");
    }

    #[test]
    fn the_postmaster_hears_by_class() {
        let entries = [entry("a@y", Notify::NEVER)];
        let told = settings("notify_classes = bounce\nbounce_notice_recipient = boss");
        let copies = compose(&request(Wanted::Failure, "s@x"), &entries, &told);
        assert_eq!(copies, ["<double-bounce@example> -> boss: a@y"]);
    }

    #[test]
    fn mail_from_the_null_sender_goes_to_the_postmaster_or_nowhere() {
        let entries = [entry("a@y", Notify::UNSPECIFIED)];
        let failure = request(Wanted::Failure, "");
        assert!(compose(&failure, &entries, &settings("notify_classes =")).is_empty());
        let told = settings("notify_classes = 2bounce\n2bounce_notice_recipient = root");
        assert_eq!(compose(&failure, &entries, &told), ["<double-bounce@example> -> root: a@y"]);
        assert!(compose(&request(Wanted::Success, ""), &entries, &told).is_empty());
    }

    #[test]
    fn a_notice_about_our_own_notice_is_never_made() {
        let entries = [entry("a@y", Notify::UNSPECIFIED)];
        let told = settings("notify_classes = bounce, 2bounce, delay");
        for sender in ["double-bounce@example", "double-bounce"] {
            assert!(compose(&request(Wanted::Failure, sender), &entries, &told).is_empty(), "{sender}");
        }
    }

    /// A log of more entries than memory should hold was read up to a limit, and then removed.
    #[test]
    fn nothing_of_an_enormous_log_is_left_out() {
        let directory = tempfile::tempdir().expect("directory");
        for name in ["bounce", "active"] {
            std::fs::create_dir(directory.path().join(name)).expect("mkdir");
        }
        let spool = Spool::at(directory.path(), queue::Layout::new("", 1, false));
        let id: queue::QueueId = "ABC".parse().expect("id");
        let count = 2 * RECIPIENTS_PER_NOTICE + 1;
        let entries: Vec<Entry> = (0..count).map(|n| entry(&format!("r{n}@y"), Notify::UNSPECIFIED)).collect();
        let how = log_file::Append { old_form: false, durable: false, ..log_file::Append::default() };
        log_file::append(&spool, Directory::Bounce, &id, &entries, &how).expect("append");
        let mut long = entry("long@y", Notify::UNSPECIFIED);
        long.reason = "x".repeat(60 << 10).into();
        log_file::append(&spool, Directory::Bounce, &id, &vec![long; 100], &how).expect("append");
        let mut log = Log::open(&spool, Directory::Bounce, &request(Wanted::Failure, "s@x")).expect("open");
        let mut parts = Vec::new();
        loop {
            let part = log.next_part().expect("read");
            if part.is_empty() {
                break;
            }
            parts.push(part.len());
        }
        assert_eq!(parts.iter().sum::<usize>(), count + 100);
        assert_eq!(parts[..2], [RECIPIENTS_PER_NOTICE; 2]);
        assert!(parts[2..].len() > 1, "long reasons fill a notice sooner: {parts:?}");
    }

    #[test]
    fn verp_mail_gets_a_notice_for_each_recipient() {
        let entries = [entry("a@y", Notify::UNSPECIFIED), entry("\"b b\"@z", Notify::UNSPECIFIED)];
        let mut failure = request(Wanted::Failure, "owner@list");
        failure.verp = Some(*b"+=");
        let sent = compose(&failure, &entries, &settings("notify_classes ="));
        assert_eq!(sent, ["<> -> owner+a=y@list: a@y", "<> -> owner+b b=z@list: \"b b\"@z"]);
    }
}
