//! A few connections to the servers of a table: failover, a pause for servers that do not work, an end for idle connections.

use std::cell::{Cell, RefCell};
use std::hash::{BuildHasher, RandomState};
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use crate::hosts::Host;
use crate::{Attributes, Fault};

/// When no server works, one of them is tried again after this time, so that the only one of a table is back at once.
const LEAST_PAUSE: Duration = Duration::from_secs(1);

/// Makes connections.
pub trait Connector: 'static {
    /// A connection that is ready for questions.
    type Connection: 'static;

    /// Connects and logs in. The pool bounds the time.
    ///
    /// # Errors
    /// The server cannot be reached or does not let us in.
    fn connect(&self, host: &Host) -> impl Future<Output = Result<Self::Connection, Fault>>;
}

/// Why a connection gave no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The connection is of no more use; another server may answer.
    Broken(String),
    /// The server said no; the connection is in order, and another server may answer.
    Refused(String),
    /// There is no answer anywhere, and the connection is of no more use: too much was said.
    Final(String),
    /// There is no answer anywhere, but the connection is in order.
    Unanswered(String),
}

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Trouble {
        Trouble::Broken(error.to_string())
    }
}

/// How a table's servers are used.
#[derive(Clone, Debug)]
pub struct PoolSettings {
    /// The servers.
    pub hosts: Vec<Host>,
    /// They are tried in random order, those with Unix-domain sockets first; otherwise as listed.
    pub random: bool,
    /// Connections at a time.
    pub connections: usize,
    /// `retry_interval`: how long a server that does not work is left alone.
    pub retry_interval: Duration,
    /// `idle_interval`: how long a connection without questions stays.
    pub idle_interval: Duration,
    /// The time for one server to answer, and for one to take a connection.
    pub timeout: Duration,
}

impl PoolSettings {
    /// Reads `retry_interval`, `idle_interval`, `timeout`, and how many connections there may be.
    ///
    /// # Errors
    /// A setting that makes no sense.
    pub fn load(attributes: &Attributes, hosts: Vec<Host>, timeout: Duration) -> Result<PoolSettings, Fault> {
        let minute = Duration::from_secs(60);
        let connections = attributes.config().int("table_server_connections").map_err(Fault::new)?;
        Ok(PoolSettings {
            hosts,
            random: true,
            connections: usize::try_from(connections).unwrap_or(1).max(1),
            retry_interval: attributes.time("retry_interval", minute)?,
            idle_interval: attributes.time("idle_interval", minute)?,
            timeout: attributes.time("timeout", timeout)?,
        })
    }
}

struct Idle<C> {
    connection: C,
    host: usize,
    since: Instant,
}

#[derive(Clone, Copy)]
struct Down {
    since: Instant,
}

struct Shared<C: Connector> {
    title: String,
    connector: C,
    settings: PoolSettings,
    places: Semaphore,
    idle: RefCell<Vec<Idle<C::Connection>>>,
    down: RefCell<Vec<Option<Down>>>,
    sweeping: Cell<bool>,
    turn: Cell<u64>,
    random: RandomState,
}

/// The connections of one table. Must be used within a tokio `LocalSet`.
pub struct Pool<C: Connector>(Rc<Shared<C>>);

impl<C: Connector> std::fmt::Debug for Pool<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("title", &self.0.title).finish_non_exhaustive()
    }
}

impl<C: Connector> Pool<C> {
    /// No connection is made before the first question.
    #[must_use]
    pub fn new(title: &str, connector: C, settings: PoolSettings) -> Pool<C> {
        let count = settings.hosts.len();
        Pool(Rc::new(Shared {
            title: title.to_owned(),
            connector,
            places: Semaphore::new(settings.connections),
            settings,
            idle: RefCell::default(),
            down: RefCell::new(vec![None; count]),
            sweeping: Cell::new(false),
            turn: Cell::new(0),
            random: RandomState::new(),
        }))
    }

