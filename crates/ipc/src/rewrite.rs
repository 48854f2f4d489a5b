//! qmgr, local → rewrite (`private/rewrite`): address rewriting and resolving, in batches.
//!
//! One request, one answer, in order; a client may have several requests on the way.

use bstr::BString;
use serde::{Deserialize, Serialize};

/// A request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Where do these recipients go? The answer has as many [`Resolved`] in the same order.
    Resolve {
        /// Envelope sender, for the sender-dependent tables.
        sender: BString,
        /// Recipients, internal form.
        recipients: Vec<BString>,
        /// A verification probe: the `address_verify_` forms of the parameters apply.
        probe: bool,
    },
    /// Complete these addresses (internal form in, internal form out).
    Rewrite {
        /// In the `local` or else the `remote` context.
        local: bool,
        /// The addresses.
        addresses: Vec<BString>,
    },
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// To `Resolve`.
    Resolved(Vec<Resolved>),
    /// To `Rewrite`.
    Rewritten(Vec<BString>),
}

/// Where one recipient goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Resolved {
    /// To a transport.
    Route(Route),
    /// A table lookup failed: try again later. The reason is for the log.
    Defer(String),
    /// The address cannot be resolved at all (5.1.3 or the status in the text).
    Reject(String),
}

/// A transport, a destination and a recipient.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Route {
    /// Name of the `master.cf` service below `private/`.
    pub transport: String,
    /// Next-hop destination.
    pub nexthop: String,
    /// The recipient in the form that the transport wants, internal.
    pub recipient: BString,
    /// The address class.
    pub class: Class,
}

/// Address classes: who is responsible for a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Class {
    /// mydestination, inet_interfaces, proxy_interfaces.
    Local,
    /// virtual_alias_domains.
    VirtualAlias,
    /// virtual_mailbox_domains.
    VirtualMailbox,
    /// relay_domains.
    Relay,
    /// Everybody else.
    Default,
}
