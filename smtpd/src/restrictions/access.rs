//! Access tables (`check_*_access`): keys, and what the values mean.

use bstr::{BString, ByteSlice};
use dsn::Status;
use smtp_proto::server::Problems;
use tables::keys;

use super::decision::{Effect, Refusal};
use super::engine::{Engine, Outcome, rejected};
use super::lookup::{Lookup, TableFailure};
use super::rule::{AccessKey, Stage};

/// What a table's value leads to.
pub(super) enum AccessOutcome {
    /// An opinion, or none.
    Done(Outcome),
    /// A list of restrictions to evaluate in its place.
    Restrictions(String),
}

impl<L: Lookup> Engine<'_, L> {
    /// `check_*_access type:table`
    pub(super) async fn access(&mut self, key: AccessKey, table: usize, rule: &str, stage: Stage) -> AccessOutcome {
        let value = match self.find(key, table).await {
            Ok(Some(value)) => value,
            Ok(None) => return AccessOutcome::Done(Outcome::Dunno),
            Err(TableFailure) => {
                let (name, class) = key.reply_name(self.subject);
                let text = rejected(&name, class, b"Server configuration error");
                let refusal = Refusal::new(Problems::DATA, 451, Status::transient(3, 5), text);
                return AccessOutcome::Done(self.refuse(refusal));
            }
        };
        let table_name = self.lookup.table_name(table);
        self.table = Some((table_name.clone(), value.clone()));
        let outcome = self.value(&value, key, &table_name, stage);
        if key == AccessKey::ReverseClient && matches!(outcome, AccessOutcome::Done(Outcome::Permit)) {
            let (name, _) = key.reply_name(self.subject);
            let word = rule.split_whitespace().next().unwrap_or_default();
            for text in [
                format!("restriction {word} returns OK for {name}"),
                "this is not allowed for security reasons".to_owned(),
                "use DUNNO instead of OK if you want to make an exception".to_owned(),
            ] {
                self.effects.push(Effect::Warning(text));
            }
            return AccessOutcome::Done(self.refuse(Refusal::configuration_error()));
        }
        outcome
    }

    async fn find(&self, key: AccessKey, table: usize) -> Result<Option<BString>, TableFailure> {
        let subject = self.subject;
        match key {
            AccessKey::Client => {
                if let Some(value) = self.domain(table, subject.client_name.as_bytes()).await? {
                    return Ok(Some(value));
                }
                for key in keys::network(subject.client_address.as_bytes()) {
                    if let Some(value) = self.lookup.access(table, key.bytes, key.partial).await? {
                        return Ok(Some(value));
                    }
                }
                Ok(None)
            }
            AccessKey::ReverseClient => self.domain(table, subject.reverse_name.as_bytes()).await,
            AccessKey::Helo => match &subject.helo {
                Some(helo) => self.domain(table, helo).await,
                None => Ok(None),
            },
            AccessKey::Certificate(order) => self.certificate_access(order, table).await,
            AccessKey::Etrn => match &subject.etrn_domain {
                Some(domain) => self.domain(table, domain).await,
                None => Ok(None),
            },
            AccessKey::Sender => match &subject.sender {
                Some(sender) if sender.is_empty() => self.lookup.access(table, &self.policy.null_key, false).await,
                Some(sender) => self.lookup.access_address(table, sender).await,
                None => Ok(None),
            },
            AccessKey::Recipient => match &subject.recipient {
                Some(recipient) => self.lookup.access_address(table, recipient).await,
                None => Ok(None),
            },
        }
    }

    async fn domain(&self, table: usize, name: &[u8]) -> Result<Option<BString>, TableFailure> {
        let is_address = address::domain::host_address(name).is_some();
        for key in keys::domain(name, self.policy.parents_match) {
            if let Some(value) = self.lookup.access(table, key.bytes, key.partial).await? {
                return Ok(Some(value));
            }
            // The parts of an address are no parent domains.
            if is_address {
                break;
            }
        }
        Ok(None)
    }

    /// What a value means (access(5)).
    fn value(&mut self, value: &[u8], key: AccessKey, table: &str, stage: Stage) -> AccessOutcome {
        let value = value.trim_ascii();
        let end = value.iter().position(u8::is_ascii_whitespace).unwrap_or(value.len());
        let (word, text) = (&value[..end], value[end..].trim_ascii());
        let (name, class) = key.reply_name(self.subject);
        let codes = &self.policy.codes;
        if word.is_empty() {
            self.effects.push(Effect::Warning(format!("access table {table} has entry with no value for {name}")));
            return AccessOutcome::Done(Outcome::Permit);
        }
        if word.iter().all(u8::is_ascii_digit) {
            return AccessOutcome::Done(match code(word) {
                Some(code) if !text.is_empty() => self.refuse_by_table(key, code, text),
                // Digits alone: the address of a table that says who was seen when.
                _ => Outcome::Permit,
            });
        }
        let outcome = match word.to_ascii_uppercase().as_slice() {
            b"OK" | b"RELAY" => {
                // What is permitted must not lead elsewhere (`user%elsewhere@here`).
                let recipient = self.subject.recipient.as_ref().filter(|_| key == AccessKey::Recipient);
                if recipient.is_some_and(|address| self.asks_for_routing(address)) {
                    Outcome::Dunno
                } else {
                    Outcome::Permit
                }
            }
            b"DUNNO" => Outcome::Dunno,
            b"REJECT" => self.refuse_by_table(key, codes.access_reject, or(text, b"Access denied")),
            b"DEFER" => self.refuse_by_table(key, codes.access_defer, or(text, b"Access denied")),
            b"DEFER_IF_REJECT" => {
                let refusal = self.by_table(key, codes.access_defer, or(text, b"Service unavailable"));
                self.defer_if_reject(refusal)
            }
            b"DEFER_IF_PERMIT" => {
                let refusal = self.by_table(key, codes.access_defer, or(text, b"Service unavailable"));
                self.defer_if_permit(refusal)
            }
            b"HANGUP" => {
                let text = [b"<", name.as_slice(), b">: ", class.as_bytes(), b" ", or(text, b"triggers HANGUP action")];
                self.log("hangup", text.concat());
                Outcome::HangUp
            }
            b"WARN" => self.log("warn", text.to_vec()),
            b"INFO" => self.log("info", text.to_vec()),
            b"HOLD" => {
                self.triggers("hold", &name, class, or(text, b"triggers HOLD action"));
                self.effects.push(Effect::Hold);
                Outcome::Dunno
            }
            b"DISCARD" => {
                self.triggers("discard", &name, class, or(text, b"triggers DISCARD action"));
                self.effects.push(Effect::Discard);
                Outcome::Discard
            }
            b"FILTER" => self.filter(text, &name, class, table),
            b"REDIRECT" => self.extra_recipient(text, &name, class, table, "redirect", "REDIRECT", Effect::Redirect),
            b"BCC" => self.extra_recipient(text, &name, class, table, "bcc", "BCC", Effect::Bcc),
            b"PREPEND" => self.prepend(text, &name, table, stage),
            _ => return self.restrictions(value, table),
        };
        AccessOutcome::Done(outcome)
    }

    fn restrictions(&mut self, value: &[u8], table: &str) -> AccessOutcome {
        let list = String::from_utf8_lossy(value).into_owned();
        if let Some(word) = tables::list::split(&list).find(|word| word.contains(':')) {
            self.effects.push(Effect::Warning(format!("access table {table} has entry with lookup table: {word}")));
            self.effects.push(Effect::Warning("do not specify lookup tables inside SMTPD access maps".to_owned()));
            self.effects.push(Effect::Warning("define a restriction class and specify its name instead.".to_owned()));
            return AccessOutcome::Done(self.refuse(Refusal::configuration_error()));
        }
        AccessOutcome::Restrictions(list)
    }

    fn log(&mut self, action: &'static str, text: Vec<u8>) -> Outcome {
        self.effects.push(Effect::Log { action, text: text.into() });
        Outcome::Dunno
    }

    /// `action: <name>: class text`
    fn triggers(&mut self, action: &'static str, name: &[u8], class: &str, text: &[u8]) {
        self.log(action, [b"<", name, b">: ", class.as_bytes(), b" ", text].concat());
    }

    fn filter(&mut self, text: &[u8], name: &[u8], class: &str, table: &str) -> Outcome {
        if !text.contains(&b':') {
            let name = name.as_bstr();
            self.effects
                .push(Effect::Warning(format!("access table {table} entry \"{name}\" requires transport:destination")));
            return Outcome::Dunno;
        }
        self.triggers("filter", name, class, &[b"triggers FILTER ", text].concat());
        self.effects.push(Effect::Filter(String::from_utf8_lossy(text).into_owned()));
        Outcome::Dunno
    }

    #[expect(clippy::too_many_arguments, reason = "two actions that differ in words only")]
    fn extra_recipient(
        &mut self,
        text: &[u8],
        name: &[u8],
        class: &str,
        table: &str,
        action: &'static str,
        word: &str,
        effect: fn(BString) -> Effect,
    ) -> Outcome {
        if !text.contains(&b'@') {
            let name = name.as_bstr();
            self.effects
                .push(Effect::Warning(format!("access table {table} entry \"{name}\" requires user@domain target")));
            return Outcome::Dunno;
        }
        if action == "bcc" && self.subject.sender.is_none() {
            let name = name.as_bstr();
            self.effects.push(Effect::Warning(format!(
                "access table {table}: with {name}, BCC is not possible before MAIL, or outside a transaction"
            )));
            return Outcome::Dunno;
        }
        self.triggers(action, name, class, &[b"triggers ", word.as_bytes(), b" ", text].concat());
        self.effects.push(effect(text.into()));
        Outcome::Dunno
    }

    fn prepend(&mut self, text: &[u8], name: &[u8], table: &str, stage: Stage) -> Outcome {
        let is_header = text.find_byte(b':').is_some_and(|at| at > 0 && text[..at].iter().all(u8::is_ascii_graphic));
        if stage == Stage::EndOfData {
            let text = format!("access table {table}: action PREPEND must be used before {}", stage.parameter());
            self.effects.push(Effect::Warning(text));
        } else if is_header {
            self.effects.push(Effect::Prepend(text.into()));
        } else {
            let name = name.as_bstr();
            self.effects.push(Effect::Warning(format!("access table {table} entry \"{name}\" requires header: text")));
        }
        Outcome::Dunno
    }

    fn refuse_by_table(&mut self, key: AccessKey, code: u16, text: &[u8]) -> Outcome {
        let refusal = self.by_table(key, code, text);
        self.refuse(refusal)
    }

    /// The refusal that a table's text makes: it may begin with an enhanced status code, which is put right for what is
    /// refused.
    fn by_table(&mut self, key: AccessKey, code: u16, text: &[u8]) -> Refusal {
        let (name, class) = key.reply_name(self.subject);
        let (status, text) = match Status::split_from(text) {
            Some((status, text)) => (self.status_for(status, key, class), text),
            None => (Status::permanent(7, 1), text),
        };
        Refusal::new(Problems::POLICY, code, status, rejected(&name, class, text))
    }

    /// Address status codes (x.1.y of RFC 3463) say whether they are about a sender or a recipient; a table that is used
    /// for both cannot know.
    fn status_for(&mut self, status: Status, key: AccessKey, class: &str) -> Status {
        if status.subject != 1 {
            return status;
        }
        let fixed = match key {
            AccessKey::Sender => {
                let detail = match status.detail {
                    1 | 3 | 4 | 6 | 7 => 7,
                    2 | 8 => 8,
                    _ => 0,
                };
                Status { detail, ..status }
            }
            AccessKey::Recipient => {
                let detail = match status.detail {
                    1..=6 => status.detail,
                    7 => 3,
                    8 => 2,
                    _ => 0,
                };
                Status { detail, ..status }
            }
            _ => Status { subject: 0, detail: 0, ..status },
        };
        if fixed != status {
            self.effects.push(Effect::Info(format!("mapping DSN status {status} into {class} status {fixed}")));
        }
        fixed
    }
}

fn or<'a>(text: &'a [u8], default: &'a [u8]) -> &'a [u8] {
    if text.is_empty() { default } else { text }
}

/// Exactly three digits that begin with 4 or 5.
fn code(word: &[u8]) -> Option<u16> {
    if word.len() != 3 || !matches!(word[0], b'4' | b'5') {
        return None;
    }
    word.to_str().ok()?.parse().ok()
}
