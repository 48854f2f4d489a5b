//! What the commands postmap and postalias share: options, queries, listings, changes. They differ in the syntax of
//! sources, in how they print pairs, and in that postmap can take its keys from a message.

mod options;
mod output;
mod query;

use std::ffi::OsStr;
use std::io::{self, BufRead};
use std::process::ExitCode;

use bstr::BString;

use crate::build::{CompileOptions, Syntax, Target, compile, compile_entries};
use crate::error::{Error, LookupError};
use crate::settings::Settings;

pub use options::{Mode, Options, UsageError};

/// Hands each key to the function, until it fails; the way to take keys from standard input.
pub type EachKey<'a> = dyn FnMut(&[u8]) -> Result<(), Failure> + 'a;

/// Takes a message apart into keys, as the options say.
pub type MessageKeys = fn(&mut dyn BufRead, &Options, &mut EachKey<'_>) -> Result<(), Failure>;

/// One of the two commands.
pub struct Command {
    /// `postmap` or `postalias`.
    pub name: &'static str,
    /// Option letters as for getopt(3).
    pub letters: &'static str,
    /// What the usage message says after the name.
    pub usage: &'static str,
    /// Of the sources.
    pub syntax: Syntax,
    /// What stands between key and value in output.
    pub separator: &'static str,
    /// Takes keys from a message (`-b`, `-h`, `-m`).
    pub message_keys: Option<MessageKeys>,
}

/// Why a command fails; the text after `fatal:`.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Wrong options.
    #[error(transparent)]
    Usage(#[from] UsageError),
    /// The configuration cannot be read.
    #[error(transparent)]
    Config(Box<config::Error>),
    /// A table cannot be opened or written.
    #[error(transparent)]
    Table(Box<Error>),
    /// A table has no answer.
    #[error("table {}: query error: {}", .0.table, .0.reason)]
    Lookup(Box<LookupError>),
    /// A table cannot be listed.
    #[error("table {0}: map type does not support listing of entries")]
    NotListable(String),
    /// Standard input or output.
    #[error("{}", sys::reason(.0))]
    Io(#[from] io::Error),
}

impl From<config::Error> for Failure {
    fn from(error: config::Error) -> Self {
        Self::Config(Box::new(error))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Table(Box::new(error))
    }
}

impl From<LookupError> for Failure {
    fn from(error: LookupError) -> Self {
        Self::Lookup(Box::new(error))
    }
}

impl Command {
    /// Runs the command with this process's arguments.
    #[must_use]
    pub fn run(&self) -> ExitCode {
        match self.try_run() {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            // Whoever read our output has enough.
            Err(Failure::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::FAILURE,
            Err(failure) => {
                if !log::is_initialized() {
                    log::init(log::Options::before_configuration(self.name).also_stderr(true));
                }
                log::fatal!("{failure}");
                log::finish();
                ExitCode::FAILURE
            }
        }
    }

    /// Whether something was found, or done.
    fn try_run(&self) -> Result<bool, Failure> {
        let options = Options::from_process(self)?;
        let config = config::tool::load(options.config_directory.as_deref().map(OsStr::new))?;
        log::init(
            log::Options { verbose: options.verbose, ..log::Options::from_config(&config, self.name)? }
                .also_stderr(true),
        );
        for warning in config.warnings() {
            log::warning!("{warning}");
        }
        let mut settings = Settings::load(&config)?;
        settings.utf8 &= !options.no_utf8;
        let done = match &options.mode {
            Mode::Query(key) => query::query(self, &options, &settings, key)?,
            Mode::Delete(key) => delete(&options, &settings, key)?,
            Mode::List => query::list(self, &options, &settings)?,
            Mode::Build => self.build(&options, &settings)?,
        };
        log::finish();
        Ok(done)
    }

    fn build(&self, options: &Options, settings: &Settings) -> Result<bool, Failure> {
        let compile_options = CompileOptions {
            fold: options.fold,
            file_values: options.file_values,
            keep_root: options.keep_root,
            copy_permissions: options.copy_permissions,
            write: options.write,
            ..CompileOptions::new(self.syntax, settings)
        };
        for name in &options.tables {
            let target = Target::parse(name, &settings.default_database_type)?;
            if options.incremental {
                compile_entries(&target, io::stdin().lock(), settings, &compile_options)?;
            } else {
                compile(&target, settings, &compile_options)?;
            }
        }
        Ok(true)
    }
}

/// Removes a key, or with `-` those on standard input, from every table; whether any was there.
fn delete(options: &Options, settings: &Settings, key: &BString) -> Result<bool, Failure> {
    let mut keys = Vec::new();
    if key == "-" {
        query::each_line(&mut io::stdin().lock(), &mut |key| {
            keys.push(options.folded(key, settings));
            Ok(())
        })?;
    } else {
        keys.push(options.folded(key, settings));
    }
    let mut any = false;
    for name in &options.tables {
        any |= Target::parse(name, &settings.default_database_type)?.delete(&keys, settings)?;
    }
    Ok(any)
}
