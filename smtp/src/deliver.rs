//! One delivery request: destinations, their hosts in turn, and what becomes of each recipient.
//!
//! A recipient is settled when a server took it or refused it for good. Everything else is kept for the next host, and
//! deferred with the last reason when there is none left. Only trouble with hosts counts against the destination.

use std::rc::Rc;

use bstr::BString;
use delivery::Job;
use dsn::{Action, Delivery, Dsn, Status};
use ipc::resolver::Client;
use smtp_proto::Keywords;
use smtp_proto::client::Size;

use crate::content::Encoder;
use crate::destination::Destination;
use crate::pool::{Pool, UnderWay};
use crate::session::Session;
use crate::settings::Settings;
use crate::targets::{self, Target};
use crate::time_limit::TimeLimit;
use crate::transaction::{Envelope, Next, Outcome, Recipient, Step, Transaction};
use crate::trouble::{Trouble, acceptance, is_transient, refusal};

/// The client: what all deliveries of a process share.
#[derive(Clone, Debug)]
pub struct Smtp {
    settings: Rc<Settings>,
    resolver: Client,
    pool: Pool,
}

/// The recipients of a request that are still open, and why.
struct Progress {
    open: Vec<usize>,
    reasons: Vec<Option<Reason>>,
    /// Why the last host could not be used at all; none once one could.
    host_trouble: Option<Dsn>,
    sessions: usize,
}

/// Why a recipient is still open, and the server that said so.
#[derive(Clone, Debug)]
struct Reason {
    dsn: Dsn,
    relay: String,
    uses: u32,
}

impl Smtp {
    /// A client that asks the resolver at `settings.resolver`.
    #[must_use]
    pub fn new(settings: Settings) -> Smtp {
        let resolver = Client::new(&settings.resolver, settings.ipc_timeout);
        Smtp { settings: Rc::new(settings), resolver, pool: Pool::default() }
    }

    /// Delivers a request.
    pub async fn deliver(&self, mut job: Job) {
        let count = job.request.recipients.len();
        let mut progress =
            Progress { open: (0..count).collect(), reasons: vec![None; count], host_trouble: None, sessions: 0 };
        let nexthop = job.request.nexthop.clone();
        let under_way = self.pool.begin(&nexthop);
        self.try_destinations(&mut job, &nexthop, &under_way, &mut progress).await;
        for index in std::mem::take(&mut progress.open) {
            let Reason { dsn, relay, uses } = progress.reasons[index].take().unwrap_or_else(|| {
                let trouble = progress.host_trouble.clone();
                let dsn = trouble.unwrap_or_else(|| Dsn::new(Status::transient(4, 4), "no mail server could be tried"));
                Reason { dsn, relay: "none".to_owned(), uses: 1 }
            });
            let delivery = if dsn.is_transient() { Delivery::Deferred(dsn) } else { Delivery::Bounced(dsn) };
            job.report.connection_uses = uses;
            job.report(index, relay.as_bytes(), delivery);
        }
        job.finish(progress.host_trouble);
    }

    async fn try_destinations(&self, job: &mut Job, nexthop: &str, under_way: &UnderWay, progress: &mut Progress) {
        if let Some(session) = self.pool.take(nexthop, &self.settings) {
            let target = session.target.clone();
            if !self.talk(job, session, nexthop, under_way, progress).await {
                // The server closed the old connection before it saw this message: start afresh.
                log::info!("{}: lost idle connection with {}", job.request.queue_id, target.host_and_address());
            }
            if progress.open.is_empty() {
                return;
            }
        }
        let settings = &self.settings;
        let first = Destination::parse_list(nexthop, &settings.default_port);
        let fallback = Destination::parse_list(&settings.fallback_relay, &settings.default_port);
        let (first, fallback) = match (first, fallback) {
            (Ok(first), Ok(fallback)) => (first, fallback),
            (Err(bad), _) | (_, Err(bad)) => {
                log::warning!("{bad}");
                let dsn = Dsn::new(Status::transient(3, 5), "mail system configuration error");
                progress.host_trouble = Some(dsn);
                return;
            }
        };
        for destination in first.iter().chain(&fallback) {
            match targets::find(destination, &self.resolver, settings).await {
                Ok(found) => self.try_targets(job, found, nexthop, under_way, progress).await,
                Err(dsn) => progress.host_trouble = Some(dsn),
            }
            if progress.open.is_empty() {
                return;
            }
        }
    }

