//! smtpd, pickup, bounce, local → cleanup (`public/cleanup`): how a message enters the queue.
//!
//! A connection carries any number of transactions, one after the other:
//!
//! 1. client: [`ToCleanup::Begin`]; cleanup: [`FromCleanup::Opened`].
//! 2. client: `Sender`, then `Recipient`s (and `Bcc`, `Action`, `Header` as decisions are made), without answers.
//! 3. client: `Content`, then data frames: lines that end in LF, cut anywhere; a last line may lack its LF.
//! 4. client: `End`; cleanup: [`FromCleanup::Done`], and only after the message is on disk when it says `Queued`.
//!
//! `Abort` at any place after `Begin`, or a close, drops the message; it has no answer.

use bstr::BString;
use dsn::{Notify, Return};
use queue::QueueId;
use serde::{Deserialize, Serialize};

/// From a client to cleanup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToCleanup {
    /// Opens a queue file.
    Begin(Box<Begin>),
    /// The envelope sender, internal form; empty for the null sender.
    Sender(Sender),
    /// One envelope recipient.
    Recipient(Recipient),
    /// One more recipient that an access decision added (`BCC`), outside the sender's knowledge.
    Bcc(BString),
    /// What an access decision wants done with the whole message.
    Action(Action),
    /// A header that an access decision wants on top (`PREPEND`): a whole line.
    Header(BString),
    /// Another named attribute of the queue file (`sasl_username`, ...); the name and value of an `A` record.
    Attribute(String, BString),
    /// Data frames follow.
    Content,
    /// The message is complete.
    End,
    /// Forget the message.
    Abort,
}

/// How a message begins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begin {
    /// Where it came from.
    pub origin: Origin,
    /// What to do with it on the way in.
    pub options: Options,
    /// The client, as log lines, Received headers and later daemons want it.
    pub client: Client,
    /// Whose domain completes incomplete addresses: true for `local` (append_at_myorigin), false for `remote`.
    pub rewrite_local: bool,
    /// Posting time (seconds, microseconds since the epoch) when it is not now: requeued or forwarded mail.
    pub arrival: Option<(i64, i64)>,
    /// `log_ident`: the queue id that this message had before.
    pub log_ident: Option<String>,
    /// The sender's full name (`F` record), of local submissions.
    pub full_name: Option<BString>,
    /// `trace_flags` of the queue file (verify probes, `sendmail -v`).
    pub trace_flags: u32,
    /// VERP delimiters.
    pub verp: Option<[u8; 2]>,
    /// content_filter of the receiving service (`transport:nexthop`).
    pub content_filter: Option<String>,
    /// `BODY=`: 7bit or 8bit; none when the client did not say.
    pub encoding: Option<Encoding>,
    /// Send options, as the sixth field of the size record.
    pub send_options: u32,
    /// The Received header (without name and final line end), as far as the receiving daemon knows it: the text up to
    /// and including the `with` clause's line. cleanup adds ` id QUEUEID`, the recipient when there is just one, and date.
    pub received: Option<Received>,
}

/// What the Received header (RFC 5321 4.4) says before the id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Received {
    /// The lines before the `by` clause, such as `from helo (name [addr])`, without line ends; folded with TAB.
    pub from: Vec<BString>,
    /// The protocol after `with` (`ESMTP`, `SMTP`, ...); none for local submission.
    pub protocol: Option<String>,
    /// `userid N` for local submission.
    pub uid: Option<u32>,
}

/// Where a message came from; it decides about defaults such as bouncing and missing headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    /// Over the network.
    #[default]
    Smtp,
    /// `sendmail`, by way of pickup.
    Local,
    /// A notice of our own (bounce, delay, postmaster).
    Notice,
    /// Re-injected by local for an alias or `.forward`.
    Forward,
    /// An address verification probe.
    Probe,
}

/// What to do on the way in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches of the cleanup protocol")]
pub struct Options {
    /// Mail that cannot be accepted is bounced to its sender, for submitters who cannot be told at once.
    pub bounce: bool,
    /// header_checks and body_checks apply (`receive_override_options`).
    pub header_body_checks: bool,
    /// always_bcc and the bcc maps apply.
    pub automatic_bcc: bool,
    /// canonical, virtual and masquerading apply.
    pub address_mapping: bool,
    /// Milters apply.
    pub milters: bool,
    /// Put on hold.
    pub hold: bool,
    /// Recipients are (also) taken from To, Cc and Bcc, or their Resent- forms (`sendmail -t`).
    pub extract_recipients: bool,
}

/// The client of a message. `unknown` where something is not known, as queue files have it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    /// Verified host name.
    pub name: String,
    /// Host name by address alone.
    pub reverse_name: String,
    /// Address without brackets.
    pub address: String,
    /// Port.
    pub port: String,
    /// Our own address of the connection.
    pub server_address: String,
    /// Our own port.
    pub server_port: String,
    /// HELO or EHLO argument.
    pub helo: BString,
    /// `SMTP` or `ESMTP`.
    pub protocol: String,
    /// What an XFORWARD client said instead, for logging only.
    pub forwarded: Option<Box<Client>>,
}

/// `BODY=` of RFC 6152.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Encoding {
    /// `7BIT`
    SevenBit,
    /// `8BITMIME`
    EightBit,
}

/// The envelope sender.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sender {
    /// Internal (unquoted) form; empty for the null sender.
    pub address: BString,
    /// `ENVID=`, decoded.
    pub envelope_id: Option<BString>,
    /// `RET=`.
    pub ret: Option<Return>,
}

/// One envelope recipient.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipient {
    /// Internal (unquoted) form.
    pub address: BString,
    /// `ORCPT=`, decoded: `type;address`.
    pub original: Option<BString>,
    /// The recipient before any rewriting, when it differs and is known already (re-queued mail).
    pub before_rewriting: Option<BString>,
    /// `NOTIFY=`.
    pub notify: Notify,
}

/// What an access decision wants done with the whole message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// `HOLD`
    Hold,
    /// `DISCARD`
    Discard,
    /// `FILTER transport:nexthop`
    Filter(String),
    /// `REDIRECT address`
    Redirect(BString),
    /// `DELAY`, seconds
    Delay(u32),
}

/// From cleanup to its client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromCleanup {
    /// The queue file is there.
    Opened(QueueId),
    /// It cannot be opened; the transaction is over.
    Unavailable(Refusal),
    /// The message is on disk, or was discarded as asked: answer 250.
    Queued,
    /// The message was not accepted; nothing is left of it.
    Refused(Refusal),
}

/// Why a message was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// 451 4.3.0: the queue file cannot be written.
    Write,
    /// 452 4.3.1: no room on the disk.
    NoSpace,
    /// 552 5.3.4: larger than message_size_limit.
    Size,
    /// 554 5.4.0: more Received headers than hopcount_limit.
    Hops,
    /// 550 5.1.0: no recipients at all.
    NoRecipients,
    /// 451 4.3.0: a table lookup failed, or a map expands without end.
    Lookup,
    /// 550 5.7.1 or a text of the checks: refused for its content; a whole reply when it begins with a code.
    Content(BString),
    /// 451 4.3.0: not what the protocol has.
    Protocol,
}
