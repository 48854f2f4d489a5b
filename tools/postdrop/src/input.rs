//! Standard input, interrupted by signals: so that an interrupted submission removes its file.

use std::io::{self, Read};
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// Signals that end a submission.
const SIGNALS: [Signal; 4] = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM];

/// Standard input, unless a signal comes.
pub(crate) struct Input {
    signals: SignalFd,
    /// The signal that ended it.
    pub(crate) interrupted: Option<i32>,
}

impl Input {
    /// From now on the signals wait here.
    pub(crate) fn new() -> io::Result<Input> {
        let mut mask = SigSet::empty();
        for signal in SIGNALS {
            mask.add(signal);
        }
        mask.thread_block()?;
        let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        Ok(Input { signals, interrupted: None })
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let stdin = io::stdin();
        let mut wanted =
            [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN), PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
        loop {
            match poll(&mut wanted, PollTimeout::NONE) {
                Ok(_) => break,
                Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if let Ok(Some(signal)) = self.signals.read_signal() {
            self.interrupted = i32::try_from(signal.ssi_signo).ok();
            return Err(io::Error::other("interrupted"));
        }
        nix::unistd::read(stdin.as_fd(), buffer).map_err(io::Error::from)
    }
}
