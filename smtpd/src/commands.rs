//! The commands that need more than the protocol: decisions, the transaction with cleanup.

use std::rc::Rc;
use std::time::Instant;

use bstr::BString;
use ipc::cleanup::{Begin, Encoding, Options, Origin, Recipient, Sender};
use ipc::flush::{Answer, Request};
use log::lines::ClientLine;
use smtp_proto::server::{Body, MailCommand, Problems, RecipientCommand, Task, finish_reply};

use crate::conversation::{Broken, Conversation};
use crate::execute::{Done, Wishes};
use crate::restrictions::{Carried, Decision, Engine, Subject};
use crate::transaction::refusal_reply;
use crate::{received, storage};

/// Unsent content that makes the reader wait for cleanup.
const CONTENT_WATERMARK: usize = 256 << 10;

impl Conversation {
    /// What decisions are about at this point.
    pub(crate) fn subject(&self) -> Subject {
        let sender = self.mail.as_ref().map(|mail| mail.path.address.clone());
        Subject {
            client_name: self.peer.name.clone(),
            reverse_name: self.peer.reverse_name.clone(),
            name_tempfail: self.peer.name_tempfail,
            reverse_tempfail: self.peer.reverse_tempfail,
            client_address: self.peer.address.to_string(),
            client: self.peer.display.clone(),
            helo: self.session.helo().cloned(),
            sender,
            recipient: None,
            recipients: self.session.recipients(),
            pipelines_unasked: self.session.pipelines_unasked(),
            discarded: self.wishes.discard,
            etrn_domain: None,
            tls: self.tls.clone(),
        }
    }

    pub(crate) async fn task(&mut self, task: Task) -> Result<(), Broken> {
        match task {
            Task::Hello { name, .. } => self.hello(name).await,
            Task::Mail(mail) => self.mail(mail).await,
            Task::Recipient(recipient) => self.recipient(*recipient).await,
            Task::Data => self.data().await,
            Task::Verify(path) => self.verify(&path).await,
            Task::Etrn(domain) => self.etrn(domain).await,
            // The driver does this one: it changes what is under the session.
            Task::StartTls => {}
            Task::Reset => {
                self.forget().await;
                self.session.accept();
            }
        }
        Ok(())
    }

    /// Drops the transaction.
    pub(crate) async fn forget(&mut self) {
        self.mail = None;
        self.first_recipient = None;
        self.wishes = Wishes::default();
        if let Some(transaction) = self.transaction.take() {
            self.service.pool.abort(transaction).await;
        }
    }

    /// Answers the pending task for a decision; true when it was permitted and the answer is still owed.
    async fn decided(&mut self, decision: Decision, subject: &Subject) -> bool {
        let place = self.session.place();
        match self.execute(decision, place, subject).await {
            Done::Permitted => true,
            Done::Refused(reply, problems) => {
                self.session.refuse(&reply, problems);
                false
            }
            Done::HungUp => {
                self.session.hang_up();
                false
            }
        }
    }

    async fn hello(&mut self, name: BString) {
        let mut subject = self.subject();
        subject.helo = Some(name);
        subject.sender = None;
        if !self.service.settings.policy.delay_reject && !self.peer.stand_alone {
            let service = Rc::clone(&self.service);
            let carried = self.carried[0].clone();
            let engine = Engine::new(&service.settings.policy, &service.world, &subject, carried);
            let (decision, carried) = engine.helo().await;
            self.carried[1] = carried;
            if !self.decided(decision, &subject).await {
                return;
            }
        }
        self.forget().await;
        self.session.accept();
    }

