//! Asynchronous agents: many deliveries at a time in one process.

use std::pin::pin;
use std::process::ExitCode;
use std::rc::Rc;

use ipc::Connection;
use ipc::delivery::{FromAgent, ToAgent};
use server::{Account, Callers, Client, Places, SessionService, StartError, Startup, Worker};
use tokio::task::JoinSet;

use crate::job::Outbox;
use crate::{Job, Settings};

/// Deliveries at a time on one connection at most: enough to keep one worker busy, few enough that further workers get
/// their share.
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
}

impl<A: Agent> SessionService for Service<A> {
    const PROGRAM: &'static str = A::PROGRAM;
    const ACCOUNT: Account = A::ACCOUNT;
    const CALLERS: Callers = Callers::OWNER;
    const TRIGGERS: bool = false;

    fn prepare(start: &Startup) -> Result<Self, StartError> {
        let settings = Rc::new(Settings::load(&start.config, &start.program)?);
        Ok(Service { agent: Rc::new(A::prepare(start)?), settings })
    }

    async fn started(self: Rc<Self>, worker: Worker) {
        self.agent.clone().started(worker).await;
    }

    async fn session(self: Rc<Self>, client: Client, worker: Worker) {
        let Some(connection) = client.into_connection() else { return };
        serve(connection, &self.agent, &self.settings, worker).await;
    }

    fn reload_needed(&self) -> bool {
        self.agent.reload_needed()
    }
}

/// Serves one connection of qmgr until it closes and the last delivery is over.
///
/// Each delivery that the connection may carry at a time counts as a client of the service, so that `maxproc` bounds the
/// deliveries as it does where each has a process: a worker without a place left leaves the next connection to others.
async fn serve<A: Agent>(connection: Connection, agent: &Rc<A>, settings: &Rc<Settings>, worker: Worker) {
    let mut visit = Visit {
        places: worker.take_places(CAPACITY - 1),
        deliveries: JoinSet::new(),
        outbox: Rc::new(Outbox::default()),
    };
    if let Err(error) = visit.converse(connection, agent, settings, &worker).await {
        // A queue manager that ends closes its connections wherever they are; between deliveries that is no problem.
        if !visit.deliveries.is_empty() || !error.is_idle_visit() {
            log::warning!("problem talking to the queue manager: {error}");
        }
    }
    // The queue manager has gone; what has begun is finished, so that no message is sent twice for a reload.
    visit.give_back_places();
    while visit.deliveries.join_next().await.is_some() {
        visit.give_back_places();
    }
}

/// One connection of qmgr.
struct Visit {
    places: Places,
    deliveries: JoinSet<()>,
    outbox: Rc<Outbox>,
}

impl Visit {
    async fn converse<A: Agent>(
        &mut self,
        mut connection: Connection,
        agent: &Rc<A>,
        settings: &Rc<Settings>,
        worker: &Worker,
    ) -> Result<(), ipc::Error> {
        let mut draining = pin!(worker.draining());
        let mut said_draining = false;
        connection.queue(&FromAgent::Hello { capacity: self.places.count() + 1 })?;
        loop {
            let messages = self.outbox.messages.take();
            if !messages.is_empty() {
                // The status lines stand in the log before what the queue manager says about them.
                log::flush();
            }
            for message in messages {
                connection.queue(&message)?;
            }
            tokio::select! {
                biased;
                () = self.outbox.filled.notified() => {}
                Some(ended) = self.deliveries.join_next(), if !self.deliveries.is_empty() => {
                    if ended.is_err() {
                        // It panicked: its recipients are deferred, and this process is not to be trusted for long.
                        worker.start_draining();
                    }
                    if said_draining {
                        self.give_back_places();
                    }
                }
                message = connection.receive_while_flushing() => match message? {
                    Some(ToAgent::Deliver(request)) => {
                        let file = connection.take_descriptor()?;
                        let job = Job::new(*request, file, settings.clone(), self.outbox.clone());
                        self.deliveries.spawn_local(agent.clone().deliver(job));
                    }
                    None => return Ok(()),
                },
                () = &mut draining, if !said_draining => {
                    said_draining = true;
                    connection.queue(&FromAgent::Draining)?;
                    self.give_back_places();
                }
            }
        }
    }

    /// What the deliveries under way do not need goes to other workers: no more will come.
    fn give_back_places(&mut self) {
        let needed = u32::try_from(self.deliveries.len()).unwrap_or(u32::MAX);
        self.places.keep(needed.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests;
