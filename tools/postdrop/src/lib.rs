//! postdrop: the set-gid half of local submission. Reads records from standard input and writes them to a file in
//! `maildrop`, which nobody but the mail system can read.
//!
//! * `intake` lets through what a submission may contain, and nothing else;
//! * `permission` knows who may submit, and as whom;
//! * `answer` is what the caller gets on standard output.

mod answer;
mod input;
mod intake;
mod permission;

use std::io;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use config::Config;
use config::getopt::{Getopt, OptionError};
use queue::{Directory, Layout, NewFile, Spool, state};

use crate::answer::Status;

/// Exit status for an operation that is not permitted (sysexits).
const NO_PERMISSION: u8 = 77;
/// Exit status for a service that is not there (sysexits).
const UNAVAILABLE: u8 = 69;
/// Longest wait for pickup to take its wake-up.
const TRIGGER_TIMEOUT: Duration = Duration::from_secs(2);

/// Why nothing was submitted.
#[derive(Debug, thiserror::Error)]
enum Fatal {
    #[error("usage: {0} [-c config_dir] [-v]")]
    Usage(String),
    #[error("{0}")]
    Option(#[from] OptionError),
    #[error("{0}")]
    Config(#[from] config::Error),
    #[error("chdir {0}: {reason}", reason = sys::reason(.1))]
    Directory(String, io::Error),
    #[error("User {0}({1}) is not allowed to submit mail")]
    Submitter(String, u32),
    #[error("Sender address <{0}> is not allowed for user {1}({2})")]
    Sender(bstr::BString, String, u32),
    #[error("{0}: {1}")]
    Table(&'static str, String),
    #[error("create file {0}/maildrop: {reason}{2}", reason = sys::reason(.1))]
    Create(String, io::Error, &'static str),
    #[error("uid={0}: {1}")]
    Input(u32, intake::Error),
    #[error("interrupted by signal {0}")]
    Signal(i32),
    #[error("write standard output: {}", sys::reason(.0))]
    Output(io::Error),
}

impl Fatal {
    fn exit_code(&self) -> ExitCode {
        match self {
            Fatal::Submitter(..) | Fatal::Sender(..) => ExitCode::from(NO_PERMISSION),
            Fatal::Create(..) | Fatal::Table(..) => ExitCode::from(UNAVAILABLE),
            _ => ExitCode::FAILURE,
        }
    }
}

/// The program.
#[must_use]
pub fn run() -> ExitCode {
    log::init(log::Options::before_configuration("postdrop").also_stderr(true));
    let code = match start() {
        Ok(status) => ExitCode::from(status.exit_status()),
        Err(error) => {
            log::fatal!("{error}");
            error.exit_code()
        }
    };
    log::finish();
    code
}

fn start() -> Result<Status, Fatal> {
    let mut options = Getopt::from_process("c:rv");
    let mut directory = None;
    let mut verbose = 0;
    while let Some(option) = options.next_option()? {
        match option.letter {
            'c' => directory = option.value,
            'v' => verbose += 1,
            // The only mode there is.
            _ => {}
        }
    }
    if !options.operands().is_empty() {
        return Err(Fatal::Usage("postdrop".to_owned()));
    }
    let config = config::tool::load(directory.as_deref())?;
    config::tool::clean_environment(&config)?;
    log::init(log::Options::from_config(&config, "postdrop")?.also_stderr(true));
    let uid = nix::unistd::getuid();
    if uid.is_root() {
        log::set_verbose(verbose);
    }
    let submitter = permission::Submitter::current();
    submitter.check(&config)?;

    let queue_directory = config.string("queue_directory")?;
    std::env::set_current_dir(&queue_directory).map_err(|error| Fatal::Directory(queue_directory.clone(), error))?;
    let mut input = input::Input::new().map_err(|error| Fatal::Input(uid.as_raw(), error.into()))?;
    let new_file = create(&config, &queue_directory)?;
    answer::begin(new_file.id()).map_err(Fatal::Output)?;
    let status = match write(&config, &submitter, &mut input, new_file) {
        Ok(()) => Status::Ok,
        Err(Written::Status(status, reason)) => {
            log::warning!("{reason}");
            status
        }
        // The caller has changed its mind, and has said why.
        Err(Written::Fatal(Fatal::Input(_, intake::Error::Truncated))) => return Ok(Status::Ok),
        Err(Written::Fatal(fatal)) => return Err(fatal),
    };
    if status == Status::Ok {
        wake_pickup(&config)?;
    }
    answer::end(status).map_err(Fatal::Output)?;
    Ok(status)
}

fn create(config: &Config, queue_directory: &str) -> Result<NewFile, Fatal> {
    let layout = Layout::new(
        &config.string("hash_queue_names")?,
        usize::try_from(config.int("hash_queue_depth")?).unwrap_or(1),
        config.bool("enable_long_queue_ids")?,
    );
    Spool::new(layout).create(Directory::Maildrop).map_err(|error| {
        let advice = if error.kind() == io::ErrorKind::PermissionDenied {
            " (postdrop must be set-gid, or run by the owner of this instance)"
        } else {
            ""
        };
        Fatal::Create(queue_directory.to_owned(), error, advice)
    })
}

/// How writing ended, when not well.
enum Written {
    /// The caller is told by a status.
    Status(Status, String),
    /// The caller sees us go.
    Fatal(Fatal),
}

impl From<Fatal> for Written {
    fn from(fatal: Fatal) -> Written {
        Written::Fatal(fatal)
    }
}

impl From<config::Error> for Written {
    fn from(error: config::Error) -> Written {
        Written::Fatal(error.into())
    }
}

/// Copies the message; the file is complete and on disk when this comes back. Otherwise it goes with `new_file`.
fn write(
    config: &Config,
    submitter: &permission::Submitter,
    input: &mut input::Input,
    new_file: NewFile,
) -> Result<(), Written> {
    let limit = u64::try_from(config.long("message_size_limit")?).unwrap_or(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let file = std::sync::Arc::clone(new_file.file());
    let outcome = intake::copy(input, queue::record::Writer::new(file), limit, now, |sender| {
        submitter.may_send_as(sender, config)
    });
    match outcome {
        Ok(()) => {}
        Err(intake::Error::Sender(sender)) => {
            return Err(Fatal::Sender(sender, submitter.name.clone(), submitter.uid).into());
        }
        Err(intake::Error::Lookup(problem)) => return Err(Fatal::Table("local_login_sender_maps", problem).into()),
        Err(intake::Error::Signal(signal)) => return Err(Fatal::Signal(signal).into()),
        Err(intake::Error::Size) => return Err(Written::Status(Status::Size, "message file too big".to_owned())),
        Err(intake::Error::Write(error)) => {
            let status = if error.kind() == io::ErrorKind::FileTooLarge { Status::Size } else { Status::Write };
            return Err(Written::Status(status, format!("write maildrop file: {}", sys::reason(&error))));
        }
        Err(error) => return Err(Fatal::Input(submitter.uid, error).into()),
    }
    new_file
        .ready_with_mode(state::MAILDROP)
        .map(drop)
        .map_err(|error| Written::Status(Status::Write, format!("write maildrop file: {}", sys::reason(&error))))
}

/// The message is safe: that pickup cannot be woken only means that it looks for itself a minute later.
fn wake_pickup(config: &Config) -> Result<(), Fatal> {
    let path = std::path::Path::new("public").join(config.string("pickup_service_name")?);
    if let Err(error) = ipc::blocking::trigger(&path, b"W", TRIGGER_TIMEOUT) {
        log::warning!("mail system is down, message stays in maildrop until it is started: {error}");
    }
    Ok(())
}
