//! Restrictions about the sender and the recipient.

use bstr::BString;
use dsn::Status;
use smtp_proto::server::Problems;

use super::decision::Refusal;
use super::engine::{Engine, Outcome, rejected};
use super::host_checks::is_fqdn;
use super::lookup::{Destination, Lookup, MailDomain, Unlisted};
use super::rule::{AccessKey, Stage};

impl<L: Lookup> Engine<'_, L> {
    fn address(&self, key: AccessKey) -> Option<BString> {
        match key {
            AccessKey::Sender => self.subject.sender.clone(),
            _ => self.subject.recipient.clone(),
        }
    }

    fn address_refusal(&self, key: AccessKey, problem: Problems, code: u16, status: Status, text: &str) -> Refusal {
        let (name, class) = key.reply_name(self.subject);
        Refusal::new(problem, code, status, rejected(&name, class, text.as_bytes()))
    }

    pub(super) fn non_fqdn_address(&mut self, key: AccessKey) -> Outcome {
        let Some(address) = self.address(key).filter(|address| !address.is_empty()) else { return Outcome::Dunno };
        let complete = match address::split(&address).1 {
            Some(domain) => is_fqdn(domain) || address::domain::is_address_literal(domain),
            None => false,
        };
        if complete {
            return Outcome::Dunno;
        }
        let (code, text) = (self.policy.codes.non_fqdn, "need fully-qualified address");
        let refusal = self.address_refusal(key, Problems::POLICY, code, Status::transient(5, 2), text);
        self.refuse(refusal)
    }

    pub(super) async fn unknown_domain(&mut self, key: AccessKey) -> Outcome {
        let Some(address) = self.address(key) else { return Outcome::Dunno };
        let Some(domain) = address::split(&address).1.filter(|domain| !domain.is_empty()) else {
            return Outcome::Dunno;
        };
        if address::domain::is_address_literal(domain) {
            return Outcome::Dunno;
        }
        // Domains that end here need no DNS.
        match self.lookup.destination(&address).await {
            Ok(Destination::Other) => {}
            Ok(_) => return Outcome::Dunno,
            Err(failure) => return self.lookup_failure(&address, failure),
        }
        let (found, detail) = (self.lookup.mail_domain(domain).await, if key == AccessKey::Sender { 8 } else { 2 });
        let status = Status::transient(1, detail);
        let code = self.policy.codes.unknown_address;
        match found {
            MailDomain::Exists => Outcome::Dunno,
            MailDomain::NotFound => {
                let refusal = self.address_refusal(key, Problems::POLICY, code, status, "Domain not found");
                self.refuse(refusal)
            }
            MailDomain::Malformed => {
                let refusal = self.address_refusal(key, Problems::POLICY, code, status, "Malformed DNS server reply");
                self.refuse(refusal)
            }
            MailDomain::NullMx => {
                let (code, status) = if key == AccessKey::Sender {
                    (550, Status::permanent(7, 27))
                } else {
                    (556, Status::permanent(1, 10))
                };
                let text = format!("Domain {} does not accept mail (nullMX)", String::from_utf8_lossy(domain));
                let refusal = self.address_refusal(key, Problems::POLICY, code, status, &text);
                self.refuse(refusal)
            }
            MailDomain::TryAgain => {
                let refusal = self.address_refusal(key, Problems::POLICY, 450, status, "Domain not found");
                self.tempfail(self.policy.address_tempfail, refusal)
            }
        }
    }

    /// What an address on the way in says about the way out: `%`, `!` or a second `@` ask us to send it on.
    pub(super) fn asks_for_routing(&self, address: &[u8]) -> bool {
        if self.policy.allow_untrusted_routing {
            return false;
        }
        let (localpart, domain) = address::split(address);
        domain.is_some() && localpart.iter().any(|b| b"@%!".contains(b))
    }

    async fn is_authorized(&mut self, recipient: &BString) -> Result<bool, Outcome> {
        // An address without a domain is local.
        if address::split(recipient).1.is_none() && !recipient.contains(&b'!') && !recipient.contains(&b'%') {
            return Ok(true);
        }
        match self.lookup.destination(recipient).await {
            Ok(Destination::Final | Destination::Relay) => Ok(!self.asks_for_routing(recipient)),
            Ok(Destination::Other) => Ok(false),
            Err(failure) => Err(self.lookup_failure(recipient, failure)),
        }
    }

    pub(super) async fn permit_auth_destination(&mut self) -> Outcome {
        let Some(recipient) = self.subject.recipient.clone() else { return Outcome::Dunno };
        match self.is_authorized(&recipient).await {
            Ok(true) => Outcome::Permit,
            Ok(false) => Outcome::Dunno,
            Err(outcome) => outcome,
        }
    }

    pub(super) async fn unauth_destination(&mut self, code: u16, status: Status) -> Outcome {
        let Some(recipient) = self.subject.recipient.clone() else { return Outcome::Dunno };
        match self.is_authorized(&recipient).await {
            Ok(true) => Outcome::Dunno,
            Ok(false) => {
                let text = [b"<", recipient.as_slice(), b">: Relay access denied"].concat();
                self.refuse(Refusal::new(Problems::POLICY, code, status, text))
            }
            Err(outcome) => outcome,
        }
    }

    pub(super) async fn unlisted_recipient(&mut self) -> Outcome {
        self.unlisted(AccessKey::Recipient).await
    }

    pub(super) async fn unlisted_sender(&mut self) -> Outcome {
        self.unlisted(AccessKey::Sender).await
    }

    async fn unlisted(&mut self, key: AccessKey) -> Outcome {
        let Some(address) = self.address(key).filter(|address| !address.is_empty()) else { return Outcome::Dunno };
        let codes = &self.policy.codes;
        let (code, table) = match self.lookup.unlisted(&address).await {
            Ok(None) => return Outcome::Dunno,
            Ok(Some(Unlisted::Local)) => (codes.unknown_local, "local recipient table"),
            Ok(Some(Unlisted::VirtualAlias)) => (codes.unknown_virtual_alias, "virtual alias table"),
            Ok(Some(Unlisted::VirtualMailbox)) => (codes.unknown_virtual_mailbox, "virtual mailbox table"),
            Ok(Some(Unlisted::Relay)) => (codes.unknown_relay, "relay recipient table"),
            Ok(Some(Unlisted::Routing(status, text))) => {
                let code = if status.class == dsn::Class::Transient { 450 } else { 550 };
                let refusal = self.address_refusal(key, Problems::POLICY, code, status, &text);
                return self.refuse(refusal);
            }
            Err(failure) => return self.lookup_failure(&address, failure),
        };
        let text =
            if self.policy.show_table_name { format!("User unknown in {table}") } else { "User unknown".to_owned() };
        let status = Status::permanent(1, if key == AccessKey::Sender { 0 } else { 1 });
        let refusal = self.address_refusal(key, Problems::POLICY, code, status, &text);
        self.refuse(refusal)
    }

    pub(super) fn multi_recipient_bounce(&mut self, stage: Stage) -> Outcome {
        let bounce = self.subject.sender.as_ref().is_some_and(|sender| sender.is_empty());
        // At RCPT the recipient at hand is not counted yet.
        let recipients = self.subject.recipients + u32::from(matches!(stage, Stage::Relay | Stage::Recipient));
        if !bounce || recipients < 2 {
            return Outcome::Dunno;
        }
        let code = self.policy.codes.multi_recipient_bounce;
        let refusal = self.named(stage, code, Status::permanent(5, 3), "Multi-recipient bounce");
        self.refuse(refusal)
    }
}
