//! Job services: blocking and single-threaded, one client at a time, for programs that fork or change identity.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use ipc::master::{Load, ToMaster, ToWorker};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::unistd::alarm;

use crate::account::Account;
use crate::arguments::Kind;
use crate::control::Control;
use crate::error::StartError;
use crate::panics;
use crate::peers::{self, Callers, Peer, Peers};
use crate::service::Settings;
use crate::startup::{Boot, Startup};

/// How long a worker stays silently ready for the next job before it reports itself idle.
const IDLE_PAUSE: Duration = Duration::from_millis(50);
/// Mark of the control socket among the events; listeners have their number.
const CONTROL: u64 = u64::MAX;

/// A daemon that does one job at a time per process: local, virtual, pipe.
pub trait JobService: Sized {
    /// The program's name: `local`.
    const PROGRAM: &'static str;
    /// Who it runs as; [`Account::Root`] for programs that become somebody else for each job.
    const ACCOUNT: Account;
    /// Which processes may connect.
    const CALLERS: Callers = Callers::OWNER;

    /// Before the jail: read settings, open tables.
    ///
    /// # Errors
    /// What makes serving impossible; the text of a `fatal:` line.
    fn prepare(start: &Startup) -> Result<Self, StartError>;

    /// One client, whose socket is blocking. Log lines are written at once here. The process ends by `SIGALRM` when this
    /// takes longer than `daemon_timeout`.
    fn serve(&mut self, connection: UnixStream);

    /// A table has changed: the worker is replaced before the next job.
    fn reload_needed(&self) -> bool {
        false
    }
}

/// `main` of a job service.
pub fn run_jobs<S: JobService>() -> ExitCode {
    let code = match begin::<S>(std::env::args_os()) {
        Ok(code) => code,
        Err(error) => crate::refuse(&error),
    };
    log::finish();
    code
}

pub(crate) fn begin<S: JobService>(words: impl IntoIterator<Item = OsString>) -> Result<ExitCode, StartError> {
    let mut boot = Boot::begin(S::PROGRAM, S::ACCOUNT, words)?;
    boot.check_entry(false, &[Kind::Unix])?;
    let settings = Settings::load(&boot.startup)?;
    let mut service = S::prepare(&boot.startup)?;
    boot.enter_jail(S::ACCOUNT)?;
    panics::install(None);
    let Boot { startup, control: Some(control), listeners, .. } = boot else {
        return Err(StartError::ByHand);
    };
    let mut line = Line::new(control, listeners).map_err(StartError::system("epoll"))?;
    let patience =
        Patience { max_idle: settings.max_idle, max_use: settings.max_use, watchdog: settings.daemon_timeout };
    line.control.tell(&ToMaster::Ready);
    serve_jobs(&mut service, &mut line, &startup.peers, patience).map_err(StartError::system("waiting for clients"))
}

/// When a worker ends by itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    pub(crate) max_idle: Duration,
    pub(crate) max_use: u32,
    pub(crate) watchdog: Duration,
}

/// Where clients and orders come from.
pub(crate) struct Line {
    pub(crate) control: Control,
    listeners: Vec<OwnedFd>,
    events: Epoll,
    reported: Load,
}

/// What a wait ended with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A client may wait at this listener.
    Client(usize),
    /// Nothing, for as long as asked.
    Silence,
    /// An order that changes nothing here.
    Nothing,
    /// Master wants this worker to end.
    Drain,
    /// Master has gone.
    MasterGone,
}

impl Line {
    pub(crate) fn new(control: Control, listeners: Vec<OwnedFd>) -> io::Result<Line> {
        let events = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        events.add(control.descriptor(), EpollEvent::new(EpollFlags::EPOLLIN, CONTROL))?;
        for (number, listener) in listeners.iter().enumerate() {
            // A new client wakes one of the idle workers, not all.
            let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLEXCLUSIVE;
            events.add(listener, EpollEvent::new(flags, number as u64))?;
        }
        Ok(Line { control, listeners, events, reported: Load::Idle })
    }

    pub(crate) fn listener(&self, number: usize) -> &OwnedFd {
        &self.listeners[number]
    }

