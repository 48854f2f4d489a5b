//! Delivery to a command, by a child that has become the recipient.

use std::ffi::OsString;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bstr::{BString, ByteSlice};
use delivery::mailbox::{Copy, Prepended};
use dsn::{Dsn, Status};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

/// Output of a command that is kept, bytes.
const OUTPUT_LIMIT: usize = 8 << 10;

/// What a command is told.
#[derive(Debug)]
pub struct Job<'a> {
    /// The command, for the shell.
    pub command: &'a str,
    /// The shell; empty for `/bin/sh`.
    pub shell: &'a str,
    /// Environment variables.
    pub environment: Vec<(String, BString)>,
    /// Working directory.
    pub directory: &'a std::path::Path,
    /// Variables that every program that is not ours gets (`export_environment`).
    pub exported: &'a [(OsString, OsString)],
    /// Headers on top.
    pub prepended: Prepended,
    /// How long it may take.
    pub time_limit: Duration,
}

/// Runs the command with the message on its standard input.
///
/// # Errors
/// Why the message was not delivered: the command's exit status (`sysexits.h`), a signal, the time limit.
pub fn run(job: &Job<'_>, content: &mut delivery::Content) -> Result<(), Dsn> {
    let mut message = mbox_separator(&job.prepended.sender);
    message.extend_from_slice(&job.prepended.to_bytes());
    let mut child = spawn(job).map_err(|error| {
        Dsn::new(Status::transient(3, 0), format!("cannot run \"{}\": {}", job.command, sys::reason(&error)))
    })?;
    let input = child.stdin.take().expect("standard input is a pipe");
    let (output, error) = (child.stdout.take(), child.stderr.take());
    let group = Pid::from_raw(child.id().cast_signed());
    let deadline = Instant::now() + job.time_limit;
    let over = AtomicBool::new(false);
    let ended = std::thread::scope(|scope| {
        let over = &over;
        let watcher = scope.spawn(move || {
            // A command may close its output and go on.
            let text = watch(output, error, deadline).filter(|_| ends_by(group, deadline));
            over.store(true, Ordering::Relaxed);
            if text.is_none() {
                // The whole group: what the command started must not go on with the message. This also ends a write
                // below that nobody reads.
                let _ = killpg(group, Signal::SIGKILL);
            }
            text
        });
        let mut input = Input { pipe: input, over };
        // A command need not read its input; its exit status decides.
        let _ = input.write_all(&message).is_ok() && Copy::Plain.write(content, &mut input).is_ok();
        drop(input);
        watcher.join().unwrap_or_default()
    });
    let status = child.wait();
    match (ended, status) {
        (Some(output), Ok(status)) => outcome(job.command, status, &output),
        (None, _) => {
            Err(Dsn::new(Status::permanent(3, 0), format!("Command time limit exceeded: \"{}\"", job.command)))
        }
        (_, Err(error)) => {
            Err(Dsn::new(Status::transient(3, 0), format!("cannot run \"{}\": {}", job.command, sys::reason(&error))))
        }
    }
}

/// The command's standard input. What the command left behind may keep it open without ever reading: that is not waited
/// for.
struct Input<'a> {
    pipe: ChildStdin,
    over: &'a AtomicBool,
}

impl Write for Input<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        loop {
            match self.pipe.write(bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock && !self.over.load(Ordering::Relaxed) => {
                    // An error shows at the next write.
                    let _ = poll(&mut [PollFd::new(self.pipe.as_fd(), PollFlags::POLLOUT)], PollTimeout::from(100u8));
                }
                other => return other,
            }
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.pipe.flush()
    }
}

/// Waits for the end of a child without taking its exit status; false when the time is over first.
fn ends_by(child: Pid, deadline: Instant) -> bool {
    let mut pause = Duration::from_millis(1);
    let how = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    while matches!(waitid(Id::Pid(child), how), Ok(WaitStatus::StillAlive)) {
        let Some(left) = deadline.checked_duration_since(Instant::now()) else { return false };
        std::thread::sleep(pause.min(left));
        pause = (pause * 2).min(Duration::from_millis(100));
    }
    true
}

