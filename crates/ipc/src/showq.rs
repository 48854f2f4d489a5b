//! postqueue → showq (`public/showq`): the listing of the queue. showq speaks at once, message by message; its last word
//! is [`Listed::End`], so that a listing cut short is known to be one.

use serde::{Deserialize, Serialize};

pub use queue::listing::{Entry, Reason, Recipient};

/// From showq.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Listed {
    /// A message, or a part of one.
    Entry(Box<Entry>),
    /// That was all.
    End,
}
