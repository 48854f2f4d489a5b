//! What can go wrong with a server, as status, reason and notice fields.

use bstr::{BString, ByteSlice};
use dsn::{Dsn, Status};
use smtp_proto::client::Reply;

use crate::targets::Target;

/// Why a session, or a step of it, did not work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The connection could not be made.
    Connect(String),
    /// The server closed or the network failed, during this activity.
    Lost(&'static str),
    /// The server took too long, during this activity.
    TimedOut(&'static str),
    /// The server does not want to talk (greeting or EHLO refused).
    Refused(Reply),
    /// The server speaks something else.
    Protocol(&'static str, String),
    /// The server is ourselves.
    Loop(&'static str),
}

impl Trouble {
    /// Status, reason and notice fields for the recipients.
    #[must_use]
    pub fn dsn(&self, target: &Target) -> Dsn {
        let host = target.host_and_address();
        match self {
            Trouble::Connect(why) => {
                let place = match &target.address {
                    crate::targets::TargetAddress::Inet(_) => target.relay(),
                    crate::targets::TargetAddress::Unix(_) => host,
                };
                Dsn::new(Status::transient(4, 1), format!("connect to {place}: {why}"))
            }
            Trouble::Lost(activity) => {
                Dsn::new(Status::transient(4, 2), format!("lost connection with {host} while {activity}"))
            }
            Trouble::TimedOut(activity) => {
                Dsn::new(Status::transient(4, 2), format!("conversation with {host} timed out while {activity}"))
            }
            Trouble::Refused(reply) => {
                said(target, reply, format!("host {host} refused to talk to me: {}", reply.one_line().to_str_lossy()))
            }
            Trouble::Protocol(activity, why) => {
                Dsn::new(Status::transient(5, 0), format!("protocol error: host {host}: {why} while {activity}"))
            }
            Trouble::Loop(how) => {
                Dsn::new(Status::permanent(4, 6), format!("mail loops back to myself: host {host} {how}"))
            }
        }
    }
}

/// The status of a refused step: `host x said: ... (in reply to ... command)`.
#[must_use]
pub fn refusal(target: &Target, reply: &Reply, command: &str) -> Dsn {
    let text = reply.one_line();
    said(
        target,
        reply,
        format!("host {} said: {} (in reply to {command})", target.host_and_address(), text.to_str_lossy()),
    )
}

/// The status of a message that the server took.
#[must_use]
pub fn acceptance(target: &Target, reply: &Reply) -> Dsn {
    said(target, reply, reply.one_line())
}

fn said(target: &Target, reply: &Reply, reason: impl Into<BString>) -> Dsn {
    Dsn {
        status: reply.status(),
        reason: reason.into(),
        diagnostic: Some(("smtp".to_owned(), reply.one_line())),
        remote_mta: Some(("dns".to_owned(), BString::from(target.host.as_str()))),
    }
}

/// True when the recipient may be tried again: 4xx, and replies that are no answer to this step at all.
#[must_use]
pub fn is_transient(reply: &Reply, step_is_rcpt: bool) -> bool {
    match reply.code {
        // RFC 5321 4.5.3.1.10: too many recipients is 452, whatever old servers say.
        552 if step_is_rcpt => true,
        500..=599 => false,
        _ => true,
    }
}