    async fn try_targets(
        &self,
        job: &mut Job,
        targets: Vec<Target>,
        nexthop: &str,
        under_way: &UnderWay,
        progress: &mut Progress,
    ) {
        let mut sessions = 0;
        for target in targets {
            if progress.open.is_empty() || self.settings.mx_session_limit.is_some_and(|limit| sessions >= limit) {
                return;
            }
            match Session::open(&target, &self.settings).await {
                Ok(session) => {
                    job.connected();
                    sessions += 1;
                    self.talk(job, session, nexthop, under_way, progress).await;
                }
                Err(trouble) => {
                    // A greeting counts as a session: the host was there.
                    sessions += usize::from(!matches!(trouble, Trouble::Connect(_)));
                    let dsn = trouble.dsn(&target);
                    log::info!("{}", dsn.reason);
                    progress.host_trouble = Some(self.greeting_status(&trouble, dsn));
                }
            }
        }
    }

    /// With `smtp_skip_5xx_greeting` (and for 4xx always) a refused greeting says nothing about the message.
    fn greeting_status(&self, trouble: &Trouble, dsn: Dsn) -> Dsn {
        match trouble {
            Trouble::Refused(_) if self.settings.skip_5xx_greeting => {
                Dsn { status: dsn.status.with_class(dsn::Class::Transient), ..dsn }
            }
            _ => dsn,
        }
    }

    /// One transaction for the open recipients; false when a reused session was gone before it saw anything.
    async fn talk(
        &self,
        job: &mut Job,
        mut session: Session,
        nexthop: &str,
        under_way: &UnderWay,
        progress: &mut Progress,
    ) -> bool {
        session.uses += 1;
        progress.sessions += 1;
        let reused = session.uses > 1;
        let target = session.target.clone();
        let relay = target.relay();
        let uses = session.uses;
        if let Size::Limit(limit) = session.capabilities.size
            && job.request.content_length > limit
        {
            let reason = format!(
                "message size {} exceeds size limit {limit} of server {}",
                job.request.content_length,
                target.host_and_address()
            );
            progress.host_trouble = None;
            self.settle_all(job, progress, &relay, uses, &Dsn::new(Status::permanent(3, 4), reason));
            self.part(session, nexthop, under_way).await;
            return true;
        }
        let encoder = Encoder::new(job, &session.capabilities, &self.settings);
        let envelope = self.envelope(job, &progress.open, encoder.is_eight_bit());
        let mut transaction = Transaction::new(envelope, session.capabilities.clone(), self.settings.lmtp);
        let end = self.converse(&mut session, &mut transaction, encoder).await;
        if reused && transaction.is_untouched() && end.is_err() {
            return false;
        }
        progress.host_trouble = None;
        let dsn_offered = session.capabilities.has(Keywords::DSN);
        // Replies that still come would be taken for those of the next message.
        let closing = transaction.waiting_for().is_some()
            || transaction.outcomes().iter().any(|outcome| match outcome {
                Outcome::Refused(reply, _) | Outcome::Sent(reply) => reply.code == 421,
                _ => false,
            });
        self.settle(job, progress, &target, uses, &transaction, dsn_offered, end.as_ref().err());
        match end {
            Ok(()) if !closing => self.part(session, nexthop, under_way).await,
            Ok(()) => {}
            Err(trouble) => {
                // The connection broke: that counts against the destination, whatever else was said.
                if !progress.open.is_empty() {
                    progress.host_trouble = Some(trouble.dsn(&target));
                }
            }
        }
        true
    }

    /// Keeps the session for the next delivery, or says good-bye.
    async fn part(&self, session: Session, nexthop: &str, under_way: &UnderWay) {
        let parting = if under_way.is_worth_keeping(&self.settings) {
            self.pool.keep(nexthop, session, &self.settings)
        } else {
            Err(session)
        };
        if let Err(mut session) = parting {
            let settings = Rc::clone(&self.settings);
            // Nobody waits for the good-bye.
            tokio::task::spawn_local(async move { session.quit(&settings).await });
        }
    }

    fn envelope(&self, job: &Job, open: &[usize], eight_bit: bool) -> Envelope {
        let request = &job.request;
        let form = |address: &BString| {
            if self.settings.quote_envelope { address::external(address) } else { address.clone() }
        };
        Envelope {
            sender: form(&request.sender),
            size: request.content_length,
            eight_bit,
            envelope_id: request.envelope_id.clone(),
            ret: request.ret,
            recipients: open
                .iter()
                .map(|index| {
                    let recipient = &request.recipients[*index];
                    Recipient {
                        address: form(&recipient.address),
                        notify: recipient.notify,
                        original: recipient.dsn_original.clone(),
                    }
                })
                .collect(),
        }
    }

