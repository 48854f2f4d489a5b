//! qmgr → delivery agents (`private/TRANSPORT`).
//!
//! qmgr connects; the agent says [`FromAgent::Hello`] with the number of deliveries it takes at a time on this
//! connection (1 for the programs that serve one job per process). qmgr sends [`Request`]s, each with a descriptor of the
//! queue file, open for reading only and locked shared: the agent reads with `pread` and closes it when it is done. The
//! agent reports each recipient's outcome as it happens, then that the request is finished. An agent that closes, or
//! dies, leaves the recipients without outcome to be tried again.

use bstr::BString;
use dsn::{Delivery, Dsn, Notify, Return};
use queue::{Directory, QueueId};
use serde::{Deserialize, Serialize};

/// A delivery request. Its descriptor comes along.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// qmgr's number for this request, unique on the connection.
    pub id: u64,
    /// Where the queue file is, for log lines and for marking it corrupt.
    pub directory: Directory,
    /// Its id.
    pub queue_id: QueueId,
    /// Offset of the first content record.
    pub content_offset: u64,
    /// Bytes of content, as `size=` shows it.
    pub content_length: u64,
    /// Next-hop destination, as resolved.
    pub nexthop: String,
    /// `BODY=` as stored: `7bit`, `8bit` or empty.
    pub encoding: String,
    /// Send options, as the sixth field of the size record.
    pub send_options: u32,
    /// Envelope sender, internal form.
    pub sender: BString,
    /// `ENVID=`, decoded.
    pub envelope_id: Option<BString>,
    /// `RET=`.
    pub ret: Option<Return>,
    /// When the message arrived, and when it entered the active queue: (seconds, microseconds).
    pub arrival: (i64, i64),
    /// See `arrival`.
    pub active: (i64, i64),
    /// Named attributes of the queue file: the client, SASL, log_ident, rewrite_context, ...
    pub attributes: Vec<(String, BString)>,
    /// Probe (256, 512) and record (1024) bits of `trace_flags`: with 256 or 512 nothing may be delivered.
    pub trace_flags: u32,
    /// The recipients.
    pub recipients: Vec<Recipient>,
}

impl Request {
    /// A named attribute.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&BString> {
        self.attributes.iter().find(|(have, _)| have == name).map(|(_, value)| value)
    }
}

/// One recipient of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipient {
    /// Internal form, as resolved.
    pub address: BString,
    /// Before virtual alias expansion; empty when the same.
    pub original: BString,
    /// `ORCPT=`, decoded.
    pub dsn_original: Option<BString>,
    /// `NOTIFY=`.
    pub notify: Notify,
}

/// From qmgr to an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToAgent {
    /// Deliver; a descriptor comes along.
    Deliver(Box<Request>),
}

/// From an agent to qmgr.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromAgent {
    /// First message: how many requests this connection takes at a time.
    Hello {
        /// At least 1.
        capacity: u32,
    },
    /// What became of one recipient; already logged by the agent.
    Outcome {
        /// The request.
        request: u64,
        /// Index into `Request::recipients`.
        recipient: u32,
        /// What became of it.
        delivery: Delivery,
        /// `relay=` of the log line, for success notices.
        relay: BString,
        /// The next system was asked to send the success notices: none is owed here.
        notices_passed_on: bool,
    },
    /// Every recipient has its outcome; the descriptor is closed.
    Finished {
        /// The request.
        request: u64,
        /// Set when the destination itself (not a recipient) did not work: counts against it in the scheduler.
        destination: Option<Dsn>,
    },
    /// The agent wants to end: send no more requests here, and close when the last one is finished. Requests that cross
    /// with this are still served.
    Draining,
    /// The queue file cannot be read: put it aside as corrupt.
    Corrupt {
        /// The request.
        request: u64,
    },
}
