//! Datagram services: one process that takes datagrams, many per turn (postlogd).

use std::ffi::OsString;
use std::io;
use std::os::fd::AsRawFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use ipc::master::{Load, ToMaster};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use nix::unistd::alarm;

use crate::account::Account;
use crate::arguments::Kind;
use crate::error::StartError;
use crate::job::{Event, Line};
use crate::panics;
use crate::service::Settings;
use crate::startup::{Boot, Startup};

/// The largest datagram that is taken whole.
const LARGEST: usize = 128 << 10;
/// Datagrams per turn at most, so that what was taken is also dealt with.
const PER_TURN: usize = 256;
/// Without datagrams for this long, the service counts as idle.
const IDLE_PAUSE: Duration = Duration::from_secs(1);
/// How long a service whose master has gone waits for what others still have to say.
const LINGER: Duration = Duration::from_secs(2);

/// A daemon that takes datagrams.
pub trait DatagramService: Sized {
    /// The program's name: `postlogd`.
    const PROGRAM: &'static str;
    /// Who it runs as.
    const ACCOUNT: Account;

    /// Before the jail: read settings, open files.
    ///
    /// # Errors
    /// What makes serving impossible; the text of a `fatal:` line.
    fn prepare(start: &Startup) -> Result<Self, StartError>;

    /// One datagram.
    fn datagram(&mut self, bytes: &[u8]);

    /// No more datagrams for the moment: what was collected is to be dealt with.
    fn end_of_turn(&mut self);

    /// The process is to be replaced before it takes more: what it opened at its start is no longer what it should be.
    fn reload_needed(&mut self) -> bool {
        false
    }

    /// How long a turn may take; `daemon_timeout` when `None`.
    fn watchdog_timeout(&self) -> Option<Duration> {
        None
    }
}

/// `main` of a datagram service.
pub fn run_datagrams<S: DatagramService>() -> ExitCode {
    let code = match begin::<S>(std::env::args_os()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => crate::refuse(&error),
    };
    log::finish();
    code
}

fn begin<S: DatagramService>(words: impl IntoIterator<Item = OsString>) -> Result<(), StartError> {
    let mut boot = Boot::begin(S::PROGRAM, S::ACCOUNT, words)?;
    boot.check_entry(true, &[Kind::UnixDatagram])?;
    let settings = Settings::load(&boot.startup)?;
    let mut service = S::prepare(&boot.startup)?;
    boot.enter_jail(S::ACCOUNT)?;
    panics::install(None);
    let Boot { control: Some(control), listeners, .. } = boot else { return Err(StartError::ByHand) };
    let mut line = Line::new(control, listeners).map_err(StartError::system("epoll"))?;
    line.control.tell(&ToMaster::Ready);
    let watchdog = service.watchdog_timeout().unwrap_or(settings.daemon_timeout);
    let outcome = serve_datagrams(&mut service, &mut line, settings.max_idle, watchdog);
    outcome.map_err(StartError::system("receiving datagrams"))
}

pub(crate) fn serve_datagrams<S: DatagramService>(
    service: &mut S,
    line: &mut Line,
    max_idle: Duration,
    watchdog: Duration,
) -> io::Result<()> {
    let mut buffer = vec![0u8; LARGEST];
    let mut active = Instant::now();
    let mut master_gone = false;
    loop {
        let rest = max_idle.saturating_sub(active.elapsed());
        let pause = match (master_gone, line.is_idle()) {
            (true, _) => LINGER,
            (false, true) => rest,
            (false, false) => IDLE_PAUSE.min(rest),
        };
        alarm::cancel();
        let event = if master_gone { line.wait_for_client(pause)? } else { line.wait(pause)? };
        alarm::set(u32::try_from(watchdog.as_secs()).unwrap_or(u32::MAX).max(1));
        match event {
            // What waits at the socket is for the successor.
            Event::Client(_) if !master_gone && service.reload_needed() => {
                line.control.tell(&ToMaster::Draining);
                return Ok(());
            }
            Event::Client(number) => {
                line.report(Load::Some);
                active = Instant::now();
                take(service, line, number, &mut buffer)?;
            }
            Event::Silence if master_gone || line.is_idle() => break,
            Event::Silence => line.report(Load::Idle),
            Event::Nothing => {}
            Event::Drain => break,
            Event::MasterGone => master_gone = true,
        }
    }
    // What was sent up to now was sent to us.
    for number in 0..line.listeners() {
        take(service, line, number, &mut buffer)?;
    }
    alarm::cancel();
    line.control.tell(&ToMaster::Draining);
    Ok(())
}

fn take<S: DatagramService>(service: &mut S, line: &Line, number: usize, buffer: &mut [u8]) -> io::Result<()> {
    for _ in 0..PER_TURN {
        match recv(line.listener(number).as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(length) => service.datagram(&buffer[..length]),
            Err(Errno::EAGAIN) => break,
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    service.end_of_turn();
    Ok(())
}
