//! Headers of the message: what is remembered, rewritten, dropped and added.

use std::borrow::Cow;

use address::header::AddressList;
use bstr::BString;
use ipc::cleanup::{Encoding, Refusal};
use message::Name;

use super::Transaction;
use super::check::Outcome;
use super::envelope::Given;
use crate::mapping;
use crate::settings::EndOfHeaderAction;
use crate::{clock, generated};

/// Send option: the message says `TLS-Required: no` (RFC 8689 5).
const TLS_NOT_REQUIRED: u32 = 16;
/// Send option: REQUIRETLS was asked for (RFC 8689 2).
const REQUIRE_TLS: u32 = 32;
/// Recipients that may be taken from headers; far above what a person writes.
const MAX_EXTRACTED: usize = 100_000;

/// What the headers so far said.
#[derive(Debug, Default)]
pub(super) struct Seen {
    names: u64,
    pub(super) resent: bool,
    pub(super) hops: u32,
    pub(super) message_id: Option<BString>,
    pub(super) over: bool,
    pub(super) internationalized: bool,
    resent_recipients: Vec<BString>,
    recipients: Vec<BString>,
}

impl Seen {
    fn has(&self, name: Name) -> bool {
        self.names & (1 << name as u64) != 0
    }

    fn note(&mut self, name: Name) {
        self.names |= 1 << name as u64;
        self.resent |= name.is_resent();
    }

    /// Recipients of the headers; those of a resent message are the ones that count (RFC 5322 3.6.6).
    pub(super) fn take_recipients(&mut self) -> Vec<Given> {
        let chosen = if self.resent_recipients.is_empty() { &mut self.recipients } else { &mut self.resent_recipients };
        std::mem::take(chosen).into_iter().map(|address| Given { address, ..Given::default() }).collect()
    }
}

impl Transaction {
    /// Addresses in headers are completed and mapped: always for local mail, for other mail only on request.
    fn rewrites_headers(&self) -> bool {
        self.begin.rewrite_local || self.service.settings.rewrite_remote_headers
    }

    /// A header of the message.
    pub(super) async fn primary_header(&mut self, name: Option<Name>, text: &[u8]) -> Result<(), Refusal> {
        let (name, text) = match self.check_header(message::Class::Primary, name, text).await? {
            Outcome::Keep => (name, Cow::Borrowed(text)),
            Outcome::Drop => return Ok(()),
            Outcome::Replace(new) => (known_name(&new), Cow::Owned(new.into())),
        };
        if !text.is_ascii() && std::str::from_utf8(&text).is_ok() {
            self.headers.internationalized = true;
        }
        let Some(name) = name else {
            let length = message::name_length(&text).unwrap_or(0);
            if self.service.settings.drops(&text[..length]) {
                return Ok(());
            }
            return self.write_header(&text);
        };
        self.headers.note(name);
        self.remember(name, &text)?;
        if self.begin.options.extract_recipients && name.is_extracted() {
            self.extract(name, &text);
        }
        if self.service.settings.drops(name.as_str().as_bytes()) {
            return Ok(());
        }
        if (name.is_sender() || name.is_recipient())
            && self.rewrites_headers()
            && let Some(rewritten) = self.rewritten(name, &text).await?
        {
            return self.write_header(&rewritten);
        }
        self.write_header(&text)
    }

    fn remember(&mut self, name: Name, text: &[u8]) -> Result<(), Refusal> {
        match name {
            Name::MessageId => {
                let value = message::body_of(text);
                log::lines::message_id(&self.id, value);
                self.headers.message_id.get_or_insert_with(|| value.into());
            }
            Name::ResentMessageId => log::lines::resent_message_id(&self.id, message::body_of(text)),
            Name::Received => {
                self.headers.hops += 1;
                if self.headers.hops >= self.service.settings.hopcount_limit {
                    log::warning!("{}: too many hops: {}", self.id, self.headers.hops);
                    return Err(Refusal::Hops);
                }
            }
            Name::ContentTransferEncoding if self.service.settings.detect_8bit_encoding => {
                let value = message::body_of(text).to_ascii_lowercase();
                match value.as_slice() {
                    b"8bit" => self.encoding = Some(Encoding::EightBit),
                    b"7bit" => self.encoding = Some(Encoding::SevenBit),
                    _ => {}
                }
            }
            Name::TlsRequired if message::body_of(text).eq_ignore_ascii_case(b"no") => {
                self.begin.send_options |= TLS_NOT_REQUIRED;
            }
            _ => {}
        }
        Ok(())
    }

    fn extract(&mut self, name: Name, text: &[u8]) {
        let value = message::value(text).unwrap_or_default();
        let list = AddressList::parse(value, self.service.settings.header_address_token_limit);
        let into = if name.is_resent() { &mut self.headers.resent_recipients } else { &mut self.headers.recipients };
        let room = MAX_EXTRACTED.saturating_sub(into.len());
        into.extend(list.into_addresses().take(room));
    }

