//! The end: the extracted segment, the disk, and what is owed when the message is not accepted.

use std::time::{Duration, SystemTime};

use bstr::BString;
use dsn::{Action, Notify, Status};
use ipc::bounce::{Answer, Notice, Request};
use ipc::cleanup::{Encoding, Origin, Refusal};
use message::{Problem, Problems};
use queue::log_file::{self, Append, Entry};
use queue::message::Reader;
use queue::{Directory, NewFile, QueueId};
use server::Worker;

use super::{Phase, Transaction, refusal_of, write_problem};

/// Send option: the client asked for SMTPUTF8 (RFC 6531 3.4).
const SMTPUTF8_REQUESTED: u32 = 1;
/// Send option: a header needs it.
const SMTPUTF8_HEADER: u32 = 2;
/// Send option: the sender needs it.
const SMTPUTF8_SENDER: u32 = 4;

/// Recipients per batch when a message goes back.
const BATCH: usize = 500;

/// How the transaction ended well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Finished {
    /// On disk, and the queue manager should know.
    Ready(QueueId),
    /// On disk and on hold, or to be delivered later: nobody needs to know now.
    Set,
    /// Discarded as asked, or returned to its sender: nothing is left to do.
    Gone,
}

impl Transaction {
    /// Completes the message. Only after this has come back may the client be told that the message is accepted.
    pub(crate) async fn finish(mut self, worker: &Worker) -> Result<Finished, Refusal> {
        if self.phase != Phase::Content {
            return Err(Refusal::Protocol);
        }
        match self.complete().await {
            Ok(()) => {}
            Err(refusal) => return self.refuse(refusal, worker).await,
        }
        if self.decisions.discard {
            log::lines::cleanup_discarded(&self.id, "discarded");
            return Ok(Finished::Gone);
        }
        let Transaction { service, mut new_file, writer, id, decisions, expanded, .. } = self;
        writer.finish().map_err(|error| write_problem(&id, &error))?;
        let place = match (decisions.hold, decisions.delay) {
            (true, _) => Directory::Hold,
            (false, Some(_)) => Directory::Deferred,
            (false, None) => Directory::Incoming,
        };
        let spool = service.spool.clone();
        let append = service.log_append();
        let delay = decisions.delay.map(|seconds| Duration::from_secs(seconds.into()));
        let stored = worker.run_blocking(move || {
            store(new_file_at(&mut new_file, &spool, place).map(|()| new_file)?, &spool, &expanded, &append, delay)
        });
        match stored.await {
            Some(Ok(id)) if place == Directory::Incoming => Ok(Finished::Ready(id)),
            Some(Ok(_)) => Ok(Finished::Set),
            Some(Err(error)) => {
                log::warning!("{id}: write queue file: {}", sys::reason(&error));
                Err(refusal_of(&error))
            }
            None => Err(Refusal::Write),
        }
    }

    /// Content to its end, and the extracted segment.
    async fn complete(&mut self) -> Result<(), Refusal> {
        self.end_of_input().await?;
        self.check_problems()?;
        self.writer.end_content().map_err(|error| self.write_error(&error))?;
        self.write_extracted().map_err(|error| self.write_error(&error))?;
        let mut later = std::mem::take(&mut self.later_recipients);
        later.extend(self.headers.take_recipients());
        for given in &later {
            self.first_recipient.get_or_insert_with(|| given.address.clone());
            self.write_given(given).await?;
        }
        let any = self.writer.recipients() > 0;
        for address in std::mem::take(&mut self.decisions.bcc) {
            self.write_bcc(&address).await?;
        }
        let always = self.service.settings.always_bcc.clone();
        if any && self.begin.options.automatic_bcc && !always.is_empty() {
            self.write_bcc(&always).await?;
        }
        if !any && !self.decisions.discard {
            return Err(Refusal::NoRecipients);
        }
        self.set_send_options();
        self.check_size()
    }

    fn write_extracted(&mut self) -> Result<(), queue::Error> {
        if let Some(filter) = &self.decisions.filter {
            self.writer.filter(filter)?;
        }
        if let Some(address) = &self.decisions.redirect {
            self.writer.redirect(&self.service.mapping.complete(address, true))?;
        }
        if let Some(id) = self.headers.message_id.as_ref().filter(|id| !id.is_empty()) {
            self.writer.attribute("message_id", id)?;
        }
        match self.encoding {
            Some(Encoding::EightBit) => self.writer.attribute("encoding", b"8bit")?,
            Some(Encoding::SevenBit) => self.writer.attribute("encoding", b"7bit")?,
            None => false,
        };
        Ok(())
    }

