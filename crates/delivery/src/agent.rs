//! Asynchronous agents: many deliveries at a time in one process.

use std::pin::pin;
use std::process::ExitCode;
use std::rc::Rc;

use ipc::Connection;
use ipc::delivery::{FromAgent, ToAgent};
use server::{Account, Callers, Client, SessionService, StartError, Startup, Worker};

use tokio::task::JoinSet;

use crate::job::Outbox;
use crate::{Job, Settings};

/// Deliveries at a time on one connection, where the number of clients is not limited: enough to keep one worker busy,
/// few enough that further workers get their share.
const CAPACITY: u32 = 100;

/// A program that delivers many messages at a time.
pub trait Agent: Sized + 'static {
    /// Its name, `smtp`.
    const PROGRAM: &'static str;
    /// What it runs as.
    const ACCOUNT: Account;

    /// Reads settings and opens tables, before the jail.
    ///
    /// # Errors
    /// What keeps the program from starting.
    fn prepare(start: &Startup) -> Result<Self, StartError>;

    /// In the jail, before the first delivery.
    fn started(self: Rc<Self>, _worker: Worker) -> impl Future<Output = ()> {
        async {}
    }

    /// Delivers one message to its recipients.
    fn deliver(self: Rc<Self>, job: Job) -> impl Future<Output = ()>;

    /// A table changed: drain and be replaced.
    fn reload_needed(&self) -> bool {
        false
    }
}

/// `main` of an asynchronous agent.
#[must_use]
pub fn run<A: Agent>() -> ExitCode {
    server::run::<Service<A>>()
}

struct Service<A> {
    agent: Rc<A>,
    settings: Rc<Settings>,
    /// Each connection takes one delivery, because the number of clients is what the administrator limited.
    limited: bool,
}

impl<A: Agent> SessionService for Service<A> {
    const PROGRAM: &'static str = A::PROGRAM;
    const ACCOUNT: Account = A::ACCOUNT;
    const CALLERS: Callers = Callers::OWNER;
    const TRIGGERS: bool = false;

    fn prepare(start: &Startup) -> Result<Self, StartError> {
        let settings = Rc::new(Settings::load(&start.config, &start.program)?);
        Ok(Service { agent: Rc::new(A::prepare(start)?), settings, limited: start.sessions != 0 })
    }

    async fn started(self: Rc<Self>, worker: Worker) {
        self.agent.clone().started(worker).await;
    }

    async fn session(self: Rc<Self>, client: Client, worker: Worker) {
        let Some(connection) = client.into_connection() else { return };
        let capacity = if self.limited { 1 } else { CAPACITY };
        if let Err(error) = serve(connection, capacity, &self.agent, &self.settings, worker).await {
            log::warning!("problem talking to the queue manager: {error}");
        }
    }

    fn reload_needed(&self) -> bool {
        self.agent.reload_needed()
    }
}