    pub(crate) fn listeners(&self) -> usize {
        self.listeners.len()
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.reported == Load::Idle
    }

    /// As [`Line::wait`] once master has gone: its socket would say so again and again.
    pub(crate) fn wait_for_client(&mut self, patience: Duration) -> io::Result<Event> {
        match self.events.delete(self.control.descriptor()) {
            Ok(()) | Err(Errno::ENOENT) => self.wait(patience),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn report(&mut self, load: Load) {
        if self.reported != load {
            self.reported = load;
            self.control.tell(&ToMaster::Load(load));
        }
    }

    /// Waits for what comes first.
    pub(crate) fn wait(&mut self, patience: Duration) -> io::Result<Event> {
        let end = Instant::now() + patience;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            // Rounded up: the last fraction of a millisecond is not spent spinning.
            let millis = u32::try_from(left.as_micros().div_ceil(1000)).unwrap_or(u32::MAX).min(i32::MAX as u32);
            let timeout = EpollTimeout::try_from(millis).unwrap_or(EpollTimeout::NONE);
            let mut events = [EpollEvent::empty(); 1];
            match self.events.wait(&mut events, timeout) {
                Ok(0) => return Ok(Event::Silence),
                Ok(_) if events[0].data() == CONTROL => return self.obey(),
                Ok(_) => return Ok(Event::Client(events[0].data() as usize)),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn obey(&mut self) -> io::Result<Event> {
        let order = match self.control.receive() {
            Ok(Some(order)) => order,
            Ok(None) => return Ok(Event::MasterGone),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Event::Nothing),
            Err(error) => return Err(error),
        };
        Ok(match order.message {
            ToWorker::Drain => Event::Drain,
            ToWorker::Syslog => {
                if let Some(socket) = order.descriptor {
                    log::set_syslog_socket(socket);
                }
                Event::Nothing
            }
            _ => Event::Nothing,
        })
    }
}

pub(crate) fn serve_jobs<S: JobService>(
    service: &mut S,
    line: &mut Line,
    peers: &Peers,
    patience: Patience,
) -> io::Result<ExitCode> {
    let mut served = 0;
    let mut idle_since = Instant::now();
    loop {
        let rest = patience.max_idle.saturating_sub(idle_since.elapsed());
        let pause = if line.reported == Load::Idle { rest } else { IDLE_PAUSE.min(rest) };
        alarm::cancel();
        match line.wait(pause)? {
            Event::Client(_) if service.reload_needed() => break,
            Event::Client(number) => match sys::socket::accept(line.listener(number).as_fd(), false) {
                Ok((socket, _)) => {
                    line.report(Load::Full);
                    alarm::set(u32::try_from(patience.watchdog.as_secs()).unwrap_or(u32::MAX).max(1));
                    if !serve_one::<S>(service, socket.into(), peers) {
                        line.control.tell(&ToMaster::Draining);
                        return Ok(ExitCode::FAILURE);
                    }
                    served += 1;
                    idle_since = Instant::now();
                    if served >= patience.max_use {
                        break;
                    }
                }
                // Another worker was faster.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            },
            Event::Silence if line.reported != Load::Idle => line.report(Load::Idle),
            Event::Silence => break,
            Event::Nothing => {}
            Event::Drain | Event::MasterGone => break,
        }
    }
    alarm::cancel();
    line.control.tell(&ToMaster::Draining);
    Ok(ExitCode::SUCCESS)
}

/// False when the job ended by a panic: whatever state it left behind ends with this process.
fn serve_one<S: JobService>(service: &mut S, connection: UnixStream, peers: &Peers) -> bool {
    match Peer::of(&connection) {
        Ok(peer) if peers::check(peers, peer, S::CALLERS) => {
            catch_unwind(AssertUnwindSafe(|| service.serve(connection))).is_ok()
        }
        Ok(peer) => {
            log::warning!("connection by uid {} gid {} pid {} refused", peer.uid, peer.gid, peer.pid);
            true
        }
        Err(error) => {
            log::warning!("accept connection: {}", sys::reason(&error));
            true
        }
    }
}
