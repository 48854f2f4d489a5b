//! The state machine of a session.

mod commands;
mod lines;
mod starttls;

use std::rc::Rc;

use address::parse::Path;
use bstr::BString;

use crate::Keywords;
use crate::server::command::{Counts, Verb};
use crate::server::data::{Bare, DataDecoder};
use crate::server::ehlo;
use crate::server::history::History;
use crate::server::input::Input;
use crate::server::parameters::{MailParameters, RecipientParameters};
use crate::server::problem::Problems;
use crate::server::settings::{BareNewline, CommandLists, Settings};

/// What to do next.
#[derive(Debug)]
pub enum Step {
    /// Write what is to be written, then read and call [`Session::receive`].
    Read,
    /// Content follows: take it with [`Session::decode`] until that says it is finished.
    Content,
    /// Carry this out and answer.
    Do(Task),
    /// Write what is to be written and close.
    Close(Ending),
}

/// What the session cannot decide itself. Each is answered with [`Session::accept`] or [`Session::refuse`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// HELO or EHLO. Accepting it ends a transaction.
    Hello {
        /// The name, made harmless.
        name: BString,
        /// EHLO.
        extended: bool,
    },
    /// MAIL: may this sender begin a transaction?
    Mail(Box<MailCommand>),
    /// RCPT: add this recipient?
    Recipient(Box<RecipientCommand>),
    /// DATA: may content follow?
    Data,
    /// VRFY of this recipient; [`Session::argument`] is what the client typed.
    Verify(Path),
    /// ETRN for this domain.
    Etrn(BString),
    /// RSET: forget the transaction; it is always accepted.
    Reset,
    /// STARTTLS (RFC 3207). When it is accepted, the handshake follows the reply: see [`Session::begin_tls`].
    StartTls,
}

/// MAIL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MailCommand {
    /// The sender.
    pub path: Path,
    /// Its parameters.
    pub parameters: MailParameters,
}

/// RCPT.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecipientCommand {
    /// The recipient.
    pub path: Path,
    /// Its parameters.
    pub parameters: RecipientParameters,
}

/// Why the session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// QUIT.
    Quit,
    /// The client speaks another protocol.
    NonSmtp,
    /// `smtpd_hard_error_limit`
    TooManyErrors,
    /// `smtpd_forbid_unauth_pipelining`
    Pipelining,
    /// `smtpd_forbid_bare_newline = reject`, in a command.
    BareNewline,
    /// A reply 421 or 521, or a decision without reply.
    HangUp,
}

/// Something for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// `improper command pipelining after VERB from client: text`
    ImproperPipelining(Verb, BString),
    /// `non-SMTP command from client: text`
    NonSmtpCommand(BString),
    /// `Illegal address syntax from client in VERB command: text`
    IllegalAddress(Verb, BString),
    /// `client: request longer than limit: text...`
    LineTooLong(BString),
    /// `client: replacing command "a" with "b"` (smtpd_command_filter)
    Filtered(BString, BString),
    /// A command ended with LF alone, after the last command named here (`reject`).
    BareNewline(&'static str),
}

/// A client's session: commands in, steps out.
#[derive(Debug)]
pub struct Session {
    settings: Rc<Settings>,
    client: String,
    bare_newline: BareNewline,
    discarded: Keywords,
    input: Input,
    output: Vec<Vec<u8>>,
    delays: u32,
    notes: Vec<Note>,
    history: History,
    problems: Problems,
    counts: Counts,
    place: &'static str,
    current: Verb,
    pending: Option<Task>,
    denied: Option<Vec<u8>>,
    helo: Option<BString>,
    extended: bool,
    in_mail: bool,
    recipients: u32,
    overshoot: u32,
    decoder: Option<Box<DataDecoder>>,
    errors: u32,
    junk: u32,
    illegal_pipelining: bool,
    ending: Option<Ending>,
    argument: Vec<u8>,
    tls_active: bool,
}

impl Session {
    /// A session with the client of that `name[address]`. What the client is refused by lists is settled before: whether
    /// `smtpd_forbid_bare_newline_exclusions` has it, and `smtpd_discard_ehlo_keywords` and their table.
    #[must_use]
    pub fn new(settings: Rc<Settings>, client: String, bare_newline: BareNewline, discarded: Keywords) -> Session {
        Session {
            settings,
            client,
            bare_newline,
            discarded,
            input: Input::default(),
            output: Vec::new(),
            delays: 0,
            notes: Vec::new(),
            history: History::default(),
            problems: Problems::NONE,
            counts: Counts::default(),
            place: "CONNECT",
            current: Verb::Unknown,
            pending: None,
            denied: None,
            helo: None,
            extended: false,
            in_mail: false,
            recipients: 0,
            overshoot: 0,
            decoder: None,
            errors: 0,
            junk: 0,
            illegal_pipelining: false,
            ending: None,
            argument: Vec::new(),
            tls_active: false,
        }
    }

