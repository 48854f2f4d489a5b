//! Tables that other daemons ask for as `proxy:type:name`: opened once, by an account that may read them, outside of jails.
//!
//! Only what `proxy_read_maps` lists is looked up; the service `proxywrite` serves what `proxy_write_maps` lists, and changes it.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use bstr::BString;
use ipc::table::{Answer, MAX_KEY, MAX_VALUE, Operation, Outcome, Question, Request};
use server::{Account, Client, SessionService, StartError, Startup, Worker};
use tables::build::{Duplicates, KeptWritable, Target, WriteOptions};
use tables::{Flags, Settings, Table};
use tokio::sync::mpsc;

/// Questions of one client that are worked on at a time; further ones wait in its socket.
const QUESTIONS_PER_CLIENT: usize = 500;

/// The service, for reading or for writing.
pub struct Proxymap {
    settings: Settings,
    /// The parameter that approves tables.
    parameter: &'static str,
    service: String,
    approved: HashSet<String>,
    writes: bool,
    open: RefCell<HashMap<(String, Flags), Rc<Table>>>,
    /// Tables that are open for changes.
    _kept: Vec<KeptWritable>,
}

impl SessionService for Proxymap {
    const PROGRAM: &'static str = "proxymap";
    const ACCOUNT: Account = Account::Tables;

    fn prepare(start: &Startup) -> Result<Self, StartError> {
        let config = &start.config;
        let writes = start.service == config.string("proxywrite_service_name")?;
        let parameter = if writes { "proxy_write_maps" } else { "proxy_read_maps" };
        let list = config.string(parameter)?;
        let names = tables::list::split(&list).filter_map(|name| name.strip_prefix("proxy:"));
        let approved: HashSet<String> = names.map(str::to_owned).collect();
        let settings = Settings::load(config).map_err(StartError::service)?;
        let mut kept = Vec::new();
        for name in approved.iter().filter(|_| writes) {
            let target = Target::parse(name, &settings.default_database_type);
            match target.and_then(|target| target.keep_writable(&settings)) {
                Ok(open) => kept.extend(open),
                Err(reason) => log::warning!("{parameter}: {name} is unavailable. {reason}"),
            }
        }
        let service = Proxymap {
            settings,
            parameter,
            service: start.service.clone(),
            approved,
            writes,
            open: RefCell::default(),
            _kept: kept,
        };
        // What only root may read is read now.
        for name in &service.approved {
            if let Err(reason) = service.table(name, Flags::DEFAULT) {
                log::warning!("{parameter}: {name} is unavailable. {reason}");
            }
        }
        Ok(service)
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
                    Ok(Some(question)) => {
                        self.start(question, &sender, &worker);
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
        let open = self.open.borrow();
        let changed = open.values().find(|table| table.changed());
        changed.inspect(|table| log::lines::table_changed(&table.log_name())).is_some()
    }
}

impl Proxymap {
    fn start(self: &Rc<Self>, Question { id, request }: Question, sender: &mpsc::Sender<Answer>, worker: &Worker) {
        let Ok(permit) = sender.clone().try_reserve_owned() else { return };
        let (service, at_work) = (Rc::clone(self), worker.clone());
        worker.spawn(async move {
            permit.send(Answer { id, outcome: service.answer(request, &at_work).await });
        });
    }

    async fn answer(&self, request: Request, worker: &Worker) -> Outcome {
        let name = request.table.as_str();
        if !self.approved.contains(name) {
            let access = if self.writes { "read-write" } else { "read-only" };
            log::warning!("request for unapproved table: \"{name}\"");
            log::warning!("to approve this table for {access} access, list proxy:{name} in main.cf:{}", self.parameter);
            return Err(format!("{} service is not configured for table \"{name}\"", self.service));
        }
        if request.key.len() > MAX_KEY {
            return Ok(None);
        }
        match request.operation {
            Operation::Lookup => {
                let table = self.table(name, Flags::from_bits(request.flags))?;
                let found = table.lookup_async(&request.key).await.map_err(|error| error.reason)?;
                match found {
                    Some(value) if value.len() > MAX_VALUE => Err(format!("value of more than {MAX_VALUE} bytes")),
                    found => Ok(found),
                }
            }
            Operation::Update(_) | Operation::Delete if !self.writes => {
                Err(format!("{} service does not change tables", self.service))
            }
            change => self.change(name, request.key, change, worker).await,
        }
    }

