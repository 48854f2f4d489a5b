//! One client's session: carries out the steps of the protocol's state machine.

use std::rc::Rc;
use std::time::{Duration, Instant};

use bstr::BString;
use log::lines::CommandCount;
use server::Worker;
use smtp_proto::server::{Deadline, Ending, MailCommand, Note, Session, Step, Task, finish_reply};

use crate::client::Peer;
use crate::execute::{Done, Wishes};
use crate::footer::Facts;
use crate::notice;
use crate::restrictions::{Carried, Engine};
use crate::service::Smtpd;
use crate::stream::Stream;
use crate::transaction::Transaction;

/// Output that is written before more input is looked at.
const OUTPUT_WATERMARK: usize = 32 << 10;

/// Why there is no more to say.
pub(crate) enum Broken {
    /// The client closed, or the connection failed.
    Lost,
    /// `smtpd_timeout`
    Timeout,
}

/// A session and what it has to do with.
pub(crate) struct Conversation {
    pub(crate) service: Rc<Smtpd>,
    pub(crate) session: Session,
    pub(crate) peer: Rc<Peer>,
    pub(crate) transaction: Option<Transaction>,
    pub(crate) wishes: Wishes,
    pub(crate) stream: Stream,
    worker: Worker,
    output: Vec<u8>,
    pub(crate) deadline: Deadline,
    /// The MAIL command of the transaction.
    pub(crate) mail: Option<Box<MailCommand>>,
    /// The first recipient that was accepted.
    pub(crate) first_recipient: Option<BString>,
    /// Pending defer_if_permit and defer_if_reject, after the client, HELO and sender lists.
    pub(crate) carried: [Carried; 3],
    /// What is known about TLS, once there is any.
    pub(crate) tls: Option<Rc<tls::TlsFacts>>,
    said: bool,
}

impl Conversation {
    pub(crate) async fn new(service: Rc<Smtpd>, stream: Stream, peer: Peer, worker: Worker) -> Conversation {
        let settings = &service.settings;
        let now = Instant::now();
        let deadline = Deadline::new(settings.timeout, settings.per_request_deadline, settings.minimum_rate, now);
        let mut protocol = Rc::clone(&settings.protocol);
        if peer.stand_alone {
            // Programs write a whole dialogue into `sendmail -bs` at once, and may: there is nobody to smuggle past.
            Rc::make_mut(&mut protocol).forbid_unauth_pipelining = false;
        }
        let discarded = service.discarded(&peer).await;
        let session = Session::new(protocol, peer.display.clone(), service.bare_newline(&peer).await, discarded);
        Conversation {
            session,
            peer: Rc::new(peer),
            transaction: None,
            wishes: Wishes::default(),
            stream,
            worker,
            output: Vec::new(),
            deadline,
            mail: None,
            first_recipient: None,
            carried: Default::default(),
            tls: None,
            said: false,
            service,
        }
    }

    /// Serves the client to the end.
    pub(crate) async fn run(mut self) {
        log::lines::connect(&self.peer.display);
        let outcome = self.serve().await;
        self.log_ending(&outcome);
        if let Some(transaction) = self.transaction.take() {
            self.service.pool.abort(transaction).await;
        }
        self.notify_postmaster();
        let counts: Vec<CommandCount> = self
            .session
            .counts()
            .used()
            .map(|(verb, accepted, total)| CommandCount {
                name: verb.count_name(),
                accepted: accepted.into(),
                total: total.into(),
            })
            .collect();
        log::lines::disconnect(&self.peer.display, &counts);
    }

    async fn serve(&mut self) -> Result<Ending, Broken> {
        Box::pin(self.wrap()).await?;
        Box::pin(self.greet()).await?;
        let ending = self.converse().await?;
        self.stream.close();
        Ok(ending)
    }

    fn log_ending(&self, outcome: &Result<Ending, Broken>) {
        let queue_id = self.queue_id();
        let (queue_id, place) = (queue_id.as_deref(), self.session.place());
        let bytes = self.session.content_received();
        match outcome {
            Ok(Ending::TooManyErrors) => log::lines::too_many_errors(queue_id, place, &self.peer.display),
            Ok(_) => {}
            Err(Broken::Lost) => log::lines::lost_connection(queue_id, place, bytes, &self.peer.display),
            Err(Broken::Timeout) => log::lines::timeout(queue_id, place, bytes, &self.peer.display),
        }
    }

    fn notify_postmaster(&self) {
        let settings = &self.service.settings;
        if !self.session.problems().meets(settings.protocol.notify) {
            return;
        }
        match self.service.notice_gate.admit(self.session.problems(), Instant::now()) {
            None => return,
            Some(0) => {}
            Some(count) => log::info!("postmaster notices: none for {count} earlier sessions with such trouble"),
        }
        let message = notice::message(settings, &self.peer.display, self.session.history(), self.session.problems());
        let service = Rc::clone(&self.service);
        self.worker.spawn(async move {
            notice::send(&service.pool, &service.settings, message).await;
        });
    }

    pub(crate) fn queue_id(&self) -> Option<String> {
        self.transaction.as_ref().map(|transaction| transaction.queue_id.to_string())
    }

