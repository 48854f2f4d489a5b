//! The commands: syntax, order, and what is left for the caller to decide.

use address::parse::Path;

use super::lines::escape;
use super::{MailCommand, Note, RecipientCommand, Session, Task};
use crate::server::command::Verb;
use crate::server::parameters::{MailParameters, RecipientParameters};
use crate::server::problem::Problems;
use crate::server::token::Token;

/// Bytes of HELO names that could be mistaken for syntax in headers and log lines.
const NEUTERED: &[u8] = b" <>()\\\";@";

impl Session {
    pub(super) fn hello(&mut self, verb: Verb, words: &[Token<'_>]) {
        if words.is_empty() {
            self.problems |= Problems::PROTOCOL;
            let reply = format!("501 Syntax: {} hostname", verb.name());
            return self.fail(reply.as_bytes());
        }
        let name = bstr::join(" ", words.iter().map(|word| word.text));
        let name = name
            .iter()
            .map(|b| if (33..127).contains(b) && !NEUTERED.contains(b) { *b } else { b'?' })
            .collect::<Vec<u8>>();
        self.pending = Some(Task::Hello { name: name.into(), extended: verb == Verb::Ehlo });
    }

    pub(super) fn mail(&mut self, words: &[Token<'_>]) {
        if self.settings.helo_required && self.helo.is_none() {
            self.problems |= Problems::POLICY;
            return self.fail(b"503 5.5.1 Error: send HELO/EHLO first");
        }
        if self.in_mail {
            self.problems |= Problems::PROTOCOL;
            return self.fail(b"503 5.5.1 Error: nested MAIL command");
        }
        let Some(path) = self.path_word(words, b"FROM:") else {
            self.problems |= Problems::PROTOCOL;
            return self.fail(b"501 5.5.4 Syntax: MAIL FROM:<address>");
        };
        let Some(path) = self.path(Verb::Mail, path, true) else {
            self.problems |= Problems::PROTOCOL;
            return self.fail(b"501 5.1.7 Bad sender address syntax");
        };
        match MailParameters::parse(words[2..].iter().copied(), self.discarded) {
            Ok(parameters) => self.pending = Some(Task::Mail(Box::new(MailCommand { path, parameters }))),
            Err(reply) => {
                self.problems |= Problems::PROTOCOL;
                self.fail(&reply);
            }
        }
    }

    pub(super) fn rcpt(&mut self, words: &[Token<'_>]) {
        if !self.in_mail {
            self.problems |= Problems::PROTOCOL;
            return self.fail(b"503 5.5.1 Error: need MAIL command");
        }
        let Some(path) = self.path_word(words, b"TO:") else {
            self.problems |= Problems::PROTOCOL;
            return self.fail(b"501 5.5.4 Syntax: RCPT TO:<address>");
        };
        let Some(path) = self.path(Verb::Rcpt, path, false) else {
            self.problems |= Problems::PROTOCOL;
            return self.fail(b"501 5.1.3 Bad recipient address syntax");
        };
        let parameters = match RecipientParameters::parse(words[2..].iter().copied(), self.discarded) {
            Ok(parameters) => parameters,
            Err(reply) => {
                self.problems |= Problems::PROTOCOL;
                return self.fail(&reply);
            }
        };
        if self.recipients >= self.settings.recipient_limit {
            self.problems |= Problems::POLICY;
            self.reply(b"452 4.5.3 Error: too many recipients");
            if self.overshoot < self.settings.recipient_overshoot_limit {
                self.overshoot += 1;
            } else {
                self.errors += 1;
            }
            return;
        }
        self.pending = Some(Task::Recipient(Box::new(RecipientCommand { path, parameters })));
    }

    pub(super) fn data(&mut self, words: &[Token<'_>]) {
        if self.recipients == 0 {
            self.problems |= Problems::PROTOCOL;
            let reply: &[u8] = if self.in_mail {
                b"554 5.5.1 Error: no valid recipients"
            } else {
                b"503 5.5.1 Error: need RCPT command"
            };
            return self.fail(reply);
        }
        if !words.is_empty() {
            self.problems |= Problems::PROTOCOL;
            return self.fail(b"501 5.5.4 Syntax: DATA");
        }
        self.pending = Some(Task::Data);
    }

    pub(super) fn vrfy(&mut self, argument: &[u8]) {
        if self.settings.disable_vrfy {
            self.problems |= Problems::POLICY;
            return self.fail(b"502 5.5.1 VRFY command is disabled");
        }
        if argument.is_empty() {
            self.problems |= Problems::PROTOCOL;
            return self.fail(b"501 5.5.4 Syntax: VRFY address");
        }
        let word = Token { text: argument, complete: true };
        match self.path(Verb::Vrfy, word, false) {
            Some(path) => {
                self.argument = argument.to_vec();
                self.pending = Some(Task::Verify(path));
            }
            None => {
                self.problems |= Problems::PROTOCOL;
                self.fail(b"501 5.1.3 Bad recipient address syntax");
            }
        }
    }

    pub(super) fn etrn(&mut self, words: &[Token<'_>]) {
        if self.settings.helo_required && self.helo.is_none() {
            self.problems |= Problems::POLICY;
            return self.fail(b"503 Error: send HELO/EHLO first");
        }
        if self.in_mail {
            self.problems |= Problems::PROTOCOL;
            return self.fail(b"503 Error: MAIL transaction in progress");
        }
        let [domain] = words else {
            self.problems |= Problems::PROTOCOL;
            return self.fail(b"500 Syntax: ETRN domain");
        };
        // RFC 1985 5.3: `@domain` stands for the domain and what is below it, `#` begins a local name.
        let name = domain.text.strip_prefix(b"@").or(domain.text.strip_prefix(b"#")).unwrap_or(domain.text);
        if !is_domain(name) {
            self.problems |= Problems::PROTOCOL;
            return self.fail(b"501 Error: invalid parameter syntax");
        }
        self.pending = Some(Task::Etrn(name.into()));
    }

    pub(super) fn attributes(&mut self, verb: Verb, words: &[Token<'_>]) {
        self.problems |= Problems::PROTOCOL;
        if self.in_mail {
            self.fail(b"503 5.5.1 Error: MAIL transaction in progress");
        } else if words.is_empty() {
            let reply = format!("501 5.5.4 Syntax: {} attribute=value...", verb.name());
            self.fail(reply.as_bytes());
        } else {
            self.problems |= Problems::POLICY;
            self.fail(b"550 5.7.0 Error: insufficient authorization");
        }
    }

    /// The path's word, when the words before it are right.
    fn path_word<'a>(&self, words: &[Token<'a>], prefix: &[u8]) -> Option<Token<'a>> {
        match words {
            [first, path, ..] if first.text.eq_ignore_ascii_case(prefix) => Some(*path),
            _ => None,
        }
    }

    fn path(&mut self, verb: Verb, word: Token<'_>, empty_allowed: bool) -> Option<Path> {
        if !word.complete {
            return None;
        }
        let path = address::parse::path(word.text, self.settings.strict_envelopes)
            .ok()
            .filter(|path| empty_allowed || !path.address.is_empty())
            .filter(|path| self.settings.dash_allowed || path.address.first() != Some(&b'-'))
            .filter(|path| has_sound_domain(&path.address));
        if path.is_none() {
            self.notes.push(Note::IllegalAddress(verb, escape(word.text)));
        }
        path
    }
}

/// An address without domain is completed later; a domain must be a name or a literal. One dot at its end is tolerated.
fn has_sound_domain(address: &[u8]) -> bool {
    match address::split(address) {
        (local, None) => !local.iter().any(u8::is_ascii_whitespace) || local.contains(&b'"'),
        (_, Some(domain)) => is_domain(domain.strip_suffix(b".").unwrap_or(domain)),
    }
}

fn is_domain(name: &[u8]) -> bool {
    address::domain::is_valid_hostname(name)
        || address::domain::is_address_literal(name)
        || address::domain::is_internationalized(name)
}
