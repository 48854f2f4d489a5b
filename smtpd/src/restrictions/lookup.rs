//! What a decision may ask the world. The running server answers from tables, routing and the resolver; a dry run or a
//! test from whatever it likes.

use bstr::BString;

/// A lookup has no answer now; the cause has been logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableFailure;

/// Where a recipient's mail goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Local, virtual alias or virtual mailbox domain.
    Final,
    /// `relay_domains`
    Relay,
    /// Anywhere else.
    Other,
}

/// Whose table does not have an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unlisted {
    /// `local_recipient_maps`
    Local,
    /// `virtual_alias_maps`
    VirtualAlias,
    /// `virtual_mailbox_maps`
    VirtualMailbox,
    /// `relay_recipient_maps`
    Relay,
    /// No table: routing leads to the error transport, with this status and text.
    Routing(dsn::Status, String),
}

/// What the resolver knows about a mail domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailDomain {
    /// It can get mail.
    Exists,
    /// It says that it gets none (RFC 7505).
    NullMx,
    /// It does not exist.
    NotFound,
    /// The answer makes no sense.
    Malformed,
    /// No answer now.
    TryAgain,
}

/// What the resolver knows about a host name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostFound {
    /// It has an address or a mail exchanger.
    Exists,
    /// It has not.
    NotFound,
    /// The answer makes no sense.
    Malformed,
    /// No answer now.
    TryAgain,
}

/// The world as far as restrictions look at it.
#[expect(async_fn_in_trait, reason = "one thread: no caller needs the futures to be Send")]
pub trait Lookup {
    /// `type:name` of an access table, by the index that [`super::Lists`] gave it.
    fn table_name(&self, table: usize) -> String;

    /// A key in an access table. `partial`: derived from what was asked for, so only fixed tables are asked.
    async fn access(&self, table: usize, key: &[u8], partial: bool) -> Result<Option<BString>, TableFailure>;

    /// A mail address in an access table, in all its forms.
    async fn access_address(&self, table: usize, address: &[u8]) -> Result<Option<BString>, TableFailure>;

    /// The client is in `mynetworks`.
    async fn in_mynetworks(&self, name: &str, address: &str) -> Result<bool, TableFailure>;

    /// The fingerprint is in `relay_clientcerts`.
    async fn is_relay_certificate(&self, fingerprint: &str) -> Result<bool, TableFailure>;

    /// Clients are asked for certificates (`smtpd_tls_ask_ccert`).
    fn asks_for_certificates(&self) -> bool;

    /// The address is one of ours (`inet_interfaces`, `proxy_interfaces`).
    fn is_own_address(&self, address: &str) -> bool;

    /// Where an address goes.
    async fn destination(&self, address: &[u8]) -> Result<Destination, TableFailure>;

    /// Whether the address is known where we are responsible for its domain; `None` when it is, or when we are not.
    async fn unlisted(&self, address: &[u8]) -> Result<Option<Unlisted>, TableFailure>;

    /// A domain of an address.
    async fn mail_domain(&self, domain: &[u8]) -> MailDomain;

    /// A host name.
    async fn host(&self, name: &[u8]) -> HostFound;
}