    async fn greet(&mut self) -> Result<(), Broken> {
        if self.session.is_closing() {
            return self.collect().await;
        }
        let mut refused = None;
        if !self.service.settings.policy.delay_reject && !self.peer.stand_alone {
            let subject = self.subject();
            let service = Rc::clone(&self.service);
            let engine = Engine::new(&service.settings.policy, &service.world, &subject, Carried::default());
            let (decision, carried) = engine.client().await;
            self.carried[0] = carried;
            match self.execute(decision, "CONNECT", &subject).await {
                Done::Permitted => {}
                Done::Refused(reply, problems) => {
                    self.session.add_problem(problems);
                    refused = Some(reply);
                }
                Done::HungUp => self.session.hang_up(),
            }
        }
        self.session.greet(refused);
        self.collect().await
    }

    async fn converse(&mut self) -> Result<Ending, Broken> {
        loop {
            let step = self.session.step(&*self.service);
            self.log_notes();
            self.collect().await?;
            match step {
                Step::Read => {
                    self.flush().await?;
                    if !self.session.has_input() {
                        self.deadline.start(Instant::now());
                    }
                    self.read().await?;
                }
                Step::Do(Task::StartTls) => Box::pin(self.start_tls()).await?,
                Step::Content => Box::pin(self.content()).await?,
                Step::Do(task) => Box::pin(self.task(task)).await?,
                Step::Close(ending) => {
                    // The client need not be there any more.
                    let _ = self.flush().await;
                    return Ok(ending);
                }
            }
        }
    }

    async fn read(&mut self) -> Result<(), Broken> {
        let session = &mut self.session;
        let read = self.stream.read(|bytes| session.receive(bytes));
        match tokio::time::timeout_at(self.deadline.at().into(), read).await {
            Ok(Ok(Some(()))) => {
                self.deadline.progress(Instant::now());
                Ok(())
            }
            Ok(Ok(None) | Err(_)) => Err(Broken::Lost),
            Err(_) => Err(self.time_out().await),
        }
    }

    /// Says good-bye to a client that took too long.
    pub(crate) async fn time_out(&mut self) -> Broken {
        if !self.said {
            self.said = true;
            let hostname = &self.service.settings.protocol.hostname;
            self.output.extend_from_slice(format!("421 4.4.2 {hostname} Error: timeout exceeded\r\n").as_bytes());
            let output = std::mem::take(&mut self.output);
            // A client that does not read either is not waited for.
            let _ = tokio::time::timeout(Duration::from_secs(1), self.stream.write_all(&output)).await;
        }
        Broken::Timeout
    }

    /// Moves the session's replies to the output, with the pauses that a client with many errors earns.
    pub(crate) async fn collect(&mut self) -> Result<(), Broken> {
        let replies = self.session.take_output();
        let delays = self.session.take_delays();
        let pause = self.service.settings.error_sleep * delays;
        if !pause.is_zero() {
            self.flush().await?;
            tokio::time::sleep(pause).await;
        }
        for reply in replies {
            let settings = &self.service.settings;
            let sender = self.mail.as_ref().map(|mail| mail.path.address.as_slice()).unwrap_or_default();
            let facts = Facts {
                peer: &self.peer,
                helo: self.session.helo().map(|helo| helo.as_slice()).unwrap_or_default(),
                sender,
                recipient: self.first_recipient.as_ref().map(|address| address.as_slice()).unwrap_or_default(),
                hostname: &settings.protocol.hostname,
            };
            let footer = self.service.footers.of(&reply, &facts).await;
            self.output.extend_from_slice(&finish_reply(&reply, settings.protocol.soft_bounce, footer.as_ref()));
            self.output.extend_from_slice(b"\r\n");
        }
        if self.output.len() > OUTPUT_WATERMARK {
            self.flush().await?;
        }
        Ok(())
    }

    pub(crate) async fn flush(&mut self) -> Result<(), Broken> {
        if self.output.is_empty() {
            return Ok(());
        }
        // An idle session keeps no buffer.
        let output = std::mem::take(&mut self.output);
        self.deadline.start(Instant::now());
        match tokio::time::timeout_at(self.deadline.at().into(), self.stream.write_all(&output)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Broken::Lost),
            Err(_) => Err(Broken::Timeout),
        }
    }

    pub(crate) fn log_notes(&mut self) {
        for note in self.session.take_notes() {
            let client = &self.peer.display;
            match note {
                // Programs of this machine write everything at once, and may.
                Note::ImproperPipelining(..) if self.peer.stand_alone => {}
                Note::ImproperPipelining(verb, text) => log::lines::improper_pipelining(verb.name(), client, &text),
                Note::NonSmtpCommand(text) => log::lines::non_smtp_command(client, &text),
                Note::IllegalAddress(verb, text) => {
                    log::warning!("Illegal address syntax from {client} in {} command: {text}", verb.name());
                }
                Note::LineTooLong(text) => {
                    let limit = self.service.settings.protocol.line_length_limit;
                    log::warning!("{client}: request longer than {limit}: {text}...");
                }
                Note::Filtered(from, to) => log::info!("{client}: replacing command \"{from}\" with \"{to}\""),
                Note::BareNewline(place) => {
                    let subject = self.subject();
                    self.log_decision("reject", place, b"bare <LF> received", &subject);
                }
            }
        }
    }
}
