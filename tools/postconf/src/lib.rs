//! postconf(1): shows and edits `main.cf` and `master.cf`, and tells what this build can do.

mod catalogue;
mod database;
mod edit_main;
mod edit_master;
mod error;
mod facts;
mod line;
mod main_listing;
mod master_entry;
mod master_listing;
mod options;
mod pattern;
mod replace_file;
mod templates;
mod unused;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use config::{Config, tool};

use error::Error;
use options::{Action, Options, Target};

/// Runs the command; arguments without the program's name.
#[must_use]
pub fn run(arguments: Vec<OsString>) -> ExitCode {
    let mut output = Output::default();
    let result = Options::parse(arguments).and_then(|options| perform(&options, &mut output));
    output.flush();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output.complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// What goes to standard output, and what goes to standard error behind it. A reader that went away is no mistake.
#[derive(Default)]
pub(crate) struct Output {
    text: Vec<u8>,
}

impl Output {
    pub(crate) fn line(&mut self, text: &str) {
        self.text.extend_from_slice(text.as_bytes());
        self.text.push(b'\n');
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.text.extend_from_slice(text.as_bytes());
    }

    pub(crate) fn warn(&mut self, text: &str) {
        self.flush();
        self.complain(&format!("warning: {text}"));
    }

    fn complain(&self, text: &str) {
        // Nothing can be done when even standard error is gone.
        let _ = writeln!(std::io::stderr(), "postconf: {text}");
    }

    fn flush(&mut self) {
        let text = std::mem::take(&mut self.text);
        let mut out = std::io::stdout();
        // A closed pipe ends the output, not the command.
        let _ = out.write_all(&text).and_then(|()| out.flush());
    }
}

fn perform(options: &Options, output: &mut Output) -> Result<(), Error> {
    match &options.action {
        Action::Facts(facts) => {
            facts::show(*facts, options, output);
            Ok(())
        }
        Action::Templates { expanded } => templates::show(options, *expanded, output),
        Action::Edit(change) => match options.target {
            Target::Main => edit_main::edit(&options.directory()?, *change, &options.operands, output),
            Target::Entries | Target::Fields | Target::Overrides => {
                edit_master::edit(&options.directory()?, options.target, *change, &options.operands, output)
            }
        },
        Action::List if options.target == Target::Main => main_listing::show(options, output),
        Action::List => master_listing::show(options, output),
    }
}

/// The configuration that the options ask for, with `-o` applied; its warnings go out once.
pub(crate) fn load(options: &Options, output: &mut Output) -> Result<Config, Error> {
    let mut config = Config::load(&options.directory()?)?;
    for warning in config.warnings() {
        output.warn(&warning.to_string());
    }
    for option in &options.overrides {
        config.set_option(option).map_err(|_| Error::Override(option.clone()))?;
    }
    config.set("process_name", "postconf");
    Ok(config)
}

impl Options {
    pub(crate) fn directory(&self) -> Result<std::path::PathBuf, Error> {
        let environment = std::env::var_os("MAIL_CONFIG");
        let chosen = tool::configuration_directory(
            self.config_directory.as_deref(),
            environment.as_deref(),
            tool::Caller::current(),
        );
        Ok(chosen?)
    }
}