    /// Internationalized mail that comes without SMTPUTF8 from where nobody can ask for it gets it by what it contains
    /// (`smtputf8_autodetect_classes`).
    fn set_send_options(&mut self) {
        let mut options = self.begin.send_options;
        let detect = match self.begin.origin {
            Origin::Local => self.service.settings.detect_utf8_local,
            Origin::Probe => self.service.settings.detect_utf8_probe,
            Origin::Smtp | Origin::Notice | Origin::Forward => false,
        };
        if options & SMTPUTF8_REQUESTED != 0 || detect {
            let header = self.headers.internationalized;
            let sender = !self.sender.is_ascii();
            let needed = (u32::from(header) * SMTPUTF8_HEADER) | (u32::from(sender) * SMTPUTF8_SENDER);
            options |= needed | if needed != 0 { SMTPUTF8_REQUESTED } else { 0 };
        }
        self.writer.set_send_options(options);
    }

    /// What strict settings refuse.
    fn check_problems(&self) -> Result<(), Refusal> {
        let settings = &self.service.settings;
        let found: Problems = self.parser.as_ref().map(message::Parser::problems).unwrap_or_default();
        let strict_mime = settings.strict_headers || settings.strict_body || settings.strict_encoding_domain;
        let refused = [
            (Problem::EightBitHeader, settings.strict_headers),
            (Problem::EightBitBody, settings.strict_body),
            (Problem::EncodingDomain, settings.strict_encoding_domain),
            (Problem::Nesting, strict_mime),
            (Problem::TruncatedHeader, strict_mime),
        ];
        let Some((problem, _)) = refused.into_iter().find(|(problem, strict)| *strict && found.contains(*problem))
        else {
            return Ok(());
        };
        self.log_verdict("reject", &format!("mime-error {}:", problem.text()), b"", b"");
        Err(Refusal::Content(format!("550 {} {}", problem.status(), problem.text()).into()))
    }

    /// Ends a transaction that failed on the way.
    pub(crate) async fn refuse(mut self, refusal: Refusal, worker: &Worker) -> Result<Finished, Refusal> {
        let Some((status, reason)) = returnable(&refusal) else { return Err(refusal) };
        if !self.begin.options.bounce || self.phase != Phase::Content || self.decisions.discard {
            return Err(refusal);
        }
        self.checks_apply = false;
        if self.cut_short().is_err() {
            return Err(refusal);
        }
        if self.bounce(status, reason, worker).await { Ok(Finished::Gone) } else { Err(Refusal::Write) }
    }

