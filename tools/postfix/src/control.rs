//! Starting, stopping and asking master.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use nix::libc::O_NOFOLLOW;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, getpid};

use crate::instance::Instance;
use crate::{Failure, check};

/// How long `postfix stop` waits before it uses force, as in the reference.
const STOP_BOUND: Duration = Duration::from_secs(5);
/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How often it says that it still waits.
const SAY_EVERY: Duration = Duration::from_secs(1);

/// Made by `quick-stop`: the next start skips the checks.
const QUICK_START: &str = "quick-start";

/// `postfix start`.
pub(crate) fn start(instance: &Instance) -> Result<(), Failure> {
    prepare(instance)?;
    log::info!("starting the Postfix mail system");
    log::finish();
    let mut master = master(instance);
    if run(master.arg("-w"))?.success() {
        return Ok(());
    }
    fatal("mail system startup failed")
}

/// `postfix start-fg`: this process becomes master, so that whoever started it supervises the right one.
pub(crate) fn start_in_foreground(instance: &Instance) -> Result<(), Failure> {
    if !instance.config.list("multi_instance_directories")?.is_empty() {
        return fatal("start-fg does not support multi_instance_directories");
    }
    prepare(instance)?;
    log::info!("starting the Postfix mail system");
    log::finish();
    let mut master = master(instance);
    let error = master.arg(if getpid().as_raw() == 1 { "-i" } else { "-s" }).exec();
    fatal(&format!("cannot start-fg the master daemon: {error}"))
}

/// What comes before either start.
fn prepare(instance: &Instance) -> Result<(), Failure> {
    check::directories(instance)?;
    if running(instance)?.is_some() {
        return fatal("the Postfix mail system is already running");
    }
    let marker = instance.queue_directory.join(QUICK_START);
    if fs::remove_file(marker).is_ok() {
        return Ok(());
    }
    if check::fatal(instance).is_err() {
        return fatal("Postfix integrity check failed!");
    }
    check::warn(instance, check::Depth::Directories)
}

/// `postfix stop`.
pub(crate) fn stop(instance: &Instance) -> Result<(), Failure> {
    let pid = need_running(instance)?;
    log::info!("stopping the Postfix mail system");
    signal(pid, Signal::SIGTERM)?;
    let begin = Instant::now();
    let mut said = begin;
    while begin.elapsed() < STOP_BOUND {
        if running(instance)? != Some(pid) {
            return Ok(());
        }
        if said.elapsed() >= SAY_EVERY {
            said = Instant::now();
            log::info!("waiting for the Postfix mail system to terminate");
        }
        std::thread::sleep(LOOK_EVERY);
    }
    log::warning!("stopping the Postfix mail system with force");
    // Master leads a process group of its own, but as first process of a container it may not.
    let group = if pid.as_raw() > 1 { killpg(pid, Signal::SIGKILL) } else { Ok(()) };
    group.or_else(|_| kill(pid, Signal::SIGKILL)).map_err(|errno| Failure::Fatal(format!("kill {pid}: {errno}")))
}

/// `postfix abort`: nobody is waited for, here or in master.
pub(crate) fn abort(instance: &Instance) -> Result<(), Failure> {
    let pid = need_running(instance)?;
    log::info!("aborting the Postfix mail system");
    signal(pid, Signal::SIGQUIT)
}

/// `postfix drain`: only master ends at once; the others finish what they have.
pub(crate) fn drain(instance: &Instance) -> Result<(), Failure> {
    let pid = need_running(instance)?;
    log::info!("stopping the Postfix mail system");
    signal(pid, Signal::SIGKILL)
}

/// `postfix quick-stop`.
pub(crate) fn quick_stop(instance: &Instance) -> Result<(), Failure> {
    let result = stop(instance);
    let marker = instance.queue_directory.join(QUICK_START);
    let made = fs::OpenOptions::new().write(true).create(true).truncate(false).custom_flags(O_NOFOLLOW).open(&marker);
    made.map_err(|error| Failure::Fatal(format!("create {}: {error}", marker.display())))?;
    result
}

/// `postfix reload`.
pub(crate) fn reload(instance: &Instance) -> Result<(), Failure> {
    let pid = need_running(instance)?;
    log::info!("refreshing the Postfix mail system");
    log::finish();
    if check::has_tool(instance, "postsuper") && !run(instance.tool("postsuper").arg("active"))?.success() {
        return Err(Failure::Said);
    }
    signal(pid, Signal::SIGHUP)?;
    if check::has_tool(instance, "postsuper") {
        // The whole structure, in the background: nobody waits for a large queue.
        let mut background = instance.tool("postsuper");
        let started = background.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        started.map_err(|error| cannot_execute(&background, &error))?;
    }
    Ok(())
}

/// `postfix flush`.
pub(crate) fn flush(instance: &Instance) -> Result<(), Failure> {
    let mut postqueue = instance.tool("postqueue");
    let status = run(postqueue.arg("-f"))?;
    if status.success() { Ok(()) } else { Err(Failure::Status(exit_code(status))) }
}

/// `postfix status`.
pub(crate) fn status(instance: &Instance) -> Result<(), Failure> {
    match running(instance)? {
        Some(pid) => {
            log::info!("the Postfix mail system is running: PID: {pid}");
            Ok(())
        }
        None => {
            log::info!("the Postfix mail system is not running");
            Err(Failure::Status(1))
        }
    }
}

/// Texts for boot scripts.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    writeln!(io::stdout(), "{text}").map_err(|error| Failure::Fatal(format!("standard output: {error}")))
}

fn master(instance: &Instance) -> Command {
    let mut master = instance.daemon("master");
    master.arg("-c").arg(&instance.directory);
    if instance.options.debugger {
        master.arg("-D");
    }
    for _ in 0..instance.options.verbose {
        master.arg("-v");
    }
    master
}

/// The process id of the master that holds the lock.
fn running(instance: &Instance) -> Result<Option<Pid>, Failure> {
    let path = instance.pid_file.display();
    let file = match fs::OpenOptions::new().read(true).custom_flags(O_NOFOLLOW).open(&instance.pid_file) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Failure::Fatal(format!("open {path}: {error}"))),
    };
    if Flock::lock(file, FlockArg::LockSharedNonblock).is_ok() {
        return Ok(None);
    }
    let text =
        fs::read_to_string(&instance.pid_file).map_err(|error| Failure::Fatal(format!("read {path}: {error}")))?;
    match text.split_whitespace().next().and_then(|word| word.parse().ok()) {
        Some(pid) if pid > 0 => Ok(Some(Pid::from_raw(pid))),
        _ => Err(Failure::Fatal(format!("{path}: no process id"))),
    }
}

fn need_running(instance: &Instance) -> Result<Pid, Failure> {
    match running(instance)? {
        Some(pid) => Ok(pid),
        None => fatal("the Postfix mail system is not running"),
    }
}

fn signal(pid: Pid, signal: Signal) -> Result<(), Failure> {
    kill(pid, signal).map_err(|errno| Failure::Fatal(format!("kill {pid}: {errno}")))
}

pub(crate) fn run(command: &mut Command) -> Result<ExitStatus, Failure> {
    command.status().map_err(|error| cannot_execute(command, &error))
}

fn cannot_execute(command: &Command, error: &io::Error) -> Failure {
    Failure::Fatal(format!("cannot execute {}: {error}", command.get_program().display()))
}

fn exit_code(status: ExitStatus) -> u8 {
    status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

/// Says why, and ends.
pub(crate) fn fatal<T>(text: &str) -> Result<T, Failure> {
    log::fatal!("{text}");
    Err(Failure::Said)
}
