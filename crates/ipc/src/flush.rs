//! qmgr, smtpd (ETRN), postqueue → flush (`public/flush`): which deferred messages wait for which site.

use queue::QueueId;
use serde::{Deserialize, Serialize};

/// A request; each gets an [`Answer`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// This message was deferred for this site.
    Add {
        /// Domain or `[address]`.
        site: String,
        /// The message.
        queue_id: QueueId,
    },
    /// Retry what waits for this site (`postqueue -s`, ETRN).
    SendSite(String),
    /// Retry this message (`postqueue -i`).
    SendMessage(QueueId),
    /// Retry what was asked for before the queue manager could.
    Refresh,
    /// Forget sites that have not been used for fast_flush_purge_time.
    Purge,
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// Done.
    Ok,
    /// It did not work.
    Failed,
    /// Not a site or message that can be asked for.
    Bad,
    /// The site is not in fast_flush_domains.
    Denied,
}