    /// Asks one server, and the others in turn when it does not work.
    ///
    /// # Errors
    /// No server has an answer.
    pub async fn ask<R>(&self, question: impl AsyncFn(&mut C::Connection) -> Result<R, Trouble>) -> Result<R, Fault> {
        let shared = &self.0;
        // The semaphore is never closed.
        let Ok(_place) = shared.places.acquire().await else { return Err(Fault::new("no connections")) };
        let mut last = None;
        let mut refused_by = None;
        if let Some(Idle { mut connection, host, .. }) = shared.take_idle() {
            match shared.attempt(&mut connection, &question).await {
                Ok(answer) => {
                    self.put_back(connection, host);
                    return Ok(answer);
                }
                Err(Trouble::Final(reason)) => return Err(Fault(reason)),
                Err(Trouble::Unanswered(reason)) => {
                    self.put_back(connection, host);
                    return Err(Fault(reason));
                }
                Err(Trouble::Refused(reason)) => {
                    self.put_back(connection, host);
                    refused_by = Some(host);
                    last = Some(reason);
                }
                // The server may have closed it, and the others, while nothing was asked: a new one will tell.
                Err(Trouble::Broken(_)) => shared.idle.borrow_mut().retain(|idle| idle.host != host),
            }
        }
        for host in shared.candidates() {
            if refused_by == Some(host) {
                continue;
            }
            let address = &shared.settings.hosts[host];
            let connecting = tokio::time::timeout(shared.settings.timeout, shared.connector.connect(address));
            let connected = connecting.await.unwrap_or_else(|_| Err(Fault::new("connection timed out")));
            let mut connection = match connected {
                Ok(connection) => connection,
                Err(Fault(reason)) => {
                    log::warning!("{}: connect to server {address}: {reason}", shared.title);
                    shared.mark_down(host);
                    last = Some(format!("connect to server {address}: {reason}"));
                    continue;
                }
            };
            shared.down.borrow_mut()[host] = None;
            match shared.attempt(&mut connection, &question).await {
                Ok(answer) => {
                    self.put_back(connection, host);
                    return Ok(answer);
                }
                Err(Trouble::Final(reason)) => return Err(Fault(reason)),
                Err(Trouble::Unanswered(reason)) => {
                    self.put_back(connection, host);
                    return Err(Fault(reason));
                }
                Err(Trouble::Refused(reason)) => {
                    self.put_back(connection, host);
                    log::warning!("{}: server {address}: {reason}", shared.title);
                    last = Some(format!("server {address}: {reason}"));
                }
                Err(Trouble::Broken(reason)) => {
                    log::warning!("{}: server {address}: {reason}", shared.title);
                    shared.mark_down(host);
                    last = Some(format!("server {address}: {reason}"));
                }
            }
        }
        Err(Fault(last.unwrap_or_else(|| "all servers are down".to_owned())))
    }

    fn put_back(&self, connection: C::Connection, host: usize) {
        let shared = &self.0;
        shared.idle.borrow_mut().push(Idle { connection, host, since: Instant::now() });
        if !shared.sweeping.replace(true) {
            let interval = shared.settings.idle_interval;
            tokio::task::spawn_local(sweep(Rc::downgrade(shared), interval));
        }
    }
}

/// Closes connections that nobody used for a while, until there is none.
async fn sweep<C: Connector>(pool: Weak<Shared<C>>, interval: Duration) {
    loop {
        tokio::time::sleep(interval).await;
        let Some(shared) = pool.upgrade() else { return };
        let mut idle = shared.idle.borrow_mut();
        idle.retain(|idle| idle.since.elapsed() < interval);
        if idle.is_empty() {
            shared.sweeping.set(false);
            return;
        }
    }
}

impl<C: Connector> Shared<C> {
    /// The connection that was used last, so that those in excess grow old.
    fn take_idle(&self) -> Option<Idle<C::Connection>> {
        let mut idle = self.idle.borrow_mut();
        idle.retain(|idle| idle.since.elapsed() < self.settings.idle_interval);
        idle.pop()
    }

    async fn attempt<R>(
        &self,
        connection: &mut C::Connection,
        question: &impl AsyncFn(&mut C::Connection) -> Result<R, Trouble>,
    ) -> Result<R, Trouble> {
        match tokio::time::timeout(self.settings.timeout, question(connection)).await {
            Ok(answer) => answer,
            Err(_) => Err(Trouble::Broken("timeout".to_owned())),
        }
    }

