//! The way out: lines wait in [`Pending`] and leave through a [`Channel`].

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use sys::datagrams;

use crate::options::DirectFile;

/// Lines are written out when this much waits, event loop turn or not.
pub(crate) const WRITE_AT: usize = 64 << 10;
/// What may wait while the sink does not take anything; the oldest lines are lost beyond it.
const KEEP_AT_MOST: usize = 256 << 10;
/// How much of several lines goes to postlogd in one datagram; far below what a socket buffer takes.
const DATAGRAM: usize = 32 << 10;
/// Pause between attempts to reach a sink that is down.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Whole lines, each ended by LF, that have not been written.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    bytes: Vec<u8>,
    /// Where each line ends in `bytes`.
    ends: Vec<usize>,
    /// Lines that were dropped since the last time the sink took something.
    lost: u64,
}

impl Pending {
    pub(crate) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The place where the next line is put; [`Pending::end_line`] ends it.
    pub(crate) fn place(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    pub(crate) fn end_line(&mut self) {
        self.bytes.push(b'\n');
        self.ends.push(self.bytes.len());
        if self.bytes.len() > KEEP_AT_MOST {
            let surplus = self.ends.partition_point(|end| *end <= KEEP_AT_MOST / 4);
            self.lost += surplus as u64;
            self.drop_first(surplus);
        }
    }

    pub(crate) fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        // A burst does not keep its memory.
        if self.bytes.capacity() > 2 * WRITE_AT {
            self.bytes.shrink_to(WRITE_AT / 8);
        }
    }

    fn drop_first(&mut self, lines: usize) {
        if lines == 0 {
            return;
        }
        if lines >= self.ends.len() {
            self.clear();
            return;
        }
        let cut = self.ends[lines - 1];
        self.bytes.drain(..cut);
        self.ends.drain(..lines);
        for end in &mut self.ends {
            *end -= cut;
        }
    }

    /// The first lines without their LF, as many as one call sends.
    fn lines(&self) -> Vec<&[u8]> {
        let mut start = 0;
        let mut lines = Vec::with_capacity(self.ends.len().min(datagrams::BATCH));
        for end in self.ends.iter().take(datagrams::BATCH) {
            lines.push(&self.bytes[start..end - 1]);
            start = *end;
        }
        lines
    }

    /// The first lines together, as many as fit a datagram, and how many they are.
    fn block(&self) -> (&[u8], usize) {
        let count = self.ends.partition_point(|end| *end <= DATAGRAM).max(1);
        (&self.bytes[..self.ends[count - 1]], count)
    }
}

/// How lines get out of this process.
pub(crate) enum Channel {
    /// To a daemon that listens on a datagram socket.
    Socket(Socket),
    /// To an open file, pipe or terminal.
    Stream(OwnedFd),
    /// Into memory, for tests.
    Memory(Vec<String>),
    /// Nowhere.
    None,
}

/// A datagram socket that may have to be connected again and again.
pub(crate) struct Socket {
    path: PathBuf,
    /// syslog wants each line in its own datagram; postlogd takes many.
    line_by_line: bool,
    connected: Option<OwnedFd>,
    tried: Option<Instant>,
    /// Asks somebody outside the jail for a connection.
    ask: Option<Box<dyn Fn() + Send>>,
    direct: Option<DirectFile>,
}

impl Socket {
    pub(crate) fn new(path: PathBuf, line_by_line: bool, direct: Option<DirectFile>) -> Socket {
        Socket { path, line_by_line, connected: None, tried: None, ask: None, direct }
    }

    /// Of use for syslog only: postlogd's socket is below the jail.
    pub(crate) fn set_ask(&mut self, ask: Box<dyn Fn() + Send>) {
        if self.line_by_line {
            self.ask = Some(ask);
        }
    }

    pub(crate) fn adopt(&mut self, socket: OwnedFd) {
        if self.line_by_line {
            self.connected = Some(socket);
        }
    }

