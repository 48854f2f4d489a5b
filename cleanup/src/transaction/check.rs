//! What the actions of header and body checks do to the message.

use bstr::{BString, ByteSlice};
use ipc::cleanup::{Origin, Refusal};
use message::{Class, Line, Name};
use tables::Maps;

use super::Transaction;
use crate::checks::Action;

/// What becomes of the header or line.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It stays.
    Keep,
    /// It is taken out.
    Drop,
    /// Something else takes its place.
    Replace(BString),
}

/// What was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Context {
    Header,
    /// Of a part or inner message: written like body text.
    InnerHeader,
    Body,
}

impl Transaction {
    pub(super) async fn check_header(
        &mut self,
        class: Class,
        name: Option<Name>,
        text: &[u8],
    ) -> Result<Outcome, Refusal> {
        if !self.checks_apply {
            return Ok(Outcome::Keep);
        }
        let service = self.service();
        let context = if class == Class::Primary { Context::Header } else { Context::InnerHeader };
        self.check(service.checks.for_header(class, name), context, text).await
    }

    pub(super) async fn check_body(&mut self, line: &Line<'_>) -> Result<Outcome, Refusal> {
        if !self.checks_apply || line.offset >= self.service.settings.body_checks_size_limit {
            return Ok(Outcome::Keep);
        }
        let service = self.service();
        self.check(service.checks.for_body(), Context::Body, line.text).await
    }

    async fn check(&mut self, maps: &Maps, context: Context, text: &[u8]) -> Result<Outcome, Refusal> {
        if maps.is_empty() || text.is_empty() {
            return Ok(Outcome::Keep);
        }
        let hit = match maps.lookup(text).await {
            Ok(Some(hit)) => hit,
            Ok(None) => return Ok(Outcome::Keep),
            Err(_) => {
                log::warning!(
                    "{}: {} map lookup problem -- message not accepted, try again later",
                    self.id,
                    maps.title()
                );
                return Err(Refusal::Lookup);
            }
        };
        match Action::parse(hit.value.as_bstr(), maps.title()) {
            Ok((action, optional)) => self.apply(action, optional, maps.title(), context, text),
            Err(problem) => {
                log::warning!("{problem}");
                Ok(Outcome::Keep)
            }
        }
    }

    fn apply(
        &mut self,
        action: Action,
        optional: &[u8],
        title: &str,
        context: Context,
        text: &[u8],
    ) -> Result<Outcome, Refusal> {
        let class = if context == Context::Body { "body" } else { "header" };
        let say = |word: &str, detail: &[u8]| self.log_verdict(word, class, text, detail);
        match action {
            Action::Keep => return Ok(Outcome::Keep),
            Action::Ignore => return Ok(Outcome::Drop),
            Action::Info => say("info", optional),
            Action::Warn => say("warning", optional),
            Action::Strip => {
                say("strip", optional);
                return Ok(Outcome::Drop);
            }
            Action::Reject => {
                say("reject", optional);
                return Err(Refusal::Content(refusal_text(optional)));
            }
            Action::Pass => {
                say("pass", optional);
                self.checks_apply = false;
            }
            Action::Discard => {
                say("discard", optional);
                self.decisions.discard = true;
                self.checks_apply = false;
            }
            Action::Hold => {
                if !self.decisions.hold {
                    say("hold", optional);
                    self.decisions.hold = true;
                }
            }
            Action::Filter(filter) => {
                say("filter", optional);
                self.decisions.filter = Some(filter);
            }
            Action::Redirect(address) => {
                say("redirect", optional);
                self.decisions.redirect = Some(address);
                self.checks_apply = false;
            }
            Action::Bcc(address) => {
                say("bcc", optional);
                self.decisions.bcc.push(address);
            }
            Action::Prepend(line) => return self.prepend(&line, title, context, text),
            Action::Replace(new) => {
                if context != Context::Body && !message::is_header(&new) {
                    log::warning!(
                        "bad REPLACE header text \"{new}\" in {title} map -- need \"headername: headervalue\""
                    );
                    return Ok(Outcome::Keep);
                }
                say("replace", optional);
                return Ok(Outcome::Replace(new));
            }
        }
        self.body.is_plain |= self.headers.over && self.body_needs_no_look();
        Ok(Outcome::Keep)
    }

    fn prepend(&mut self, line: &BString, title: &str, context: Context, text: &[u8]) -> Result<Outcome, Refusal> {
        if context != Context::Body && !message::is_header(line) {
            log::warning!("bad PREPEND header text \"{line}\" in {title} map -- need \"headername: headervalue\"");
            return Ok(Outcome::Keep);
        }
        let class = if context == Context::Body { "body" } else { "header" };
        self.log_verdict("prepend", class, text, line);
        match context {
            Context::Header => self.write_header(line)?,
            Context::InnerHeader | Context::Body => self.write_body(line, true)?,
        }
        Ok(Outcome::Keep)
    }

    /// The line that says what was decided about a header, a body line or the content.
    pub(super) fn log_verdict(&self, action: &str, class: &str, text: &[u8], optional: &[u8]) {
        let client = &self.begin.client;
        let logged = client.forwarded.as_deref().unwrap_or(client);
        let network = self.begin.origin == Origin::Smtp && !logged.address.is_empty();
        let origin = if network { format!("{}[{}]", logged.name, logged.address) } else { "local".to_owned() };
        let recipient = self.first_recipient.as_ref().map(|recipient| address::external(recipient));
        log::lines::cleanup_verdict(&log::lines::Verdict {
            queue_id: &self.id,
            action,
            class,
            text,
            origin: &origin,
            sender: &address::external(&self.sender),
            recipient: recipient.as_ref().map(|recipient| recipient.as_slice()),
            protocol: network.then_some(logged.protocol.as_str()),
            helo: network.then_some(logged.helo.as_slice()),
            optional: (!optional.is_empty()).then_some(optional),
        });
    }
}

/// A whole reply: code, enhanced status, text. A text that begins with `4.` defers.
fn refusal_text(optional: &[u8]) -> BString {
    let (status, text) = match dsn::Status::split_from(optional) {
        Some((status, text)) => (status.to_string(), text.trim_ascii_start()),
        None => ("5.7.1".to_owned(), optional),
    };
    let text = if text.is_empty() { b"message content rejected" } else { text };
    let code = if status.starts_with('4') { "451" } else { "550" };
    let mut reply = BString::from(format!("{code} {status} "));
    reply.extend_from_slice(text);
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies() {
        let cases = [
            ("", "550 5.7.1 message content rejected"),
            ("go away", "550 5.7.1 go away"),
            ("4.7.0 later", "451 4.7.0 later"),
            ("5.9.9 no", "550 5.9.9 no"),
        ];
        for (optional, reply) in cases {
            assert_eq!(refusal_text(optional.as_bytes()), reply);
        }
    }
}
