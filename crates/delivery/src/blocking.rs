//! Blocking agents: one delivery after the other in a plain process that may fork and change identity.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::SystemTime;

use dsn::{Delivery, Dsn};
use ipc::blocking::Connection;
use ipc::delivery::{FromAgent, Request, ToAgent};
use server::{Account, JobService, StartError, Startup};

use crate::report::{forgotten, is_probe};
use crate::{Content, Report, Settings};

/// A program that delivers one message after the other.
pub trait BlockingAgent: Sized {
    /// Its name, `local`.
    const PROGRAM: &'static str;
    /// What it runs as.
    const ACCOUNT: Account;

    /// Reads settings and opens tables, before the jail.
    ///
    /// # Errors
    /// What keeps the program from starting.
    fn prepare(start: &Startup) -> Result<Self, StartError>;

    /// Delivers one message to its recipients; what it does not report is deferred.
    fn deliver(&mut self, job: &mut BlockingJob<'_>);

    /// A table that has changed since it was opened, as the log line shows it: it is opened afresh before the next
    /// delivery.
    fn changed_table(&self) -> Option<String> {
        None
    }
}

/// `main` of a blocking agent.
#[must_use]
pub fn run_blocking<A: BlockingAgent + 'static>() -> ExitCode {
    server::run_jobs::<Service<A>>()
}

struct Service<A> {
    agent: A,
    settings: Settings,
    start: Startup,
}

/// Looks at the tables before a delivery, since a connection may bring many. What is outside of a jail opens them again;
/// from within one they are out of reach, and another process has to take over: false.
fn is_up_to_date<A: BlockingAgent>(agent: &mut A, start: &Startup) -> bool {
    let Some(table) = agent.changed_table() else { return true };
    log::lines::table_changed(&table);
    if start.chroot {
        return false;
    }
    match A::prepare(start) {
        Ok(fresh) => {
            *agent = fresh;
            true
        }
        Err(error) => {
            log::warning!("{error}");
            false
        }
    }
}

impl<A: BlockingAgent + 'static> JobService for Service<A> {
    const PROGRAM: &'static str = A::PROGRAM;
    const ACCOUNT: Account = A::ACCOUNT;

    fn prepare(start: &Startup) -> Result<Self, StartError> {
        let settings = Settings::load(&start.config, A::PROGRAM)?;
        Ok(Service { agent: A::prepare(start)?, settings, start: start.clone() })
    }

    fn reload_needed(&self) -> bool {
        self.start.chroot && self.agent.changed_table().is_some()
    }

    fn serve(&mut self, connection: UnixStream) {
        let Service { agent, settings, start } = self;
        let served = serve(Connection::new(connection), settings, |job| {
            // The queue manager asks another process at once when a connection closes without an answer.
            let ready = is_up_to_date(agent, start);
            if ready {
                agent.deliver(job);
            }
            ready
        });
        if let Err(error) = served {
            log::warning!("problem talking to the queue manager: {error}");
        }
    }
}

/// Serves one connection of qmgr until it closes, or until `deliver` says that this process cannot serve.
fn serve(
    mut connection: Connection,
    settings: &Settings,
    mut deliver: impl FnMut(&mut BlockingJob<'_>) -> bool,
) -> Result<(), ipc::Error> {
    connection.send(&FromAgent::Hello { capacity: 1 })?;
    loop {
        let request = match connection.receive() {
            Ok(Some(ToAgent::Deliver(request))) => request,
            Ok(None) => return Ok(()),
            // A queue manager that ends closes its connections wherever they are; between deliveries that is no problem.
            Err(error) if error.is_idle_visit() => return Ok(()),
            Err(error) => return Err(error),
        };
        let file = connection.take_descriptor()?;
        let mut job = BlockingJob::new(*request, file, settings, Some(&mut connection));
        if !deliver(&mut job) {
            return Ok(());
        }
        job.complete();
        log::flush();
        connection.flush()?;
    }
}

/// A delivery request with its descriptor, and how to answer it.
#[derive(Debug)]
pub struct BlockingJob<'a> {
    /// The request.
    pub request: Request,
    /// What the log lines say besides: times.
    pub report: Report,
    file: Rc<OwnedFd>,
    settings: &'a Settings,
    connection: Option<&'a mut Connection>,
    said: Vec<FromAgent>,
    destination: Option<Dsn>,
    corrupt: bool,
}

