//! The way to rewrite: recipients are resolved in batches, several batches on the way at a time.
//!
//! What was asked a moment ago is not asked again: answers are kept for [`CACHE_TIME`], and forgotten when rewrite closes
//! the connection, which it does when its tables change.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::time::Duration;

use bstr::BString;
use ipc::Connection;
use ipc::rewrite::{Answer, Request, Resolved};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep, timeout_at};

/// How long an answer is good for.
const CACHE_TIME: Duration = Duration::from_secs(2);
/// Answers that are kept.
const CACHE_SIZE: usize = 1_000;
/// Connections that may fail in a row before what waits is told so.
const PATIENCE: u32 = 3;
/// Time between two connections.
const PAUSE: Duration = Duration::from_millis(500);

struct Question {
    request: Request,
    answer: oneshot::Sender<Vec<Resolved>>,
}

/// See the module.
pub(crate) struct Client {
    path: PathBuf,
    timeout: Duration,
    waiting: RefCell<VecDeque<Question>>,
    filled: Notify,
    cache: RefCell<Cache>,
}

#[derive(Default)]
struct Cache {
    since: Option<Instant>,
    answers: HashMap<(BString, BString), Resolved>,
}

impl Client {
    pub(crate) fn new(path: PathBuf, timeout: Duration) -> Client {
        Client { path, timeout, waiting: RefCell::default(), filled: Notify::new(), cache: RefCell::default() }
    }

    /// What is already known about all of these recipients.
    pub(crate) fn known(&self, sender: &BString, recipients: &[BString]) -> Option<Vec<Resolved>> {
        let cache = self.cache.borrow();
        if cache.since.is_none_or(|since| since.elapsed() > CACHE_TIME) {
            return None;
        }
        let answer = |recipient: &BString| cache.answers.get(&(sender.clone(), recipient.clone())).cloned();
        recipients.iter().map(answer).collect()
    }

    /// Asks where recipients go; `None` when rewrite does not answer.
    pub(crate) async fn resolve(
        &self,
        sender: &BString,
        recipients: Vec<BString>,
        probe: bool,
    ) -> Option<Vec<Resolved>> {
        let (answer, receiver) = oneshot::channel();
        let request = Request::Resolve { sender: sender.clone(), recipients: recipients.clone(), probe };
        self.waiting.borrow_mut().push_back(Question { request, answer });
        self.filled.notify_one();
        let resolved = receiver.await.ok().filter(|resolved| resolved.len() == recipients.len())?;
        if !probe {
            self.remember(sender, recipients, &resolved);
        }
        Some(resolved)
    }

    fn remember(&self, sender: &BString, recipients: Vec<BString>, resolved: &[Resolved]) {
        let mut cache = self.cache.borrow_mut();
        let fresh = cache.since.is_some_and(|since| since.elapsed() <= CACHE_TIME);
        if !fresh || cache.answers.len() + recipients.len() > CACHE_SIZE {
            cache.answers.clear();
            cache.since = Some(Instant::now());
        }
        if recipients.len() > CACHE_SIZE / 10 {
            return;
        }
        for (recipient, resolved) in recipients.into_iter().zip(resolved) {
            if matches!(resolved, Resolved::Route(_)) {
                cache.answers.insert((sender.clone(), recipient), resolved.clone());
            }
        }
    }

    /// Carries questions and answers, for as long as the program runs.
    pub(crate) async fn serve(&self) {
        let mut asked = VecDeque::new();
        let mut failures = 0;
        loop {
            while asked.is_empty() && self.waiting.borrow().is_empty() {
                self.filled.notified().await;
            }
            let outcome = self.converse(&mut asked, &mut failures).await;
            *self.cache.borrow_mut() = Cache::default();
            if let Err(error) = outcome {
                failures += 1;
                log::warning!("problem talking to service {}: {error}", self.path.display());
            }
            if failures >= PATIENCE {
                // Whoever asked finds the answer missing.
                failures = 0;
                asked.clear();
                self.waiting.borrow_mut().clear();
            }
            if failures > 0 {
                sleep(PAUSE).await;
            }
        }
    }

    /// One connection; questions without answer stay in `asked`.
    async fn converse(&self, asked: &mut VecDeque<Question>, failures: &mut u32) -> Result<(), ipc::Error> {
        let mut connection = Connection::connect(&self.path).await?;
        for question in asked.iter() {
            connection.queue(&question.request)?;
        }
        let mut deadline = Instant::now() + self.timeout;
        loop {
            while let Some(question) = self.waiting.borrow_mut().pop_front() {
                if asked.is_empty() {
                    deadline = Instant::now() + self.timeout;
                }
                let queued = connection.queue(&question.request);
                asked.push_back(question);
                queued?;
            }
            tokio::select! {
                answer = connection.receive_while_flushing::<Answer>() => match answer? {
                    Some(Answer::Resolved(resolved)) => {
                        let question = asked.pop_front().ok_or(ipc::Error::Protocol("answer without question"))?;
                        *failures = 0;
                        deadline = Instant::now() + self.timeout;
                        // Who asked may have gone.
                        let _ = question.answer.send(resolved);
                    }
                    Some(Answer::Rewritten(_)) => return Err(ipc::Error::Protocol("answer to another question")),
                    None if asked.is_empty() => return Ok(()),
                    None => return Err(ipc::Error::Closed),
                },
                () = self.filled.notified() => {}
                _ = timeout_at(deadline, std::future::pending::<()>()), if !asked.is_empty() => {
                    return Err(ipc::Error::Timeout);
                }
            }
        }
    }
}
