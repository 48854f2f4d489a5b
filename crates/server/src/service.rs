//! Session services: many clients per process, each an async task of one thread.

use std::ffi::OsString;
use std::future::Future;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use ipc::master::ToMaster;
use tokio::task::LocalSet;

use crate::account::Account;
use crate::arguments::Kind;
use crate::client::Client;
use crate::error::StartError;
use crate::peers::Callers;
use crate::startup::{Boot, Startup};
use crate::watchdog::Watchdog;
use crate::worker::{Bounds, Minding, Worker, mind};
use crate::{accept, control_loop, panics, stand_alone};

/// Threads that flush files.
const FLUSH_THREADS: usize = 8;
/// What a flushing thread needs of stack.
const FLUSH_STACK: usize = 128 << 10;
/// How long an idle flushing thread stays.
const FLUSH_KEEP_ALIVE: Duration = Duration::from_secs(5);

/// A daemon that serves many clients per process: smtpd, smtp, cleanup, qmgr, bounce, rewrite, resolver, ...
pub trait SessionService: 'static + Sized {
    /// The program's name: `smtpd`.
    const PROGRAM: &'static str;
    /// Who it runs as.
    const ACCOUNT: Account;
    /// Which processes may connect over Unix-domain sockets. `DAEMONS` is narrowed or, for sockets in `public/` that
    /// set-gid tools call, widened to `ALL`.
    const CALLERS: Callers = Callers::DAEMONS;
    /// The first frame of a Unix-domain connection may be a wake-up ([`ipc::Kind::Trigger`]), which becomes a call of
    /// [`SessionService::trigger`]. False where the server speaks first, or where clients do not speak in frames.
    const TRIGGERS: bool = true;
    /// The service insists on being one process (process limit 1): qmgr, pickup, tlsmgr, verify, ...
    const SOLITARY: bool = false;
    /// The process stays for as long as master does: `max_idle` and `max_use` do not apply.
    const LASTING: bool = false;

    /// Before the jail, with the rights of root when master has them: read settings, open tables and keys.
    ///
    /// # Errors
    /// What makes serving impossible; the text of a `fatal:` line.
    fn prepare(start: &Startup) -> Result<Self, StartError>;

    /// In the jail, before the first client. Must return; what goes on for longer is for [`Worker::spawn`] and
    /// [`Worker::spawn_background`].
    fn started(self: Rc<Self>, _worker: Worker) -> impl Future<Output = ()> {
        std::future::ready(())
    }

    /// One client, from the first byte to the last.
    fn session(self: Rc<Self>, client: Client, worker: Worker) -> impl Future<Output = ()>;

    /// Wake-up characters, from a trigger or (`W`) from master.
    fn trigger(self: Rc<Self>, _characters: Vec<u8>, _worker: Worker) -> impl Future<Output = ()> {
        std::future::ready(())
    }

    /// A table has changed: the worker is replaced before the next client. The service logs which
    /// (`log::lines::table_changed`).
    fn reload_needed(&self) -> bool {
        false
    }

    /// What an internet client hears last when its session ends by a panic: a whole 421 reply line.
    fn last_reply(&self) -> Option<Vec<u8>> {
        None
    }

    /// How long the event loop may be stuck; `daemon_timeout` when `None`.
    fn watchdog_timeout(&self) -> Option<Duration> {
        None
    }
}

/// `main` of a session service.
pub fn run<S: SessionService>() -> ExitCode {
    let outcome = serve::<S>(std::env::args_os());
    let code = match outcome {
        Ok(code) => code,
        Err(error) => crate::refuse(&error),
    };
    log::finish();
    code
}

pub(crate) fn serve<S: SessionService>(words: impl IntoIterator<Item = OsString>) -> Result<ExitCode, StartError> {
    let mut boot = Boot::begin(S::PROGRAM, S::ACCOUNT, words)?;
    boot.check_entry(S::SOLITARY, &[Kind::Inet, Kind::Unix, Kind::Fifo, Kind::Pass, Kind::StandAlone])?;
    let settings = Settings::load(&boot.startup)?;
    Boot::raise_descriptor_limit(settings.session_limit);
    let service = S::prepare(&boot.startup)?;
    boot.enter_jail(S::ACCOUNT)?;
    panics::install(service.last_reply());

    let runtime = runtime().map_err(StartError::system("event loop"))?;
    let watchdog = Watchdog::start(service.watchdog_timeout().unwrap_or(settings.daemon_timeout));
    log::set_batching(true);
    let local = LocalSet::new();
    let code = local.block_on(&runtime, async move {
        let Boot { startup, control, listeners, .. } = boot;
        let worker = Worker::new(control, startup.peers.clone(), settings.bounds::<S>(), startup.sessions);
        let service = Rc::new(service);
        attach(&service, &worker);
        if startup.stand_alone {
            return stand_alone::serve(service, worker).await;
        }
        control_loop::start(&service, &worker).map_err(StartError::system("control socket"))?;
        Rc::clone(&service).started(worker.clone()).await;
        for listener in listeners {
            accept::start(&service, &worker, listener, startup.kind).map_err(StartError::system("listening socket"))?;
        }
        worker.tell(ToMaster::Ready);
        mind(&worker, settings.minding::<S>(watchdog.timeout()), || watchdog.beat()).await;
        Ok(if worker.has_failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    });
    // Flushes of sessions that were cut off are not waited for.
    runtime.shutdown_background();
    code
}

/// Connects what the worker asks the service.
pub(crate) fn attach<S: SessionService>(service: &Rc<S>, worker: &Worker) {
    let asked = Rc::downgrade(service);
    worker.set_reload_check(move || asked.upgrade().is_some_and(|service| service.reload_needed()));
}

/// The event loop that every session service runs on; log lines leave when it comes to rest.
///
/// # Errors
/// The error of the system.
pub(crate) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(FLUSH_THREADS)
        .thread_stack_size(FLUSH_STACK)
        .thread_keep_alive(FLUSH_KEEP_ALIVE)
        .thread_name("flush")
        .on_thread_park(log::flush)
        .build()
}

/// What the skeleton itself reads from the configuration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) max_idle: Duration,
    pub(crate) max_use: u32,
    pub(crate) daemon_timeout: Duration,
    pub(crate) session_limit: u32,
}

impl Settings {
    pub(crate) fn load(startup: &Startup) -> Result<Settings, StartError> {
        let config = &startup.config;
        Ok(Settings {
            max_idle: config.time("max_idle")?,
            max_use: u32::try_from(config.int("max_use")?).unwrap_or(u32::MAX),
            daemon_timeout: config.time("daemon_timeout")?,
            session_limit: u32::try_from(config.service_int(&startup.service, "session_limit")?)
                .unwrap_or(u32::MAX)
                .max(1),
        })
    }

    /// Each of the places for a session serves `max_use` clients, so that with one session per process the parameter
    /// means what it always meant.
    fn bounds<S: SessionService>(&self) -> Bounds {
        let max_served = if S::LASTING { 0 } else { u64::from(self.max_use) * u64::from(self.session_limit) };
        Bounds { own_limit: self.session_limit, max_served }
    }

    fn minding<S: SessionService>(&self, watchdog: Duration) -> Minding {
        Minding {
            max_idle: (!S::LASTING).then_some(self.max_idle),
            drain_limit: self.daemon_timeout,
            beat: watchdog / 4,
        }
    }
}
