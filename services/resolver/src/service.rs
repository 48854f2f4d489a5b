//! Questions of the other daemons, answered as they become known.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;

use ipc::resolver::{Answer, Failure, Found, Query, Question};
use server::{Account, Client, SessionService, StartError, Startup, Worker};
use tokio::sync::mpsc;

use crate::dns::{Dns, Servers};
use crate::hosts::Hosts;
use crate::system_file::SystemFile;

/// Questions of one client that are looked up at a time; further ones wait in its socket.
const QUESTIONS_PER_CLIENT: usize = 500;
/// Longest domain name (RFC 1035 2.3.4), with room for a final dot.
const LONGEST_NAME: usize = 254;

/// The service.
#[derive(Debug)]
pub struct ResolverService {
    servers: Servers,
    hosts: Hosts,
    /// Made when it is first needed, inside the event loop; again when it could not be made.
    dns: RefCell<Option<Rc<Dns>>>,
    /// What was read before the jail. When it changes the next process reads it again.
    files: Vec<SystemFile>,
}

const SYSTEM_SETTINGS: &str = "/etc/resolv.conf";

impl SessionService for ResolverService {
    const PROGRAM: &'static str = "resolver";
    const ACCOUNT: Account = Account::Names;

    fn prepare(start: &Startup) -> Result<Self, StartError> {
        let listed = start.config.list("resolver_name_servers")?;
        let mut files = Vec::new();
        let mut read = |path: &Path| {
            let (file, bytes) = SystemFile::read(path);
            files.push(file);
            bytes
        };
        let servers = if listed.is_empty() {
            Servers::System(read(Path::new(SYSTEM_SETTINGS)))
        } else {
            let parse = |text: &String| -> Result<SocketAddr, StartError> {
                let with_port = text.parse().or_else(|_| text.parse().map(|address| SocketAddr::new(address, 53)));
                with_port.map_err(|_| {
                    start.config.invalid_value("name server address", "resolver_name_servers", text.clone()).into()
                })
            };
            Servers::Listed(listed.iter().map(parse).collect::<Result<_, _>>()?)
        };
        let hosts = read(Path::new(&start.config.string("resolver_hosts_file")?));
        let hosts = Hosts::parse(&String::from_utf8_lossy(&hosts));
        Ok(ResolverService { servers, hosts, dns: RefCell::new(None), files })
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
                        let permit = sender.clone().try_reserve_owned();
                        let service = Rc::clone(&self);
                        if let Ok(permit) = permit {
                            worker.spawn(async move {
                                let outcome = service.look_up(question.query).await;
                                permit.send(Answer { id: question.id, outcome });
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
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    log::warning!("problem talking to a client: {error}");
                    return;
                }
            }
        }
    }

    fn reload_needed(&self) -> bool {
        self.files.iter().any(SystemFile::has_changed)
    }
}

impl ResolverService {
    async fn look_up(&self, query: Query) -> Result<Found, Failure> {
        let name = match &query {
            Query::Mx(name) | Query::Txt(name) | Query::Ns(name) | Query::Srv(name) => Some(name),
            Query::Addresses { name, .. } => Some(name),
            Query::Name(_) => None,
        };
        if name.is_some_and(|name| name.is_empty() || name.len() > LONGEST_NAME || !name.is_ascii()) {
            return Err(Failure::Invalid);
        }
        match query {
            Query::Mx(domain) => self.dns()?.mx(&domain).await,
            Query::Txt(name) => self.dns()?.txt(&name).await,
            Query::Ns(domain) => self.dns()?.ns(&domain).await,
            Query::Srv(name) => self.dns()?.srv(&name).await,
            Query::Addresses { name, ipv4, ipv6, hosts_file, dns } => {
                if hosts_file {
                    let found = self.hosts.addresses(&name, ipv4, ipv6);
                    if !found.is_empty() {
                        return Ok(Found::Addresses(found));
                    }
                }
                if !dns {
                    return Err(Failure::NotFound);
                }
                self.dns()?.addresses(&name, ipv4, ipv6).await.map(Found::Addresses)
            }
            Query::Name(address) => {
                let names = self.hosts.names(address).to_vec();
                if !names.is_empty() {
                    return Ok(Found::Names(names));
                }
                // Loopback addresses have no names but those of the hosts file (RFC 6303 4.2); the library would make
                // all of them "localhost".
                if address.is_loopback() {
                    return Err(Failure::NotFound);
                }
                self.dns()?.names(address).await
            }
        }
    }

    fn dns(&self) -> Result<Rc<Dns>, Failure> {
        if let Some(dns) = &*self.dns.borrow() {
            return Ok(Rc::clone(dns));
        }
        match Dns::new(&self.servers) {
            Ok(dns) => {
                let dns = Rc::new(dns);
                *self.dns.borrow_mut() = Some(Rc::clone(&dns));
                Ok(dns)
            }
            Err(error) => {
                log::warning!("no DNS: {error}");
                Err(Failure::TryAgain(error))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ipc::Connection;
    use server::testing::{self, Harness};

    fn ask(name: &str) -> Question {
        let query = Query::Addresses { name: name.into(), ipv4: true, ipv6: true, hosts_file: true, dns: false };
        Question { id: 7, query }
    }

    #[test]
    fn a_changed_hosts_file_replaces_the_worker() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("hosts");
        std::fs::write(&path, "192.0.2.7 old.example\n").expect("write");
        let text = format!("resolver_hosts_file = {}\nresolver_name_servers = 127.0.0.1:9\n", path.display());
        let start = Startup::for_tests(config::Config::from_text(&text).expect("configuration"), "resolver");
        testing::run(async {
            let harness = Harness::<ResolverService>::start(&start).await.expect("start");
            let mut connection = Connection::new(harness.connect().expect("connect"));
            connection.send(&ask("old.example")).await.expect("ask");
            let answer: Answer = connection.expect().await.expect("answer");
            assert_eq!(answer.outcome, Ok(Found::Addresses(vec!["192.0.2.7".parse().expect("address")])));
            assert!(!harness.service().reload_needed(), "nothing has changed");
            std::fs::write(&path, "192.0.2.70 new.example\n").expect("write");
            assert!(harness.service().reload_needed());
            // An asker that is there already gets its answer from what was read, and then has to ask the next process.
            connection.send(&ask("new.example")).await.expect("ask");
            let answer: Answer = connection.expect().await.expect("answer");
            assert_eq!(answer.outcome, Err(Failure::NotFound));
            assert!(harness.worker().drain_if_reload_needed());
            assert!(connection.receive::<Answer>().await.expect("closed").is_none());
            harness.finish().await;
        });
    }
}
