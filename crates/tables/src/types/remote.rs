//! Tables that another program serves, behind a socket in `private/`: `ldap:`, `pgsql:`, `socketmap:`, ..., `proxy:`.
//!
//! Opening one costs nothing and always succeeds: what is wrong with its configuration file is an error of each lookup.

use std::cell::RefCell;
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bstr::BString;
use ipc::table::{BlockingClient, Client, Operation, Outcome, Request};

use crate::error::{Error, Fault};
use crate::flags::Flags;
use crate::open;
use crate::settings::{Servers, Settings};
use crate::table::{LaterAnswer, Source};

/// One type and who serves it.
pub struct RemoteType {
    /// The word before the colon.
    pub name: &'static str,
    /// The program in `daemon_directory`, which is also the name of the service.
    pub program: &'static str,
    /// Keys are fixed strings: derived keys make sense.
    fixed: bool,
    /// The server proves that it is the right one, or is as trustworthy as its configuration file.
    authenticated: bool,
    /// Entries can be stored and removed.
    pub changeable: bool,
}

const fn table(name: &'static str, program: &'static str) -> RemoteType {
    RemoteType { name, program, fixed: true, authenticated: true, changeable: false }
}

/// All types that have a server.
pub static REMOTE_TYPES: &[RemoteType] = &[
    table("ldap", "table-ldap"),
    RemoteType { authenticated: false, changeable: true, ..table("memcache", "table-memcache") },
    table("mongodb", "table-mongodb"),
    table("mysql", "table-mysql"),
    table("pgsql", "table-pgsql"),
    RemoteType { changeable: true, ..table("redis", "table-redis") },
    RemoteType { fixed: false, authenticated: false, ..table("socketmap", "table-socketmap") },
    table("sqlite", "table-sqlite"),
    RemoteType { fixed: false, authenticated: false, ..table("tcp", "table-socketmap") },
];

pub(crate) fn find(kind: &str) -> Option<&'static RemoteType> {
    REMOTE_TYPES.iter().find(|remote| remote.name == kind)
}

pub(crate) fn is_remote(kind: &str) -> bool {
    find(kind).is_some()
}

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Place {
    Socket(PathBuf),
    Program { program: PathBuf, config_directory: PathBuf },
}

/// A table behind a server.
pub(crate) struct Remote {
    place: Place,
    timeout: Duration,
    /// `type:name`, as the server knows it.
    table: String,
    flags: Flags,
    fixed: bool,
    client: Option<Client>,
    /// Who changes the table, when that is not who looks things up.
    writer: Option<Place>,
}

impl Remote {
    /// `kind:rest`, served by the type's own program.
    pub(crate) fn open(remote: &RemoteType, rest: &str, settings: &Settings, flags: Flags) -> Result<Self, Error> {
        let kind = remote.name;
        if flags.contains(Flags::NO_UNAUTH) && !remote.authenticated {
            let reason = format!("{kind} map is not allowed for security sensitive data");
            return Err(Error::Forbidden { name: format!("{kind}:{rest}"), reason });
        }
        // A tool's relative path means the tool's directory, which is not the server's.
        let table = match &settings.servers {
            Servers::Programs { .. } if rest.starts_with('.') => {
                let here = std::env::current_dir().map_err(|source| Error::Open { path: rest.into(), source })?;
                format!("{kind}:{}", here.join(rest).display())
            }
            _ => format!("{kind}:{rest}"),
        };
        Ok(Self::new(remote.program, remote.program, table, remote.fixed, settings, flags))
    }

    /// `name` is the table behind `proxy:`.
    pub(crate) fn behind_proxymap(name: &str, settings: &Settings, flags: Flags) -> Result<Self, Error> {
        let fixed = is_fixed(name)?;
        let remote = Self::new("proxymap", &settings.proxymap_service, name.to_owned(), fixed, settings, flags);
        let writer = match &remote.place {
            Place::Socket(path) => Some(Place::Socket(path.with_file_name(&settings.proxywrite_service))),
            Place::Program { .. } => None,
        };
        Ok(Self { writer, ..remote })
    }

    fn new(program: &str, service: &str, table: String, fixed: bool, settings: &Settings, flags: Flags) -> Self {
        let (place, client) = match &settings.servers {
            Servers::Sockets(directory) => {
                let path = directory.join(service);
                let client = Client::of_this_thread(&path, settings.server_timeout);
                (Place::Socket(path), Some(client))
            }
            Servers::Programs { daemon_directory, config_directory } => {
                let program = daemon_directory.join(program);
                (Place::Program { program, config_directory: config_directory.clone() }, None)
            }
        };
        Self { place, timeout: settings.server_timeout, table, flags, fixed, client, writer: None }
    }