    /// Connects when that has not just failed; true when connected.
    pub(crate) fn connect(&mut self) -> bool {
        if self.connected.is_some() {
            return true;
        }
        if self.tried.is_some_and(|at| at.elapsed() < RETRY_PAUSE) {
            return false;
        }
        let attempt = UnixDatagram::unbound().and_then(|socket| socket.connect(&self.path).map(|()| socket));
        match attempt {
            Ok(socket) => {
                self.tried = None;
                self.connected = Some(socket.into());
                true
            }
            Err(_) => {
                self.tried = Some(Instant::now());
                if let Some(ask) = &self.ask {
                    ask();
                }
                false
            }
        }
    }

    /// Sends what waits, for a full queue of the receiver up to `patience`; what could not be sent stays.
    fn send(&mut self, pending: &mut Pending, mut patience: Duration) {
        let mut reconnected = false;
        while !pending.is_empty() {
            if !self.connect() {
                if let Some(direct) = &self.direct
                    && write_direct(direct, &pending.bytes).is_ok()
                {
                    pending.clear();
                }
                return;
            }
            let Some(socket) = &self.connected else { return };
            let result = if self.line_by_line {
                datagrams::send(socket.as_fd(), &pending.lines())
            } else {
                let (block, count) = pending.block();
                datagrams::send(socket.as_fd(), &[block]).map(|_| count)
            };
            match result {
                Ok(count) => pending.drop_first(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if patience.is_zero() || !wait_writable(socket.as_fd(), patience) {
                        return;
                    }
                    // Waited for once: from now on the receiver has to keep up.
                    patience = patience.saturating_sub(Duration::from_millis(50));
                }
                Err(error) if error.raw_os_error() == Some(Errno::EMSGSIZE as i32) => {
                    let (_, count) = pending.block();
                    pending.lost += 1;
                    pending.drop_first(if self.line_by_line { 1 } else { count });
                }
                Err(_) => {
                    // The daemon at the other end has gone; its successor may be there already.
                    self.connected = None;
                    if reconnected {
                        return;
                    }
                    reconnected = true;
                }
            }
        }
    }
}

impl Channel {
    /// Writes out what waits.
    pub(crate) fn write(&mut self, pending: &mut Pending, patience: Duration) {
        match self {
            Channel::Socket(socket) => {
                let patience =
                    if pending.len() > KEEP_AT_MOST / 2 { patience.max(Duration::from_millis(200)) } else { patience };
                socket.send(pending, patience);
            }
            Channel::Stream(stream) => {
                // A reader that went away is no reason to stop the mail system.
                let _ = write_all(stream.as_fd(), &pending.bytes);
                pending.clear();
            }
            Channel::Memory(lines) => {
                for line in String::from_utf8_lossy(&pending.bytes).lines() {
                    lines.push(line.to_owned());
                }
                pending.clear();
            }
            Channel::None => pending.clear(),
        }
    }

    pub(crate) fn has_framing(&self) -> bool {
        !matches!(self, Channel::Memory(_))
    }

    pub(crate) fn is_syslog(&self) -> bool {
        matches!(self, Channel::Socket(socket) if socket.line_by_line)
    }
}

fn write_direct(file: &DirectFile, bytes: &[u8]) -> io::Result<()> {
    let mut opened = OpenOptions::new().append(true).create(true).mode(file.permissions).open(&file.path)?;
    opened.write_all(bytes)
}

/// Writes everything, to a descriptor that may or may not be non-blocking.
pub(crate) fn write_all(stream: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        match nix::unistd::write(stream, rest) {
            Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero)),
            Ok(n) => rest = &rest[n..],
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => {
                if !wait_writable(stream, Duration::from_secs(1)) {
                    return Err(io::Error::from(io::ErrorKind::WouldBlock));
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn wait_writable(fd: BorrowedFd<'_>, patience: Duration) -> bool {
    let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
    matches!(poll(&mut [PollFd::new(fd, PollFlags::POLLOUT)], timeout), Ok(n) if n > 0)
}
