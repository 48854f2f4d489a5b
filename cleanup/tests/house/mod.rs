//! A cleanup service over a temporary spool, and what its queue files say.

use std::path::Path;

use bstr::{BString, ByteSlice};
use config::Config;
use ipc::cleanup::{Begin, FromCleanup, Options, Origin, Received, Recipient, Refusal, Sender, ToCleanup};
use ipc::{Connection, Kind};
use posthouse_cleanup::checks::Checks;
use posthouse_cleanup::mapping::Mapping;
use posthouse_cleanup::settings::Settings;
use posthouse_cleanup::{Receivers, Service};
use queue::record::{Reader, RecordType};
use queue::{Directory, Layout, QueueId, Spool};
use server::testing::Harness;
use server::{Callers, Peers, Startup};
use tempfile::TempDir;

const BASE: &str = "myhostname = mx.example.test\nmydomain = example.test\nmyorigin = example.test\n\
    mydestination = example.test\nappend_dot_mydomain = no\nsmtpd_milters =\nproxy_read_maps =\n";

/// A running cleanup.
pub(crate) struct House {
    pub(crate) root: TempDir,
    pub(crate) spool: Spool,
    pub(crate) harness: Harness<Service>,
}

/// What a client says.
#[derive(Clone)]
pub(crate) struct Message {
    pub(crate) begin: Begin,
    pub(crate) sender: Sender,
    pub(crate) recipients: Vec<Recipient>,
    pub(crate) content: BString,
    pub(crate) extra: Vec<ToCleanup>,
    /// How the content is cut into frames.
    pub(crate) frame: usize,
}

impl House {
    /// Starts a service with further parameters.
    pub(crate) async fn start(parameters: &str) -> House {
        House::start_for(parameters, None).await
    }

    /// Starts a service whose clients have the account `callers`.
    pub(crate) async fn start_for(parameters: &str, callers: Option<Callers>) -> House {
        log::capture();
        let root = tempfile::tempdir().expect("directory");
        for directory in ["incoming", "hold", "deferred", "defer", "bounce", "trace", "public", "private"] {
            std::fs::create_dir(root.path().join(directory)).expect("mkdir");
        }
        let config = Config::from_text(&format!("{BASE}{parameters}")).expect("configuration");
        let spool = Spool::at(root.path(), Layout::default());
        let service = Service::new(
            Settings::load(&config).expect("settings"),
            Mapping::open(&config).expect("mapping"),
            Checks::open(&config).expect("checks"),
            Receivers::load(&config).expect("settings"),
            spool.clone(),
            root.path(),
        );
        let mut startup = Startup::for_tests(config, "cleanup");
        if let Some(callers) = callers {
            startup.peers = Peers::with(&[(nix::unistd::geteuid(), callers)]);
        }
        let harness = Harness::with(service, &startup).await;
        // The harness reports panics to the log; a failing test should say why.
        let _ = std::panic::take_hook();
        House { root, spool, harness }
    }

    /// A connection to it.
    pub(crate) fn connect(&self) -> Connection {
        Connection::new(self.harness.connect().expect("connect"))
    }

    /// Sends a message over a connection of its own and says what the queue file holds.
    pub(crate) async fn submit(&self, message: &Message) -> Result<Vec<String>, Refusal> {
        let mut connection = self.connect();
        let id = submit(&mut connection, message).await?;
        Ok(self.dump(&id))
    }

    /// The records of a message, one a line: type, then text; what changes from run to run is replaced.
    pub(crate) fn dump(&self, id: &QueueId) -> Vec<String> {
        let directories = [Directory::Incoming, Directory::Hold, Directory::Deferred];
        let file = directories.iter().find_map(|directory| self.spool.open_read(*directory, id).ok());
        let Some(file) = file else { return Vec::new() };
        let mut reader = Reader::new(file, 0);
        let mut lines = Vec::new();
        while let Some(record) = reader.read().expect("record") {
            let text = record.data.to_str_lossy().replace(id.as_str(), "ID");
            match record.kind {
                RecordType::Size | RecordType::Time => {}
                RecordType::Attribute if text.starts_with("create_time=") => {}
                RecordType::End => break,
                kind => lines.push(mask_dates(&format!("{} {text}", kind.byte() as char))),
            }
        }
        lines
    }