    async fn converse(
        &self,
        session: &mut Session,
        transaction: &mut Transaction,
        encoder: Encoder,
    ) -> Result<(), Trouble> {
        let timeouts = &self.settings.timeouts;
        let mut encoder = Some(encoder);
        let mut output = Vec::new();
        transaction.commands(&mut output);
        loop {
            let Some(step) = transaction.waiting_for() else { return Ok(()) };
            let limit = match step {
                Step::Mail => timeouts.mail,
                Step::Rcpt(_) => timeouts.rcpt,
                Step::Data => timeouts.data_init,
                Step::EndOfData(_) | Step::EmptyData => timeouts.data_done,
            };
            let limit = self.settings.time_limit(limit);
            if !output.is_empty() {
                session.write(&output, &mut limit.clone(), step.activity()).await?;
                output.clear();
            }
            let reply = session.read_reply(limit, step.activity()).await?;
            let closing = reply.code == 421;
            match transaction.reply(reply) {
                Next::Continue if closing => return Ok(()),
                Next::Continue => transaction.commands(&mut output),
                Next::SendEmptyBody => {
                    output.extend_from_slice(b".\r\n");
                    transaction.body_sent();
                }
                Next::SendBody => {
                    if let Some(mut encoder) = encoder.take() {
                        self.send_body(session, &mut encoder).await?;
                    }
                    transaction.body_sent();
                }
                Next::Done => return Ok(()),
            }
        }
    }

    async fn send_body(&self, session: &mut Session, encoder: &mut Encoder) -> Result<(), Trouble> {
        const ACTIVITY: &str = "sending message body";
        let settings = &self.settings;
        let mut limit =
            TimeLimit::of_content(settings.timeouts.data_xfer, settings.per_request_deadline, settings.min_data_rate);
        let mut output = Vec::new();
        loop {
            output.clear();
            let more = encoder.next(&mut output).map_err(|error| {
                log::warning!("{error}");
                Trouble::Lost(ACTIVITY)
            })?;
            session.write(&output, &mut limit, ACTIVITY).await?;
            if !more {
                return Ok(());
            }
        }
    }

    /// Reports what is final, and notes why the rest is not.
    #[expect(clippy::too_many_arguments, reason = "the facts of one finished conversation")]
    fn settle(
        &self,
        job: &mut Job,
        progress: &mut Progress,
        target: &Target,
        uses: u32,
        transaction: &Transaction,
        dsn_offered: bool,
        trouble: Option<&Trouble>,
    ) {
        let relay = target.relay();
        let open = std::mem::take(&mut progress.open);
        for (index, outcome) in open.into_iter().zip(transaction.outcomes()) {
            let delivery = match outcome {
                Outcome::Sent(reply) => {
                    if dsn_offered {
                        job.report.pass_on_notices(index);
                    }
                    Delivery::Sent { action: Action::Relayed, dsn: acceptance(target, reply) }
                }
                Outcome::Refused(reply, step) => {
                    let dsn = refusal(target, reply, step.command());
                    if is_transient(reply, matches!(step, Step::Rcpt(_))) {
                        progress.keep(index, Reason { dsn: soften(dsn), relay: relay.clone(), uses });
                        continue;
                    }
                    Delivery::Bounced(dsn)
                }
                Outcome::Open | Outcome::Accepted => {
                    let dsn = match trouble {
                        Some(trouble) => trouble.dsn(target),
                        None => {
                            let host = target.host_and_address();
                            Dsn::new(Status::transient(4, 2), format!("host {host} closed the session"))
                        }
                    };
                    progress.keep(index, Reason { dsn, relay: relay.clone(), uses });
                    continue;
                }
            };
            job.report.connection_uses = uses;
            job.report(index, relay.as_bytes(), delivery);
        }
    }

    /// Reports the same for every open recipient.
    fn settle_all(&self, job: &mut Job, progress: &mut Progress, relay: &str, uses: u32, dsn: &Dsn) {
        for index in std::mem::take(&mut progress.open) {
            let dsn = dsn.clone();
            let delivery = if dsn.is_transient() { Delivery::Deferred(dsn) } else { Delivery::Bounced(dsn) };
            job.report.connection_uses = uses;
            job.report(index, relay.as_bytes(), delivery);
        }
    }

    /// Says good-bye on every idle connection; the process is about to end.
    pub async fn close(&self) {
        for mut session in self.pool.drain() {
            session.quit(&self.settings).await;
        }
    }
}

impl Progress {
    fn keep(&mut self, index: usize, reason: Reason) {
        self.open.push(index);
        self.reasons[index] = Some(reason);
    }
}

/// A reply that is no final answer makes a transient status, whatever its digits.
fn soften(dsn: Dsn) -> Dsn {
    Dsn { status: dsn.status.with_class(dsn::Class::Transient), ..dsn }
}
