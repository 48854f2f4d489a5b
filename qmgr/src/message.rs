//! A message in the active queue, as the shell keeps it: the scheduler knows it by number only.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use bstr::BString;
use dsn::{Action, Dsn, Notify};
use queue::log_file;
use queue::message::{Envelope, Position};
use queue::{Directory, QueueId};

/// Deferrals of one message that wait in memory for the end of its turn.
pub(crate) const MOST_DEFERRALS: usize = 500;
/// Sites of one message that the flush service is told of.
const MOST_SITES: usize = 100;

/// `trace_flags`: a probe of the verify service.
const PROBE_BY_SERVER: u32 = 256;
/// `trace_flags`: `sendmail -bv`.
const PROBE_BY_USER: u32 = 512;
/// `trace_flags`: `sendmail -v`, every outcome is reported.
const RECORD: u32 = 1024;

/// A recipient whose outcome is not known yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recipient {
    /// Where its record is; `None` for one that is in no file (a redirection).
    pub(crate) offset: Option<u64>,
    /// Internal form, as resolved.
    pub(crate) address: BString,
    /// Before alias expansion, as in the file.
    pub(crate) original: BString,
    pub(crate) dsn_original: Option<BString>,
    pub(crate) notify: Notify,
    pub(crate) nexthop: Rc<str>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) id: QueueId,
    pub(crate) envelope: Rc<Envelope>,
    /// When it became active: seconds and microseconds since the epoch.
    pub(crate) active: (i64, i64),
    /// Throttles are lifted for it.
    pub(crate) flush: bool,
    /// It is returned whatever happens (`postsuper -e`).
    pub(crate) forced: bool,
    /// By the scheduler's numbers; `None` when the outcome is known.
    pub(crate) recipients: Vec<Option<Recipient>>,
    /// Recipients that were read with the envelope.
    pub(crate) read: VecDeque<queue::message::Recipient>,
    /// Where further recipients are.
    pub(crate) next: Option<Position>,
    /// Recipients that the size record promises and that were not seen yet.
    pub(crate) promised: usize,
    /// Open for reading and locked shared, while it is worth a descriptor.
    pub(crate) file: Option<Rc<OwnedFd>>,
    /// Deliveries on the way.
    pub(crate) in_flight: usize,
    /// Recipients that are done but not marked.
    pub(crate) unmarked: Vec<u64>,
    /// Marks could not be made, and it was logged.
    pub(crate) mark_failed: bool,
    /// Entries that wait to be written to the logs.
    pub(crate) entries: Vec<(Directory, log_file::Entry)>,
    /// Somebody is writing them.
    pub(crate) writing: bool,
    /// A bounce log exists.
    pub(crate) bounced: bool,
    /// A trace log exists.
    pub(crate) traced: bool,
    /// Recipients that wait for another try.
    pub(crate) deferred: usize,
    /// What the defer log will say.
    pub(crate) deferrals: Vec<log_file::Entry>,
    /// Why some of them wait could not be written down, or they were not read: nobody could be told if the message were
    /// given up now.
    pub(crate) untold: bool,
    /// Domains of deferred recipients.
    pub(crate) sites: Vec<String>,
    /// An agent could not read it.
    pub(crate) corrupt: bool,
    /// The scheduler has nothing of it any more.
    pub(crate) scheduled: bool,
    /// The last steps are being taken.
    pub(crate) finishing: bool,
}

impl Message {
    /// A probe of the verify service, of which nobody else is told.
    pub(crate) fn is_server_probe(&self) -> bool {
        self.envelope.trace_flags & PROBE_BY_SERVER != 0
    }

    /// Any probe: nothing is delivered, returned or tried again for it.
    pub(crate) fn is_probe(&self) -> bool {
        self.envelope.trace_flags & (PROBE_BY_SERVER | PROBE_BY_USER) != 0
    }

    /// Whether a success goes into the trace log.
    pub(crate) fn reports_success(&self, notify: Notify, passed_on: bool, confirm_delay_cleared: bool) -> bool {
        if self.is_server_probe() {
            return false;
        }
        let asked = notify.contains(Notify::SUCCESS) && !passed_on;
        let cleared = confirm_delay_cleared
            && self.envelope.warning.is_some_and(|warning| warning.time < 0)
            && (notify.is_unspecified() || notify.contains(Notify::DELAY));
        asked || cleared || self.envelope.trace_flags & (PROBE_BY_USER | RECORD) != 0
    }

    /// Remembers a done recipient, to be marked.
    pub(crate) fn done(&mut self, recipient: &Recipient) {
        self.unmarked.extend(recipient.offset);
    }

    /// Remembers why a recipient waits, and for whom.
    pub(crate) fn deferral(&mut self, recipient: &Recipient, dsn: &Dsn) {
        self.deferred += 1;
        self.deferrals.push(entry(recipient, Action::Delayed, dsn));
        if let Some(domain) = recipient.address.rsplitn(2, |b| *b == b'@').next()
            && domain.len() < recipient.address.len()
            && self.sites.len() < MOST_SITES
        {
            let site = String::from_utf8_lossy(domain).to_ascii_lowercase();
            if !self.sites.contains(&site) {
                self.sites.push(site);
            }
        }
        if self.deferrals.len() >= MOST_DEFERRALS {
            self.entries.extend(self.deferrals.drain(..).map(|entry| (Directory::Defer, entry)));
        }
    }
}

/// The log entry of an outcome.
pub(crate) fn entry(recipient: &Recipient, action: Action, dsn: &Dsn) -> log_file::Entry {
    let differs = !recipient.original.is_empty() && !recipient.original.eq_ignore_ascii_case(&recipient.address);
    log_file::Entry {
        recipient: external(&recipient.address),
        original_recipient: differs.then(|| external(&recipient.original)),
        offset: recipient.offset,
        dsn_original: recipient.dsn_original.clone(),
        notify: recipient.notify,
        status: dsn.status,
        action,
        diagnostic: dsn.diagnostic.clone(),
        remote_mta: dsn.remote_mta.clone(),
        reason: dsn.reason.clone(),
    }
}

fn external(address: &[u8]) -> BString {
    address::external(address)
}
