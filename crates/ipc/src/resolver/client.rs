//! A client of the resolver service that many tasks of one process share.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::{Answer, Failure, Found, Query, Question};
use crate::Connection;

type Outcome = Result<Found, Failure>;

/// What an asker is told: the outcome, or `None` when the service has left in order (it is being replaced) and the
/// question is to be asked again.
type Told = Option<Outcome>;

/// Questions of many tasks over one connection, which is made when it is first needed and again when it is lost.
#[derive(Clone, Debug)]
pub struct Client {
    path: PathBuf,
    timeout: Duration,
    state: Rc<RefCell<State>>,
}

#[derive(Debug, Default)]
struct State {
    questions: Option<mpsc::Sender<Question>>,
    waiting: HashMap<u32, oneshot::Sender<Told>>,
    last_id: u32,
    /// Counts connections, so that the end of an old one does not touch the questions of its successor.
    connection: u32,
}

/// Questions that may wait to be written; further askers wait.
const WAITING_QUESTIONS: usize = 256;
/// How often a question is asked, should the service leave each time before it answers.
const ATTEMPTS: u32 = 3;

impl Client {
    /// A client of the service at `path`; each question takes at most `timeout` (`ipc_timeout`).
    #[must_use]
    pub fn new(path: &Path, timeout: Duration) -> Client {
        Client { path: path.to_owned(), timeout, state: Rc::default() }
    }

    /// Asks. Must be called inside a tokio `LocalSet`.
    ///
    /// # Errors
    /// What the service says; [`Failure::TryAgain`] when it cannot be reached or does not answer in time.
    pub async fn query(&self, query: Query) -> Outcome {
        let asked = async {
            for _ in 0..ATTEMPTS {
                if let Some(outcome) = self.ask(query.clone()).await {
                    return outcome;
                }
            }
            Err(Failure::TryAgain("lost connection with the resolver service".into()))
        };
        match tokio::time::timeout(self.timeout, asked).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Failure::TryAgain("timeout while talking to the resolver service".into())),
        }
    }

    async fn ask(&self, query: Query) -> Told {
        let (sender, receiver) = oneshot::channel();
        let (id, questions) = self.register(sender);
        let _forget = Forget { state: Rc::clone(&self.state), id };
        // A question that cannot be handed on any more is answered all the same: by the end of the connection.
        let _ = questions.send(Question { id, query }).await;
        receiver.await.unwrap_or(None)
    }

    fn register(&self, sender: oneshot::Sender<Told>) -> (u32, mpsc::Sender<Question>) {
        let mut state = self.state.borrow_mut();
        state.last_id = state.last_id.wrapping_add(1);
        let id = state.last_id;
        state.waiting.insert(id, sender);
        if let Some(questions) = state.questions.as_ref().filter(|questions| !questions.is_closed()) {
            return (id, questions.clone());
        }
        let (questions, to_write) = mpsc::channel(WAITING_QUESTIONS);
        state.questions = Some(questions.clone());
        state.connection = state.connection.wrapping_add(1);
        tokio::task::spawn_local(serve(self.path.clone(), Rc::clone(&self.state), to_write, state.connection));
        (id, questions)
    }
}

/// Forgets a question whose asker is gone.
struct Forget {
    state: Rc<RefCell<State>>,
    id: u32,
}

impl Drop for Forget {
    fn drop(&mut self) {
        self.state.borrow_mut().waiting.remove(&self.id);
    }
}

async fn serve(path: PathBuf, state: Rc<RefCell<State>>, mut questions: mpsc::Receiver<Question>, number: u32) {
    let failure = match talk(&path, &state, &mut questions).await {
        Ok(()) => None,
        Err(error) => Some(format!("resolver service {}: {error}", path.display())),
    };
    questions.close();
    let mut state = state.borrow_mut();
    if state.connection == number {
        state.questions = None;
        for (_, asker) in state.waiting.drain() {
            let _ = asker.send(failure.clone().map(|why| Err(Failure::TryAgain(why))));
        }
    }
}

async fn talk(
    path: &Path,
    state: &RefCell<State>,
    questions: &mut mpsc::Receiver<Question>,
) -> Result<(), crate::Error> {
    let mut connection = Connection::connect(path).await?;
    loop {
        tokio::select! {
            question = questions.recv() => {
                let Some(question) = question else { return Ok(()) };
                connection.queue(&question)?;
                while let Ok(question) = questions.try_recv() {
                    connection.queue(&question)?;
                }
                connection.flush().await?;
            }
            answer = connection.receive::<Answer>() => {
                let Some(Answer { id, outcome }) = answer? else { return Ok(()) };
                let asker = state.borrow_mut().waiting.remove(&id);
                if let Some(asker) = asker {
                    let _ = asker.send(Some(outcome));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{IpAddr, Ipv4Addr};

    fn local<F: Future<Output = ()>>(test: F) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        tokio::task::LocalSet::new().block_on(&runtime, test);
    }

    #[test]
    fn answers_find_their_askers_in_any_order() {
        local(async {
            let dir = tempfile::tempdir().expect("directory");
            let path = dir.path().join("resolver");
            let listener = tokio::net::UnixListener::bind(&path).expect("bind");
            tokio::task::spawn_local(async move {
                let (stream, _) = listener.accept().await.expect("accept");
                let mut connection = Connection::new(stream);
                let first: Question = connection.expect().await.expect("question");
                let second: Question = connection.expect().await.expect("question");
                for question in [second, first] {
                    let Query::Mx(domain) = question.query else { panic!("mx") };
                    connection
                        .queue(&Answer { id: question.id, outcome: Ok(Found::Mx(vec![(10, domain)])) })
                        .expect("queue");
                }
                connection.flush().await.expect("flush");
                // A service that leaves is asked again once it is back ...
                let _unanswered: Question = connection.expect().await.expect("question");
                drop(connection);
                let (stream, _) = listener.accept().await.expect("accept");
                let mut connection = Connection::new(stream);
                let question: Question = connection.expect().await.expect("question");
                assert_eq!(question.query, Query::Txt("x".into()));
                let found = Found::Addresses(vec![IpAddr::V4(Ipv4Addr::LOCALHOST)]);
                connection.send(&Answer { id: question.id, outcome: Ok(found) }).await.expect("send");
                // ... but one that leaves each time is not asked for ever.
                let _unanswered: Question = connection.expect().await.expect("question");
                drop(connection);
                while let Ok((stream, _)) = listener.accept().await {
                    let _unanswered: Question = Connection::new(stream).expect().await.expect("question");
                }
            });
            let client = Client::new(&path, Duration::from_secs(10));
            let (a, b) = tokio::join!(client.query(Query::Mx("a".into())), client.query(Query::Mx("b".into())));
            assert_eq!(a, Ok(Found::Mx(vec![(10, "a".into())])));
            assert_eq!(b, Ok(Found::Mx(vec![(10, "b".into())])));
            assert!(matches!(client.query(Query::Txt("x".into())).await, Ok(Found::Addresses(_))));
            assert!(matches!(client.query(Query::Txt("y".into())).await, Err(Failure::TryAgain(_))));
        });
    }

    #[test]
    fn nobody_there_is_temporary() {
        local(async {
            let client = Client::new(Path::new("/nonexistent/resolver"), Duration::from_secs(10));
            assert!(matches!(client.query(Query::Mx("a".into())).await, Err(Failure::TryAgain(_))));
        });
    }
}
