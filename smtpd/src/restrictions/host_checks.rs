//! Restrictions about the client and its HELO name.

use bstr::ByteSlice;
use dsn::Status;
use smtp_proto::server::Problems;

use super::decision::Refusal;
use super::engine::{Engine, Outcome, rejected};
use super::lookup::{HostFound, Lookup};
use super::policy::TempfailAction;
use super::rule::{AccessKey, Restriction, Stage};

impl<L: Lookup> Engine<'_, L> {
    /// The restrictions that are not generic and no access tables.
    pub(super) async fn check(&mut self, restriction: &Restriction, stage: Stage) -> Outcome {
        match restriction {
            Restriction::PermitMynetworks => self.permit_mynetworks().await,
            Restriction::PermitInetInterfaces if self.lookup.is_own_address(&self.subject.client_address) => {
                Outcome::Permit
            }
            Restriction::RejectUnknownClientHostname => self.unknown_client_hostname(),
            Restriction::RejectUnknownReverseClientHostname => self.unknown_reverse_hostname(),
            Restriction::RejectInvalidHeloHostname => self.invalid_helo(),
            Restriction::RejectNonFqdnHeloHostname => self.non_fqdn_helo(),
            Restriction::RejectUnknownHeloHostname => self.unknown_helo().await,
            Restriction::RejectNonFqdnSender => self.non_fqdn_address(AccessKey::Sender),
            Restriction::RejectNonFqdnRecipient => self.non_fqdn_address(AccessKey::Recipient),
            Restriction::RejectUnknownSenderDomain => self.unknown_domain(AccessKey::Sender).await,
            Restriction::RejectUnknownRecipientDomain => self.unknown_domain(AccessKey::Recipient).await,
            Restriction::RejectUnlistedSender => self.unlisted_sender().await,
            Restriction::RejectUnlistedRecipient => self.unlisted_recipient().await,
            Restriction::PermitAuthDestination => self.permit_auth_destination().await,
            Restriction::RejectUnauthDestination => {
                self.unauth_destination(self.policy.codes.relay, Status::permanent(7, 1)).await
            }
            Restriction::DeferUnauthDestination => {
                self.unauth_destination(self.policy.codes.relay.saturating_sub(100), Status::transient(7, 1)).await
            }
            Restriction::RejectMultiRecipientBounce => self.multi_recipient_bounce(stage),
            _ => Outcome::Dunno,
        }
    }

    async fn permit_mynetworks(&mut self) -> Outcome {
        match self.lookup.in_mynetworks(&self.subject.client_name, &self.subject.client_address).await {
            Ok(true) => Outcome::Permit,
            Ok(false) => Outcome::Dunno,
            Err(failure) => self.lookup_failure(self.subject.client_address.as_bytes(), failure),
        }
    }

    fn unknown_client_hostname(&mut self) -> Outcome {
        if self.subject.client_name != "unknown" {
            return Outcome::Dunno;
        }
        let code = if self.subject.name_tempfail { 450 } else { self.policy.codes.unknown_client };
        let text = format!("Client host rejected: cannot find your hostname, [{}]", self.subject.client_address);
        self.refuse(Refusal::new(Problems::POLICY, code, Status::transient(7, 25), text))
    }

    fn unknown_reverse_hostname(&mut self) -> Outcome {
        if self.subject.reverse_name != "unknown" {
            return Outcome::Dunno;
        }
        let code = if self.subject.reverse_tempfail { 450 } else { self.policy.codes.unknown_client };
        let text =
            format!("Client host rejected: cannot find your reverse hostname, [{}]", self.subject.client_address);
        self.refuse(Refusal::new(Problems::POLICY, code, Status::transient(7, 1), text))
    }

    fn helo_refusal(&mut self, code: u16, text: &str) -> Outcome {
        let (name, class) = AccessKey::Helo.reply_name(self.subject);
        let text = rejected(&name, class, text.as_bytes());
        self.refuse(Refusal::new(Problems::POLICY, code, Status::permanent(5, 2), text))
    }

    fn invalid_helo(&mut self) -> Outcome {
        let Some(helo) = &self.subject.helo else { return Outcome::Dunno };
        let code = self.policy.codes.invalid_hostname;
        if helo.starts_with(b"[") {
            if address::domain::is_address_literal(helo) {
                return Outcome::Dunno;
            }
            return self.helo_refusal(code, "invalid ip address");
        }
        let name = helo.strip_suffix(b".").unwrap_or(helo);
        if address::domain::is_valid_hostname(name) || address::domain::host_address(name).is_some() {
            return Outcome::Dunno;
        }
        self.helo_refusal(code, "Invalid name")
    }

    fn non_fqdn_helo(&mut self) -> Outcome {
        let Some(helo) = &self.subject.helo else { return Outcome::Dunno };
        if address::domain::is_address_literal(helo) || is_fqdn(helo) {
            return Outcome::Dunno;
        }
        self.helo_refusal(self.policy.codes.non_fqdn, "need fully-qualified hostname")
    }

    async fn unknown_helo(&mut self) -> Outcome {
        let Some(helo) = &self.subject.helo else { return Outcome::Dunno };
        if helo.starts_with(b"[") {
            return self.invalid_helo();
        }
        let (found, code) = (self.lookup.host(helo).await, self.policy.codes.unknown_hostname);
        let (name, class) = AccessKey::Helo.reply_name(self.subject);
        let text = match found {
            HostFound::Exists => return Outcome::Dunno,
            HostFound::NotFound | HostFound::TryAgain => "Host not found",
            HostFound::Malformed => "Malformed DNS server reply",
        };
        let text = rejected(&name, class, text.as_bytes());
        if found == HostFound::TryAgain {
            let refusal = Refusal::new(Problems::POLICY, 450, Status::transient(7, 1), text);
            return self.tempfail(self.policy.helo_tempfail, refusal);
        }
        self.refuse(Refusal::new(Problems::POLICY, code, Status::transient(7, 1), text))
    }

    pub(super) fn tempfail(&mut self, action: TempfailAction, refusal: Refusal) -> Outcome {
        match action {
            TempfailAction::DeferIfPermit => self.defer_if_permit(refusal),
            TempfailAction::Defer => self.refuse(refusal),
        }
    }
}

/// A host name with a dot that is not at an end.
pub(super) fn is_fqdn(name: &[u8]) -> bool {
    let name = name.strip_suffix(b".").unwrap_or(name);
    address::domain::is_valid_hostname(name) && name.contains_str(".")
        || address::domain::is_internationalized(name) && name.contains_str(".")
}
