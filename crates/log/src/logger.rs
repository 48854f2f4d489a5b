//! The one log of this process.

use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::framing::{Severity, Stamp, TEXT_LIMIT, Text};
use crate::options::{Facility, Options, Sink};
use crate::sink::{Channel, Pending, Socket, WRITE_AT, write_all};

static LOGGER: Mutex<Option<Logger>> = Mutex::new(None);
static VERBOSE: AtomicU32 = AtomicU32::new(0);

/// How long a line that cannot wait may hold up the program when the receiver is slow.
const PATIENCE: Duration = Duration::from_secs(1);

struct Logger {
    facility: Facility,
    host: String,
    tag: String,
    /// `tag[pid]: `
    identity: Vec<u8>,
    /// Stands before the text on standard error.
    stderr_name: Option<String>,
    channel: Channel,
    pending: Pending,
    stamp: Stamp,
    batching: bool,
}

impl Logger {
    fn new(options: Options) -> Logger {
        let Options { program, syslog_name, tag, facility, host, sink, also_stderr, .. } = options;
        let stderr_name = also_stderr.then(|| tag.clone().unwrap_or_else(|| program.clone()));
        let tag = tag.unwrap_or_else(|| format!("{syslog_name}/{program}"));
        let channel = match sink {
            Sink::Syslog(path) => Channel::Socket(Socket::new(path, true, None)),
            Sink::Postlog { socket, direct } => Channel::Socket(Socket::new(socket, false, direct)),
            Sink::Stream(fd) => Channel::Stream(fd),
            Sink::None => Channel::None,
        };
        let mut logger = Logger {
            facility,
            host,
            tag,
            identity: Vec::new(),
            stderr_name,
            channel,
            pending: Pending::default(),
            stamp: Stamp::default(),
            batching: false,
        };
        logger.identify();
        logger
    }

    fn identify(&mut self) {
        self.identity = format!("{}[{}]: ", crate::show(&self.tag), std::process::id()).into_bytes();
    }

    fn print(&mut self, severity: Severity, arguments: fmt::Arguments<'_>) {
        self.put(severity, arguments);
        if !self.batching || severity >= Severity::Fatal || self.pending.len() > WRITE_AT {
            self.flush(if self.batching && severity < Severity::Fatal { Duration::ZERO } else { PATIENCE });
        }
    }

    fn put(&mut self, severity: Severity, arguments: fmt::Arguments<'_>) {
        let syslog = self.channel.is_syslog();
        let framing = self.channel.has_framing();
        let place = self.pending.place();
        if framing {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs() as i64);
            if syslog {
                // Writing to a vector cannot fail.
                let _ = write!(place, "<{}>", self.facility.priority(severity.level()));
            }
            place.extend_from_slice(self.stamp.at(now));
            place.push(b' ');
            if !syslog {
                place.extend_from_slice(self.host.as_bytes());
                place.push(b' ');
            }
            place.extend_from_slice(&self.identity);
        }
        let start = place.len();
        place.extend_from_slice(severity.prefix().as_bytes());
        let mut text = Text { output: place, room: TEXT_LIMIT };
        // A Display that fails leaves a line cut short, which is better than none.
        let _ = text.write_fmt(arguments);
        if let Some(name) = &self.stderr_name {
            let mut line = format!("{}: ", crate::show(name)).into_bytes();
            line.extend_from_slice(&place[start..]);
            line.push(b'\n');
            let _ = write_all(std::io::stderr().as_fd(), &line);
        }
        self.pending.end_line();
    }

    fn flush(&mut self, patience: Duration) {
        if self.pending.is_empty() {
            return;
        }
        self.channel.write(&mut self.pending, patience);
        if self.pending.is_empty() {
            let lost = self.pending.take_lost();
            if lost > 0 {
                self.put(Severity::Warning, format_args!("{lost} log lines were lost: the log did not take them"));
                self.channel.write(&mut self.pending, patience);
            }
        }
    }
}

fn lock() -> MutexGuard<'static, Option<Logger>> {
    LOGGER.lock().unwrap_or_else(PoisonError::into_inner)
}

fn with_logger<R>(action: impl FnOnce(&mut Logger) -> R) -> R {
    let mut guard = lock();
    action(guard.get_or_insert_with(|| {
        let program = std::env::args_os()
            .next()
            .and_then(|name| Some(std::path::Path::new(&name).file_name()?.to_string_lossy().into_owned()))
            .unwrap_or_else(|| "unknown".to_owned());
        Logger::new(Options::before_configuration(&program))
    }))
}