    async fn mail(&mut self, mail: Box<MailCommand>) {
        let service = Rc::clone(&self.service);
        let settings = &service.settings;
        let limit = settings.protocol.message_size_limit;
        let mut subject = self.subject();
        if !storage::has_room(&settings.queue_directory, settings.queue_minfree, limit) {
            return self.refuse_plainly(b"452 4.3.1 Insufficient system storage", Problems::RESOURCE, &subject);
        }
        subject.sender = Some(mail.path.address.clone());
        if !settings.policy.delay_reject && !self.peer.stand_alone {
            let carried = if self.session.helo().is_some() { &self.carried[1] } else { &self.carried[0] };
            let engine = Engine::new(&settings.policy, &service.world, &subject, carried.clone());
            let (decision, carried) = engine.mail().await;
            self.carried[2] = carried;
            if !self.decided(decision, &subject).await {
                return;
            }
        }
        if limit > 0 && mail.parameters.size.is_some_and(|size| size > limit) {
            return self.refuse_plainly(b"552 5.3.4 Message size exceeds fixed limit", Problems::POLICY, &subject);
        }
        self.mail = Some(mail);
        if !settings.delay_open && !self.open_transaction().await {
            self.mail = None;
            return;
        }
        self.session.accept();
    }

    /// A refusal that no restriction made, but that is logged like theirs.
    fn refuse_plainly(&mut self, reply: &[u8], problems: Problems, subject: &Subject) {
        let soft_bounce = self.service.settings.protocol.soft_bounce;
        let reply = finish_reply(reply, soft_bounce, None);
        self.log_decision("reject", self.session.place(), &reply, subject);
        self.session.refuse(&reply, problems);
    }

    async fn check_recipient(&mut self, subject: &Subject) -> bool {
        if self.peer.stand_alone {
            return true;
        }
        let service = Rc::clone(&self.service);
        let policy = &service.settings.policy;
        let carried = if policy.delay_reject { Carried::default() } else { self.carried[2].clone() };
        let (decision, _) = Engine::new(policy, &service.world, subject, carried).recipient().await;
        self.decided(decision, subject).await
    }

    async fn recipient(&mut self, command: RecipientCommand) {
        let mut subject = self.subject();
        subject.recipient = Some(command.path.address.clone());
        if !self.check_recipient(&subject).await {
            return;
        }
        if self.transaction.is_none() && !self.open_transaction().await {
            return;
        }
        let original = command.parameters.original.unwrap_or_else(|| {
            let mut original = BString::from("rfc822;");
            original.extend_from_slice(&address::external(&command.path.address));
            original
        });
        if let Some(transaction) = &mut self.transaction {
            let recipient = Recipient {
                address: command.path.address.clone(),
                original: Some(original),
                before_rewriting: None,
                notify: command.parameters.notify,
            };
            if !transaction.recipient(recipient) {
                let reply = refusal_reply(&ipc::cleanup::Refusal::Protocol);
                return self.session.refuse(&reply, Problems::RESOURCE);
            }
            if transaction.queued() > CONTENT_WATERMARK
                && let Err(error) = transaction.flush().await
            {
                log::warning!("{}: {error}", transaction.queue_id);
            }
        }
        self.first_recipient.get_or_insert(command.path.address);
        self.session.accept();
    }

    /// Opens the queue file; answers the pending task when that does not work.
    async fn open_transaction(&mut self) -> bool {
        let service = Rc::clone(&self.service);
        let Some(mail) = self.mail.clone() else { return false };
        let address = self.peer.address.to_string();
        let tls = self.tls.as_deref();
        let Ok(rewrite_local) = service.rewrite_clients.contain(&self.peer.name, &address, tls, &service.world).await
        else {
            let subject = self.subject();
            self.refuse_plainly(b"451 4.3.0 Temporary lookup error", Problems::DATA, &subject);
            return false;
        };
        let settings = &service.settings;
        let (helo, protocol) = (self.session.helo(), self.session.protocol());
        let begin = Begin {
            origin: if self.peer.stand_alone { Origin::Local } else { Origin::Smtp },
            options: Options {
                header_body_checks: !settings.overrides.no_header_body_checks,
                automatic_bcc: !settings.overrides.no_address_mappings,
                address_mapping: !settings.overrides.no_address_mappings,
                milters: !settings.overrides.no_milters,
                ..Options::default()
            },
            client: received::client(&self.peer, helo, protocol),
            rewrite_local,
            content_filter: settings.content_filter.clone(),
            encoding: mail.parameters.body.map(|body| match body {
                Body::SevenBit => Encoding::SevenBit,
                Body::EightBitMime => Encoding::EightBit,
            }),
            received: Some(self.received_header()),
            ..Begin::default()
        };
        let sender = Sender {
            address: mail.path.address.clone(),
            envelope_id: mail.parameters.envelope_id.clone(),
            ret: mail.parameters.ret,
        };
        match service.pool.open(begin, sender).await {
            Ok(transaction) => {
                let queue_id = transaction.queue_id.to_string();
                log::lines::client(&ClientLine {
                    queue_id: &queue_id,
                    client: &self.peer.display,
                    ..ClientLine::default()
                });
                self.transaction = Some(transaction);
                true
            }
            Err(refusal) => {
                self.session.refuse(&refusal_reply(&refusal), Problems::RESOURCE);
                false
            }
        }
    }

