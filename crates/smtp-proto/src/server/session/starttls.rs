//! STARTTLS (RFC 3207).

use bstr::BString;

use super::lines::escape;
use super::{Note, Session, Task};
use crate::Keywords;
use crate::server::command::Verb;
use crate::server::problem::Problems;
use crate::server::token::Token;

impl Session {
    pub(super) fn starttls(&mut self, words: &[Token<'_>]) {
        if !words.is_empty() {
            self.problems |= Problems::PROTOCOL;
            return self.fail(b"501 5.5.4 Syntax: STARTTLS");
        }
        if self.tls_active {
            self.problems |= Problems::PROTOCOL;
            return self.fail(b"554 5.5.1 Error: TLS already active");
        }
        if !self.settings.tls_offered || self.discarded.contains(Keywords::STARTTLS) {
            self.problems |= Problems::PROTOCOL;
            return self.fail(b"502 5.5.1 Error: command not implemented");
        }
        self.pending = Some(Task::StartTls);
    }

    /// The keywords that EHLO does not say at this point.
    pub(super) fn hidden(&self) -> Keywords {
        if self.tls_active { self.discarded | Keywords::STARTTLS } else { self.discarded }
    }

    /// STARTTLS was accepted and its reply is written: the handshake comes next. What the client sent in the clear before
    /// that is gone, whatever it was (RFC 3207 4.2, CVE-2011-0411): it could be anybody's.
    pub fn begin_tls(&mut self) {
        let waiting = self.input.pending();
        if !waiting.is_empty() {
            let text: BString = escape(waiting);
            self.notes.push(Note::ImproperPipelining(Verb::Starttls, text));
            self.problems |= Problems::PROTOCOL;
            self.input = super::Input::default();
        }
    }

    /// The session is under TLS from now on; nothing that was said before counts (RFC 3207 4.2). After STARTTLS the
    /// command counts as accepted.
    pub fn tls_begun(&mut self) {
        if self.current == Verb::Starttls {
            self.counts.accept(Verb::Starttls);
        }
        self.tls_active = true;
        self.input = super::Input::default();
        self.helo = None;
        self.extended = false;
        self.reset();
    }

    /// The session is under TLS.
    #[must_use]
    pub fn is_tls_active(&self) -> bool {
        self.tls_active
    }
}
