//! From lines to commands: what is refused before a command is looked at.

use bstr::{BString, ByteSlice};

use super::{Ending, Note, Session, Task};
use crate::server::command::Verb;
use crate::server::input::Line;
use crate::server::problem::Problems;
use crate::server::settings::{BareNewline, CommandLists};
use crate::server::token::{self, Token};

impl Session {
    pub(super) fn line(&mut self, line: &Line, lists: &dyn CommandLists) {
        self.history.input(&line.text, self.settings.history_threshold);
        self.current = Verb::Unknown;
        if line.bare_newline && self.bare_newline == BareNewline::Reject {
            self.notes.push(Note::BareNewline(self.place));
            self.problems |= Problems::PROTOCOL;
            let reply = self.bare_newline_text();
            self.reply(&reply);
            self.ending = Some(Ending::BareNewline);
            return;
        }
        if line.cut {
            self.notes.push(Note::LineTooLong(line.text[..line.text.len().min(30)].into()));
            self.problems |= Problems::PROTOCOL;
            let reply = format!("500 5.5.2 {} Error: command too long", self.settings.hostname);
            return self.fail(reply.as_bytes());
        }
        if self.settings.utf8 && line.text.to_str().is_err() {
            self.problems |= Problems::PROTOCOL;
            return self.fail(b"500 5.5.2 Error: bad UTF-8 syntax");
        }
        let filtered = lists.filter(&line.text);
        let text = match &filtered {
            Some(text) => {
                self.notes.push(Note::Filtered(escape(&line.text), escape(text)));
                text
            }
            None => &line.text,
        };
        let Some(first) = token::tokens(text).next() else {
            self.problems |= Problems::PROTOCOL;
            return self.fail(b"500 5.5.2 Error: bad syntax");
        };
        if lists.is_noop(first.text) {
            self.reply(b"250 2.0.0 Ok");
            self.count_junk();
            return;
        }
        let verb = Verb::parse(first.text);
        self.current = verb;
        self.counts.add(verb);
        self.place = verb.name();
        if verb == Verb::Unknown && (is_header(first.text) || lists.is_forbidden(first.text)) {
            self.notes.push(Note::NonSmtpCommand(escape(text)));
            self.reply(b"221 2.7.0 Error: I can break rules, too. Goodbye.");
            self.ending = Some(Ending::NonSmtp);
            return;
        }
        if self.denied.is_some() && verb != Verb::Quit {
            let reply = format!("503 5.7.0 Error: access denied for {}", self.client);
            return self.fail(reply.as_bytes());
        }
        if self.settings.tls_required && !self.tls_active && verb != Verb::Unknown && !verb.may_precede_tls() {
            return self.fail(b"530 5.7.0 Must issue a STARTTLS command first");
        }
        if verb != Verb::Unknown && self.refuse_pipelining(verb) {
            return;
        }
        self.command(verb, text);
    }

    /// Notices commands that came too early; true when the session ends for it.
    fn refuse_pipelining(&mut self, verb: Verb) -> bool {
        if self.illegal_pipelining || !self.has_input() || (self.extended && !verb.ends_a_batch()) {
            return false;
        }
        self.illegal_pipelining = true;
        self.notes.push(Note::ImproperPipelining(verb, escape(self.input.pending())));
        if !self.settings.forbid_unauth_pipelining {
            return false;
        }
        self.problems |= Problems::PROTOCOL;
        self.reply(b"554 5.5.0 Error: SMTP protocol synchronization");
        self.ending = Some(Ending::Pipelining);
        true
    }

    fn command(&mut self, verb: Verb, text: &[u8]) {
        let words: Vec<Token<'_>> = token::tokens(text).skip(1).collect();
        match verb {
            Verb::Helo | Verb::Ehlo => self.hello(verb, &words),
            Verb::Mail => self.mail(&words),
            Verb::Rcpt => self.rcpt(&words),
            Verb::Data => self.data(&words),
            Verb::Vrfy => self.vrfy(token::after_first(text)),
            Verb::Etrn => self.etrn(&words),
            Verb::Rset if words.is_empty() => self.pending = Some(Task::Reset),
            Verb::Rset => self.fail(b"501 5.5.4 Syntax: RSET"),
            Verb::Noop => self.succeed(b"250 2.0.0 Ok"),
            Verb::Quit => {
                self.succeed(b"221 2.0.0 Bye");
                self.ending.get_or_insert(Ending::Quit);
            }
            Verb::Help if self.settings.disable_vrfy => {
                self.succeed(b"214 2.0.0 Commands: DATA EHLO ETRN HELO HELP MAIL NOOP QUIT RCPT RSET");
            }
            Verb::Help => self.succeed(b"214 2.0.0 Commands: DATA EHLO ETRN HELO HELP MAIL NOOP QUIT RCPT RSET VRFY"),
            Verb::Starttls => self.starttls(&words),
            Verb::Auth => self.fail(b"503 5.5.1 Error: authentication not enabled"),
            Verb::Bdat => self.fail(b"521 5.5.1 Error: command not implemented"),
            Verb::Xclient | Verb::Xforward => self.attributes(verb, &words),
            Verb::Unknown => {
                self.problems |= Problems::PROTOCOL;
                self.fail(b"500 5.5.2 Error: command not recognized");
            }
        }
    }
}

/// A word that looks like the name of a header: printable ASCII up to a colon.
fn is_header(word: &[u8]) -> bool {
    match word.find_byte(b':') {
        Some(at) => at > 0 && word[..at].iter().all(u8::is_ascii_graphic),
        None => false,
    }
}

/// Text for a log line: CR, LF and the like in C's notation, at most about 100 bytes.
pub(super) fn escape(text: &[u8]) -> BString {
    let mut out = BString::default();
    for &byte in text.iter().take(100) {
        match byte {
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\\' => out.extend_from_slice(b"\\\\"),
            32..=126 => out.push(byte),
            other => out.extend_from_slice(format!("\\{other:03o}").as_bytes()),
        }
    }
    out
}
