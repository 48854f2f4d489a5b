//! Becoming a daemon: background, session, descriptors.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{getpgrp, getpid, pipe2, setsid};

use crate::Error;

/// `-w`: how long initialisation may take.
const INITIALISATION_BOUND: Duration = Duration::from_secs(100);
/// Descriptors that a worker may have open, as far as the system allows: each client is one.
const DESCRIPTORS: u64 = 1 << 18;

/// Runs `work` in a child, and waits until it says [`tell_ready`], ends or takes too long.
pub(crate) fn in_background(work: impl FnOnce(OwnedFd) -> bool) -> Result<ExitCode, Error> {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC).map_err(|errno| Error::call("pipe")(errno.into()))?;
    let mut writer = Some(writer);
    sys::fork::fork(|| {
        log::after_fork();
        let writer = writer.take().expect("this is the only use");
        if work(writer) { 0 } else { 1 }
    })
    .map_err(Error::call("fork"))?;
    drop(writer.take());
    let deadline = Instant::now() + INITIALISATION_BOUND;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(reader.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
            Ok(0) => {
                return Err(Error::Initialisation("timeout while waiting for daemon initialization"));
            }
            Ok(_) => break,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(Error::call("poll")(errno.into())),
        }
    }
    let mut byte = [0u8; 1];
    match std::fs::File::from(reader).read(&mut byte) {
        Ok(1) => Ok(ExitCode::SUCCESS),
        Ok(_) | Err(_) => Err(Error::Initialisation("daemon initialization failure -- see logs for details")),
    }
}

/// Lets the waiting parent go.
pub(crate) fn tell_ready(parent: &OwnedFd) {
    // A parent that is no longer there does not wait either.
    let _ = nix::unistd::write(parent, b"\0");
}

/// A session and process group of our own, so that all processes can be signalled together and the terminal cannot
/// signal us. The first process of a container leads its own already.
pub(crate) fn leave_terminal(init: bool) -> Result<(), Error> {
    if init {
        return Ok(());
    }
    match setsid() {
        Ok(_) => Ok(()),
        // Started as leader of a group by a shell or a supervisor: good enough.
        Err(Errno::EPERM) if getpgrp() == getpid() => Ok(()),
        Err(errno) => Err(Error::call("unable to set session and process group ID")(errno.into())),
    }
}

/// Standard input, output and error lead nowhere from now on; output stays when it is the log.
pub(crate) fn close_terminal(keep_stdout: bool) -> Result<(), Error> {
    let null = OpenOptions::new().read(true).write(true).open("/dev/null").map_err(Error::call("open /dev/null"))?;
    std::io::stdout().flush().map_err(Error::call("standard output"))?;
    for number in 0..3 {
        if number != 1 || !keep_stdout {
            sys::inherited::place(null.as_fd(), number).map_err(Error::call("dup2"))?;
        }
    }
    Ok(())
}

/// Raises the soft limit of open files towards the hard one; children inherit it.
pub(crate) fn allow_many_descriptors() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let wanted = hard.min(DESCRIPTORS);
        if soft < wanted
            && let Err(errno) = setrlimit(Resource::RLIMIT_NOFILE, wanted, hard)
        {
            log::warning!("setrlimit: {}", sys::reason(&errno.into()));
        }
    }
}