    /// The header with its addresses completed and mapped; `None` when that changes nothing.
    async fn rewritten(&mut self, name: Name, text: &[u8]) -> Result<Option<Vec<u8>>, Refusal> {
        let service = self.service();
        let class = if name.is_sender() { mapping::Class::HeaderSender } else { mapping::Class::HeaderRecipient };
        let maps = self.maps_addresses() && !service.mapping.leaves_alone(class);
        let Some(value) = message::value(text) else { return Ok(None) };
        let mut list = AddressList::parse(value, service.settings.header_address_token_limit);
        let mut changed = list.is_truncated() || list.is_requoted();
        for address in list.addresses_mut() {
            let mut new = service.mapping.complete(address, self.begin.rewrite_local);
            if maps {
                service.mapping.map(&mut new, class).await.map_err(|problem| self.unmapped(&problem))?;
            }
            if new != *address {
                *address = new;
                changed = true;
            }
        }
        if !changed {
            return Ok(None);
        }
        let mut output = Vec::with_capacity(text.len() + 32);
        output.extend_from_slice(&text[..text.len() - value.len()]);
        output.push(b' ');
        list.put(&mut output, b'\n');
        Ok(Some(message::fold::addresses(&output)))
    }

    /// A header of a part, or of a message within.
    pub(super) async fn inner_header(&mut self, header: &message::Header<'_>) -> Result<(), Refusal> {
        match self.check_header(header.class, header.name, header.text).await? {
            Outcome::Keep => self.write_body(header.text, true),
            Outcome::Replace(new) => self.write_body(&new, true),
            Outcome::Drop => Ok(()),
        }
    }

    /// Headers are over: what is missing is added.
    pub(super) async fn end_primary_headers(&mut self, empty_line: bool, unterminated: bool) -> Result<(), Refusal> {
        if self.rewrites_headers() || self.service.settings.always_add_missing_headers {
            self.add_missing()?;
        }
        if !self.headers.has(Name::MessageId) {
            let id = self.headers.message_id.as_ref().map_or(b"<>".as_slice(), |id| id.as_slice());
            log::lines::message_id(&self.id, id);
        }
        if self.begin.send_options & REQUIRE_TLS != 0 && !self.headers.has(Name::RequireTlsEsmtp) {
            self.write_generated(Name::RequireTlsEsmtp.as_str(), b"yes")?;
        }
        if unterminated {
            self.unterminated()?;
        }
        self.headers.over = true;
        self.writer.end_header(empty_line).map_err(|error| self.write_error(&error))?;
        self.body.is_plain = self.body_needs_no_look();
        Ok(())
    }

    fn unterminated(&mut self) -> Result<(), Refusal> {
        const PROBLEM: &str = "message header was not terminated by empty line";
        match self.service.settings.end_of_header {
            EndOfHeaderAction::FixQuietly => Ok(()),
            EndOfHeaderAction::AddHeader => self.write_generated("MIME-Error", PROBLEM.as_bytes()),
            EndOfHeaderAction::Reject => {
                self.log_verdict("reject", "mime-error", PROBLEM.as_bytes(), b"");
                Err(Refusal::Content(format!("550 5.6.0 {PROBLEM}").into()))
            }
        }
    }

    /// Message-Id, Date, From, and a placeholder where no recipient is shown.
    fn add_missing(&mut self) -> Result<(), Refusal> {
        let service = self.service();
        let settings = &service.settings;
        let resent = self.headers.resent;
        let choose = |plain: Name, of_resent: Name| if resent { of_resent } else { plain };
        let message_id = choose(Name::MessageId, Name::ResentMessageId);
        if !self.headers.has(message_id) {
            let now = self.new_file.created().as_secs().cast_signed();
            let id = generated::message_id(settings, &self.id, now);
            self.write_generated(message_id.as_str(), id.as_bytes())?;
            if resent {
                log::lines::resent_message_id(&self.id, id.as_bytes());
            } else {
                self.headers.message_id = Some(id.into());
            }
        }
        let date = choose(Name::Date, Name::ResentDate);
        if !self.headers.has(date) {
            self.write_generated(date.as_str(), clock::date(self.arrival.0).as_bytes())?;
        }
        let from = choose(Name::From, Name::ResentFrom);
        if !self.headers.has(from) {
            let name = self.begin.full_name.as_ref().map(|name| name.as_slice());
            let value = generated::from(settings, &self.sender, name);
            self.write_generated(from.as_str(), &value)?;
        }
        let visible = [Name::To, Name::Cc, Name::ResentTo, Name::ResentCc];
        let placeholder = &settings.undisclosed_recipients_header;
        if !placeholder.is_empty() && !visible.into_iter().any(|name| self.headers.has(name)) {
            self.write_header(placeholder.trim_ascii())?;
        }
        Ok(())
    }
}

fn known_name(text: &[u8]) -> Option<Name> {
    message::name_length(text).and_then(|length| Name::of(&text[..length]))
}