    /// Files are written and flushed by a thread of their own.
    async fn change(&self, name: &str, key: BString, change: Operation, worker: &Worker) -> Outcome {
        let settings = self.settings.clone();
        let name = name.to_owned();
        let work = move || -> Result<Option<BString>, tables::Error> {
            let target = Target::parse(&name, &settings.default_database_type)?;
            let utf8 = settings.utf8;
            let key = tables::fold::fold(&key, utf8);
            match change {
                Operation::Delete => Ok(target.delete(&[key], &settings)?.then(BString::default)),
                Operation::Update(value) => {
                    let options =
                        WriteOptions { duplicates: Duplicates::Replace, mode: 0o600, ..WriteOptions::default() };
                    target.update(&[(key, value)], &settings, &options)?;
                    Ok(Some(BString::default()))
                }
                Operation::Lookup => Ok(None),
            }
        };
        match worker.run_blocking(work).await {
            Some(outcome) => outcome.map_err(|error| error.to_string()),
            None => Err("internal error".to_owned()),
        }
    }

    fn table(&self, name: &str, flags: Flags) -> Result<Rc<Table>, String> {
        let key = (name.to_owned(), flags);
        if let Some(table) = self.open.borrow().get(&key) {
            return Ok(Rc::clone(table));
        }
        let table = tables::open::open(name, &self.settings, flags).map_err(|error| error.to_string())?;
        self.open.borrow_mut().insert(key, Rc::clone(&table));
        Ok(table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::Config;
    use ipc::Connection;
    use server::testing::{self, Harness};

    async fn ask(connection: &mut Connection, table: &str, key: &str, operation: Operation) -> Outcome {
        let request = Request { table: table.to_owned(), flags: 0, key: key.into(), operation };
        connection.send(&Question { id: 7, request }).await.expect("ask");
        let answer: Answer = connection.expect().await.expect("answer");
        assert_eq!(answer.id, 7);
        answer.outcome
    }

    #[test]
    fn approved_tables_are_read_and_others_are_not() {
        let text = "virtual_alias_maps = proxy:inline:{a=b}\nrelay_domains = inline:{c=d}\n";
        let start = Startup::for_tests(Config::from_text(text).expect("configuration"), "proxymap");
        testing::run(async {
            let harness = Harness::<Proxymap>::start(&start).await.expect("start");
            let mut connection = Connection::new(harness.connect().expect("connect"));
            for (table, key, operation, outcome) in [
                ("inline:{a=b}", "A", Operation::Lookup, Ok(Some("b".into()))),
                ("inline:{a=b}", "x", Operation::Lookup, Ok(None)),
                ("inline:{c=d}", "c", Operation::Lookup, Err("not configured")),
                ("inline:{a=b}", "a", Operation::Delete, Err("does not change")),
            ] {
                let answer = ask(&mut connection, table, key, operation).await;
                match outcome {
                    Ok(value) => assert_eq!(answer, Ok(value), "{table} {key}"),
                    Err(part) => assert!(answer.is_err_and(|reason| reason.contains(part)), "{table} {key}"),
                }
            }
            drop(connection);
            harness.finish().await;
        });
    }

    #[test]
    fn proxywrite_changes_what_is_approved_for_it() {
        let directory = tempfile::tempdir().expect("directory");
        let table = format!("lmdb:{}/cache", directory.path().display());
        let text = format!("address_verify_map = proxy:{table}\n");
        let start = Startup::for_tests(Config::from_text(&text).expect("configuration"), "proxywrite");
        testing::run(async {
            let harness = Harness::<Proxymap>::start(&start).await.expect("start");
            let mut connection = Connection::new(harness.connect().expect("connect"));
            let done = Ok(Some(BString::default()));
            for (key, operation, outcome) in [
                ("a", Operation::Update("1".into()), done.clone()),
                ("a", Operation::Update("2".into()), done.clone()),
                ("a", Operation::Lookup, Ok(Some("2".into()))),
                ("a", Operation::Delete, done),
                ("a", Operation::Delete, Ok(None)),
                ("a", Operation::Lookup, Ok(None)),
            ] {
                assert_eq!(ask(&mut connection, &table, key, operation.clone()).await, outcome, "{operation:?}");
            }
            drop(connection);
            harness.finish().await;
        });
    }
}
