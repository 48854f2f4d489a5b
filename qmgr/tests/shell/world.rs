//! A spool in a temporary directory, and fake peers of the queue manager that speak their protocols.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use bstr::{BString, ByteSlice};
use config::Config;
use dsn::{Action, Delivery, Dsn, Notify, Status};
use ipc::Connection;
use ipc::delivery::{FromAgent, Request, ToAgent};
use ipc::rewrite::{Answer, Class, Resolved, Route};
use posthouse_qmgr::Qmgr;
use queue::{Directory, Layout, QueueId, Spool, log_file, message};
use server::Startup;
use server::testing::Harness;
use tokio::net::UnixListener;

/// The spool and the configuration of one test; outlives any number of queue managers.
pub(crate) struct World {
    pub(crate) root: tempfile::TempDir,
    pub(crate) spool: Spool,
    settings: String,
}

/// A notice: kind, id, recipients and reasons.
pub(crate) type Told = (String, QueueId, Vec<(String, String)>);

/// What the fakes have seen.
#[derive(Default)]
pub(crate) struct Seen {
    /// Requests, in order of arrival.
    pub(crate) requests: RefCell<Vec<Request>>,
    /// Recipients that were delivered.
    pub(crate) delivered: RefCell<Vec<String>>,
    /// Notices: kind, id, and the recipients and reasons in the log at that time.
    pub(crate) notices: RefCell<Vec<Told>>,
    /// Things that happened, for tests that stop after so many.
    pub(crate) events: Cell<usize>,
    /// How often a recipient was tried.
    pub(crate) tries: RefCell<HashMap<String, usize>>,
    /// Requests that wait for [`Seen::release`].
    pub(crate) release: tokio::sync::Notify,
    /// Connections that agents took.
    pub(crate) connections: Cell<usize>,
}

impl World {
    pub(crate) fn new(settings: &str) -> World {
        let root = tempfile::tempdir().expect("directory");
        for directory in Directory::ALL {
            fs::create_dir(root.path().join(directory.name())).expect("mkdir");
        }
        for directory in ["private", "public"] {
            fs::create_dir(root.path().join(directory)).expect("mkdir");
        }
        let spool = Spool::at(root.path(), Layout::default());
        World { root, spool, settings: settings.to_owned() }
    }

    fn config(&self) -> Config {
        let fixed = "fast_flush_domains =\nipc_idle = 5s\n";
        Config::from_text(&format!("{fixed}{}", self.settings)).expect("configuration")
    }

    /// A queue manager over this spool.
    pub(crate) async fn qmgr(&self) -> Harness<Qmgr> {
        let config = self.config();
        let service = Qmgr::new(&config, self.root.path()).expect("queue manager");
        Harness::with(service, &Startup::for_tests(config, "qmgr")).await
    }

    /// Puts a message into a directory, as cleanup leaves it.
    pub(crate) fn message(&self, directory: Directory, sender: &str, recipients: &[&str]) -> QueueId {
        self.message_with(directory, sender, recipients, |_| {})
    }

    /// The same, with more records in the envelope.
    pub(crate) fn message_with(
        &self,
        directory: Directory,
        sender: &str,
        recipients: &[&str],
        more: impl FnOnce(&mut message::Writer),
    ) -> QueueId {
        let new = self.spool.create(Directory::Incoming).expect("create");
        let mut writer = message::Writer::new(new.file().clone(), message::Options::default()).expect("writer");
        let now = seconds();
        writer.arrival((now, 0)).expect("write");
        writer.attribute("create_time", now.to_string().as_bytes()).expect("write");
        writer.attribute("rewrite_context", b"local").expect("write");
        writer.sender(sender.as_bytes()).expect("write");
        more(&mut writer);
        for recipient in recipients {
            let (recipient, notify) = match recipient.split_once(' ') {
                Some((recipient, notify)) => (recipient, Notify::parse(notify.as_bytes()).expect("notify")),
                None => (*recipient, Notify::UNSPECIFIED),
            };
            writer.recipient(recipient.as_bytes(), b"", None, notify).expect("write");
        }
        writer.begin_content().expect("write");
        writer.chunk(b"Subject: test\n\nbody\n").expect("write");
        writer.end_content().expect("write");
        writer.finish().expect("write");
        let id = new.ready().expect("ready");
        if directory != Directory::Incoming {
            self.spool.rename(&id, Directory::Incoming, directory).expect("rename");
        }
        id
    }

    /// Where a message is.
    pub(crate) fn place(&self, id: &QueueId) -> Option<Directory> {
        Directory::ALL.into_iter().find(|directory| {
            self.spool.path(*directory, id).exists()
                && !matches!(directory, Directory::Bounce | Directory::Defer | Directory::Trace)
        })
    }