fn mbox_separator(sender: &[u8]) -> Vec<u8> {
    let now = std::time::SystemTime::now();
    let seconds = now.duration_since(std::time::UNIX_EPOCH).map_or(0, |time| time.as_secs().cast_signed());
    delivery::mailbox::mbox::separator(sender, seconds)
}

fn spawn(job: &Job<'_>) -> std::io::Result<Child> {
    let shell = if job.shell.is_empty() { "/bin/sh -c" } else { job.shell };
    let mut words = shell.split_ascii_whitespace();
    let mut command = Command::new(words.next().unwrap_or("/bin/sh"));
    command.args(words).arg(job.command).env_clear().current_dir(job.directory).process_group(0);
    command.envs(job.exported.iter().map(|(name, value)| (name, value))).env("PATH", "/usr/bin:/bin");
    for (name, value) in &job.environment {
        command.env(name, value.to_os_str_lossy());
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn()?;
    if let Some(input) = &child.stdin {
        fcntl(input, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    }
    Ok(child)
}

/// Reads the command's output until it ends; none when the time is over first.
fn watch(mut output: Option<ChildStdout>, mut error: Option<ChildStderr>, deadline: Instant) -> Option<BString> {
    let mut text = BString::default();
    let mut buffer = [0u8; 4096];
    while output.is_some() || error.is_some() {
        let left = deadline.checked_duration_since(Instant::now())?;
        let mut fds = Vec::new();
        fds.extend(output.as_ref().map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLIN)));
        fds.extend(error.as_ref().map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLIN)));
        let timeout = PollTimeout::try_from(left.min(Duration::from_secs(60))).unwrap_or(PollTimeout::MAX);
        if poll(&mut fds, timeout).is_err() {
            continue;
        }
        let ready: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(false)).collect();
        drop(fds);
        let has_output = output.is_some();
        if has_output && ready[0] && !read_some(output.as_mut(), &mut buffer, &mut text) {
            output = None;
        }
        if error.is_some() && ready[usize::from(has_output)] && !read_some(error.as_mut(), &mut buffer, &mut text) {
            error = None;
        }
    }
    Some(text)
}

fn read_some(pipe: Option<&mut impl Read>, buffer: &mut [u8], text: &mut BString) -> bool {
    let Some(pipe) = pipe else { return false };
    match pipe.read(buffer) {
        Ok(0) | Err(_) => false,
        Ok(read) => {
            let room = OUTPUT_LIMIT.saturating_sub(text.len());
            text.extend_from_slice(&buffer[..read.min(room)]);
            true
        }
    }
}