/// Says where lines go from now on; what waits is written the old way first. Connects at once, so that a program that
/// enters a jail later has its socket.
pub fn init(options: Options) {
    VERBOSE.store(options.verbose, Ordering::Relaxed);
    sys::clock::load_time_zone();
    let mut logger = Logger::new(options);
    if let Channel::Socket(socket) = &mut logger.channel {
        socket.connect();
    }
    let mut guard = lock();
    if let Some(mut old) = guard.take() {
        old.flush(PATIENCE);
        logger.batching = old.batching;
        if old.channel.is_syslog() == logger.channel.is_syslog() && matches!(logger.channel, Channel::Socket(_)) {
            // What could not be written because nobody listens yet (postlogd at the very start) still can be.
            logger.pending = std::mem::take(&mut old.pending);
        }
        if matches!(old.channel, Channel::Memory(_)) {
            logger.channel = old.channel;
        }
    }
    *guard = Some(logger);
}

/// True once [`init`] or [`capture`] was called, or something was logged.
#[must_use]
pub fn is_initialized() -> bool {
    lock().is_some()
}

/// Lines wait for [`flush`] (true), or are written at once (false, the state at first).
pub fn set_batching(batching: bool) {
    with_logger(|logger| logger.batching = batching);
}

/// Writes out what waits, without waiting for a slow receiver: for the end of an event loop turn.
pub fn flush() {
    if let Some(logger) = lock().as_mut() {
        logger.flush(Duration::ZERO);
    }
}

/// True while lines wait that [`flush`] could not write: an event loop comes back soon instead of sleeping on them.
#[must_use]
pub fn is_pending() -> bool {
    lock().as_ref().is_some_and(|logger| !logger.pending.is_empty())
}

/// Writes out what waits, before the program ends.
pub fn finish() {
    if let Some(logger) = lock().as_mut() {
        logger.flush(PATIENCE);
    }
}

/// Logs a line; the macros come here.
pub fn print(severity: Severity, arguments: fmt::Arguments<'_>) {
    with_logger(|logger| logger.print(severity, arguments));
}

/// Logs a line and writes everything out, unless the log is held by a thread that is stuck: for a watchdog.
pub fn try_print_and_finish(severity: Severity, arguments: fmt::Arguments<'_>) {
    if let Ok(mut guard) = LOGGER.try_lock()
        && let Some(logger) = guard.as_mut()
    {
        logger.print(severity, arguments);
        logger.flush(PATIENCE);
    }
}

/// `-v` was given this often.
#[must_use]
pub fn verbose() -> u32 {
    VERBOSE.load(Ordering::Relaxed)
}

/// Changes how verbose the log is.
pub fn set_verbose(level: u32) {
    VERBOSE.store(level, Ordering::Relaxed);
}

/// To be called first thing in a forked child: lines that wait are the parent's, and the process id is a new one.
pub fn after_fork() {
    with_logger(|logger| {
        logger.pending.clear();
        logger.identify();
        logger.batching = false;
    });
}

/// `ask` is called, at most once a second, when the log's socket cannot be reached from here (a jail); the answer is
/// to be given to [`set_syslog_socket`]. `ask` must not log.
pub fn set_reconnect(ask: impl Fn() + Send + 'static) {
    with_logger(|logger| {
        if let Channel::Socket(socket) = &mut logger.channel {
            socket.set_ask(Box::new(ask));
        }
    });
}

/// A connected datagram socket of the syslog daemon.
pub fn set_syslog_socket(connected: OwnedFd) {
    with_logger(|logger| {
        if let Channel::Socket(socket) = &mut logger.channel {
            socket.adopt(connected);
        }
        logger.flush(Duration::ZERO);
    });
}

/// For tests: from now on lines are kept in memory, without framing; returns those since the last call. The log is the
/// whole process's, so this wants a test runner with a process per test.
pub fn capture() -> Vec<String> {
    with_logger(|logger| {
        logger.flush(Duration::ZERO);
        match &mut logger.channel {
            Channel::Memory(lines) => std::mem::take(lines),
            other => {
                *other = Channel::Memory(Vec::new());
                Vec::new()
            }
        }
    })
}