    /// Greets the client, or refuses it: then only QUIT is answered with anything else than 503.
    pub fn greet(&mut self, refused: Option<Vec<u8>>) {
        match refused {
            None => {
                let banner = format!("220 {}", self.settings.banner);
                self.reply(banner.as_bytes());
            }
            Some(reply) => {
                self.problems |= Problems::POLICY;
                self.reply(&reply);
                self.denied = Some(reply);
            }
        }
    }

    /// Takes bytes from the client.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.input.receive(bytes);
    }

    /// True while bytes wait that no step has used.
    #[must_use]
    pub fn has_input(&self) -> bool {
        !self.input.pending().is_empty()
    }

    /// Replies to be written, in order, without final CRLF and before [`super::finish_reply`].
    pub fn take_output(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.output)
    }

    /// How many times `smtpd_error_sleep_time` is due before what was taken last is written.
    pub fn take_delays(&mut self) -> u32 {
        std::mem::take(&mut self.delays)
    }

    /// What is to be logged.
    pub fn take_notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }

    /// Where the session is, for log lines: the last command, or CONNECT or END-OF-MESSAGE.
    #[must_use]
    pub fn place(&self) -> &'static str {
        self.place
    }

    /// Commands so far.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The HELO or EHLO name.
    #[must_use]
    pub fn helo(&self) -> Option<&BString> {
        self.helo.as_ref()
    }

    /// `SMTP` or `ESMTP`.
    #[must_use]
    pub fn protocol(&self) -> &'static str {
        if self.extended { "ESMTP" } else { "SMTP" }
    }

    /// The argument of VRFY as it was typed.
    #[must_use]
    pub fn argument(&self) -> &[u8] {
        &self.argument
    }

    /// Accepted recipients of this transaction.
    #[must_use]
    pub fn recipients(&self) -> u32 {
        self.recipients
    }

    /// Between MAIL and the end of its transaction.
    #[must_use]
    pub fn in_transaction(&self) -> bool {
        self.in_mail
    }

    /// The transcript.
    #[must_use]
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Kinds of trouble so far, since the last accepted message.
    #[must_use]
    pub fn problems(&self) -> Problems {
        self.problems
    }

    /// Notes a kind of trouble that only the caller can see.
    pub fn add_problem(&mut self, problem: Problems) {
        self.problems |= problem;
    }

    /// Bytes of content that came in so far, while there is content.
    #[must_use]
    pub fn content_received(&self) -> Option<u64> {
        self.decoder.as_ref().map(|decoder| decoder.received())
    }

    /// Ends the session without a reply.
    pub fn hang_up(&mut self) {
        self.pending = None;
        self.ending = Some(Ending::HangUp);
    }

    /// True when the client sent something before it could know the reply to its last command: for
    /// `reject_unauth_pipelining`. After EHLO offered PIPELINING it may, but not after DATA.
    #[must_use]
    pub fn pipelines_unasked(&self) -> bool {
        self.has_input() && (!self.extended || self.current.ends_a_batch())
    }

    /// The next step. Until the task of [`Step::Do`] is answered, there is none.
    pub fn step(&mut self, lists: &dyn CommandLists) -> Step {
        loop {
            if let Some(ending) = self.ending {
                return Step::Close(ending);
            }
            if let Some(task) = &self.pending {
                return Step::Do(task.clone());
            }
            if self.decoder.is_some() {
                return Step::Content;
            }
            if self.errors >= self.settings.hard_error_limit {
                self.problems |= Problems::PROTOCOL;
                let reply = format!("421 4.7.0 {} Error: too many errors", self.settings.hostname);
                self.reply(reply.as_bytes());
                self.ending = Some(Ending::TooManyErrors);
                continue;
            }
            let Some(line) = self.input.line(self.settings.line_length_limit) else { return Step::Read };
            self.line(&line, lists);
        }
    }

    /// Decodes content: first what waits already, then `fresh`, which is only read when nothing waits. True at the end;
    /// what follows it is kept for the next step.
    pub fn decode(&mut self, fresh: &[u8], output: &mut Vec<u8>) -> bool {
        let Some(decoder) = &mut self.decoder else { return true };
        if !self.input.pending().is_empty() {
            let decoded = decoder.decode(self.input.pending(), output);
            self.input.consume(decoded.consumed);
            if decoded.finished {
                self.input.receive(fresh);
                self.place = "END-OF-MESSAGE";
                return true;
            }
        }
        let decoded = decoder.decode(fresh, output);
        if decoded.finished {
            self.input.receive(&fresh[decoded.consumed..]);
            self.place = "END-OF-MESSAGE";
        }
        decoded.finished
    }

    /// The reply that the content earns for LF without CR, with `smtpd_forbid_bare_newline = reject`.
    #[must_use]
    pub fn bare_newline_reply(&self) -> Option<Vec<u8>> {
        let seen = self.decoder.as_ref().is_some_and(|decoder| decoder.bare() == Bare::Seen);
        (seen && self.bare_newline == BareNewline::Reject).then(|| self.bare_newline_text())
    }

    /// `smtpd_forbid_bare_newline = note`, and there was one.
    #[must_use]
    pub fn bare_newline_noted(&self) -> bool {
        self.bare_newline == BareNewline::Note
            && self.decoder.as_ref().is_some_and(|decoder| decoder.bare() == Bare::Seen)
    }

    fn bare_newline_text(&self) -> Vec<u8> {
        format!("{} 5.5.2 {} Error: bare <LF> received", self.settings.bare_newline_code, self.settings.hostname)
            .into_bytes()
    }

    /// The content was received and this is what became of it.
    pub fn finish_content(&mut self, accepted: bool, reply: &[u8]) {
        self.decoder = None;
        self.reset();
        self.reply(reply);
        if accepted {
            self.counts.accept(Verb::Data);
            self.errors = 0;
            self.junk = 0;
            self.problems = Problems::NONE;
            self.history.clear();
        } else {
            self.errors += 1;
        }
    }

    /// The pending task is fine.
    pub fn accept(&mut self) {
        let Some(task) = self.pending.take() else { return };
        match task {
            Task::Hello { name, extended } => {
                self.reset();
                self.helo = Some(name);
                self.extended = extended;
                if extended {
                    let reply = ehlo::reply(&self.settings, self.hidden());
                    self.reply(&reply);
                } else {
                    let reply = format!("250 {}", self.settings.hostname);
                    self.reply(reply.as_bytes());
                }
            }
            Task::Mail(_) => {
                self.in_mail = true;
                self.reply(b"250 2.1.0 Ok");
            }
            Task::Recipient(_) => {
                self.recipients += 1;
                self.reply(b"250 2.1.5 Ok");
            }
            Task::Data => {
                self.reply(b"354 End data with <CR><LF>.<CR><LF>");
                self.decoder = Some(Box::new(DataDecoder::new(self.bare_newline)));
                // What becomes of the content decides whether the command counts as accepted.
                return;
            }
            Task::Verify(_) | Task::Etrn(_) => {}
            // What becomes of the handshake decides whether the command counts as accepted.
            Task::StartTls => return self.reply(b"220 2.0.0 Ready to start TLS"),
            Task::Reset => {
                self.reset();
                self.reply(b"250 2.0.0 Ok");
            }
        }
        self.counts.accept(self.current);
        self.after_command();
    }

    /// As [`Session::accept`], with a reply of the caller's (VRFY, ETRN).
    pub fn accept_with(&mut self, reply: &[u8]) {
        self.reply(reply);
        self.accept();
    }

    /// The pending task is refused with this reply.
    pub fn refuse(&mut self, reply: &[u8], problems: Problems) {
        self.pending = None;
        self.problems |= problems;
        self.fail(reply);
    }

    /// Says good-bye with this reply, whatever is under way.
    pub fn close_with(&mut self, reply: &[u8]) {
        self.pending = None;
        self.problems |= Problems::POLICY;
        self.reply(reply);
        self.ending.get_or_insert(Ending::HangUp);
    }

    /// The session ends at the next step.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.ending.is_some()
    }

    fn fail(&mut self, reply: &[u8]) {
        self.reply(reply);
        self.errors += 1;
        self.after_command();
    }

    fn succeed(&mut self, reply: &[u8]) {
        self.reply(reply);
        self.counts.accept(self.current);
        self.after_command();
    }

    fn after_command(&mut self) {
        if self.current.is_junk() {
            self.count_junk();
        }
    }

    fn count_junk(&mut self) {
        self.junk += 1;
        if self.junk > self.settings.junk_command_limit + 1 {
            self.errors += 1;
        }
    }

    fn reset(&mut self) {
        self.in_mail = false;
        self.recipients = 0;
        self.overshoot = 0;
    }

    fn reply(&mut self, text: &[u8]) {
        if self.errors >= self.settings.soft_error_limit {
            self.delays += 1;
        }
        self.history.output(text, self.settings.history_threshold);
        // RFC 5321 3.8: 421 closes; a restriction that says 521 wants the same (RFC 7504).
        if text.starts_with(b"421") || text.starts_with(b"521") {
            self.ending.get_or_insert(Ending::HangUp);
        }
        self.output.push(text.to_vec());
    }
}