/// What an exit status says about the message; the names are those of `sysexits.h`.
fn outcome(command: &str, status: ExitStatus, output: &BString) -> Result<(), Dsn> {
    let shown = output.trim_ascii().iter().map(|b| if b.is_ascii_control() { b' ' } else { *b }).collect::<Vec<u8>>();
    let with_output = |text: String| {
        if shown.is_empty() { text } else { format!("{text}. Command output: {}", shown.to_str_lossy()) }
    };
    if let Some(signal) = status.signal() {
        let text = with_output(format!("Command died with signal {signal}: \"{command}\""));
        // Out of memory, or a machine that goes down: nothing that the sender could mend.
        return Err(Dsn::new(Status::transient(3, 0), text));
    }
    let code = status.code().unwrap_or(-1);
    let (subject, detail, transient, text) = match code {
        0 => return Ok(()),
        64 => (3, 0, false, "command line usage error"),
        65 => (6, 0, false, "data format error"),
        66 => (3, 0, false, "cannot open input"),
        67 => (1, 1, false, "user unknown"),
        68 => (1, 2, false, "host name unknown"),
        69 => (3, 0, false, "service unavailable"),
        70 => (3, 0, false, "internal software error"),
        71 => (3, 0, true, "system resource problem"),
        72 => (3, 0, false, "critical OS file missing"),
        73 => (2, 0, false, "can't create user output file"),
        74 => (3, 0, false, "input/output error"),
        75 => (3, 0, true, "temporary failure"),
        76 => (5, 0, false, "remote error in protocol"),
        77 => (7, 0, false, "permission denied"),
        78 => (3, 5, false, "local configuration error"),
        _ => (3, 0, false, ""),
    };
    let status = if transient { Status::transient(subject, detail) } else { Status::permanent(subject, detail) };
    let text =
        if text.is_empty() { format!("Command died with status {code}: \"{command}\"") } else { text.to_owned() };
    // A command may name the status itself.
    match Status::split_from(&shown) {
        Some((own, rest)) => Err(Dsn::new(own, rest)),
        None => Err(Dsn::new(status, with_output(text))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(code: i32, output: &str) -> Result<(), String> {
        outcome("cmd", ExitStatus::from_raw(code << 8), &output.into())
            .map_err(|dsn| format!("{} {}", dsn.status, dsn.reason))
    }

    #[test]
    fn exit_statuses() {
        assert_eq!(exit(0, "noise"), Ok(()));
        assert_eq!(exit(75, ""), Err("4.3.0 temporary failure".into()));
        assert_eq!(exit(67, "no\nsuch user"), Err("5.1.1 user unknown. Command output: no such user".into()));
        assert_eq!(exit(1, ""), Err("5.3.0 Command died with status 1: \"cmd\"".into()));
        assert_eq!(exit(1, "4.2.2 over quota"), Err("4.2.2 over quota".into()));
    }

    fn job<'a>(command: &'a str, directory: &'a std::path::Path) -> Job<'a> {
        Job {
            command,
            shell: "",
            environment: Vec::new(),
            directory,
            exported: &[],
            prepended: Prepended::default(),
            time_limit: Duration::from_millis(300),
        }
    }

    /// Runs a command as [`run`] does, with `bytes` for the message; whether it ended in time, and how long that took.
    fn timed(text: &str, bytes: &[u8]) -> (bool, Duration) {
        let start = Instant::now();
        let mut child = spawn(&job(text, std::path::Path::new("/"))).expect("spawn");
        let deadline = start + Duration::from_millis(300);
        let (pid, pipe) = (Pid::from_raw(child.id().cast_signed()), child.stdin.take().expect("pipe"));
        let (output, error) = (child.stdout.take(), child.stderr.take());
        let over = AtomicBool::new(false);
        let in_time = std::thread::scope(|scope| {
            let over = &over;
            let watcher = scope.spawn(move || {
                let in_time = watch(output, error, deadline).is_some() && ends_by(pid, deadline);
                over.store(true, Ordering::Relaxed);
                in_time
            });
            let _ = Input { pipe, over }.write_all(bytes);
            watcher.join().expect("watcher")
        });
        let _ = killpg(pid, Signal::SIGKILL);
        let _ = child.wait();
        (in_time, start.elapsed())
    }

    #[test]
    fn a_command_cannot_hide_from_the_time_limit() {
        let message = vec![b'x'; 1 << 20];
        let (in_time, took) = timed("cat >/dev/null", &message);
        assert!(in_time, "{took:?}");
        let (in_time, took) = timed("exec >&- 2>&-; exec sleep 5", &message);
        assert!(!in_time && took < Duration::from_secs(3), "{took:?}");
        // What is left behind holds the input and does not read it.
        let (in_time, took) = timed("exec >&- 2>&-; exec 3<&0; setsid sleep 5 & exit 0", &message);
        assert!(in_time && took < Duration::from_secs(3), "{took:?}");
    }
}