    /// Recipients of a message that are still to be delivered.
    pub(crate) fn undone(&self, id: &QueueId) -> Vec<String> {
        let Some(directory) = self.place(id) else { return Vec::new() };
        let file = self.spool.open_read(directory, id).expect("open");
        let mut reader = message::Reader::open(&file).expect("envelope");
        let batch = reader.recipients(reader.first_recipient(), usize::MAX).expect("recipients");
        batch.recipients.iter().map(|recipient| recipient.address.to_string()).collect()
    }

    /// Recipients and reasons in a log.
    pub(crate) fn log(&self, directory: Directory, id: &QueueId) -> Vec<(String, String)> {
        read_log(&self.spool, directory, id)
    }

    /// Sets the time of a file to some seconds from now.
    pub(crate) fn set_time(&self, directory: Directory, id: &QueueId, from_now: i64) {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs((seconds() + from_now) as u64);
        let file = self.spool.open_write(directory, id).expect("open");
        file.set_times(fs::FileTimes::new().set_modified(time)).expect("utime");
    }
}

pub(crate) fn seconds() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs() as i64
}

fn read_log(spool: &Spool, directory: Directory, id: &QueueId) -> Vec<(String, String)> {
    let Some(mut reader) = log_file::read(spool, directory, id).expect("log") else { return Vec::new() };
    let mut entries = Vec::new();
    while let Some(entry) = reader.next_entry().expect("entry") {
        entries.push((entry.recipient.to_string(), format!("{} {}", entry.status, entry.reason)));
    }
    entries
}

/// rewrite: `user@DOMAIN` goes to the transport `smtp` and the nexthop DOMAIN, with a few special domains.
pub(crate) fn rewrite(world: &World) {
    let listener = listen(world.root.path(), "private/rewrite");
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::task::spawn_local(async move {
                let mut connection = Connection::new(stream);
                while let Ok(Some(request)) = connection.receive::<ipc::rewrite::Request>().await {
                    let ipc::rewrite::Request::Resolve { recipients, .. } = request else { return };
                    let resolved = recipients.into_iter().map(resolve).collect();
                    if connection.send(&Answer::Resolved(resolved)).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
}

fn resolve(recipient: BString) -> Resolved {
    let domain = recipient.rsplit_once_str("@").map_or_else(String::new, |(_, domain)| domain.to_str_lossy().into());
    match domain.as_str() {
        "reject.example" => Resolved::Reject("5.1.2 no such place".to_owned()),
        "later.example" => Resolved::Defer("4.3.5 the table is broken".to_owned()),
        "nowhere.example" => Resolved::Route(Route {
            transport: "nowhere".to_owned(),
            nexthop: domain,
            recipient,
            class: Class::Default,
        }),
        "here.example" => {
            Resolved::Route(Route { transport: "smtp".to_owned(), nexthop: domain, recipient, class: Class::Local })
        }
        _ => Resolved::Route(Route { transport: "smtp".to_owned(), nexthop: domain, recipient, class: Class::Default }),
    }
}

/// An agent on `private/NAME`. What it does to a recipient is in the local part: `ok...`, `bounce...`, `defer...`, `hang...`
/// (until released), `die...` (always), `once...` (dies the first time), `dead...` (the destination does not work),
/// `corrupt...`.
pub(crate) fn agent(world: &World, name: &str, capacity: u32, seen: &Rc<Seen>) {
    let listener = listen(world.root.path(), &format!("private/{name}"));
    let seen = seen.clone();
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            seen.connections.set(seen.connections.get() + 1);
            tokio::task::spawn_local(serve_agent(Connection::new(stream), capacity, seen.clone()));
        }
    });
}

async fn serve_agent(mut connection: Connection, capacity: u32, seen: Rc<Seen>) {
    if connection.send(&FromAgent::Hello { capacity }).await.is_err() {
        return;
    }
    while let Ok(Some(ToAgent::Deliver(request))) = connection.receive::<ToAgent>().await {
        let file = connection.take_descriptor().expect("each request has its descriptor");
        let mut content = message::Content::new(file, request.content_offset);
        let line = content.next_line().expect("content").expect("a line").bytes.to_vec();
        assert_eq!(line.as_bstr(), "Subject: test");
        seen.requests.borrow_mut().push((*request).clone());
        if !answer(&mut connection, &request, &seen).await {
            return;
        }
    }
}

