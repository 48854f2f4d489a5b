//! The delivery agent that delivers nothing: `error` returns mail to its sender and `retry` defers it, with the reason
//! that the next-hop destination of the transport spells out (`error:5.1.1 no such user`).

use std::rc::Rc;

use delivery::{Agent, Job, split_status};
use dsn::{Class, Delivery, Dsn};
use server::{Account, StartError, Startup};

/// What it was started as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorAgent {
    /// `error`: what is not a transient status is returned.
    Return,
    /// `retry`: everything is deferred.
    Defer,
}

impl Agent for ErrorAgent {
    const PROGRAM: &'static str = "error";
    const ACCOUNT: Account = Account::MailOwner;

    fn prepare(start: &Startup) -> Result<ErrorAgent, StartError> {
        Ok(if start.service == "retry" { ErrorAgent::Defer } else { ErrorAgent::Return })
    }

    async fn deliver(self: Rc<Self>, mut job: Job) {
        let outcome = self.outcome(&job.request.nexthop);
        job.report_rest(b"none", &outcome);
        job.finish(None);
    }
}

impl ErrorAgent {
    /// The outcome that a next-hop text asks for. `retry` turns a permanent status into a transient one, `error` takes
    /// the status as it is; a success makes no sense here.
    #[must_use]
    pub fn outcome(self, nexthop: &str) -> Delivery {
        let default = match self {
            ErrorAgent::Return => "5.0.0",
            ErrorAgent::Defer => "4.0.0",
        };
        let (status, reason) = split_status(nexthop, default);
        let reason = if reason.is_empty() { "(no reason given)".to_owned() } else { reason };
        match (self, status.class) {
            (ErrorAgent::Return, Class::Transient) => Delivery::Deferred(Dsn::new(status, reason)),
            (ErrorAgent::Return, _) => Delivery::Bounced(Dsn::new(status.with_class(Class::Permanent), reason)),
            (ErrorAgent::Defer, _) => Delivery::Deferred(Dsn::new(status.with_class(Class::Transient), reason)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_outcomes() {
        use ErrorAgent::{Defer, Return};
        let cases = [
            (Return, "5.1.1 no such user", "bounced", "5.1.1", "no such user"),
            (Return, "mail system is closed", "bounced", "5.0.0", "mail system is closed"),
            (Return, "4.3.2 later", "deferred", "4.3.2", "later"),
            (Return, "2.0.0 odd", "bounced", "5.0.0", "odd"),
            (Defer, "5.1.1 no such user", "deferred", "4.1.1", "no such user"),
            (
                Defer,
                "4.4.1 delivery temporarily suspended: x",
                "deferred",
                "4.4.1",
                "delivery temporarily suspended: x",
            ),
            (Defer, "", "deferred", "4.0.0", "(no reason given)"),
        ];
        for (agent, nexthop, word, status, reason) in cases {
            let outcome = agent.outcome(nexthop);
            assert_eq!(outcome.word(), word, "{nexthop}");
            assert_eq!(outcome.dsn().status.to_string(), status, "{nexthop}");
            assert_eq!(outcome.dsn().reason, reason, "{nexthop}");
        }
    }
}
