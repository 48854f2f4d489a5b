//! The ways to bounce, defer and trace (notices that senders are owed) and to flush (which sites wait).

use std::cell::RefCell;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Duration;

use ipc::Connection;
use ipc::bounce::{Answer, Request};
use queue::QueueId;
use tokio::sync::{Notify, Semaphore};
use tokio::time::timeout;

/// Notices that are on the way at a time.
const AT_A_TIME: usize = 20;
/// Idle connections that are kept.
const IDLE: usize = 4;
/// Sites that wait to be told to flush.
const MOST_SITES: usize = 10_000;

/// Asks for notices.
pub(crate) struct Notices {
    directory: PathBuf,
    timeout: Duration,
    slots: Semaphore,
    idle: RefCell<Vec<(String, Connection)>>,
}

impl Notices {
    pub(crate) fn new(directory: PathBuf, timeout: Duration) -> Notices {
        Notices { directory, timeout, slots: Semaphore::new(AT_A_TIME), idle: RefCell::default() }
    }

    /// True when the notice was sent or is not owed; false when the message must stay.
    pub(crate) async fn send(&self, service: &str, request: &Request) -> bool {
        let Ok(_slot) = self.slots.acquire().await else { return false };
        let answer = match timeout(self.timeout, self.exchange(service, request)).await {
            Ok(answer) => answer,
            Err(_) => Err(ipc::Error::Timeout),
        };
        match answer {
            Ok(answer) => answer == Answer::Done,
            Err(error) => {
                log::warning!("problem talking to service private/{service}: {error}");
                false
            }
        }
    }

    async fn exchange(&self, service: &str, request: &Request) -> Result<Answer, ipc::Error> {
        let kept = {
            let mut idle = self.idle.borrow_mut();
            idle.retain(|(_, connection)| connection.is_idle_and_open());
            idle.iter().position(|(name, _)| name == service).map(|at| idle.swap_remove(at).1)
        };
        let mut connection = match kept {
            Some(connection) => connection,
            None => Connection::connect(&self.directory.join(service)).await?,
        };
        connection.send(request).await?;
        let answer = connection.expect().await?;
        let mut idle = self.idle.borrow_mut();
        if idle.len() < IDLE {
            idle.push((service.to_owned(), connection));
        }
        Ok(answer)
    }

    /// Idle connections are not kept for long.
    pub(crate) fn close_idle(&self) {
        self.idle.borrow_mut().clear();
    }
}

/// Tells flush which messages wait for which sites.
pub(crate) struct Flush {
    path: PathBuf,
    timeout: Duration,
    waiting: RefCell<VecDeque<(String, QueueId)>>,
    filled: Notify,
}

impl Flush {
    pub(crate) fn new(path: PathBuf, timeout: Duration) -> Flush {
        Flush { path, timeout, waiting: RefCell::default(), filled: Notify::new() }
    }

    /// Remembers to tell. What is too much is forgotten: it costs a site its fast flush, no mail.
    pub(crate) fn add(&self, site: String, id: QueueId) {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.len() < MOST_SITES {
            waiting.push_back((site, id));
            self.filled.notify_one();
        }
    }

    /// Tells, for as long as the program runs.
    pub(crate) async fn serve(&self) {
        loop {
            self.filled.notified().await;
            if let Err(error) = self.tell().await {
                log::warning!("problem talking to service {}: {error}", self.path.display());
                self.waiting.borrow_mut().clear();
            }
        }
    }

    async fn tell(&self) -> Result<(), ipc::Error> {
        let mut connection = Connection::connect(&self.path).await?;
        loop {
            let Some((site, queue_id)) = self.waiting.borrow_mut().pop_front() else { return Ok(()) };
            let request = ipc::flush::Request::Add { site, queue_id };
            let answer = async {
                connection.send(&request).await?;
                connection.expect::<ipc::flush::Answer>().await
            };
            timeout(self.timeout, answer).await.map_err(|_| ipc::Error::Timeout)??;
        }
    }
}
