//! Questions of daemons and tools, answered as the answers become known.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bstr::BString;
use config::Config;
use ipc::table::{Answer, MAX_KEY, MAX_VALUE, Operation, Outcome, Question, Request};
use server::{Account, Client, SessionService, StartError, Startup, Worker};
use tokio::sync::mpsc;

use crate::attributes::Look;
use crate::{Attributes, TableType, names};

/// Questions of one client that are worked on at a time; further ones wait in its socket.
const QUESTIONS_PER_CLIENT: usize = 500;
/// Most tables that are open.
const MOST_TABLES: usize = 2_000;
/// At most this often the configuration files of tables are looked at.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// `main` of a table server.
pub fn run<T: TableType>() -> ExitCode {
    server::run::<TableServer<T>>()
}

/// The service of one table type.
pub struct TableServer<T> {
    config: Config,
    timeout: Duration,
    tables: RefCell<HashMap<String, Rc<T>>>,
    files: RefCell<HashMap<PathBuf, Look>>,
    checked: Cell<Option<Instant>>,
    /// Tables that were opened before privileges were dropped. What could not be opened then is tried again for each question.
    service: String,
}

impl<T: TableType> SessionService for TableServer<T> {
    const PROGRAM: &'static str = T::PROGRAM;
    const ACCOUNT: Account = Account::Tables;

    fn prepare(start: &Startup) -> Result<Self, StartError> {
        let server = TableServer {
            config: start.config.clone(),
            timeout: start.config.time("table_server_timeout")?,
            tables: RefCell::default(),
            files: RefCell::default(),
            checked: Cell::new(None),
            service: start.service.clone(),
        };
        // A tool asks about what it names, and nothing is given up before.
        if !start.stand_alone {
            for kind in T::KINDS {
                for name in names::named(&start.config, kind) {
                    if let Err(reason) = server.open(kind, &name) {
                        log::warning!("{kind}:{name} is unavailable. {reason}");
                    }
                }
            }
        }
        Ok(server)
    }

    async fn session(self: Rc<Self>, client: Client, worker: Worker) {
        let Some(mut connection) = client.into_connection() else { return };
        let (sender, mut answers) = mpsc::channel::<Answer>(QUESTIONS_PER_CLIENT);
        loop {
            let room = sender.capacity() > 0;
            let step = tokio::select! {
                biased;
                Some(answer) = answers.recv() => {
                    let mut queued = connection.queue(&answer);
                    while let Ok(answer) = answers.try_recv() {
                        queued = queued.and_then(|()| connection.queue(&answer));
                    }
                    match queued {
                        Ok(()) => connection.flush().await.map(|()| true),
                        Err(error) => Err(error),
                    }
                }
                question = connection.receive::<Question>(), if room => match question {
                    Ok(Some(Question { id, request })) => {
                        let server = Rc::clone(&self);
                        if let Ok(permit) = sender.clone().try_reserve_owned() {
                            worker.spawn(async move {
                                permit.send(Answer { id, outcome: server.answer(request).await });
                            });
                        }
                        Ok(true)
                    }
                    Ok(None) => Ok(false),
                    Err(error) => Err(error),
                },
                () = worker.draining(), if sender.capacity() == QUESTIONS_PER_CLIENT => Ok(false),
            };
            match step {
                Ok(true) => {
                    worker.drain_if_reload_needed();
                }
                Ok(false) => return,
                Err(error) => {
                    log::warning!("problem talking to a client: {error}");
                    return;
                }
            }
        }
    }

    fn reload_needed(&self) -> bool {
        let now = Instant::now();
        if self.checked.get().is_some_and(|last| now.duration_since(last) < CHECK_INTERVAL) {
            return false;
        }
        self.checked.set(Some(now));
        let files = self.files.borrow();
        let changed = files.iter().find(|(path, look)| Look::at(path).ok() != Some(**look));
        if let Some((path, _)) = changed {
            log::lines::table_changed(&path.display().to_string());
        }
        changed.is_some() || self.tables.borrow().values().any(|table| table.changed())
    }
}

impl<T: TableType> TableServer<T> {
    fn open(&self, kind: &str, name: &str) -> Result<Rc<T>, String> {
        let title = format!("{kind}:{name}");
        if let Some(table) = self.tables.borrow().get(&title) {
            return Ok(Rc::clone(table));
        }
        if self.tables.borrow().len() >= MOST_TABLES {
            return Err(format!("more than {MOST_TABLES} tables"));
        }
        // A change between this and the table's own look at the file makes one start too many.
        let watched = Attributes::load(kind, name, &self.config).ok();
        let table = Rc::new(T::open(kind, name, &self.config).map_err(|fault| fault.0)?);
        if let Some((path, look)) = watched.as_ref().and_then(Attributes::file) {
            self.files.borrow_mut().insert(path.clone(), *look);
        }
        self.tables.borrow_mut().insert(title, Rc::clone(&table));
        Ok(table)
    }

    async fn answer(&self, request: Request) -> Outcome {
        let (kind, name) = request.table.split_once(':').unwrap_or((&request.table, ""));
        if !T::KINDS.contains(&kind) {
            return Err(format!("the {} service does not serve {kind}: tables", self.service));
        }
        let table = self.open(kind, name)?;
        let key = &request.key;
        if key.len() > MAX_KEY || key.contains(&0) {
            return match request.operation {
                Operation::Lookup => Ok(None),
                Operation::Update(_) | Operation::Delete => Err("bad key".to_owned()),
            };
        }
        let asked = async {
            match &request.operation {
                Operation::Lookup => table.lookup(key).await,
                Operation::Update(value) if value.len() > MAX_VALUE => Ok(None),
                Operation::Update(value) => table.update(key, value).await.map(|()| Some(BString::default())),
                Operation::Delete => table.delete(key).await.map(|there| there.then(BString::default)),
            }
        };
        match tokio::time::timeout(self.timeout, asked).await {
            Ok(Ok(Some(value))) if value.len() > MAX_VALUE => Err(format!("result of more than {MAX_VALUE} bytes")),
            Ok(outcome) => outcome.map_err(|fault| fault.0),
            Err(_) => Err("lookup timed out".to_owned()),
        }
    }
}
