//! The way from `main` into the jail, the same for every daemon.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use config::Config;
use ipc::master::{CONTROL_FD, FIRST_LISTENER_FD, ToWorker};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use sys::{inherited, privileges};

use crate::account::Account;
use crate::arguments::{Arguments, Kind};
use crate::control::Control;
use crate::error::StartError;
use crate::peers::Peers;
use crate::sandbox;

/// How long a worker waits for master's first word.
const START_PATIENCE: Duration = Duration::from_secs(30);
/// Descriptors that a worker has beside those of its sessions.
const SPARE_DESCRIPTORS: u64 = 256;
/// Descriptors per session: the client, a few connections and files of its own.
const DESCRIPTORS_PER_SESSION: u64 = 6;

/// What a service is told before it enters the jail.
#[derive(Clone, Debug)]
pub struct Startup {
    /// main.cf with the overrides of this service (`process_name`, `service_name` and `stress` included).
    pub config: Config,
    /// Name by which this program was called: `smtp` or `lmtp`.
    pub program: String,
    /// Name in master.cf: `smtp`, `submission`, `127.0.0.1:10025`.
    pub service: String,
    /// Type in master.cf.
    pub kind: Kind,
    /// What follows the options (`flags=DRhu`, `user=vmail`).
    pub arguments: Vec<String>,
    /// The service is under stress.
    pub stress: bool,
    /// The service's process limit is one.
    pub solitary: bool,
    /// How often `-v` was given.
    pub verbose: u32,
    /// One client on standard input and output; no master, no accounts, the invoking user's rights.
    pub stand_alone: bool,
    /// Clients at a time, as master said (0: no bound but the configuration's).
    pub sessions: u32,
    /// Counts master's reloads.
    pub generation: u32,
    /// How often master wakes the service.
    pub wakeup: Option<Duration>,
    /// Who may call whom here.
    pub peers: Peers,
    /// `unprivileged` is `n` in master.cf, or the program is one that stays root, and master runs as root.
    pub privileged: bool,
    /// The service runs (or is about to run) in the queue directory as its root.
    pub chroot: bool,
}

impl Startup {
    /// For tests of a service within the process: as master would start `service`, in plain-user mode.
    #[must_use]
    pub fn for_tests(config: Config, service: &str) -> Startup {
        Startup {
            config,
            program: service.to_owned(),
            service: service.to_owned(),
            kind: Kind::Unix,
            arguments: Vec::new(),
            stress: false,
            solitary: false,
            verbose: 0,
            stand_alone: false,
            sessions: 0,
            generation: 0,
            wakeup: None,
            peers: Peers::only(nix::unistd::geteuid()),
            privileged: false,
            chroot: false,
        }
    }
}

/// A daemon on its way: what it knows and holds.
pub(crate) struct Boot {
    pub(crate) startup: Startup,
    pub(crate) control: Option<Control>,
    pub(crate) listeners: Vec<OwnedFd>,
    unprivileged: bool,
}

/// `MAIL_CONFIG`, or the default configuration directory.
fn configuration_directory() -> PathBuf {
    std::env::var_os("MAIL_CONFIG").map_or_else(|| PathBuf::from(config::DEFAULT_CONFIG_DIRECTORY), PathBuf::from)
}

impl Boot {
    /// Command line, configuration, log, descriptors and master's first word.
    pub(crate) fn begin(
        program: &'static str,
        account: Account,
        words: impl IntoIterator<Item = OsString>,
    ) -> Result<Boot, StartError> {
        let mut words = words.into_iter();
        let called = words.next().and_then(|name| Some(Path::new(&name).file_name()?.to_string_lossy().into_owned()));
        let called = called.unwrap_or_else(|| program.to_owned());
        log::init(log::Options::before_configuration(&called));
        let arguments = Arguments::parse(words)?;
        let by_master = inherited::is_packet_socket(CONTROL_FD) && arguments.service.is_some();
        if !arguments.stand_alone && !by_master {
            return Err(StartError::ByHand);
        }
        privileges::private_umask();
        sys::memory::few_arenas();

        let mut config = Config::load(&configuration_directory())?;
        let service = arguments.service.clone().unwrap_or_else(|| called.clone());
        config.set("process_name", called.as_str());
        config.set("service_name", service.as_str());
        for option in &arguments.overrides {
            config.set_option(option)?;
        }
        let queue_directory = config.string("queue_directory")?;
        std::env::set_current_dir(&queue_directory).map_err(StartError::system(format!("chdir {queue_directory}")))?;
        let mut options = log::Options::from_config(&config, &called)?.within_queue_directory();
        options.verbose = arguments.verbose;
        options.also_stderr = arguments.stand_alone && arguments.verbose > 0;
        log::init(options);
        for warning in config.warnings() {
            log::warning!("{warning}");
        }

        let mut boot = Boot {
            startup: Startup {
                peers: Peers::load(&config)?,
                config,
                program: called,
                service,
                kind: if arguments.stand_alone { Kind::StandAlone } else { arguments.kind.unwrap_or(Kind::Unix) },
                arguments: arguments.rest.clone(),
                stress: false,
                solitary: false,
                verbose: arguments.verbose,
                stand_alone: arguments.stand_alone,
                sessions: 0,
                generation: 0,
                wakeup: None,
                privileged: privileges::is_root() && !arguments.unprivileged,
                chroot: arguments.chroot && privileges::is_root(),
            },
            control: None,
            listeners: Vec::new(),
            unprivileged: arguments.unprivileged,
        };
        if !arguments.stand_alone {
            ipc::table::use_sockets();
            boot.take_descriptors(arguments.listeners)?;
            boot.hear_master()?;
        }
        if account == Account::Root && privileges::is_root() && boot.unprivileged {
            let problem = "needs the rights of root: say unprivileged=n in master.cf";
            return Err(StartError::Entry { service: boot.startup.service, problem });
        }
        Ok(boot)
    }

