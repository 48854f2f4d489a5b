//! From what an agent did to the log line and the message to qmgr.

use std::time::SystemTime;

use bstr::BString;
use dsn::{Action, Delivery, Dsn, Status};
use ipc::delivery::{FromAgent, Request};
use log::lines::StatusLine;

use crate::{Settings, Timing};

/// `trace_flags`: an address probe of the verify service.
const PROBE_BY_SERVER: u32 = 256;
/// `trace_flags`: `sendmail -bv`.
const PROBE_BY_USER: u32 = 512;

/// The outcomes of one request so far, and what their log lines say besides.
#[derive(Debug)]
pub struct Report {
    /// Times of the delivery; agents mark the end of connection set-up.
    pub timing: Timing,
    /// How often the connection has been used, this time included (`conn_use=`).
    pub connection_uses: u32,
    /// `tls=`, of SMTP clients.
    pub tls: Option<String>,
    reported: Vec<bool>,
    passed_on: Vec<bool>,
}

impl Report {
    /// Nothing is reported yet.
    #[must_use]
    pub fn new(request: &Request) -> Report {
        let count = request.recipients.len();
        Report {
            timing: Timing::of(request),
            connection_uses: 1,
            tls: None,
            reported: vec![false; count],
            passed_on: vec![false; count],
        }
    }

    /// True when a recipient has its outcome.
    #[must_use]
    pub fn is_reported(&self, recipient: usize) -> bool {
        self.reported.get(recipient).copied().unwrap_or(true)
    }

    /// The recipients without outcome.
    pub fn unreported(&self) -> impl Iterator<Item = usize> + '_ {
        self.reported.iter().enumerate().filter(|(_, reported)| !**reported).map(|(index, _)| index)
    }

    /// The next system sends the success notices for this recipient.
    pub fn pass_on_notices(&mut self, recipient: usize) {
        if let Some(passed_on) = self.passed_on.get_mut(recipient) {
            *passed_on = true;
        }
    }

    /// Logs an outcome and makes the message for qmgr; `None` when the recipient already has one.
    pub(crate) fn outcome(
        &mut self,
        settings: &Settings,
        request: &Request,
        index: usize,
        relay: &[u8],
        delivery: Delivery,
    ) -> Option<FromAgent> {
        if self.is_reported(index) {
            return None;
        }
        let delivery = self.log(settings, request, index, relay, delivery);
        self.logged(request, index, relay, delivery)
    }

    /// The message for qmgr about an outcome that is in the log; `None` when the recipient already has one.
    pub(crate) fn logged(
        &mut self,
        request: &Request,
        index: usize,
        relay: &[u8],
        delivery: Delivery,
    ) -> Option<FromAgent> {
        if self.is_reported(index) {
            return None;
        }
        self.reported[index] = true;
        Some(FromAgent::Outcome {
            request: request.id,
            recipient: u32::try_from(index).unwrap_or(u32::MAX),
            delivery,
            relay: BString::from(relay),
            notices_passed_on: self.passed_on[index],
        })
    }

    /// Writes the status line; the result is the outcome as filter and soft_bounce have it.
    pub(crate) fn log(
        &self,
        settings: &Settings,
        request: &Request,
        index: usize,
        relay: &[u8],
        delivery: Delivery,
    ) -> Delivery {
        let recipient = &request.recipients[index];
        let (delivery, status) = decide(settings, request.trace_flags, delivery);
        let dsn = delivery.dsn();
        log::lines::status_line(&StatusLine {
            queue_id: request.queue_id.as_str(),
            recipient: &settings.shown(&recipient.address),
            original: &settings.shown(&recipient.original),
            relay,
            connection_uses: self.connection_uses,
            delays: self.timing.delays(SystemTime::now()),
            decimals: settings.decimals,
            tls: self.tls.as_deref(),
            dsn: &dsn.status,
            status,
            reason: &dsn.reason,
        });
        delivery
    }
}

/// What is logged and told for what an agent did: with filter and soft_bounce, and the words of probes.
fn decide(settings: &Settings, trace_flags: u32, delivery: Delivery) -> (Delivery, log::lines::Status) {
    use log::lines::Status as Word;
    let delivery = settings.filter.apply(delivery);
    if is_probe(trace_flags) {
        // The outcome of a probe is what it found out; nothing is returned or tried again for it.
        return match delivery {
            Delivery::Sent { dsn, .. } => (Delivery::Sent { action: Action::Deliverable, dsn }, Word::Deliverable),
            Delivery::Bounced(dsn) => (Delivery::Bounced(dsn), Word::Undeliverable),
            Delivery::Deferred(dsn) => (Delivery::Deferred(dsn), Word::Undeliverable),
        };
    }
    match delivery {
        Delivery::Sent { .. } => (delivery, Word::Sent),
        Delivery::Deferred(_) => (delivery, Word::Deferred),
        Delivery::Bounced(dsn) if settings.soft_bounce => {
            let status = dsn.status.with_class(dsn::Class::Transient);
            (Delivery::Deferred(Dsn { status, ..dsn }), Word::SoftBounce)
        }
        Delivery::Bounced(_) => (delivery, Word::Bounced),
    }
}

/// True for requests that must not deliver anything.
pub(crate) fn is_probe(trace_flags: u32) -> bool {
    trace_flags & (PROBE_BY_SERVER | PROBE_BY_USER) != 0
}

/// What becomes of a recipient that an agent forgot.
pub(crate) fn forgotten() -> Delivery {
    Delivery::Deferred(Dsn::new(Status::transient(3, 0), "unknown mail transport error"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn soft_bounce_and_probes() {
        use log::lines::Status as Word;
        let bounced = || Delivery::Bounced(Dsn::new(Status::permanent(1, 1), "unknown user"));
        let hard = Settings::default();
        let soft = Settings { soft_bounce: true, ..Settings::default() };
        assert_eq!(decide(&hard, 0, bounced()), (bounced(), Word::Bounced));
        let deferred = Delivery::Deferred(Dsn::new(Status::transient(1, 1), "unknown user"));
        assert_eq!(decide(&soft, 0, bounced()), (deferred, Word::SoftBounce));
        assert_eq!(decide(&soft, 256, bounced()), (bounced(), Word::Undeliverable));
        let sent = Delivery::Sent { action: Action::Delivered, dsn: Dsn::new(Status::success(0, 0), "x") };
        let probed = decide(&hard, 512, sent.clone());
        assert_eq!(probed.1, Word::Deliverable);
        assert!(matches!(probed.0, Delivery::Sent { action: Action::Deliverable, .. }));
        assert_eq!(decide(&hard, 1024, sent).1, Word::Sent);
    }
}
