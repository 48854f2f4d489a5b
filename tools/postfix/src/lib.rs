//! `postfix`: starts, stops, checks and asks an instance of the mail system.
//!
//! What it says goes to the log with the tag `postfix/postfix-script` and to standard error, in the words that
//! monitoring knows (reference: log-lines, cli).

mod check;
mod command;
mod control;
mod instance;
mod manifest;

use std::ffi::OsString;
use std::process::ExitCode;

use command::Command;
use instance::Instance;

/// Why a command ends without success. Its text has been written, or is written by [`run`].
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// A wrong command line, or a configuration that cannot be used.
    #[error("{0}")]
    Fatal(String),
    /// Everything there is to say was said.
    #[error("")]
    Said,
    /// The answer of `postfix status` when nothing runs, or a program's own status.
    #[error("")]
    Status(u8),
}

impl From<config::Error> for Failure {
    fn from(error: config::Error) -> Failure {
        Failure::Fatal(error.to_string())
    }
}

/// Runs the command with the arguments after the program's name.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    log::init(log::Options::before_configuration("postfix").also_stderr(true));
    let result = start(arguments);
    let code = match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Fatal(text)) => {
            log::fatal!("{text}");
            ExitCode::FAILURE
        }
        Err(Failure::Said) => ExitCode::FAILURE,
        Err(Failure::Status(status)) => ExitCode::from(status),
    };
    log::finish();
    code
}

fn start(arguments: impl IntoIterator<Item = OsString>) -> Result<(), Failure> {
    let (options, words) = command::parse(arguments)?;
    let command = Command::find(&words)?;
    let instance = Instance::load(options)?;
    instance.forbid_strangers()?;
    if let Some(status) = instance.hand_to_wrapper(&words)? {
        return if status == 0 { Ok(()) } else { Err(Failure::Status(status)) };
    }
    instance.start_log()?;
    let command = match command {
        Ok(command) => command,
        Err(text) => return Err(Failure::Fatal(text)),
    };
    match command {
        Command::Start => control::start(&instance),
        Command::StartForeground => control::start_in_foreground(&instance),
        Command::Stop => control::stop(&instance),
        Command::Abort => control::abort(&instance),
        Command::Drain => control::drain(&instance),
        Command::QuickStop => control::quick_stop(&instance),
        Command::Reload => control::reload(&instance),
        Command::Flush => control::flush(&instance),
        Command::Status => control::status(&instance),
        Command::Check => check::check(&instance),
        Command::Message(text) => control::print(text),
    }
}
