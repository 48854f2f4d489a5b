//! One restriction of a list.

use bstr::BString;

use super::{ClientCertificates, FingerprintOrder, Subject};

/// Which list is at work; it names what is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// `smtpd_client_restrictions`
    Client,
    /// `smtpd_helo_restrictions`
    Helo,
    /// `smtpd_sender_restrictions`
    Sender,
    /// `smtpd_relay_restrictions`
    Relay,
    /// `smtpd_recipient_restrictions`
    Recipient,
    /// `smtpd_data_restrictions`
    Data,
    /// `smtpd_end_of_data_restrictions`
    EndOfData,
    /// `smtpd_etrn_restrictions`
    Etrn,
}

impl Stage {
    /// The parameter that has the list.
    #[must_use]
    pub const fn parameter(self) -> &'static str {
        match self {
            Stage::Client => "smtpd_client_restrictions",
            Stage::Helo => "smtpd_helo_restrictions",
            Stage::Sender => "smtpd_sender_restrictions",
            Stage::Relay => "smtpd_relay_restrictions",
            Stage::Recipient => "smtpd_recipient_restrictions",
            Stage::Data => "smtpd_data_restrictions",
            Stage::EndOfData => "smtpd_end_of_data_restrictions",
            Stage::Etrn => "smtpd_etrn_restrictions",
        }
    }

    /// What a bare table in this list is looked up by; at DATA and later there is nothing obvious.
    pub(super) const fn default_access(self) -> Option<AccessKey> {
        match self {
            Stage::Client => Some(AccessKey::Client),
            Stage::Helo => Some(AccessKey::Helo),
            Stage::Sender => Some(AccessKey::Sender),
            Stage::Relay | Stage::Recipient => Some(AccessKey::Recipient),
            Stage::Etrn => Some(AccessKey::Etrn),
            Stage::Data | Stage::EndOfData => None,
        }
    }

    /// What is rejected, and its kind, as replies say it.
    pub(super) fn reply_name(self, subject: &Subject) -> (BString, &'static str) {
        match self {
            Stage::Client => AccessKey::Client.reply_name(subject),
            Stage::Helo => AccessKey::Helo.reply_name(subject),
            Stage::Sender => AccessKey::Sender.reply_name(subject),
            Stage::Relay | Stage::Recipient => AccessKey::Recipient.reply_name(subject),
            Stage::Etrn => AccessKey::Etrn.reply_name(subject),
            Stage::Data => ("DATA".into(), "Data command"),
            Stage::EndOfData => ("END-OF-MESSAGE".into(), "End-of-data"),
        }
    }
}

/// What a `check_*_access` restriction looks up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessKey {
    /// Client name, its parents, address, networks.
    Client,
    /// The unverified client name and its parents.
    ReverseClient,
    /// HELO name and its parents.
    Helo,
    /// Envelope sender.
    Sender,
    /// Envelope recipient.
    Recipient,
    /// ETRN domain and its parents.
    Etrn,
    /// Fingerprints of the client's certificate and its public key.
    Certificate(FingerprintOrder),
}

impl AccessKey {
    /// What is rejected, and its kind, as replies say it.
    pub(super) fn reply_name(self, subject: &Subject) -> (BString, &'static str) {
        let or_empty = |name: &Option<BString>| name.clone().unwrap_or_default();
        match self {
            AccessKey::Client => (subject.client.as_str().into(), "Client host"),
            AccessKey::ReverseClient => (subject.reverse_name.as_str().into(), "Unverified Client host"),
            AccessKey::Helo => (or_empty(&subject.helo), "Helo command"),
            AccessKey::Sender => (or_empty(&subject.sender), "Sender address"),
            AccessKey::Recipient => (or_empty(&subject.recipient), "Recipient address"),
            AccessKey::Etrn => (or_empty(&subject.etrn_domain), "Etrn command"),
            AccessKey::Certificate(_) => (certificate_name(subject), "Client certificate"),
        }
    }
}

fn certificate_name(subject: &Subject) -> BString {
    let peer = subject.tls.as_ref().and_then(|facts| facts.peer.as_ref());
    peer.map(|peer| peer.subject.as_str().into()).unwrap_or_default()
}

/// What a restriction does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Restriction {
    /// `permit`
    Permit,
    /// `reject`
    Reject,
    /// `defer`
    Defer,
    /// `defer_if_permit`
    DeferIfPermit,
    /// `defer_if_reject`
    DeferIfReject,
    /// `warn_if_reject`
    WarnIfReject,
    /// `sleep`, seconds
    Sleep(u32),
    /// `reject_unauth_pipelining`
    RejectUnauthPipelining,
    /// `reject_plaintext_session`
    RejectPlaintextSession,
    /// A name in `smtpd_restriction_classes`.
    Class(String),
    /// `check_*_access`, or a bare table: the index of the table.
    Access(AccessKey, usize),
    /// `permit_mynetworks`
    PermitMynetworks,
    /// `permit_inet_interfaces`
    PermitInetInterfaces,
    /// `permit_sasl_authenticated`: nobody is, without SASL.
    PermitNobody,
    /// `permit_tls_clientcerts`, `permit_tls_all_clientcerts`
    PermitCertificate(ClientCertificates),
    /// `reject_unknown_client_hostname`
    RejectUnknownClientHostname,
    /// `reject_unknown_reverse_client_hostname`
    RejectUnknownReverseClientHostname,
    /// `reject_invalid_helo_hostname`
    RejectInvalidHeloHostname,
    /// `reject_non_fqdn_helo_hostname`
    RejectNonFqdnHeloHostname,
    /// `reject_unknown_helo_hostname`
    RejectUnknownHeloHostname,
    /// `reject_non_fqdn_sender`
    RejectNonFqdnSender,
    /// `reject_unknown_sender_domain`
    RejectUnknownSenderDomain,
    /// `reject_unlisted_sender`
    RejectUnlistedSender,
    /// `permit_auth_destination`
    PermitAuthDestination,
    /// `reject_unauth_destination`
    RejectUnauthDestination,
    /// `defer_unauth_destination`
    DeferUnauthDestination,
    /// `reject_non_fqdn_recipient`
    RejectNonFqdnRecipient,
    /// `reject_unknown_recipient_domain`
    RejectUnknownRecipientDomain,
    /// `reject_unlisted_recipient`
    RejectUnlistedRecipient,
    /// `reject_multi_recipient_bounce`
    RejectMultiRecipientBounce,
    /// Cannot be evaluated: the reply is a configuration error. The text is for the log, each time.
    Misconfigured(String),
}

/// A restriction as it stands in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// As it is written, for log lines and explanations.
    pub name: String,
    /// What it does.
    pub restriction: Restriction,
}