impl<'a> BlockingJob<'a> {
    fn new(
        request: Request,
        file: OwnedFd,
        settings: &'a Settings,
        connection: Option<&'a mut Connection>,
    ) -> BlockingJob<'a> {
        let report = Report::new(&request);
        BlockingJob {
            request,
            report,
            file: Rc::new(file),
            settings,
            connection,
            said: Vec::new(),
            destination: None,
            corrupt: false,
        }
    }

    /// A job that is not connected to any qmgr, for tests of agents; what it says is taken with [`BlockingJob::said`].
    #[must_use]
    pub fn detached(request: Request, file: OwnedFd, settings: &'a Settings) -> BlockingJob<'a> {
        BlockingJob::new(request, file, settings, None)
    }

    /// What a detached job has said so far.
    #[must_use]
    pub fn said(&self) -> &[FromAgent] {
        &self.said
    }

    /// The content, from its first line; as often as needed.
    #[must_use]
    pub fn content(&self) -> Content {
        Content::new(self.file.clone(), self.request.content_offset)
    }

    /// The queue file, open for reading; a child that delivers inherits or duplicates it.
    #[must_use]
    pub fn file(&self) -> &Rc<OwnedFd> {
        &self.file
    }

    /// True when nothing may be delivered: only find out whether it could be.
    #[must_use]
    pub fn is_probe(&self) -> bool {
        is_probe(self.request.trace_flags)
    }

    /// Set-up is over, transmission begins.
    pub fn connected(&mut self) {
        self.report.timing.connected(SystemTime::now());
    }

    /// What became of one recipient: logs the status line and tells qmgr, at once unless it was the last. Only the first
    /// outcome of a recipient counts.
    pub fn report(&mut self, recipient: usize, relay: &[u8], delivery: Delivery) {
        let message = self.report.outcome(self.settings, &self.request, recipient, relay, delivery);
        self.tell(message);
    }

    /// Logs what became of one part of a recipient; the result is that outcome as it counts (status filter,
    /// soft_bounce), for [`BlockingJob::report_logged`].
    pub fn log(&self, recipient: usize, relay: &[u8], delivery: Delivery) -> Delivery {
        self.report.log(self.settings, &self.request, recipient, relay, delivery)
    }

    /// Tells qmgr an outcome that is in the log already.
    pub fn report_logged(&mut self, recipient: usize, relay: &[u8], delivery: Delivery) {
        let message = self.report.logged(&self.request, recipient, relay, delivery);
        self.tell(message);
    }

    fn tell(&mut self, message: Option<FromAgent>) {
        let Some(message) = message else { return };
        let more = self.report.unreported().next().is_some();
        self.say(message);
        if let Some(connection) = self.connection.as_mut().filter(|_| more) {
            // Should qmgr be gone, the last answer finds out too.
            let _ = connection.flush();
        }
    }

    /// The same for every recipient without outcome.
    pub fn report_rest(&mut self, relay: &[u8], delivery: &Delivery) {
        for recipient in 0..self.request.recipients.len() {
            self.report(recipient, relay, delivery.clone());
        }
    }

    /// The destination itself does not work, for this reason; counts against it.
    pub fn fail_destination(&mut self, dsn: Dsn) {
        self.destination = Some(dsn);
    }

    /// The queue file cannot be read: qmgr puts it aside.
    pub fn corrupt(&mut self) {
        self.corrupt = true;
    }

    fn say(&mut self, message: FromAgent) {
        match &mut self.connection {
            Some(connection) => {
                if let Err(error) = connection.queue(&message) {
                    log::warning!("{}: cannot report an outcome: {error}", self.request.queue_id);
                }
            }
            None => self.said.push(message),
        }
    }

    fn complete(mut self) {
        let request = self.request.id;
        if self.corrupt {
            self.say(FromAgent::Corrupt { request });
            return;
        }
        self.report_rest(b"none", &forgotten());
        let destination = self.destination.take();
        self.say(FromAgent::Finished { request, destination });
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use dsn::{Action, Status};
    use ipc::delivery::Recipient;

    pub(crate) fn request(recipients: usize) -> Request {
        Request {
            id: 7,
            directory: queue::Directory::Active,
            queue_id: "ABC".parse().expect("id"),
            content_offset: 0,
            content_length: 0,
            nexthop: "x".into(),
            encoding: String::new(),
            send_options: 0,
            sender: "s@x".into(),
            envelope_id: None,
            ret: None,
            arrival: (1, 0),
            active: (2, 0),
            attributes: Vec::new(),
            trace_flags: 0,
            recipients: vec![Recipient { address: "r@x".into(), ..Recipient::default() }; recipients],
        }
    }

    #[test]
    fn a_connection_from_hello_to_close() {
        let (ours, theirs) = UnixStream::pair().expect("pair");
        let agent = std::thread::spawn(move || {
            let settings = Settings::default();
            serve(Connection::new(theirs), &settings, |job| {
                let dsn = Dsn::new(Status::success(0, 0), "delivered");
                job.report(1, b"local", Delivery::Sent { action: Action::Delivered, dsn: dsn.clone() });
                job.report(1, b"local", Delivery::Bounced(dsn));
                job.fail_destination(Dsn::new(Status::transient(4, 1), "no answer"));
                true
            })
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        runtime.block_on(async {
            ours.set_nonblocking(true).expect("nonblocking");
            let mut qmgr = ipc::Connection::new(tokio::net::UnixStream::from_std(ours).expect("stream"));
            assert_eq!(qmgr.expect::<FromAgent>().await.expect("hello"), FromAgent::Hello { capacity: 1 });
            let file = OwnedFd::from(std::fs::File::open("/dev/null").expect("open"));
            qmgr.queue_with_descriptor(&ToAgent::Deliver(Box::new(request(3))), file).expect("queue");
            qmgr.flush().await.expect("flush");
            let mut seen = Vec::new();
            for _ in 0..4 {
                seen.push(match qmgr.expect::<FromAgent>().await.expect("answer") {
                    FromAgent::Outcome { recipient, delivery, .. } => (recipient, delivery.word()),
                    FromAgent::Finished { request, destination } => {
                        assert!(destination.is_some());
                        (request as u32, "finished")
                    }
                    other => panic!("{other:?}"),
                });
            }
            assert_eq!(seen, [(1, "sent"), (0, "deferred"), (2, "deferred"), (7, "finished")]);
        });
        agent.join().expect("thread").expect("clean end");
    }

    #[test]
    fn a_wake_up_is_nothing_to_complain_about() {
        for speak in [&b"\x02\0\0\0\x02W"[..], b"W", b""] {
            let (mut ours, theirs) = UnixStream::pair().expect("pair");
            std::io::Write::write_all(&mut ours, speak).expect("write");
            drop(ours);
            let outcome = serve(Connection::new(theirs), &Settings::default(), |_| panic!("no request came"));
            assert!(outcome.err().is_none_or(|error| error.is_idle_visit()), "{speak:?}");
        }
    }
}
