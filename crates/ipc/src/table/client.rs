//! A client of a table server that all tasks of one worker share.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::{Rc, Weak};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot};

use super::{Answer, Outcome, Question, Request};
use crate::Connection;

/// What an asker is told: the outcome, or `None` when the server has left in order (it is being replaced) and the
/// question is to be asked again.
type Told = Option<Outcome>;

/// Questions of one worker that are on the way to one server; further askers wait for their turn.
const MOST_ON_THE_WAY: usize = 256;
/// Askers that wait for their turn; further ones get an error at once.
const MOST_WAITING: usize = 20_000;
/// How often a question is asked, should the server leave each time before it answers.
const ATTEMPTS: u32 = 3;

thread_local! {
    static CLIENTS: RefCell<HashMap<PathBuf, Weak<Shared>>> = RefCell::default();
}

/// Questions of many tasks over one connection, which is made when it is first needed and again when it is lost.
#[derive(Clone, Debug)]
pub struct Client {
    shared: Rc<Shared>,
    timeout: Duration,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    places: Semaphore,
    askers: std::cell::Cell<usize>,
    state: RefCell<State>,
}

#[derive(Debug, Default)]
struct State {
    questions: Option<mpsc::Sender<Question>>,
    waiting: HashMap<u32, oneshot::Sender<Told>>,
    last_id: u32,
    /// Counts connections, so that the end of an old one does not touch the questions of its successor.
    connection: u32,
}

impl Client {
    /// The client of the server at `path` that this thread has, or a new one; each question takes at most `timeout`.
    #[must_use]
    pub fn of_this_thread(path: &Path, timeout: Duration) -> Client {
        let shared = CLIENTS.with_borrow_mut(|clients| {
            if let Some(shared) = clients.get(path).and_then(Weak::upgrade) {
                return shared;
            }
            clients.retain(|_, client| client.strong_count() > 0);
            let shared = Rc::new(Shared {
                path: path.to_owned(),
                places: Semaphore::new(MOST_ON_THE_WAY),
                askers: std::cell::Cell::new(0),
                state: RefCell::default(),
            });
            clients.insert(path.to_owned(), Rc::downgrade(&shared));
            shared
        });
        Client { shared, timeout }
    }

    /// Asks. Must be called inside a tokio `LocalSet`.
    ///
    /// # Errors
    /// What the server says; that it cannot be reached or does not answer in time.
    pub async fn ask(&self, request: Request) -> Outcome {
        let shared = &self.shared;
        if shared.askers.get() >= MOST_WAITING {
            return Err(format!("too many lookups wait for the table server {}", shared.path.display()));
        }
        let _asker = Counted::new(shared);
        let asked = async {
            // The semaphore is never closed.
            let Ok(_place) = shared.places.acquire().await else { return Err("no table server".to_owned()) };
            for _ in 0..ATTEMPTS {
                if let Some(outcome) = shared.put(request.clone()).await {
                    return outcome;
                }
            }
            Err(format!("lost connection with the table server {}", shared.path.display()))
        };
        match tokio::time::timeout(self.timeout, asked).await {
            Ok(outcome) => outcome,
            Err(_) => Err(format!("timeout while talking to the table server {}", shared.path.display())),
        }
    }
}

impl Shared {
    async fn put(self: &Rc<Self>, request: Request) -> Told {
        let (sender, receiver) = oneshot::channel();
        let (id, questions) = self.register(sender);
        let _forget = Forget { shared: self, id };
        // A question that cannot be handed on any more is answered all the same: by the end of the connection.
        let _ = questions.send(Question { id, request }).await;
        receiver.await.unwrap_or(None)
    }

    fn register(self: &Rc<Self>, sender: oneshot::Sender<Told>) -> (u32, mpsc::Sender<Question>) {
        let mut state = self.state.borrow_mut();
        state.last_id = state.last_id.wrapping_add(1);
        let id = state.last_id;
        state.waiting.insert(id, sender);
        if let Some(questions) = state.questions.as_ref().filter(|questions| !questions.is_closed()) {
            return (id, questions.clone());
        }
        let (questions, to_write) = mpsc::channel(MOST_ON_THE_WAY);
        state.questions = Some(questions.clone());
        state.connection = state.connection.wrapping_add(1);
        tokio::task::spawn_local(serve(Rc::clone(self), to_write, state.connection));
        (id, questions)
    }
}

/// Counts an asker while it waits.
struct Counted<'s>(&'s Shared);

