//! The instance that a command is about.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use config::Config;
use nix::unistd::{geteuid, getuid};

use crate::Failure;
use crate::command::Options;

/// Where everything is.
#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) config: Config,
    pub(crate) options: Options,
    pub(crate) directory: PathBuf,
    pub(crate) queue_directory: PathBuf,
    pub(crate) daemon_directory: PathBuf,
    pub(crate) command_directory: PathBuf,
    pub(crate) pid_file: PathBuf,
    /// `MAIL_CONFIG` or `-c` chose this instance.
    chosen: bool,
}

impl Instance {
    /// Reads `main.cf`; the environment of the programs that are run later is set up here too.
    pub(crate) fn load(options: Options) -> Result<Instance, Failure> {
        if let Some(directory) = &options.directory
            && !Path::new(directory).is_absolute()
        {
            // As the reference has it: programs that change their directory must find it as well.
            return Err(Failure::Fatal("-c requires absolute pathname".to_owned()));
        }
        let chosen = options.directory.is_some() || std::env::var_os("MAIL_CONFIG").is_some();
        let config = config::tool::load(options.directory.as_deref())?;
        let path = |name: &str| config.string(name).map(PathBuf::from);
        let queue_directory = path("queue_directory")?;
        Ok(Instance {
            directory: config.directory().to_path_buf(),
            daemon_directory: path("daemon_directory")?,
            command_directory: path("command_directory")?,
            pid_file: queue_directory.join(config.string("process_id_directory")?).join("master.pid"),
            queue_directory,
            chosen,
            config,
            options,
        })
    }

    /// root may do everything; others have their own instances.
    pub(crate) fn forbid_strangers(&self) -> Result<(), Failure> {
        if getuid() != geteuid() {
            return Err(Failure::Fatal("the postfix command must not run as a set-uid process".to_owned()));
        }
        let owner = fs::metadata(&self.queue_directory).map_or(getuid().as_raw(), |queue| queue.uid());
        if getuid().is_root() || owner == getuid().as_raw() {
            return Ok(());
        }
        Err(Failure::Fatal("the postfix command is reserved for the superuser".to_owned()))
    }

    /// With `multi_instance_directories` and no instance chosen, `multi_instance_wrapper` goes through all of them.
    pub(crate) fn hand_to_wrapper(&self, words: &[String]) -> Result<Option<u8>, Failure> {
        if self.chosen || self.config.list("multi_instance_directories")?.is_empty() {
            return Ok(None);
        }
        let wrapper = self.config.list("multi_instance_wrapper")?;
        let Some((program, arguments)) = wrapper.split_first() else {
            let text = "multi-instance support is requested, but multi_instance_wrapper is empty";
            return Err(Failure::Fatal(text.to_owned()));
        };
        let mut command = Command::new(program);
        command.args(arguments).args(words).env("MAIL_CONFIG", &self.directory);
        match command.status() {
            Ok(status) => Ok(Some(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))),
            Err(error) => Err(Failure::Fatal(format!("cannot execute {program}: {error}"))),
        }
    }

    /// From now on the log's tag is the one that monitoring knows.
    pub(crate) fn start_log(&self) -> Result<(), Failure> {
        let options = log::Options::from_config(&self.config, "postfix-script")?.also_stderr(true);
        // Strangers have been turned away: whoever comes here may write to the log file.
        let mut options = options.direct_when_down(&self.config)?;
        options.tag = Some(format!("{}/postfix-script", options.syslog_name));
        options.verbose = self.options.verbose;
        log::init(options);
        for warning in self.config.warnings() {
            log::warning!("{warning}");
        }
        Ok(())
    }

    /// A program of `daemon_directory` with this instance's configuration.
    pub(crate) fn daemon(&self, name: &str) -> Command {
        self.program(self.daemon_directory.join(name))
    }

    /// A program of `command_directory` with this instance's configuration.
    pub(crate) fn tool(&self, name: &str) -> Command {
        self.program(self.command_directory.join(name))
    }

    fn program(&self, path: PathBuf) -> Command {
        let mut command = Command::new(path);
        command.env("MAIL_CONFIG", &self.directory);
        if self.options.verbose > 0 {
            command.env("MAIL_VERBOSE", OsString::new());
        }
        if self.options.debugger {
            command.env("MAIL_DEBUG", OsString::new());
        }
        command
    }
}