    fn take_descriptors(&mut self, count: usize) -> Result<(), StartError> {
        let taken = |number| inherited::take(number).map_err(StartError::system("descriptor from master"));
        self.control = Some(Control::new(taken(CONTROL_FD)?).map_err(StartError::system("control socket"))?);
        for index in 0..count {
            let number = FIRST_LISTENER_FD + i32::try_from(index).unwrap_or(i32::MAX - FIRST_LISTENER_FD);
            self.listeners.push(taken(number)?);
        }
        Ok(())
    }

    fn hear_master(&mut self) -> Result<(), StartError> {
        let Some(control) = &self.control else { return Ok(()) };
        let order = control.wait(START_PATIENCE).map_err(StartError::system("master's first message"))?;
        let startup = &mut self.startup;
        match order.map(|order| order.message) {
            Some(ToWorker::Start { sessions, stress, solitary, generation, wakeup }) => {
                startup.sessions = sessions;
                startup.stress = stress;
                startup.solitary = solitary;
                startup.generation = generation;
                startup.wakeup = wakeup;
                startup.config.set("stress", if stress { "yes" } else { "" });
                Ok(())
            }
            Some(other) => Err(StartError::Contract(format!("unexpected first message {other:?}"))),
            None => Err(StartError::Contract("master has gone".to_owned())),
        }
    }

    /// Refuses a service that must be alone but is not, or is of a type that the program cannot serve.
    pub(crate) fn check_entry(&self, solitary: bool, kinds: &[Kind]) -> Result<(), StartError> {
        let service = || self.startup.service.clone();
        if solitary && !self.startup.solitary && !self.startup.stand_alone {
            return Err(StartError::Entry { service: service(), problem: "requires a process limit of 1" });
        }
        if !kinds.contains(&self.startup.kind) {
            return Err(StartError::Entry { service: service(), problem: "program cannot serve this type of socket" });
        }
        Ok(())
    }

    /// Lets this process open as many descriptors as `sessions` need, as far as it may.
    pub(crate) fn raise_descriptor_limit(sessions: u32) {
        let wanted = u64::from(sessions) * DESCRIPTORS_PER_SESSION + SPARE_DESCRIPTORS;
        let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
        if soft >= wanted {
            return;
        }
        if privileges::is_root() && hard < wanted && setrlimit(Resource::RLIMIT_NOFILE, wanted, wanted).is_ok() {
            return;
        }
        let _ = setrlimit(Resource::RLIMIT_NOFILE, wanted.min(hard), hard);
    }

    /// Gives up what the service does not need: the last step before serving.
    pub(crate) fn enter_jail(&mut self, account: Account) -> Result<(), StartError> {
        if self.startup.stand_alone {
            return Ok(());
        }
        if !privileges::is_root() {
            sandbox::enter(&self.startup, account);
            return Ok(());
        }
        if self.startup.chroot
            && let Some(control) = &self.control
        {
            // /dev/log is out of reach from now on; master can still open it.
            let control = control.try_clone().map_err(StartError::system("control socket"))?;
            log::set_reconnect(move || control.tell(&ipc::master::ToMaster::SyslogPlease));
        }
        let jail = self.startup.chroot.then_some(Path::new("."));
        let identity = account.identity(&self.startup.config)?.filter(|_| self.unprivileged);
        if jail.is_some() && sys::accounts::is_announced() {
            // Its child asks the system for accounts from outside, with the rights of the service.
            let prepare = || {
                let dropped = identity.as_ref().is_none_or(|one| privileges::drop_privileges(one, None).is_ok());
                sandbox::enter_for_lookups(&self.startup, account);
                dropped
            };
            sys::accounts::answer_from_outside(prepare).map_err(StartError::system("process for account lookups"))?;
        }
        match identity {
            Some(identity) => {
                privileges::drop_privileges(&identity, jail)?;
                sandbox::enter(&self.startup, account);
            }
            None => {
                if let Some(jail) = jail {
                    privileges::enter(jail)?;
                }
                if account != Account::Root {
                    log::warning!(
                        "service {} runs with the rights of root: unprivileged=n in master.cf",
                        self.startup.service
                    );
                }
            }
        }
        Ok(())
    }
}
