//! One message on its way into the queue.
//!
//! Every function may fail with a [`Refusal`]; the session then keeps it, drops what follows, and answers with it at the
//! end. A transaction that is dropped leaves nothing behind: the queue file goes with it.

mod body;
mod check;
mod content;
mod envelope;
mod finish;
mod headers;
mod recipients;

use std::rc::Rc;

use bstr::BString;
use ipc::cleanup::{Action, Begin, Encoding, Refusal};
use message::Parser;
use queue::message::{Options, Writer};
use queue::{Directory, NewFile};

use crate::duplicates::Duplicates;
use crate::mapping::Unmapped;
use crate::service::Service;

pub(crate) use finish::Finished;

/// Where the transaction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Before the sender.
    Start,
    /// Recipients.
    Recipients,
    /// Content, and recipients for the extracted segment.
    Content,
}

/// A message being written.
pub(crate) struct Transaction {
    service: Rc<Service>,
    new_file: NewFile,
    writer: Writer,
    /// The id as text, for log lines.
    id: String,
    begin: Begin,
    arrival: (i64, i64),
    phase: Phase,
    /// Rewritten, internal form.
    sender: BString,
    /// As the client gave it, internal form; of the first recipient, while there is one.
    first_recipient: Option<BString>,
    /// Recipients that the client gave in the envelope.
    client_recipients: u64,
    /// Recipients that will be taken from headers or were given after the content.
    later_recipients: Vec<envelope::Given>,
    duplicates: Duplicates,
    attributes: usize,
    envelope_over: bool,
    /// Aliases expanded with NOTIFY=SUCCESS: what the trace log gets.
    expanded: Vec<queue::log_file::Entry>,
    decisions: Decisions,
    /// Headers that go on top.
    prepended: Vec<BString>,
    parser: Option<Parser>,
    headers: headers::Seen,
    body: body::Body,
    checks_apply: bool,
    encoding: Option<Encoding>,
}

/// What is to become of the message as a whole.
#[derive(Debug, Default)]
struct Decisions {
    hold: bool,
    discard: bool,
    filter: Option<BString>,
    redirect: Option<BString>,
    delay: Option<u32>,
    bcc: Vec<BString>,
}

impl Transaction {
    /// Opens a queue file.
    pub(crate) fn open(service: &Rc<Service>, begin: Begin) -> Result<Transaction, Refusal> {
        let failed = |error: &std::io::Error| {
            log::warning!("mail_queue_enter: create file incoming: {}", sys::reason(error));
            refusal_of(error)
        };
        let new_file = service.spool.create(Directory::Incoming).map_err(|error| failed(&error))?;
        service.spool.remove_stale_logs(new_file.id()).map_err(|error| failed(&error))?;
        let settings = &service.settings;
        let options = Options {
            line_length_limit: settings.line_length_limit,
            milter_places: settings.milter_places && begin.options.milters,
        };
        let created = new_file.created();
        let arrival = begin.arrival.unwrap_or((created.as_secs().cast_signed(), i64::from(created.subsec_micros())));
        let id = new_file.id().to_string();
        let file = std::sync::Arc::clone(new_file.file());
        let mut transaction = Transaction {
            service: Rc::clone(service),
            writer: Writer::new(file, options).map_err(|error| write_problem(&id, &error))?,
            new_file,
            id,
            arrival,
            phase: Phase::Start,
            sender: BString::default(),
            first_recipient: None,
            client_recipients: 0,
            later_recipients: Vec::new(),
            duplicates: Duplicates::new(settings.duplicate_filter_limit),
            attributes: 0,
            envelope_over: false,
            expanded: Vec::new(),
            decisions: Decisions { hold: begin.options.hold, ..Decisions::default() },
            prepended: Vec::new(),
            parser: Some(Parser::new(settings.limits, !settings.disable_mime)),
            headers: headers::Seen::default(),
            body: body::Body::default(),
            checks_apply: begin.options.header_body_checks,
            encoding: begin.encoding,
            begin,
        };
        transaction.write_beginning()?;
        Ok(transaction)
    }

    /// The queue id.
    pub(crate) fn id(&self) -> &queue::QueueId {
        self.new_file.id()
    }

    /// An access decision about the whole message.
    pub(crate) fn act(&mut self, action: Action) {
        match action {
            Action::Hold => self.decisions.hold = true,
            Action::Discard => self.decisions.discard = true,
            Action::Filter(filter) => self.decisions.filter = Some(filter.into()),
            Action::Redirect(address) => self.decisions.redirect = Some(address),
            Action::Delay(seconds) => self.decisions.delay = Some(seconds),
        }
    }

    /// One more recipient, outside the sender's knowledge.
    pub(crate) fn add_bcc(&mut self, address: BString) {
        self.decisions.bcc.push(address);
    }

    /// A header for the top.
    pub(crate) fn prepend_header(&mut self, header: BString) {
        self.prepended.push(header);
    }

    /// Nothing that is written now will be delivered.
    fn is_discarded(&self) -> bool {
        self.decisions.discard
    }

    /// Addresses and headers may be changed.
    fn maps_addresses(&self) -> bool {
        self.begin.options.address_mapping
    }

    /// A failure of the queue file.
    fn write_error(&self, error: &queue::Error) -> Refusal {
        write_problem(&self.id, error)
    }

    /// An address that cannot be mapped now.
    fn unmapped(&self, problem: &Unmapped) -> Refusal {
        log::warning!("{}: {problem}", self.id);
        Refusal::Lookup
    }

    /// `message_size_limit` bounds the queue file.
    fn check_size(&self) -> Result<(), Refusal> {
        let limit = self.service.settings.message_size_limit;
        if limit > 0 && self.writer.offset() > limit {
            log::warning!("{}: queue file size limit exceeded", self.id);
            return Err(Refusal::Size);
        }
        Ok(())
    }
}

fn write_problem(id: &str, error: &queue::Error) -> Refusal {
    log::warning!("{id}: write queue file: {error}");
    match error {
        queue::Error::Io(error) => refusal_of(error),
        queue::Error::Malformed { .. } | queue::Error::Order(_) => Refusal::Protocol,
    }
}

/// A full disk or quota is told apart: the client may try a smaller message, or later.
fn refusal_of(error: &std::io::Error) -> Refusal {
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Refusal::NoSpace,
        std::io::ErrorKind::FileTooLarge => Refusal::Size,
        _ => Refusal::Write,
    }
}
