//! The blocking end of a socket between two daemons, for programs that fork, change identity, or are tools.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::frame::{self, Error, Frame, Inbox, Kind};

/// As [`crate::Connection`], for blocking code.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    inbox: Inbox,
    outbox: Vec<u8>,
}

impl Connection {
    /// Connects to the socket at `path`; reads and writes then take at most `timeout` (`ipc_timeout`).
    ///
    /// # Errors
    /// The error of `connect(2)`.
    pub fn connect(path: &Path, timeout: Option<Duration>) -> io::Result<Connection> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(timeout)?;
        stream.set_write_timeout(timeout)?;
        Ok(Connection::new(stream))
    }

    /// Wraps a connected socket.
    #[must_use]
    pub fn new(stream: UnixStream) -> Connection {
        Connection { stream, inbox: Inbox::default(), outbox: Vec::new() }
    }

    /// The socket itself, for peer checks and `poll`.
    #[must_use]
    pub fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// Puts a message into the outbox.
    ///
    /// # Errors
    /// See [`frame::put_message`].
    pub fn queue<T: Serialize + ?Sized>(&mut self, message: &T) -> Result<(), Error> {
        frame::put_message(&mut self.outbox, message)
    }

    /// Puts a frame of raw bytes into the outbox.
    pub fn queue_raw(&mut self, kind: Kind, payload: &[u8]) {
        frame::put_raw(&mut self.outbox, kind, payload);
    }

    /// Writes the outbox out.
    ///
    /// # Errors
    /// The error of the socket; [`Error::Timeout`].
    pub fn flush(&mut self) -> Result<(), Error> {
        let result = self.stream.write_all(&self.outbox);
        self.outbox.clear();
        result.map_err(timeout_or_io)
    }

    /// Queues one message and writes the outbox out.
    ///
    /// # Errors
    /// See [`Connection::queue`] and [`Connection::flush`].
    pub fn send<T: Serialize + ?Sized>(&mut self, message: &T) -> Result<(), Error> {
        self.queue(message)?;
        self.flush()
    }

    /// Writes the outbox out, and then one message with a descriptor that the receiver takes with
    /// [`Connection::take_descriptor`].
    ///
    /// # Errors
    /// See [`Connection::queue`] and [`Connection::flush`].
    pub fn send_with_descriptor<T: Serialize + ?Sized>(
        &mut self,
        message: &T,
        descriptor: BorrowedFd<'_>,
    ) -> Result<(), Error> {
        self.flush()?;
        self.queue(message)?;
        // It travels with the first byte of its message.
        let sent = sys::passing::send(self.stream.as_fd(), &self.outbox, &[descriptor]).map_err(timeout_or_io)?;
        self.outbox.drain(..sent);
        self.flush()
    }

    /// The next frame; `None` when the peer has closed between frames.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn receive_frame(&mut self) -> Result<Option<Frame<'_>>, Error> {
        loop {
            if let Some((kind, from, to)) = self.inbox.take()? {
                return Ok(Some(Frame { kind, payload: self.inbox.payload(from, to) }));
            }
            let stream = &self.stream;
            match self.inbox.receive_with(|room, fds| sys::passing::receive(stream.as_fd(), room, fds)) {
                Ok(0) if self.inbox.is_empty() => return Ok(None),
                Ok(0) => return Err(Error::Truncated),
                Ok(_) => {}
                Err(Error::Io(error)) => return Err(timeout_or_io(error)),
                Err(error) => return Err(error),
            }
        }
    }

    /// The next message; `None` when the peer has closed between frames.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn receive<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Error> {
        match self.receive_frame()? {
            Some(frame) => frame.message().map(Some),
            None => Ok(None),
        }
    }

    /// The next message, where the peer owes one.
    ///
    /// # Errors
    /// [`Error::Closed`] when the peer has closed.
    pub fn expect<T: DeserializeOwned>(&mut self) -> Result<T, Error> {
        self.receive()?.ok_or(Error::Closed)
    }

    /// The descriptor that came with the message just received.
    ///
    /// # Errors
    /// [`Error::NoDescriptor`] when none came.
    pub fn take_descriptor(&mut self) -> Result<OwnedFd, Error> {
        self.inbox.take_descriptor()
    }
}

/// Sends wake-up characters to the service at `path`.
///
/// # Errors
/// The error of `connect(2)` or of the write.
pub fn trigger(path: &Path, characters: &[u8], timeout: Duration) -> Result<(), Error> {
    let mut connection = Connection::connect(path, Some(timeout))?;
    connection.queue_raw(Kind::Trigger, characters);
    connection.flush()
}

fn timeout_or_io(error: io::Error) -> Error {
    if error.kind() == io::ErrorKind::WouldBlock { Error::Timeout } else { Error::Io(error) }
}
