//! A delivery in an asynchronous agent.

use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::SystemTime;

use dsn::{Delivery, Dsn};
use ipc::delivery::{FromAgent, Request};
use tokio::sync::Notify;

use crate::report::{forgotten, is_probe};
use crate::{Content, Report, Settings};

/// What waits to be told to qmgr on one connection.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    pub(crate) messages: RefCell<Vec<FromAgent>>,
    pub(crate) filled: Notify,
}

impl Outbox {
    pub(crate) fn put(&self, message: FromAgent) {
        self.messages.borrow_mut().push(message);
        self.filled.notify_one();
    }
}

/// A delivery request with its descriptor, and how to answer it.
#[derive(Debug)]
pub struct Job {
    /// The request.
    pub request: Request,
    /// What the log lines say besides: times, connection uses, TLS.
    pub report: Report,
    file: Rc<OwnedFd>,
    settings: Rc<Settings>,
    outbox: Rc<Outbox>,
    answered: bool,
}

impl Job {
    pub(crate) fn new(request: Request, file: OwnedFd, settings: Rc<Settings>, outbox: Rc<Outbox>) -> Job {
        let report = Report::new(&request);
        Job { request, report, file: Rc::new(file), settings, outbox, answered: false }
    }

    /// A job that is not connected to any qmgr, for tests of agents; what it says is taken with [`Job::said`].
    #[must_use]
    pub fn detached(request: Request, file: OwnedFd, settings: Settings) -> Job {
        Job::new(request, file, Rc::new(settings), Rc::new(Outbox::default()))
    }

    /// What a detached job has said so far.
    #[must_use]
    pub fn said(&self) -> Vec<FromAgent> {
        self.outbox.messages.borrow().clone()
    }

    /// The content, from its first line; as often as needed.
    #[must_use]
    pub fn content(&self) -> Content {
        Content::new(self.file.clone(), self.request.content_offset)
    }

    /// True when nothing may be delivered: only find out whether it could be.
    #[must_use]
    pub fn is_probe(&self) -> bool {
        is_probe(self.request.trace_flags)
    }

    /// Connection set-up is over, transmission begins.
    pub fn connected(&mut self) {
        self.report.timing.connected(SystemTime::now());
    }

    /// What became of one recipient: logs the status line and tells qmgr. Only the first outcome of a recipient counts.
    pub fn report(&mut self, recipient: usize, relay: &[u8], delivery: Delivery) {
        if let Some(message) = self.report.outcome(&self.settings, &self.request, recipient, relay, delivery) {
            self.outbox.put(message);
        }
    }

    /// The same for every recipient without outcome.
    pub fn report_rest(&mut self, relay: &[u8], delivery: &Delivery) {
        for recipient in 0..self.request.recipients.len() {
            self.report(recipient, relay, delivery.clone());
        }
    }

    /// The request is done; `destination` says why the destination itself did not work, if so, which counts against it.
    pub fn finish(mut self, destination: Option<Dsn>) {
        self.complete(destination);
    }

    /// The queue file cannot be read: qmgr puts it aside.
    pub fn corrupt(mut self) {
        self.answered = true;
        self.outbox.put(FromAgent::Corrupt { request: self.request.id });
    }

    fn complete(&mut self, destination: Option<Dsn>) {
        self.answered = true;
        self.report_rest(b"none", &forgotten());
        self.outbox.put(FromAgent::Finished { request: self.request.id, destination });
    }
}

impl Drop for Job {
    /// A delivery that ended without an answer, by a panic: its recipients are tried again.
    fn drop(&mut self) {
        if !self.answered {
            self.complete(None);
        }
    }
}
