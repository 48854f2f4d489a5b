//! qmgr → bounce (`private/bounce`, `private/defer`, `private/trace`): notices that are owed. The logs they are made of
//! are already on disk; the three services are one program that answers on three sockets.

use bstr::BString;
use dsn::Return;
use queue::{Directory, QueueId};
use serde::{Deserialize, Serialize};

/// A request; each gets an [`Answer`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Which notice.
    pub notice: Notice,
    /// Where the message is.
    pub directory: Directory,
    /// Its id.
    pub queue_id: QueueId,
    /// Envelope sender, internal form.
    pub sender: BString,
    /// `ENVID=`, decoded.
    pub envelope_id: Option<BString>,
    /// `RET=`.
    pub ret: Option<Return>,
    /// `7bit`, `8bit` or empty.
    pub encoding: String,
    /// Send options, as the sixth field of the size record.
    pub send_options: u32,
    /// VERP delimiters, for a notice per recipient.
    pub verp: Option<[u8; 2]>,
}

/// Which notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Notice {
    /// Non-delivery, from the bounce log (or from the defer log of expired mail); the log is removed afterwards.
    Failure,
    /// Delay, from the defer log, which stays.
    Delay,
    /// Success or probe report, from the trace log; the log is removed afterwards.
    Success,
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// Sent, or nothing was owed; the log is gone where it should be.
    Done,
    /// It did not work: the message stays.
    Failed,
}