    /// The beginning of the Received header; `with ESMTPS` and the like say how the message came (RFC 3848).
    fn received_header(&self) -> ipc::cleanup::Received {
        let service = &self.service;
        let secure = if self.tls.is_some() && self.session.protocol() == "ESMTP" { "S" } else { "" };
        let protocol = format!("{}{secure}", self.session.protocol());
        let hidden = service.settings.hide_client;
        let mut received = received::received(&self.peer, self.session.helo(), &protocol, hidden);
        if let (Some(tls), Some(facts), false) = (&service.tls, &self.tls, hidden) {
            received.from.extend(tls.received_lines(facts).into_iter().map(BString::from));
        }
        received
    }

    /// What decisions about the whole message are about: its recipient counts only when it is the only one.
    fn message_subject(&self) -> Subject {
        let only = self.session.recipients() == 1;
        Subject { recipient: self.first_recipient.clone().filter(|_| only), ..self.subject() }
    }

    async fn data(&mut self) {
        if !self.peer.stand_alone {
            let subject = self.message_subject();
            let service = Rc::clone(&self.service);
            let engine = Engine::new(&service.settings.policy, &service.world, &subject, Carried::default());
            let (decision, _) = engine.data().await;
            if !self.decided(decision, &subject).await {
                return;
            }
        }
        self.tell_wishes();
        self.deadline.start(Instant::now());
        self.session.accept();
    }

    /// Takes the content from the client to cleanup, to its end.
    pub(crate) async fn content(&mut self) -> Result<(), Broken> {
        self.flush().await?;
        let limit = self.service.settings.protocol.message_size_limit;
        let mut lines = Vec::new();
        let mut written = 0u64;
        let mut finished = self.session.has_input() && self.session.decode(b"", &mut lines);
        loop {
            written += lines.len() as u64;
            if let Some(transaction) = &mut self.transaction {
                if limit > 0 && written > limit {
                    transaction.stop_oversize();
                }
                transaction.content(&lines);
                if transaction.queued() > CONTENT_WATERMARK && transaction.flush().await.is_err() {
                    log::warning!("{}: lost connection with cleanup", transaction.queue_id);
                    self.transaction = None;
                }
            }
            lines.clear();
            if finished {
                break;
            }
            let session = &mut self.session;
            let decoded = self.stream.read(|bytes| (bytes.len(), session.decode(bytes, &mut lines)));
            match tokio::time::timeout_at(self.deadline.at().into(), decoded).await {
                Ok(Ok(Some((count, end)))) => {
                    self.deadline.content(count, Instant::now());
                    finished = end;
                }
                Ok(Ok(None) | Err(_)) => return Err(Broken::Lost),
                Err(_) => return Err(self.time_out().await),
            }
        }
        drop(lines);
        self.end_of_data().await;
        Ok(())
    }

