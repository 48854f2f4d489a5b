//! What a server knows of its chains: tlsmgr says it, and says it again when it changes.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ipc::Connection;
use ipc::tlsmgr::{Chain, FromTlsmgr, KeySet, ToTlsmgr};
use tokio::sync::{Notify, mpsc, oneshot};

use crate::tickets::Tickets;

/// Pauses between two attempts to reach tlsmgr.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Names that may wait to be asked for.
const WAITING_NAMES: usize = 256;

type Named = Result<Option<Vec<Chain>>, String>;

/// The connection to tlsmgr that hears of changes.
#[derive(Debug)]
pub(crate) struct Keys {
    path: PathBuf,
    timeout: Duration,
    set: KeySet,
    tickets: Option<Arc<Tickets>>,
    state: RefCell<State>,
    /// Counts what was heard; a change of the number makes what was derived from it void.
    version: Cell<u64>,
    heard: Notify,
}

#[derive(Debug, Default)]
struct State {
    chains: Option<Result<Vec<Chain>, String>>,
    questions: Option<mpsc::Sender<(u32, String)>>,
    waiting: HashMap<u32, oneshot::Sender<Named>>,
    last_id: u32,
}

impl Keys {
    /// The keys of `set` in the service at `path`; ticket keys go to `tickets`.
    pub(crate) fn new(path: &Path, timeout: Duration, set: KeySet, tickets: Option<Arc<Tickets>>) -> Keys {
        let (state, version) = (RefCell::default(), Cell::new(0));
        Keys { path: path.to_owned(), timeout, set, tickets, state, version, heard: Notify::new() }
    }

    /// See [`Keys::version`](Self).
    pub(crate) fn version(&self) -> u64 {
        self.version.get()
    }

    /// The chains, when tlsmgr has named any.
    pub(crate) fn chains(&self) -> Option<Vec<Chain>> {
        self.state.borrow().chains.as_ref()?.as_ref().ok().cloned()
    }

    /// True once there are chains to show.
    pub(crate) fn is_ready(&self) -> bool {
        matches!(&self.state.borrow().chains, Some(Ok(chains)) if !chains.is_empty() || self.set.has_names())
    }

    /// Waits until tlsmgr has said something, good or bad, or until time is up.
    pub(crate) async fn wait(&self, patience: Duration) {
        let heard = async {
            while self.state.borrow().chains.is_none() {
                self.heard.notified().await;
            }
        };
        let _ = tokio::time::timeout(patience, heard).await;
    }

    /// The chains for a name; `None` when there are none.
    pub(crate) async fn named(&self, name: &str) -> Named {
        let (sender, receiver) = oneshot::channel();
        let (id, questions) = {
            let mut state = self.state.borrow_mut();
            let Some(questions) = state.questions.clone() else { return Err(self.problem("not connected")) };
            state.last_id = state.last_id.wrapping_add(1);
            let id = state.last_id;
            state.waiting.insert(id, sender);
            (id, questions)
        };
        let asked = async {
            // When nobody takes it any more, the end of the connection is the answer.
            let _ = questions.send((id, name.to_owned())).await;
            receiver.await
        };
        let outcome = tokio::time::timeout(self.timeout, asked).await;
        self.state.borrow_mut().waiting.remove(&id);
        match outcome {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(self.problem("lost connection")),
            Err(_) => Err(self.problem("timeout")),
        }
    }

    fn problem(&self, what: &str) -> String {
        format!("problem talking to service {}: {what}", self.path.display())
    }

    /// Keeps the connection, for as long as it is polled.
    pub(crate) async fn run(&self) {
        let mut pause = FIRST_PAUSE;
        let mut told = false;
        loop {
            let heard = self.version.get();
            let outcome = self.talk().await;
            {
                let mut state = self.state.borrow_mut();
                state.questions = None;
                state.waiting.clear();
                if state.chains.is_none() {
                    state.chains = Some(Err("not known yet".to_owned()));
                }
            }
            self.heard.notify_waiters();
            if self.version.get() != heard {
                // It was there; whoever replaces it comes soon. The chains that are known stay meanwhile.
                (pause, told) = (FIRST_PAUSE, false);
            }
            if let Err(error) = outcome
                && !told
                && !error.is_idle_visit()
            {
                told = true;
                log::warning!("{}", self.problem(&error.to_string()));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn talk(&self) -> Result<(), ipc::Error> {
        let mut connection = Connection::connect(&self.path).await?;
        connection.queue(&ToTlsmgr::Watch(self.set.clone()))?;
        if self.tickets.is_some() {
            connection.queue(&ToTlsmgr::Tickets)?;
        }
        connection.flush().await?;
        let (questions, mut to_ask) = mpsc::channel(WAITING_NAMES);
        self.state.borrow_mut().questions = Some(questions);
        loop {
            tokio::select! {
                Some((id, name)) = to_ask.recv() => connection.send(&ToTlsmgr::Name { id, name }).await?,
                answer = connection.receive::<FromTlsmgr>() => match answer? {
                    None => return Ok(()),
                    Some(answer) => self.hear(answer),
                },
            }
        }
    }

    fn hear(&self, answer: FromTlsmgr) {
        match answer {
            FromTlsmgr::Chains(chains) => {
                self.state.borrow_mut().chains = Some(chains);
                self.version.set(self.version.get() + 1);
                self.heard.notify_waiters();
            }
            FromTlsmgr::Tickets(keys) => {
                if let Some(tickets) = &self.tickets {
                    tickets.set(&keys);
                }
            }
            FromTlsmgr::Named { id, outcome } => {
                let asker = self.state.borrow_mut().waiting.remove(&id);
                if let Some(asker) = asker {
                    // Who has left meanwhile does not want it any more.
                    let _ = asker.send(outcome);
                }
            }
            FromTlsmgr::Signed { .. } => log::debug!("a signature that nobody asked for"),
        }
    }
}
