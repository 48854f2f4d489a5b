//! What became of one recipient.

use bstr::BString;
use serde::{Deserialize, Serialize};

use crate::status::{Class, Status};

/// `Action` of a delivery status notification (RFC 3464 2.3.3), with the two words that address probes use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Action {
    /// Will not be delivered.
    Failed,
    /// Not yet delivered.
    Delayed,
    /// Delivered to its mailbox.
    Delivered,
    /// Handed to a system that may not send notices.
    Relayed,
    /// Replaced by several other recipients.
    Expanded,
    /// A probe: would have been delivered.
    Deliverable,
    /// A probe: would not have been delivered.
    Undeliverable,
}

impl Action {
    /// The word in notices and in bounce, defer and trace logs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Action::Failed => "failed",
            Action::Delayed => "delayed",
            Action::Delivered => "delivered",
            Action::Relayed => "relayed",
            Action::Expanded => "expanded",
            Action::Deliverable => "deliverable",
            Action::Undeliverable => "undeliverable",
        }
    }

    /// The action of a word.
    #[must_use]
    pub fn from_word(word: &[u8]) -> Option<Action> {
        use Action::{Delayed, Deliverable, Delivered, Expanded, Failed, Relayed, Undeliverable};
        [Failed, Delayed, Delivered, Relayed, Expanded, Deliverable, Undeliverable]
            .into_iter()
            .find(|action| action.word().as_bytes() == word)
    }
}

/// Why: what a notice, the log line and the retry decision need to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dsn {
    /// The enhanced status code.
    pub status: Status,
    /// For people; one line, no parentheses around it.
    pub reason: BString,
    /// Diagnostic type and text (`smtp`, the remote server's reply), when another system spoke.
    pub diagnostic: Option<(String, BString)>,
    /// MTA type and name (`dns`, the remote server), when another system spoke.
    pub remote_mta: Option<(String, BString)>,
}

impl Dsn {
    /// A status and its reason, found out by ourselves.
    #[must_use]
    pub fn new(status: Status, reason: impl Into<BString>) -> Dsn {
        Dsn { status, reason: reason.into(), diagnostic: None, remote_mta: None }
    }

    /// True for a 4.x.x status.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.status.class == Class::Transient
    }
}

/// What a delivery agent did for one recipient.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Delivery {
    /// Done: delivered, relayed or expanded, as `action` says.
    Sent {
        /// Which of the three.
        action: Action,
        /// Status and reason.
        dsn: Dsn,
    },
    /// Will not work; the sender is owed a notice.
    Bounced(Dsn),
    /// Did not work; try again later.
    Deferred(Dsn),
}

impl Delivery {
    /// Status and reason.
    #[must_use]
    pub fn dsn(&self) -> &Dsn {
        match self {
            Delivery::Sent { dsn, .. } | Delivery::Bounced(dsn) | Delivery::Deferred(dsn) => dsn,
        }
    }

    /// The `status=` word of the log line.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Delivery::Sent { .. } => "sent",
            Delivery::Bounced(_) => "bounced",
            Delivery::Deferred(_) => "deferred",
        }
    }
}