    async fn end_of_data(&mut self) {
        let subject = self.message_subject();
        if self.session.bare_newline_noted() {
            self.log_decision("info", self.session.place(), b"bare <LF> received", &subject);
        }
        if let Some(reply) = self.session.bare_newline_reply() {
            self.log_decision("reject", self.session.place(), b"bare <LF> received", &subject);
            self.session.add_problem(Problems::PROTOCOL);
            return self.end_with(false, &reply).await;
        }
        if !self.peer.stand_alone {
            let service = Rc::clone(&self.service);
            let engine = Engine::new(&service.settings.policy, &service.world, &subject, Carried::default());
            let (decision, _) = engine.end_of_data().await;
            let place = self.session.place();
            match self.execute(decision, place, &subject).await {
                Done::Permitted => {}
                Done::Refused(reply, problems) => {
                    self.session.add_problem(problems);
                    return self.end_with(false, &reply).await;
                }
                Done::HungUp => return self.session.hang_up(),
            }
        }
        self.tell_wishes();
        let Some(transaction) = self.transaction.take() else {
            return self.end_with(false, b"451 4.3.0 Error: queue file write error").await;
        };
        let queue_id = transaction.queue_id.clone();
        match self.service.pool.finish(transaction).await {
            Ok(()) => self.end_with(true, format!("250 2.0.0 Ok: queued as {queue_id}").as_bytes()).await,
            Err(refusal) => {
                let problem = match refusal {
                    ipc::cleanup::Refusal::Content(_) | ipc::cleanup::Refusal::Hops => Problems::POLICY,
                    ipc::cleanup::Refusal::Size => Problems::NONE,
                    _ => Problems::RESOURCE,
                };
                self.session.add_problem(problem);
                self.end_with(false, &refusal_reply(&refusal)).await;
            }
        }
    }

    async fn end_with(&mut self, accepted: bool, reply: &[u8]) {
        self.forget().await;
        self.session.finish_content(accepted, reply);
    }

    async fn verify(&mut self, path: &address::parse::Path) {
        let mut subject = self.subject();
        subject.recipient = Some(path.address.clone());
        if self.check_recipient(&subject).await {
            let reply = [b"252 2.0.0 ", self.session.argument()].concat();
            self.session.accept_with(&reply);
        }
    }

    async fn etrn(&mut self, domain: BString) {
        let mut subject = self.subject();
        subject.etrn_domain = Some(domain.clone());
        if !self.peer.stand_alone {
            let service = Rc::clone(&self.service);
            let engine = Engine::new(&service.settings.policy, &service.world, &subject, Carried::default());
            let (decision, _) = engine.etrn().await;
            if !self.decided(decision, &subject).await {
                return;
            }
        }
        match self.send_site(&domain).await {
            Ok(Answer::Ok) => self.session.accept_with(b"250 Queuing started"),
            Ok(Answer::Bad) => {
                log::warning!("bad ETRN {domain}... from {}", self.peer.display);
                self.session.refuse(b"501 Error: invalid parameter syntax", Problems::PROTOCOL);
            }
            Ok(Answer::Denied) => {
                log::warning!("reject: ETRN {domain}... from {}", self.peer.display);
                let reply = [b"459 <", domain.as_slice(), b">: service unavailable"].concat();
                self.session.refuse(&reply, Problems::POLICY);
            }
            Ok(Answer::Failed) => self.session.refuse(b"458 Unable to queue messages", Problems::NONE),
            Err(error) => {
                log::warning!("flush service: {error}");
                self.session.refuse(b"458 Unable to queue messages", Problems::NONE);
            }
        }
    }

    /// Gets the mail for a site going (`fast_flush_domains`).
    async fn send_site(&self, domain: &BString) -> Result<Answer, ipc::Error> {
        let settings = &self.service.settings;
        let ask = async {
            let mut connection = ipc::Connection::connect(&settings.flush).await?;
            connection.send(&Request::SendSite(domain.to_string())).await?;
            connection.expect::<Answer>().await
        };
        tokio::time::timeout(settings.ipc_timeout, ask).await.unwrap_or(Err(ipc::Error::Timeout))
    }
}