    /// Makes a whole queue file of what is there, for bounce to read.
    fn cut_short(&mut self) -> Result<(), queue::Error> {
        if !std::mem::replace(&mut self.headers.over, true) {
            self.writer.end_header(true)?;
        }
        // Already there when the failure came after the content.
        match self.writer.end_content() {
            Err(queue::Error::Order(_)) | Ok(()) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Returns the message to its sender, who submitted it without waiting for an answer.
    async fn bounce(self, status: Status, reason: BString, worker: &Worker) -> bool {
        let Transaction { service, new_file, writer, id, sender, arrival, begin, .. } = self;
        if let Err(error) = writer.finish() {
            log::warning!("{id}: write queue file: {error}");
            return false;
        }
        let failure = Failure { status, reason, arrival, decimals: service.settings.delay_resolution };
        let (spool, append) = (service.spool.clone(), service.log_append());
        let logged =
            worker.run_blocking(move || log_failures(&new_file, &failure, &spool, &append).map(|()| new_file)).await;
        let new_file = match logged {
            Some(Ok(new_file)) => new_file,
            Some(Err(error)) => {
                log::warning!("{id}: bounce log: {error}");
                return false;
            }
            None => return false,
        };
        let request = Request {
            notice: Notice::Failure,
            directory: Directory::Incoming,
            queue_id: new_file.id().clone(),
            sender,
            envelope_id: None,
            ret: None,
            encoding: match begin.encoding {
                Some(Encoding::EightBit) => "8bit".to_owned(),
                Some(Encoding::SevenBit) => "7bit".to_owned(),
                None => String::new(),
            },
            send_options: begin.send_options,
            verp: begin.verp,
        };
        let answered = tokio::time::timeout(service.settings.ipc_timeout, service.ask_bounce(&request)).await;
        let done = matches!(answered, Ok(Ok(Answer::Done)));
        if !done {
            log::warning!("{id}: {} service failure", service.settings.bounce_service);
            // The log must not outlive the message.
            let _ = service.spool.remove_stale_logs(new_file.id());
        }
        // The file goes with `new_file`: it has been returned, or is tried again as a new message.
        done
    }
}

fn new_file_at(new_file: &mut NewFile, spool: &queue::Spool, place: Directory) -> std::io::Result<()> {
    if place == Directory::Incoming { Ok(()) } else { new_file.rename(spool, place) }
}

/// Sets the ready bit and flushes: the message is durable when this comes back.
///
/// What is relied on: `fsync(2)` of the file makes its data, mode and, on the journaling file systems that mail is kept
/// on, the directory entry that was made in the same or an earlier transaction durable. The reference relies on the same.
/// A rename to `hold` happens before the flush for that reason.
fn store(
    new_file: NewFile,
    spool: &queue::Spool,
    expanded: &[Entry],
    append: &Append,
    delay: Option<Duration>,
) -> std::io::Result<QueueId> {
    if !expanded.is_empty() {
        log_file::append(spool, Directory::Trace, new_file.id(), expanded, append)?;
    }
    if let Some(delay) = delay {
        new_file.file().set_modified(SystemTime::now() + delay)?;
    }
    new_file.ready()
}

/// Why all recipients failed.
struct Failure {
    status: Status,
    reason: BString,
    arrival: (i64, i64),
    decimals: u32,
}

/// A bounce log entry and a log line for every recipient of the file.
fn log_failures(
    new_file: &NewFile,
    failure: &Failure,
    spool: &queue::Spool,
    append: &Append,
) -> Result<(), queue::Error> {
    let id = new_file.id().to_string();
    let mut reader = Reader::open(std::sync::Arc::clone(new_file.file()))?;
    let mut next = Some(reader.first_recipient());
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let micros = u32::try_from(failure.arrival.1.clamp(0, 999_999)).unwrap_or(0);
    let arrival = Duration::new(u64::try_from(failure.arrival.0).unwrap_or(0), micros * 1000);
    let age = now.saturating_sub(arrival);
    while let Some(position) = next {
        let batch = reader.recipients(position, BATCH)?;
        next = batch.next;
        let mut entries = Vec::with_capacity(batch.recipients.len());
        for recipient in batch.recipients {
            let address = address::external(&recipient.address);
            let original = address::external(&recipient.original);
            log::lines::status_line(&log::lines::StatusLine {
                queue_id: &id,
                recipient: &address,
                original: &original,
                relay: b"none",
                connection_uses: 0,
                delays: log::lines::Delays { total: age, before_queue_manager: age, ..Default::default() },
                decimals: failure.decimals,
                tls: None,
                dsn: &failure.status,
                status: log::lines::Status::Bounced,
                reason: &failure.reason,
            });
            if recipient.notify.contains(Notify::NEVER) {
                continue;
            }
            entries.push(Entry {
                recipient: address,
                original_recipient: Some(original).filter(|original| !original.is_empty()),
                offset: Some(recipient.offset),
                dsn_original: recipient.dsn_original,
                notify: recipient.notify,
                status: failure.status,
                action: Action::Failed,
                diagnostic: None,
                remote_mta: None,
                reason: failure.reason.clone(),
            });
        }
        if !entries.is_empty() {
            log_file::append(spool, Directory::Bounce, new_file.id(), &entries, append)?;
        }
    }
    Ok(())
}

/// The status and reason of a notice, for refusals that will not pass.
fn returnable(refusal: &Refusal) -> Option<(Status, BString)> {
    match refusal {
        Refusal::Size => Some((Status::permanent(3, 4), "message file too big".into())),
        Refusal::Hops => Some((Status::permanent(4, 0), "too many hops".into())),
        Refusal::Content(reply) => {
            let text = reply.get(4..).unwrap_or_default();
            let (status, text) = Status::split_from(text).unwrap_or((Status::permanent(7, 1), text));
            (status.class == dsn::Class::Permanent).then(|| (status, text.trim_ascii().into()))
        }
        Refusal::Write | Refusal::NoSpace | Refusal::NoRecipients | Refusal::Lookup | Refusal::Protocol => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_back_to_the_sender() {
        assert_eq!(returnable(&Refusal::Lookup), None);
        assert_eq!(returnable(&Refusal::Content("451 4.7.0 later".into())), None);
        assert_eq!(returnable(&Refusal::Content("550 5.7.9 no".into())), Some((Status::permanent(7, 9), "no".into())));
    }
}
