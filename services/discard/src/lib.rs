//! The delivery agent that throws mail away and says that it was delivered. The next-hop destination of the transport is
//! the text of the log line (`discard:silently`).

use std::rc::Rc;

use delivery::{Agent, Job, split_status};
use dsn::{Action, Class, Delivery, Dsn, Status};
use server::{Account, StartError, Startup};

/// See the crate.
#[derive(Clone, Copy, Debug)]
pub struct DiscardAgent;

impl Agent for DiscardAgent {
    const PROGRAM: &'static str = "discard";
    const ACCOUNT: Account = Account::MailOwner;

    fn prepare(_start: &Startup) -> Result<DiscardAgent, StartError> {
        Ok(DiscardAgent)
    }

    async fn deliver(self: Rc<Self>, mut job: Job) {
        let outcome = outcome(&job.request.nexthop);
        job.report_rest(b"none", &outcome);
        job.finish(None);
    }
}

/// Always a success; a status code at the beginning of the text is used when it is one of success.
fn outcome(nexthop: &str) -> Delivery {
    let (status, reason) = split_status(nexthop, "2.0.0");
    let status = if status.class == Class::Success { status } else { Status::success(0, 0) };
    let reason = if reason.is_empty() { "(no reason given)".to_owned() } else { reason };
    Delivery::Sent { action: Action::Delivered, dsn: Dsn::new(status, reason) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_outcomes() {
        let cases = [
            ("example.com", "2.0.0", "example.com"),
            ("2.1.5 silently", "2.1.5", "silently"),
            ("5.1.1 odd", "2.0.0", "odd"),
            ("", "2.0.0", "(no reason given)"),
        ];
        for (nexthop, status, reason) in cases {
            let outcome = outcome(nexthop);
            assert_eq!((outcome.word(), outcome.dsn().status.to_string().as_str()), ("sent", status), "{nexthop}");
            assert_eq!(outcome.dsn().reason, reason, "{nexthop}");
        }
    }
}