    fn request(&self, key: &[u8], operation: Operation) -> Request {
        // What is left out is the asker's business alone.
        let flags = self.flags.without(Flags::EMPTY_VALUES | Flags::NO_PROXY | Flags::NO_UNAUTH);
        Request { table: self.table.clone(), flags: flags.bits(), key: key.into(), operation }
    }

    fn ask(&self, place: &Place, request: &Request) -> Outcome {
        let process = std::process::id();
        SERVERS.with_borrow_mut(|servers| {
            // A connection that was made before a fork belongs to the parent.
            servers.retain(|_, server| server.process == process);
            // A server that was replaced since the last question is found again; one try, lest a time limit is doubled.
            for fresh in [false, true] {
                let known = servers.remove(place);
                let is_known = known.is_some();
                let mut server = match known {
                    Some(server) if !fresh => server,
                    _ => Server::reach(place, self.timeout)?,
                };
                match server.client.ask(request.clone()) {
                    Ok(outcome) => {
                        servers.insert(place.clone(), server);
                        return outcome;
                    }
                    Err(error) if is_known && !matches!(error, ipc::Error::Timeout) => {}
                    Err(error) => return Err(format!("table server {place}: {error}")),
                }
            }
            Err(format!("lost connection with the table server {place}"))
        })
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Place::Socket(path) | Place::Program { program: path, .. }) = self;
        write!(f, "{}", path.display())
    }
}

impl Source for Remote {
    fn lookup(&self, key: &[u8]) -> Result<Option<BString>, Fault> {
        if key.len() > ipc::table::MAX_KEY {
            return Ok(None);
        }
        self.ask(&self.place, &self.request(key, Operation::Lookup)).map_err(Fault)
    }

    fn is_remote(&self) -> bool {
        // A server that was started for this process alone has nobody else who could be held up.
        self.client.is_some()
    }

    fn lookup_later<'a>(&'a self, key: &'a [u8]) -> LaterAnswer<'a> {
        Box::pin(async move {
            match &self.client {
                Some(client) if key.len() <= ipc::table::MAX_KEY => {
                    client.ask(self.request(key, Operation::Lookup)).await.map_err(Fault)
                }
                _ => self.lookup(key),
            }
        })
    }

    fn change(&self, key: &[u8], value: Option<&[u8]>) -> Option<Result<bool, Fault>> {
        let operation = value.map_or(Operation::Delete, |value| Operation::Update(value.into()));
        let place = self.writer.as_ref().unwrap_or(&self.place);
        Some(self.ask(place, &self.request(key, operation)).map(|found| found.is_some()).map_err(Fault))
    }

    fn is_fixed(&self) -> bool {
        self.fixed
    }
}

/// A blocking connection, and the process at its other end when it was started for us.
struct Server {
    process: u32,
    client: BlockingClient,
    child: Option<Child>,
}

thread_local! {
    static SERVERS: RefCell<HashMap<Place, Server>> = RefCell::default();
}

impl Server {
    fn reach(place: &Place, timeout: Duration) -> Result<Server, String> {
        let failed = |error: std::io::Error| format!("table server {place}: {error}");
        let (client, child) = match place {
            Place::Socket(path) => (BlockingClient::connect(path, timeout).map_err(failed)?, None),
            Place::Program { program, config_directory } => {
                let (stream, child) = start(program, config_directory).map_err(failed)?;
                (BlockingClient::over(stream, timeout).map_err(failed)?, Some(child))
            }
        };
        Ok(Server { process: std::process::id(), client, child })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take().filter(|_| self.process == std::process::id()) {
            // It holds nothing that would have to be brought to an end.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Starts a server that has one client: us.
fn start(program: &Path, config_directory: &Path) -> std::io::Result<(UnixStream, Child)> {
    let (ours, theirs) = UnixStream::pair()?;
    let input = OwnedFd::from(theirs.try_clone()?);
    let child = Command::new(program)
        .arg("-S")
        // Whoever runs a set-gid tool has no say in what the server does.
        .env_clear()
        .env("MAIL_CONFIG", config_directory)
        .stdin(Stdio::from(input))
        .stdout(Stdio::from(OwnedFd::from(theirs)))
        .spawn()?;
    Ok((ours, child))
}

/// Whether the table of this name has fixed keys; known without opening it.
fn is_fixed(name: &str) -> Result<bool, Error> {
    let (kind, rest) = open::split(name)?;
    Ok(match kind {
        "regexp" | "pcre" | "cidr" | "randmap" | "fail" => false,
        "debug" | "proxy" => is_fixed(rest)?,
        "pipemap" | "unionmap" => {
            let mut fixed = true;
            for member in crate::list::split(crate::list::braced(rest).unwrap_or_default()) {
                fixed &= is_fixed(member)?;
            }
            fixed
        }
        kind => find(kind).is_none_or(|remote| remote.fixed),
    })
}
