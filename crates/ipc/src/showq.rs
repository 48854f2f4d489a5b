//! postqueue → showq (`public/showq`): the listing of the queue, message by message, ended by a close.

use bstr::BString;
use queue::{Directory, QueueId};
use serde::{Deserialize, Serialize};

/// One message of the listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Where it is.
    pub directory: Directory,
    /// Its id.
    pub queue_id: QueueId,
    /// Arrival, seconds since the epoch.
    pub arrival: i64,
    /// Size of the content.
    pub size: u64,
    /// `postsuper -e` was said.
    pub forced_expire: bool,
    /// External form; `empty_address_recipient` for the null sender.
    pub sender: BString,
    /// The recipients that are still to be delivered.
    pub recipients: Vec<Recipient>,
    /// False when more recipients of the same message follow in another entry.
    pub complete: bool,
}

/// One recipient of the listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipient {
    /// Before alias expansion, when known.
    pub original: BString,
    /// External form.
    pub address: BString,
    /// From the bounce or defer log.
    pub reason: Reason,
}

/// Why a recipient is still there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// Not tried yet.
    None,
    /// From the defer log.
    Delay(BString),
    /// From the bounce log.
    Bounce(BString),
}