/// Serves one connection of qmgr until it closes and the last delivery is over.
async fn serve<A: Agent>(
    mut connection: Connection,
    capacity: u32,
    agent: &Rc<A>,
    settings: &Rc<Settings>,
    worker: Worker,
) -> Result<(), ipc::Error> {
    let outbox = Rc::new(Outbox::default());
    let mut deliveries = JoinSet::new();
    let mut draining = pin!(worker.draining());
    let mut said_draining = false;
    connection.queue(&FromAgent::Hello { capacity })?;
    loop {
        for message in outbox.messages.take() {
            connection.queue(&message)?;
        }
        tokio::select! {
            biased;
            () = outbox.filled.notified() => {}
            Some(ended) = deliveries.join_next(), if !deliveries.is_empty() => {
                if ended.is_err() {
                    // It panicked: its recipients are deferred, and this process is not to be trusted for long.
                    worker.start_draining();
                }
            }
            message = connection.receive_while_flushing() => match message? {
                Some(ToAgent::Deliver(request)) => {
                    let file = connection.take_descriptor()?;
                    let job = Job::new(*request, file, settings.clone(), outbox.clone());
                    deliveries.spawn_local(agent.clone().deliver(job));
                }
                None => break,
            },
            () = &mut draining, if !said_draining => {
                said_draining = true;
                connection.queue(&FromAgent::Draining)?;
            }
        }
    }
    // The queue manager has gone; what has begun is finished, so that no message is sent twice for a reload.
    while deliveries.join_next().await.is_some() {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::Config;
    use dsn::{Action, Delivery, Dsn, Status};
    use ipc::delivery::{Recipient, Request};
    use server::testing::{self, Harness};
    use tokio::sync::Notify;

    struct Fake {
        release: Notify,
    }

    impl Agent for Fake {
        const PROGRAM: &'static str = "discard";
        const ACCOUNT: Account = Account::MailOwner;

        fn prepare(_start: &Startup) -> Result<Fake, StartError> {
            Ok(Fake { release: Notify::new() })
        }

        async fn deliver(self: Rc<Self>, mut job: Job) {
            match job.request.nexthop.as_str() {
                "wait" => self.release.notified().await,
                "panic" => panic!("as asked"),
                _ => {}
            }
            let dsn = Dsn::new(Status::success(0, 0), "delivered");
            job.report(0, b"none", Delivery::Sent { action: Action::Delivered, dsn });
            job.finish(None);
        }
    }

    fn request(id: u64, nexthop: &str) -> ToAgent {
        ToAgent::Deliver(Box::new(Request {
            id,
            directory: queue::Directory::Active,
            queue_id: "ABC".parse().expect("id"),
            content_offset: 0,
            content_length: 0,
            nexthop: nexthop.into(),
            encoding: String::new(),
            send_options: 0,
            sender: "s@x".into(),
            envelope_id: None,
            ret: None,
            arrival: (1, 0),
            active: (2, 0),
            attributes: Vec::new(),
            trace_flags: 0,
            recipients: vec![Recipient { address: "r@x".into(), ..Recipient::default() }],
        }))
    }

    async fn ask(qmgr: &mut Connection, id: u64, nexthop: &str) {
        let file = std::fs::File::open("/dev/null").expect("open").into();
        qmgr.queue_with_descriptor(&request(id, nexthop), file).expect("queue");
        qmgr.flush().await.expect("flush");
    }

    /// The next answers, as (request, word).
    async fn answers(qmgr: &mut Connection, count: usize) -> Vec<(u64, &'static str)> {
        let mut answers = Vec::new();
        for _ in 0..count {
            answers.push(match qmgr.expect::<FromAgent>().await.expect("answer") {
                FromAgent::Outcome { request, delivery, .. } => (request, delivery.word()),
                FromAgent::Finished { request, .. } => (request, "finished"),
                FromAgent::Draining => (0, "draining"),
                other => panic!("{other:?}"),
            });
        }
        answers
    }

    #[test]
    fn deliveries_side_by_side_and_a_clean_end() {
        testing::run(async {
            log::capture();
            let startup = Startup::for_tests(Config::from_text("").expect("configuration"), "discard");
            let harness: Harness<Service<Fake>> = Harness::start(&startup).await.expect("start");
            let mut qmgr = Connection::new(harness.connect().expect("connect"));
            assert_eq!(qmgr.expect::<FromAgent>().await.expect("hello"), FromAgent::Hello { capacity: CAPACITY });
            ask(&mut qmgr, 1, "wait").await;
            ask(&mut qmgr, 2, "go").await;
            assert_eq!(
                answers(&mut qmgr, 2).await,
                [(2, "sent"), (2, "finished")],
                "the first does not hold up others"
            );
            // What an agent does not report, for whatever reason, is tried again.
            ask(&mut qmgr, 3, "panic").await;
            let mut after = answers(&mut qmgr, 3).await;
            after.sort_unstable();
            assert_eq!(after, [(0, "draining"), (3, "deferred"), (3, "finished")]);
            let agent = harness.service().agent.clone();
            let end = harness.finish();
            let rest = async {
                ask(&mut qmgr, 4, "go").await;
                assert_eq!(
                    answers(&mut qmgr, 2).await,
                    [(4, "sent"), (4, "finished")],
                    "requests that cross are served"
                );
                agent.release.notify_one();
                assert_eq!(answers(&mut qmgr, 2).await, [(1, "sent"), (1, "finished")]);
                drop(qmgr);
            };
            tokio::join!(end, rest);
        });
    }

    #[test]
    fn a_limited_number_of_clients_is_a_limited_number_of_deliveries() {
        testing::run(async {
            let config = Config::from_text("").expect("configuration");
            let startup = Startup { sessions: 5, ..Startup::for_tests(config, "discard") };
            let harness: Harness<Service<Fake>> = Harness::start(&startup).await.expect("start");
            let mut qmgr = Connection::new(harness.connect().expect("connect"));
            assert_eq!(qmgr.expect::<FromAgent>().await.expect("hello"), FromAgent::Hello { capacity: 1 });
            drop(qmgr);
            harness.finish().await;
        });
    }
}
