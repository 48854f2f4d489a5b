//! The sendmail command: classic options, a message on standard input, recipients as arguments or from headers.
//!
//! It has no privileges: `postdrop` writes the message, `postqueue`, `postalias` and `smtpd -S` do the other jobs.
//!
//! * `options` reads the command line;
//! * `input` reads the message: dots, line ends, a leading `From ` line, recipients;
//! * `submission` makes records of it;
//! * `postdrop` is the other end of the pipe.

mod identity;
mod input;
mod options;
mod postdrop;
mod submission;

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use config::Config;

use crate::options::{Mode, Options};

/// Exit status of every failure of this program itself: submitters try again (sysexits: temporary failure).
const TEMPORARY: u8 = 75;

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
enum Fatal {
    #[error("usage: sendmail [options]")]
    Usage,
    #[error("{0}")]
    Text(String),
    #[error("{user}({uid}): {problem}")]
    User { user: String, uid: u32, problem: String },
    #[error("{0}")]
    Config(#[from] config::Error),
    #[error("execute {0}: {reason}", reason = sys::reason(.1))]
    Execute(String, io::Error),
}

/// The program, by whatever name.
#[must_use]
pub fn run() -> ExitCode {
    let mut words = std::env::args_os();
    let name = words.next().unwrap_or_default();
    let name = Path::new(&name).file_name().unwrap_or_default().to_string_lossy().into_owned();
    log::init(log::Options::before_configuration("sendmail").also_stderr(true));
    let code = match start(&name, words.collect()) {
        Ok(code) => code,
        Err(error) => {
            log::fatal!("{error}");
            ExitCode::from(TEMPORARY)
        }
    };
    log::finish();
    code
}

fn start(name: &str, words: Vec<OsString>) -> Result<ExitCode, Fatal> {
    let options = Options::parse(name, words)?;
    if options.mode == Mode::Nothing {
        return Ok(ExitCode::SUCCESS);
    }
    let directory = options.config_directory();
    let config = config::tool::load(directory.as_deref().map(Path::as_os_str))?;
    log::init(log::Options::from_config(&config, "sendmail")?.also_stderr(true));
    // Programs that are run from here find the same instance.
    let environment = [("MAIL_CONFIG", config.string("config_directory")?)];
    if options.verbose > 1 {
        log::set_verbose(options.verbose - 1);
    }
    let commands = config.string("command_directory")?;
    let nobody = |mode: &str| -> Result<(), Fatal> {
        if options.operands.is_empty() { Ok(()) } else { Err(Fatal::Text(format!("{mode} requires no recipient"))) }
    };
    let program = |directory: &str, program: &str, arguments: &[&str]| {
        let mut command = Command::new(Path::new(directory).join(program));
        command.args(arguments).envs(environment.iter().map(|(name, value)| (*name, value.as_str())));
        command
    };
    match &options.mode {
        Mode::Deliver | Mode::Verify => {
            if let Some(site) = &options.flush_site {
                nobody("flush site")?;
                return Err(execute(program(&commands, "postqueue", &["-s", site])));
            }
            if let Some(id) = &options.flush_id {
                nobody("flush queue_id")?;
                return Err(execute(program(&commands, "postqueue", &["-i", id])));
            }
            submit(&options, &config, program(&commands, "postdrop", &["-r"]))
        }
        Mode::Flush => {
            nobody("flush queue mode")?;
            Err(execute(program(&commands, "postqueue", &["-f"])))
        }
        Mode::List => {
            nobody("display queue mode")?;
            Err(execute(program(&commands, "postqueue", &["-p"])))
        }
        Mode::Aliases => {
            nobody("alias initialization mode")?;
            let mut command = program(&commands, "postalias", &["--"]);
            match &options.alias_file {
                Some(file) => {
                    command.arg(file);
                }
                None => {
                    let databases = config.list("alias_database")?;
                    if databases.is_empty() {
                        return Ok(ExitCode::SUCCESS);
                    }
                    command.args(databases);
                }
            }
            Err(execute(command))
        }
        Mode::Daemon => {
            nobody("daemon mode")?;
            Err(execute(program(&commands, "postfix", &["start"])))
        }
        Mode::StandAlone => {
            nobody("stand-alone mode")?;
            Err(execute(program(&config.string("daemon_directory")?, "smtpd", &["-S"])))
        }
        Mode::Nothing => Ok(ExitCode::SUCCESS),
    }
}

/// Becomes another program; comes back only when that fails.
fn execute(mut command: Command) -> Fatal {
    log::flush();
    let name = command.get_program().to_string_lossy().into_owned();
    Fatal::Execute(name, command.exec())
}

fn submit(options: &Options, config: &Config, postdrop: Command) -> Result<ExitCode, Fatal> {
    let user = identity::User::current();
    let failed = |problem: String| Fatal::User { user: user.name.clone(), uid: user.uid, problem };
    if !user.may_submit(config).map_err(&failed)? {
        return Err(Fatal::Text(format!("User {}({}) is not allowed to submit mail", user.name, user.uid)));
    }
    let submission = submission::Submission::new(options, config, &user).map_err(&failed)?;
    let mut postdrop = postdrop::Postdrop::start(postdrop)?;
    let written = submission.write(&mut io::stdin().lock(), &mut postdrop);
    match written {
        Ok(()) => postdrop.finish().map_err(&failed)?,
        // Why postdrop went away is what the user wants to know.
        Err(submission::Error::Pipe(_)) => {
            postdrop.finish().map_err(&failed)?;
            return Err(failed("queue file write error".to_owned()));
        }
        Err(error) => {
            postdrop.abandon();
            return Err(failed(error.to_string()));
        }
    }
    if options.mode == Mode::Verify || options.verbose == 1 {
        let text =
            format!("Mail Delivery Status Report will be mailed to <{}>.\n", address::external(&submission.sender));
        // Nobody listens: the report comes anyhow.
        let _ = io::stdout().write_all(text.as_bytes());
    }
    Ok(ExitCode::SUCCESS)
}
