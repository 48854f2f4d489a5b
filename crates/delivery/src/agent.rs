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
            Some(_) = deliveries.join_next(), if !deliveries.is_empty() => {}
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