    /// Files in a directory of the spool.
    pub(crate) fn files(&self, directory: &str) -> Vec<String> {
        files(&self.root.path().join(directory))
    }
}

fn files(path: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path).expect("directory") {
        let entry = entry.expect("entry");
        if entry.file_type().expect("type").is_dir() {
            names.extend(files(&entry.path()));
        } else {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names
}

/// Dates and the time in a Message-Id become `DATE` and `TIME`.
fn mask_dates(line: &str) -> String {
    let mut line = line.to_owned();
    if let Some(at) = line.find(" +0000 (UTC)") {
        let start = line[..at].rfind(|c: char| c == ';' || c == ':' && !line[..at].ends_with(':')).unwrap_or(0);
        let start = line[..at].rfind(", ").and_then(|comma| line[..comma].rfind(' ')).unwrap_or(start);
        line.replace_range(start.., " DATE");
    }
    if let Some(at) = line.find(".ID@") {
        let start = line[..at].rfind('<').map_or(0, |start| start + 1);
        line.replace_range(start..at, "TIME");
    }
    line
}

/// One transaction; the id when it was queued.
pub(crate) async fn submit(connection: &mut Connection, message: &Message) -> Result<QueueId, Refusal> {
    connection.queue(&ToCleanup::Begin(Box::new(message.begin.clone()))).expect("queue");
    connection.queue(&ToCleanup::Sender(message.sender.clone())).expect("queue");
    for recipient in &message.recipients {
        connection.queue(&ToCleanup::Recipient(recipient.clone())).expect("queue");
    }
    for extra in &message.extra {
        connection.queue(extra).expect("queue");
    }
    connection.queue(&ToCleanup::Content).expect("queue");
    for piece in message.content.chunks(message.frame) {
        connection.queue_raw(Kind::Data, piece);
    }
    connection.queue(&ToCleanup::End).expect("queue");
    connection.flush().await.expect("flush");
    let id = match connection.expect().await.expect("answer") {
        FromCleanup::Opened(id) => id,
        FromCleanup::Unavailable(refusal) => return Err(refusal),
        other => panic!("unexpected {other:?}"),
    };
    match connection.expect().await.expect("answer") {
        FromCleanup::Queued => Ok(id),
        FromCleanup::Refused(refusal) => Err(refusal),
        other => panic!("unexpected {other:?}"),
    }
}

/// A recipient.
pub(crate) fn recipient(address: &str) -> Recipient {
    Recipient { address: address.into(), ..Recipient::default() }
}

/// Local mail as pickup hands it over.
pub(crate) fn local(sender: &str, recipients: &[&str], content: &str) -> Message {
    Message {
        begin: Begin {
            origin: Origin::Local,
            options: Options {
                header_body_checks: true,
                automatic_bcc: true,
                address_mapping: true,
                ..Options::default()
            },
            rewrite_local: true,
            full_name: Some("root".into()),
            received: Some(Received { uid: Some(0), ..Received::default() }),
            ..Begin::default()
        },
        sender: Sender { address: sender.into(), ..Sender::default() },
        recipients: recipients.iter().map(|address| recipient(address)).collect(),
        content: content.into(),
        extra: Vec::new(),
        frame: 1 << 20,
    }
}

/// Mail from the network as smtpd hands it over.
pub(crate) fn remote(sender: &str, recipients: &[&str], content: &str) -> Message {
    let mut message = local(sender, recipients, content);
    message.begin.origin = Origin::Smtp;
    message.begin.rewrite_local = false;
    message.begin.full_name = None;
    message.begin.client = ipc::cleanup::Client {
        name: "client.example".to_owned(),
        reverse_name: "client.example".to_owned(),
        address: "192.0.2.1".to_owned(),
        port: "1234".to_owned(),
        server_address: "192.0.2.2".to_owned(),
        server_port: "25".to_owned(),
        helo: "helo.example".into(),
        protocol: "ESMTP".to_owned(),
        forwarded: None,
    };
    message.begin.received = Some(Received {
        from: vec!["from helo.example (client.example [192.0.2.1])".into()],
        protocol: Some("ESMTP".to_owned()),
        uid: None,
    });
    message
}
