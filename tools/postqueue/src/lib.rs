//! postqueue: what users may ask about the queue, and of it. As `mailq` it lists.

mod caller;
mod error;
mod json;
mod list;
mod request;
mod text;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use config::Config;
use ipc::blocking::{self, Connection};
use ipc::flush::{Answer, Request as FlushRequest};
use queue::QueueId;

pub use caller::Caller;
pub use error::Error;
pub use json::Json;
pub use request::{CommandLine, Request, Usage};
pub use text::Text;

/// What a queue manager is told by `-f`: unthrottle everything, ignore retry times, scan both queues.
const FLUSH_ALL: &[u8] = b"FADI";

/// The program.
#[must_use]
pub fn run() -> ExitCode {
    let mut arguments = std::env::args_os();
    let program = arguments.next().unwrap_or_default();
    let program = Path::new(&program).file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    log::init(log::Options::before_configuration("postqueue").also_stderr(true));
    match start(&program, arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if let Error::Usage(Usage(Some(mistake))) = &error {
                log::error!("{mistake}");
            }
            if !error.is_closed_pipe() {
                log::fatal!("{error}");
            }
            ExitCode::from(Error::EXIT_CODE)
        }
    }
}

fn start(program: &str, arguments: std::env::ArgsOs) -> Result<(), Error> {
    let line = CommandLine::parse(program, arguments)?;
    let config = config::tool::load(line.config_directory.as_deref())?;
    let caller = Caller::current(&config)?;
    if config::tool::Caller::current().is_untrusted() {
        config::tool::clean_environment(&config)?;
    }
    let mut options = log::Options::from_config(&config, "postqueue")?.also_stderr(true);
    options.verbose = if caller.uid == 0 { line.verbose } else { 0 };
    log::init(options);
    let root = config.string("queue_directory")?;
    std::env::set_current_dir(&root).map_err(|error| Error::Queue(format!("chdir {root}"), error))?;
    match line.request {
        Request::List | Request::Json => {
            caller.check(&config, "authorized_mailq_users", "view the mail queue")?;
            list::run(line.request == Request::Json, &config, &caller)
        }
        Request::Flush => {
            caller.check(&config, "authorized_flush_users", "flush the mail queue")?;
            let path = socket(&config, "queue_service_name")?;
            blocking::trigger(&path, FLUSH_ALL, config.time("trigger_timeout")?).map_err(|error| {
                log::warning!("connect to {}: {error}", path.display());
                Error::NoFlush
            })
        }
        Request::Message(id) => {
            caller.check(&config, "authorized_flush_users", "flush the mail queue")?;
            let queue_id: QueueId = id.parse().map_err(|_| Error::QueueId(id.clone()))?;
            match ask_flush(&config, &FlushRequest::SendMessage(queue_id))? {
                Answer::Ok => Ok(()),
                Answer::Bad | Answer::Denied => Err(Error::QueueId(id)),
                Answer::Failed => Err(Error::NoFlush),
            }
        }
        Request::Site(site) => {
            caller.check(&config, "authorized_flush_users", "flush the mail queue")?;
            match ask_flush(&config, &FlushRequest::SendSite(site.clone()))? {
                Answer::Ok => Ok(()),
                Answer::Bad => Err(Error::Site(site)),
                Answer::Denied => Err(Error::NotConfigured(site)),
                Answer::Failed => Err(Error::NoFlush),
            }
        }
    }
}

/// The public socket of the service that a parameter names, below the working directory.
fn socket(config: &Config, parameter: &str) -> Result<PathBuf, Error> {
    Ok(Path::new("public").join(config.string(parameter)?))
}

fn ask_flush(config: &Config, request: &FlushRequest) -> Result<Answer, Error> {
    let path = socket(config, "flush_service_name")?;
    let timeout: Duration = config.time("ipc_timeout")?;
    let ask = || -> Result<Answer, ipc::Error> {
        let mut connection = Connection::connect(&path, Some(timeout))?;
        connection.send(request)?;
        connection.expect()
    };
    ask().map_err(|error| {
        log::warning!("connect to {}: {error}", path.display());
        Error::NoFlush
    })
}

/// True when an error of `connect(2)` means that nobody serves.
fn is_down(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

#[cfg(test)]
fn samples() -> Vec<queue::listing::Entry> {
    use queue::listing::{Entry, Reason, Recipient};
    let recipient = |original: &str, address: &str, reason: Reason| Recipient {
        original: original.into(),
        address: address.into(),
        reason,
    };
    let delay = || Reason::Delay("defer why".into());
    let first = Entry {
        directory: queue::Directory::Active,
        queue_id: "B1E725B00F7".parse().expect("id"),
        arrival: 1_795_222_553,
        size: 277,
        forced_expire: true,
        sender: "s@from.test".into(),
        recipients: vec![
            recipient("o@x", "b@other.test", delay()),
            recipient("", "c@other.test", delay()),
            recipient("", "a@site.test", Reason::None),
        ],
        complete: true,
    };
    let second = Entry {
        directory: queue::Directory::Deferred,
        queue_id: "839E45B0003".parse().expect("id"),
        size: 5276,
        forced_expire: false,
        sender: "MAILER-DAEMON".into(),
        recipients: vec![recipient("", "l1@site.test", Reason::None)],
        complete: false,
        ..first.clone()
    };
    let rest =
        Entry { recipients: vec![recipient("", "l2@site.test", Reason::None)], complete: true, ..second.clone() };
    vec![first, second, rest]
}
