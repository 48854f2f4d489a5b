//! Access restrictions: what `smtpd_*_restrictions` decide, apart from carrying it out.
//!
//! [`Lists`] are the parsed lists, [`Lookup`] is what a decision may ask the world, [`Engine`] decides, and a
//! [`Decision`] says what, with the [`Effect`]s that go along, and which restriction, table and value made it.

mod access;
mod address_checks;
mod certificate_checks;
mod decision;
mod engine;
mod host_checks;
mod lookup;
mod parse;
mod policy;
mod rule;
mod safety;
#[cfg(test)]
mod tests;

pub use certificate_checks::{ClientCertificates, FingerprintOrder};
pub use decision::{Cause, Decision, Effect, Refusal, Verdict};
pub use engine::{Carried, Engine};
pub use lookup::{Destination, HostFound, Lookup, MailDomain, TableFailure, Unlisted};
pub use parse::Lists;
pub use policy::{Codes, Policy, TempfailAction};
pub use rule::{AccessKey, Restriction, Rule, Stage};
pub use safety::RELAY_CONTROL_MISSING;

use std::rc::Rc;

use bstr::BString;
use tls::TlsFacts;

/// Who a decision is about.
#[derive(Clone, Debug, Default)]
pub struct Subject {
    /// Verified host name, or `unknown`.
    pub client_name: String,
    /// Host name by address alone, or `unknown`.
    pub reverse_name: String,
    /// The lack of a verified name may be temporary.
    pub name_tempfail: bool,
    /// The lack of a name by address may be temporary.
    pub reverse_tempfail: bool,
    /// Address, without brackets.
    pub client_address: String,
    /// `name[address]`
    pub client: String,
    /// HELO or EHLO argument.
    pub helo: Option<BString>,
    /// Envelope sender, internal form.
    pub sender: Option<BString>,
    /// The recipient at hand, internal form.
    pub recipient: Option<BString>,
    /// Recipients that were accepted in this transaction.
    pub recipients: u32,
    /// The client sent more before it could know the last reply.
    pub pipelines_unasked: bool,
    /// The message will be discarded: everything goes.
    pub discarded: bool,
    /// ETRN's domain.
    pub etrn_domain: Option<BString>,
    /// The session is under TLS, and this is what it is like.
    pub tls: Option<Rc<TlsFacts>>,
}