    fn mark_down(&self, host: usize) {
        self.down.borrow_mut()[host] = Some(Down { since: Instant::now() });
    }

    /// The servers to try, in order.
    fn candidates(&self) -> Vec<usize> {
        let down = self.down.borrow();
        let pause = self.settings.retry_interval;
        let mut up: Vec<usize> =
            (0..down.len()).filter(|host| down[*host].is_none_or(|down| down.since.elapsed() >= pause)).collect();
        if up.is_empty() {
            let longest = (0..down.len()).max_by_key(|host| down[*host].map(|down| down.since.elapsed()));
            let waited = |host: &usize| down[*host].is_none_or(|down| down.since.elapsed() >= LEAST_PAUSE);
            up.extend(longest.filter(waited));
        }
        if self.settings.random {
            self.turn.set(self.turn.get().wrapping_add(1));
            let turn = self.turn.get();
            up.sort_by_cached_key(|host| {
                let inet = matches!(self.settings.hosts[*host], Host::Inet(..));
                (inet, self.random.hash_one((turn, *host)))
            });
        }
        up
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts connections; the host's name says how it behaves.
    struct Fake(Rc<RefCell<Vec<String>>>);

    impl Connector for Fake {
        type Connection = String;

        async fn connect(&self, host: &Host) -> Result<String, Fault> {
            self.0.borrow_mut().push(host.name().to_owned());
            if host.name() == "dead" { Err(Fault::new("connection refused")) } else { Ok(host.name().to_owned()) }
        }
    }

    #[expect(clippy::ptr_arg, reason = "the type that the pool's connector makes")]
    async fn question(connection: &mut String) -> Result<String, Trouble> {
        match connection.as_str() {
            "broken" => Err(Trouble::Broken("reset".into())),
            "refuses" => Err(Trouble::Refused("no such table".into())),
            "endless" => Err(Trouble::Final("too much".into())),
            "silent" => std::future::pending().await,
            good => Ok(good.to_owned()),
        }
    }

    fn pool(hosts: &[&str]) -> (Pool<Fake>, Rc<RefCell<Vec<String>>>) {
        let settings = PoolSettings {
            hosts: hosts.iter().map(|name| Host::Inet((*name).to_owned(), 1)).collect(),
            random: false,
            connections: 2,
            retry_interval: Duration::from_secs(600),
            idle_interval: Duration::from_secs(600),
            timeout: Duration::from_millis(20),
        };
        let seen = Rc::default();
        (Pool::new("test:x", Fake(Rc::clone(&seen)), settings), seen)
    }

    fn local<F: Future<Output = ()>>(test: F) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        tokio::task::LocalSet::new().block_on(&runtime, test);
    }

    #[test]
    fn servers_that_do_not_work_are_passed_over_and_left_alone() {
        local(async {
            let (pool, seen) = pool(&["dead", "broken", "silent", "refuses", "good"]);
            assert_eq!(pool.ask(question).await, Ok("good".to_owned()));
            assert_eq!(pool.ask(question).await, Ok("good".to_owned()));
            assert_eq!(*seen.borrow(), ["dead", "broken", "silent", "refuses", "good"]);
        });
    }

    #[test]
    fn without_a_server_that_works_the_answer_is_the_last_reason() {
        local(async {
            for (host, reason) in [("dead", "refused"), ("refuses", "no such table"), ("endless", "too much")] {
                let (pool, _) = pool(&[host]);
                assert!(pool.ask(question).await.is_err_and(|fault| fault.0.contains(reason)), "{host}");
            }
            let (pool, seen) = pool(&["dead"]);
            assert!(pool.ask(question).await.is_err());
            assert!(pool.ask(question).await.is_err_and(|fault| fault.0.contains("down")));
            assert_eq!(seen.borrow().len(), 1, "not tried again at once");
        });
    }

    #[test]
    fn a_stale_connection_is_replaced_and_not_held_against_the_server() {
        local(async {
            let (pool, seen) = pool(&["good"]);
            pool.put_back("broken".to_owned(), 0);
            assert_eq!(pool.ask(question).await, Ok("good".to_owned()));
            assert_eq!(seen.borrow().len(), 1);
        });
    }
}