/// Answers a request; false: the agent dies.
async fn answer(connection: &mut Connection, request: &Request, seen: &Seen) -> bool {
    let mut destination = None;
    for (index, recipient) in request.recipients.iter().enumerate() {
        let address = recipient.address.to_string();
        let tries = {
            let mut tries = seen.tries.borrow_mut();
            let count = tries.entry(address.clone()).or_default();
            *count += 1;
            *count
        };
        let is = |word: &str| address.starts_with(word);
        if is("hang") {
            seen.release.notified().await;
        }
        if is("die") || (is("once") && tries == 1) {
            return false;
        }
        if is("corrupt") {
            let _ = connection.send(&FromAgent::Corrupt { request: request.id }).await;
            return true;
        }
        let delivery = if is("bounce") {
            Delivery::Bounced(Dsn::new(Status::permanent(1, 1), "unknown user"))
        } else if is("defer") {
            Delivery::Deferred(Dsn::new(Status::transient(2, 2), "mailbox full"))
        } else if is("dead") {
            let dsn = Dsn::new(Status::transient(4, 1), "connect to site: Connection timed out");
            destination = Some(dsn.clone());
            Delivery::Deferred(dsn)
        } else {
            seen.delivered.borrow_mut().push(address);
            Delivery::Sent { action: Action::Relayed, dsn: Dsn::new(Status::success(0, 0), "250 ok") }
        };
        seen.events.set(seen.events.get() + 1);
        let message = FromAgent::Outcome {
            request: request.id,
            recipient: index as u32,
            delivery,
            relay: "mx.example[192.0.2.1]:25".into(),
            notices_passed_on: false,
        };
        if connection.send(&message).await.is_err() {
            return false;
        }
    }
    seen.events.set(seen.events.get() + 1);
    connection.send(&FromAgent::Finished { request: request.id, destination }).await.is_ok()
}

/// bounce, defer and trace: remember what they were asked, and remove the logs that they should.
pub(crate) fn bounce(world: &World, seen: &Rc<Seen>) {
    for (service, directory) in
        [("bounce", Directory::Bounce), ("defer", Directory::Defer), ("trace", Directory::Trace)]
    {
        let listener = listen(world.root.path(), &format!("private/{service}"));
        let (spool, seen) = (world.spool.clone(), seen.clone());
        tokio::task::spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let served = serve_notices(Connection::new(stream), service, directory, spool.clone(), seen.clone());
                tokio::task::spawn_local(served);
            }
        });
    }
}

async fn serve_notices(
    mut connection: Connection,
    service: &'static str,
    directory: Directory,
    spool: Spool,
    seen: Rc<Seen>,
) {
    while let Ok(Some(request)) = connection.receive::<ipc::bounce::Request>().await {
        let entries = read_log(&spool, directory, &request.queue_id);
        let kind = format!("{service} {:?}", request.notice);
        seen.notices.borrow_mut().push((kind, request.queue_id.clone(), entries));
        seen.events.set(seen.events.get() + 1);
        if request.notice != ipc::bounce::Notice::Delay {
            log_file::remove(&spool, directory, &request.queue_id).expect("remove");
        }
        if connection.send(&ipc::bounce::Answer::Done).await.is_err() {
            return;
        }
    }
}

/// A queue manager among all its fakes; what it logs is captured.
pub(crate) struct Scene {
    pub(crate) world: World,
    pub(crate) seen: Rc<Seen>,
    pub(crate) qmgr: Harness<Qmgr>,
}

impl Scene {
    pub(crate) async fn start(settings: &str) -> Scene {
        log::capture();
        let world = World::new(settings);
        let seen = Rc::new(Seen::default());
        peers(&world, &seen);
        let qmgr = world.qmgr().await;
        Scene { world, seen, qmgr }
    }
}

/// All the fakes.
pub(crate) fn peers(world: &World, seen: &Rc<Seen>) {
    rewrite(world);
    agent(world, "smtp", 10, seen);
    bounce(world, seen);
}

fn listen(root: &Path, name: &str) -> UnixListener {
    let path = root.join(name);
    let _ = fs::remove_file(&path);
    UnixListener::bind(path).expect("listen")
}

/// Says to the queue manager that messages are ready.
pub(crate) async fn announce(qmgr: &Harness<Qmgr>, ids: &[&QueueId]) -> Connection {
    let mut connection = Connection::new(qmgr.connect().expect("connect"));
    for id in ids {
        connection.queue(&ipc::qmgr::ToQmgr::Ready((*id).clone())).expect("queue");
    }
    connection.flush().await.expect("flush");
    connection
}

/// Waits until something holds. What tests look at changes only when a task of this event loop runs: each look comes
/// after all others had their turn.
pub(crate) async fn until(mut holds: impl FnMut() -> bool) {
    while !holds() {
        tokio::task::yield_now().await;
    }
}
