//! The process that starts, supervises and stops all others.
//!
//! [`supervisor`] decides, without any input or output; the shell around it (an event loop on mio) opens listeners, forks,
//! signals and reports. [`run`] is the program.

mod addresses;
mod child;
mod definition;
mod detach;
mod error;
mod instance;
pub mod limits;
mod lines;
mod listener;
mod lock;
mod options;
mod owner;
mod ports;
pub mod programs;
mod settings;
mod shell;
pub mod supervisor;

use std::ffi::OsString;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::ExitCode;

use config::Config;

pub use error::Error;
use instance::Instance;
use options::Options;
use settings::Settings;
use shell::Shell;

/// Name of the program, for the log.
const PROGRAM: &str = "master";

/// Runs master with the arguments after the program's name.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    // What a shell or supervisor left open must not end up in every program.
    if let Err(error) = sys::inherited::close_from(3) {
        log::warning!("close_range: {error}");
    }
    log::init(log::Options::before_configuration(PROGRAM));
    match start(arguments) {
        Ok(code) => code,
        Err(error) => {
            report(&error);
            ExitCode::FAILURE
        }
    }
}

fn start(arguments: impl IntoIterator<Item = OsString>) -> Result<ExitCode, Error> {
    let options = Options::parse(arguments)?;
    refuse_set_id()?;
    if options.init && nix::unistd::getpid().as_raw() != 1 {
        return Err(Error::Usage("-i is allowed only for PID 1 process".to_owned()));
    }
    let directory = configuration_directory(&options)?;
    let config = Config::load(&directory)?;
    if options.test {
        let held = lock::is_held(&settings::pid_file(&config)?)?;
        return Ok(if held { ExitCode::FAILURE } else { ExitCode::SUCCESS });
    }
    if options.wait {
        return detach::in_background(|ready| serve_or_report(options, &config, Some(ready)));
    }
    serve(options, &config, None)?;
    Ok(ExitCode::SUCCESS)
}

fn serve_or_report(options: Options, config: &Config, ready: Option<OwnedFd>) -> bool {
    match serve(options, config, ready) {
        Ok(()) => true,
        Err(error) => {
            report(&error);
            false
        }
    }
}

/// To the log and, as long as there is one, to the terminal.
fn report(error: &Error) {
    log::fatal!("{error}");
    log::finish();
    // Nobody can be told when this fails too.
    let _ = writeln!(std::io::stderr(), "{PROGRAM}: fatal: {error}");
}

/// Is master, until it is told to stop. `ready` is closed when everything is up.
fn serve(options: Options, config: &Config, ready: Option<OwnedFd>) -> Result<(), Error> {
    let verbose = options.verbose;
    start_log(config, verbose)?;
    for warning in config.warnings() {
        log::warning!("{warning}");
    }
    let settings = Settings::load(config)?;
    sys::privileges::private_umask();
    std::env::set_current_dir(&settings.queue_directory)
        .map_err(Error::call(format!("chdir {}", settings.queue_directory.display())))?;
    let mut pid_lock = lock::take(&settings.pid_file, None)?;
    let mut data_lock = lock::take(&settings.data_lock, settings.owner)?;
    if !options.stay_attached {
        detach::leave_terminal(options.init)?;
    }
    let pid = nix::unistd::getpid().as_raw();
    for lock in [&mut pid_lock, &mut data_lock] {
        lock.write_pid(pid).map_err(Error::call("cannot update lock file"))?;
    }
    detach::allow_many_descriptors();

    let mut shell = Shell::new(Instance::new(options, config, settings)?)?;
    let offer = shell.listen()?;
    // The socket of postlogd is there now.
    start_log(config, verbose)?;
    shell.instance().announce_start();
    log::flush();
    if let Some(ready) = ready {
        detach::tell_ready(&ready);
    }
    if !shell.instance().options.stay_attached {
        detach::close_terminal(shell.instance().options.keep_stdout)?;
    }
    // Not before: who waits for the end of our standard error would wait for the programs as well.
    shell.begin(offer);
    log::set_batching(true);
    shell.run()
}

fn start_log(config: &Config, verbose: u32) -> Result<(), Error> {
    let mut options = log::Options::from_config(config, PROGRAM)?;
    options.verbose = verbose;
    log::init(options);
    Ok(())
}

fn refuse_set_id() -> Result<(), Error> {
    let (uid, gid) = (nix::unistd::getuid(), nix::unistd::getgid());
    if uid == nix::unistd::geteuid() && gid == nix::unistd::getegid() {
        return Ok(());
    }
    Err(Error::Usage("the master command must not run as a set-uid process".to_owned()))
}

fn configuration_directory(options: &Options) -> Result<PathBuf, Error> {
    let directory = match &options.directory {
        Some(directory) => directory.clone(),
        None => std::env::var_os("MAIL_CONFIG")
            .map_or_else(|| PathBuf::from(config::DEFAULT_CONFIG_DIRECTORY), PathBuf::from),
    };
    std::path::absolute(&directory).map_err(Error::call(format!("{}", directory.display())))
}
