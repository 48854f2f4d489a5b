//! Stand-ins for the peers of smtpd: a cleanup that keeps what it gets, and a resolver that knows the loopback address.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use config::Config;
use ipc::cleanup::{FromCleanup, Recipient, Refusal, Sender, ToCleanup};
use ipc::flush;
use ipc::resolver::{Answer, Failure, Found, Query, Question};
use ipc::{Connection, Kind};
use server::{Client, SessionService, Startup, Worker};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};

/// A message as cleanup got it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Message {
    pub(crate) sender: Sender,
    pub(crate) recipients: Vec<Recipient>,
    pub(crate) extras: Vec<ToCleanup>,
    pub(crate) content: Vec<u8>,
}

/// The world of a server under test.
pub(crate) struct World {
    spool: tempfile::TempDir,
    dialogues: PathBuf,
    pub(crate) messages: Rc<RefCell<Vec<Message>>>,
    size_limit: Rc<Cell<u64>>,
}

impl World {
    /// Starts the stand-ins; `dialogues` has `main.cf` and the tables.
    pub(crate) async fn start(dialogues: &Path) -> World {
        let spool = tempfile::tempdir().expect("a directory");
        for directory in ["public", "private"] {
            std::fs::create_dir(spool.path().join(directory)).expect("a directory");
        }
        let messages: Rc<RefCell<Vec<Message>>> = Rc::default();
        let size_limit = Rc::new(Cell::new(0));
        let cleanup = UnixListener::bind(spool.path().join("public/cleanup")).expect("a socket");
        let (kept, limit) = (Rc::clone(&messages), Rc::clone(&size_limit));
        tokio::task::spawn_local(async move {
            while let Ok((stream, _)) = cleanup.accept().await {
                tokio::task::spawn_local(serve_cleanup(Connection::new(stream), Rc::clone(&kept), Rc::clone(&limit)));
            }
        });
        let flush = UnixListener::bind(spool.path().join("public/flush")).expect("a socket");
        tokio::task::spawn_local(async move {
            while let Ok((stream, _)) = flush.accept().await {
                tokio::task::spawn_local(serve_flush(Connection::new(stream)));
            }
        });
        let resolver = UnixListener::bind(spool.path().join("private/resolver")).expect("a socket");
        tokio::task::spawn_local(async move {
            while let Ok((stream, _)) = resolver.accept().await {
                tokio::task::spawn_local(serve_resolver(Connection::new(stream)));
            }
        });
        World { spool, dialogues: dialogues.to_owned(), messages, size_limit }
    }

    pub(crate) fn config(&self, parameters: &[(String, String)]) -> Config {
        let mut text = std::fs::read_to_string(self.dialogues.join("main.cf")).expect("main.cf");
        text.push_str(&format!("dialogue_tables = {}\n", self.dialogues.display()));
        text.push_str(&format!("queue_directory = {}\n", self.spool.path().display()));
        let mut config = Config::from_text(&text).expect("main.cf");
        for (name, value) in parameters {
            config.set(name.as_str(), value.as_str());
        }
        config
    }

    /// A client of a fresh server with these parameters.
    pub(crate) async fn connect(
        &self,
        parameters: &[(String, String)],
        from: Option<&str>,
    ) -> Result<TcpStream, String> {
        let config = self.config(parameters);
        self.size_limit.set(config.long("message_size_limit").unwrap_or(0) as u64);
        let service = smtpd::Smtpd::prepare(&Startup::for_tests(config, "smtpd")).map_err(|error| error.to_string())?;
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(|error| error.to_string())?;
        let address = listener.local_addr().map_err(|error| error.to_string())?;
        let socket = TcpSocket::new_v4().map_err(|error| error.to_string())?;
        let from: IpAddr = from.unwrap_or("127.0.0.1").parse().map_err(|_| "bad address".to_owned())?;
        socket.bind(SocketAddr::new(from, 0)).map_err(|error| error.to_string())?;
        let (client, accepted) = tokio::join!(socket.connect(address), listener.accept());
        let (stream, peer) = accepted.map_err(|error| error.to_string())?;
        let client_end = client.map_err(|error| error.to_string())?;
        let server_end = Client::Inet { stream, peer, local: address };
        tokio::task::spawn_local(Rc::new(service).session(server_end, Worker::stand_in()));
        Ok(client_end)
    }
}

impl World {
    /// The invoking user of a server by hand (`-S`).
    pub(crate) fn invoke(&self) -> UnixStream {
        let config = self.config(&[]);
        let service = smtpd::Smtpd::prepare(&Startup::for_tests(config, "smtpd")).expect("a server");
        let (client, stream) = UnixStream::pair().expect("a pair");
        tokio::task::spawn_local(Rc::new(service).session(Client::StandAlone { stream }, Worker::stand_in()));
        client
    }
}

/// A flush service by the settings that the dialogues have: no site may be asked for, but for those of the tests below.
async fn serve_flush(mut connection: Connection) {
    while let Ok(Some(request)) = connection.receive::<flush::Request>().await {
        let flush::Request::SendSite(site) = request else { return };
        let answer = match site.as_str() {
            "served.example" => flush::Answer::Ok,
            "failing.example" => flush::Answer::Failed,
            "a..b" => flush::Answer::Bad,
            _ => flush::Answer::Denied,
        };
        if connection.send(&answer).await.is_err() {
            return;
        }
    }
}

async fn serve_cleanup(mut connection: Connection, kept: Rc<RefCell<Vec<Message>>>, limit: Rc<Cell<u64>>) {
    let mut message = Message::default();
    let mut number = 0u32;
    loop {
        let order = match connection.receive_frame().await {
            Ok(Some(frame)) if frame.kind == Kind::Data => {
                message.content.extend_from_slice(frame.payload);
                continue;
            }
            Ok(Some(frame)) => frame.message::<ToCleanup>().expect("a message"),
            _ => return,
        };
        let answer = match order {
            ToCleanup::Begin(_) => {
                number += 1;
                message = Message::default();
                FromCleanup::Opened(format!("ABCDEF{number:04X}").parse().expect("a queue id"))
            }
            ToCleanup::Sender(sender) => {
                message.sender = sender;
                continue;
            }
            ToCleanup::Recipient(recipient) => {
                message.recipients.push(recipient);
                continue;
            }
            ToCleanup::End if limit.get() > 0 && message.content.len() as u64 > limit.get() => {
                FromCleanup::Refused(Refusal::Size)
            }
            ToCleanup::End => {
                kept.borrow_mut().push(std::mem::take(&mut message));
                FromCleanup::Queued
            }
            ToCleanup::Content | ToCleanup::Abort => continue,
            other => {
                message.extras.push(other);
                continue;
            }
        };
        if connection.send(&answer).await.is_err() {
            return;
        }
    }
}

async fn serve_resolver(mut connection: Connection) {
    let loopback = IpAddr::from([127, 0, 0, 1]);
    while let Ok(Some(Question { id, query })) = connection.receive::<Question>().await {
        let outcome = match query {
            Query::Name(address) if address == loopback => Ok(Found::Names(vec!["localhost".into()])),
            Query::Addresses { name, .. } if name == "localhost" => Ok(Found::Addresses(vec![loopback])),
            _ => Err(Failure::TryAgain("no DNS in this world".into())),
        };
        if connection.send(&Answer { id, outcome }).await.is_err() {
            return;
        }
    }
}
