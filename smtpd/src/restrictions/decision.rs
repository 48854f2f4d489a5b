//! What was decided.

use bstr::BString;
use dsn::{Class, Status};
use smtp_proto::server::Problems;

/// The verdict with all that goes along.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Yes or no.
    pub verdict: Verdict,
    /// What to do besides, in this order.
    pub effects: Vec<Effect>,
    /// Which restriction made the verdict; none when no restriction had an opinion.
    pub cause: Option<Cause>,
}

/// Yes or no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A restriction permits, or none objects.
    Permit,
    /// Answer with this.
    Refuse(Refusal),
    /// Close the connection without a word.
    HangUp,
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The SMTP code.
    pub code: u16,
    /// The enhanced status code; its first digit is that of the code.
    pub status: Status,
    /// The text after them.
    pub text: BString,
    /// What kind of trouble it is.
    pub problem: Problems,
}

impl Refusal {
    /// A refusal; the status takes the class of the code.
    #[must_use]
    pub fn new(problem: Problems, code: u16, status: Status, text: impl Into<BString>) -> Refusal {
        let class = Class::from_digit((code / 100) as u8).unwrap_or(status.class);
        Refusal { code, status: status.with_class(class), text: text.into(), problem }
    }

    /// A table has no answer now.
    #[must_use]
    pub fn lookup_failure(name: &[u8]) -> Refusal {
        let text = [b"<", name, b">: Temporary lookup failure"].concat();
        Refusal::new(Problems::DATA, 451, Status::transient(3, 0), text)
    }

    /// We are misconfigured.
    #[must_use]
    pub fn configuration_error() -> Refusal {
        Refusal::new(Problems::SOFTWARE, 451, Status::transient(3, 5), "Server configuration error")
    }

    /// `450 4.7.1 <x>: Client host rejected: ...`
    #[must_use]
    pub fn reply(&self) -> Vec<u8> {
        let mut reply = format!("{} {} ", self.code, self.status).into_bytes();
        reply.extend_from_slice(&self.text);
        reply
    }
}

/// What to do besides answering.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// `reject_warning` in the log: this would have been the reply.
    RejectWarning(Refusal),
    /// A line `action: ... text` in the log (`warn`, `info`, `hold`, `filter`, `discard`, `redirect`, `bcc`, ...).
    Log {
        /// The word.
        action: &'static str,
        /// The text.
        text: BString,
    },
    /// A `warning:` line.
    Warning(String),
    /// A line without severity.
    Info(String),
    /// Pause, in seconds.
    Sleep(u32),
    /// Put the message on hold.
    Hold,
    /// Throw the message away and say nothing.
    Discard,
    /// `transport:nexthop` for the whole message.
    Filter(String),
    /// Replace all recipients.
    Redirect(BString),
    /// One more recipient.
    Bcc(BString),
    /// A header on top.
    Prepend(BString),
}

/// Which restriction, table and value made a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The list's parameter.
    pub list: &'static str,
    /// The restriction as it is written.
    pub restriction: String,
    /// `type:name`, when it was a table.
    pub table: Option<String>,
    /// What the table said.
    pub value: Option<BString>,
}