impl<'s> Counted<'s> {
    fn new(shared: &'s Shared) -> Counted<'s> {
        shared.askers.set(shared.askers.get() + 1);
        Counted(shared)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.askers.set(self.0.askers.get() - 1);
    }
}

/// Forgets a question whose asker is gone.
struct Forget<'s> {
    shared: &'s Shared,
    id: u32,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.shared.state.borrow_mut().waiting.remove(&self.id);
    }
}

async fn serve(shared: Rc<Shared>, mut questions: mpsc::Receiver<Question>, number: u32) {
    let failure = match talk(&shared, &mut questions).await {
        Ok(()) => None,
        Err(error) => Some(format!("table server {}: {error}", shared.path.display())),
    };
    questions.close();
    let mut state = shared.state.borrow_mut();
    if state.connection == number {
        state.questions = None;
        for (_, asker) in state.waiting.drain() {
            let _ = asker.send(failure.clone().map(Err));
        }
    }
}

async fn talk(shared: &Shared, questions: &mut mpsc::Receiver<Question>) -> Result<(), crate::Error> {
    let mut connection = Connection::connect(&shared.path).await?;
    loop {
        // Neither side waits for the other to read: answers are taken while questions leave.
        tokio::select! {
            question = questions.recv() => {
                let Some(question) = question else { return Ok(()) };
                connection.queue(&question)?;
                while let Ok(question) = questions.try_recv() {
                    connection.queue(&question)?;
                }
            }
            answer = connection.receive_while_flushing::<Answer>() => {
                let Some(Answer { id, outcome }) = answer? else { return Ok(()) };
                let asker = shared.state.borrow_mut().waiting.remove(&id);
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
    use crate::table::Operation;

    fn local<F: Future<Output = ()>>(test: F) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        tokio::task::LocalSet::new().block_on(&runtime, test);
    }

    fn request(key: &str) -> Request {
        Request { table: "pgsql:x".to_owned(), flags: 0, key: key.into(), operation: Operation::Lookup }
    }

    #[test]
    fn one_slow_answer_holds_up_nobody_else() {
        local(async {
            let directory = tempfile::tempdir().expect("directory");
            let path = directory.path().join("table-pgsql");
            let listener = tokio::net::UnixListener::bind(&path).expect("bind");
            tokio::task::spawn_local(async move {
                let (stream, _) = listener.accept().await.expect("accept");
                let mut connection = Connection::new(stream);
                loop {
                    let question: Question = connection.expect().await.expect("question");
                    if question.request.key != "slow" {
                        let outcome = Ok(Some(question.request.key));
                        connection.send(&Answer { id: question.id, outcome }).await.expect("send");
                    }
                }
            });
            let client = Client::of_this_thread(&path, Duration::from_secs(30));
            let waiting = client.clone();
            let slow = tokio::task::spawn_local(async move { waiting.ask(request("slow")).await });
            for key in ["a", "b", "c"] {
                assert_eq!(client.ask(request(key)).await, Ok(Some(key.into())));
            }
            assert!(!slow.is_finished());
            slow.abort();
            let impatient = Client { timeout: Duration::ZERO, ..client };
            assert!(impatient.ask(request("slow")).await.is_err_and(|error| error.contains("timeout")));
        });
    }

    #[test]
    fn a_server_that_leaves_is_asked_again_and_one_that_is_not_there_is_an_error() {
        local(async {
            let directory = tempfile::tempdir().expect("directory");
            let path = directory.path().join("table-pgsql");
            let listener = tokio::net::UnixListener::bind(&path).expect("bind");
            tokio::task::spawn_local(async move {
                let (stream, _) = listener.accept().await.expect("accept");
                let _unanswered: Question = Connection::new(stream).expect().await.expect("question");
                let (stream, _) = listener.accept().await.expect("accept");
                let mut connection = Connection::new(stream);
                let question: Question = connection.expect().await.expect("question");
                connection.send(&Answer { id: question.id, outcome: Ok(None) }).await.expect("send");
                drop(connection);
                while let Ok((stream, _)) = listener.accept().await {
                    let _unanswered: Question = Connection::new(stream).expect().await.expect("question");
                }
            });
            let client = Client::of_this_thread(&path, Duration::from_secs(10));
            assert_eq!(client.ask(request("a")).await, Ok(None));
            assert!(client.ask(request("b")).await.is_err_and(|error| error.contains("lost connection")));
            let nobody = Client::of_this_thread(Path::new("/nonexistent/table"), Duration::from_secs(10));
            assert!(nobody.ask(request("a")).await.is_err());
        });
    }
}
