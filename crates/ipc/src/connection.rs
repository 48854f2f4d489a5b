//! The asynchronous end of a socket between two daemons.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::Interest;
use tokio::net::UnixStream;

use crate::frame::{self, Error, Frame, Inbox, Kind};

/// A connection whose messages are queued with `queue_*` and leave in one write with [`Connection::flush`].
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    inbox: Inbox,
    outbox: Vec<u8>,
    /// Bytes of the outbox that have left.
    sent: usize,
    /// Descriptors that leave with the outbox, and the offset in the outbox at which each one's message starts.
    outgoing: VecDeque<(usize, OwnedFd)>,
}

impl Connection {
    /// Connects to the socket at `path`.
    ///
    /// # Errors
    /// The error of `connect(2)`.
    pub async fn connect(path: &Path) -> io::Result<Connection> {
        Ok(Connection::new(UnixStream::connect(path).await?))
    }

    /// Wraps a connected socket.
    #[must_use]
    pub fn new(stream: UnixStream) -> Connection {
        Connection { stream, inbox: Inbox::default(), outbox: Vec::new(), sent: 0, outgoing: VecDeque::new() }
    }

    /// The socket itself, for peer checks.
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

    /// Puts a message into the outbox, with a descriptor that the receiver takes with [`Connection::take_descriptor`].
    ///
    /// # Errors
    /// See [`frame::put_message`].
    pub fn queue_with_descriptor<T: Serialize + ?Sized>(&mut self, message: &T, fd: OwnedFd) -> Result<(), Error> {
        let at = self.outbox.len();
        frame::put_message(&mut self.outbox, message)?;
        self.outgoing.push_back((at, fd));
        Ok(())
    }

    /// Puts a frame of raw bytes into the outbox.
    pub fn queue_raw(&mut self, kind: Kind, payload: &[u8]) {
        frame::put_raw(&mut self.outbox, kind, payload);
    }

    /// Bytes that wait in the outbox.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.outbox.len() - self.sent
    }

    /// Writes the outbox out. Safe to cancel: the next flush goes on where this one was.
    ///
    /// # Errors
    /// The error of the socket.
    pub async fn flush(&mut self) -> Result<(), Error> {
        while !self.write_some()? {
            self.stream.writable().await?;
        }
        Ok(())
    }

    /// Writes as much of the outbox as the socket takes; true when nothing is left.
    fn write_some(&mut self) -> Result<bool, Error> {
        while self.sent < self.outbox.len() {
            // A descriptor travels with the first byte of its message, so a write ends where the next one begins.
            let first = self.outgoing.front().is_some_and(|(at, _)| *at == self.sent);
            let next = self.outgoing.get(usize::from(first)).map_or(self.outbox.len(), |(at, _)| *at);
            let bytes = &self.outbox[self.sent..next];
            let result = {
                let fds: &[BorrowedFd<'_>] = if first { &[self.outgoing[0].1.as_fd()] } else { &[] };
                self.stream.try_io(Interest::WRITABLE, || sys::passing::send(self.stream.as_fd(), bytes, fds))
            };
            match result {
                Ok(n) => {
                    self.sent += n;
                    if first {
                        self.outgoing.pop_front();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
        self.outbox.clear();
        self.sent = 0;
        if self.outbox.capacity() > (256 << 10) {
            self.outbox.shrink_to(16 << 10);
        }
        Ok(true)
    }

    /// Queues one message and writes the outbox out.
    ///
    /// # Errors
    /// See [`Connection::queue`] and [`Connection::flush`].
    pub async fn send<T: Serialize + ?Sized>(&mut self, message: &T) -> Result<(), Error> {
        self.queue(message)?;
        self.flush().await
    }

    /// The next frame; `None` when the peer has closed between frames. Safe to cancel.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn receive_frame(&mut self) -> Result<Option<Frame<'_>>, Error> {
        loop {
            if let Some((kind, from, to)) = self.inbox.take()? {
                return Ok(Some(Frame { kind, payload: self.inbox.payload(from, to) }));
            }
            let stream = &self.stream;
            let received = self.inbox.receive_with(|room, fds| {
                stream.try_io(Interest::READABLE, || sys::passing::receive(stream.as_fd(), room, fds))
            });
            match received {
                Ok(0) if self.inbox.is_empty() => return Ok(None),
                Ok(0) => return Err(Error::Truncated),
                Ok(_) => {}
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.stream.readable().await?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The next message; `None` when the peer has closed between frames. Safe to cancel.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn receive<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Error> {
        match self.receive_frame().await? {
            Some(frame) => frame.message().map(Some),
            None => Ok(None),
        }
    }

    /// The next message; what is in the outbox leaves meanwhile. Two peers that both use this cannot wait for each other
    /// with full sockets, however much each has to say. Safe to cancel.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn receive_while_flushing<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Error> {
        loop {
            let flushed = self.write_some()?;
            if let Some((kind, from, to)) = self.inbox.take()? {
                return Frame { kind, payload: self.inbox.payload(from, to) }.message().map(Some);
            }
            let stream = &self.stream;
            let received = self.inbox.receive_with(|room, fds| {
                stream.try_io(Interest::READABLE, || sys::passing::receive(stream.as_fd(), room, fds))
            });
            match received {
                Ok(0) if self.inbox.is_empty() => return Ok(None),
                Ok(0) => return Err(Error::Truncated),
                Ok(_) => {}
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    let interest = if flushed { Interest::READABLE } else { Interest::READABLE | Interest::WRITABLE };
                    self.stream.ready(interest).await?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The next message, where the peer owes one.
    ///
    /// # Errors
    /// [`Error::Closed`] when the peer has closed.
    pub async fn expect<T: DeserializeOwned>(&mut self) -> Result<T, Error> {
        self.receive().await?.ok_or(Error::Closed)
    }

    /// The descriptor that came with the message just received.
    ///
    /// # Errors
    /// [`Error::NoDescriptor`] when none came.
    pub fn take_descriptor(&mut self) -> Result<OwnedFd, Error> {
        self.inbox.take_descriptor()
    }

    /// True when a pooled, idle connection is still usable: the peer has neither closed nor said anything unasked.
    #[must_use]
    pub fn is_idle_and_open(&self) -> bool {
        use nix::sys::socket::{MsgFlags, recv};
        if !self.inbox.is_empty() {
            return false;
        }
        let mut byte = [0u8; 1];
        matches!(
            recv(self.stream.as_raw_fd(), &mut byte, MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT),
            Err(nix::errno::Errno::EAGAIN)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime")
    }

    #[test]
    fn messages_and_descriptors_arrive_in_order() {
        runtime().block_on(async {
            let (a, b) = UnixStream::pair().expect("pair");
            let (mut a, mut b) = (Connection::new(a), Connection::new(b));
            let file = || OwnedFd::from(std::fs::File::open("/dev/null").expect("open"));
            a.queue(&1u32).expect("queue");
            a.queue_with_descriptor(&2u32, file()).expect("queue");
            a.queue_with_descriptor(&3u32, file()).expect("queue");
            a.queue(&4u32).expect("queue");
            a.flush().await.expect("flush");
            assert_eq!(b.expect::<u32>().await.expect("one"), 1);
            assert_eq!(b.expect::<u32>().await.expect("two"), 2);
            b.take_descriptor().expect("first descriptor");
            assert_eq!(b.expect::<u32>().await.expect("three"), 3);
            b.take_descriptor().expect("second descriptor");
            assert_eq!(b.expect::<u32>().await.expect("four"), 4);
            assert!(matches!(b.take_descriptor(), Err(Error::NoDescriptor)));
            assert!(b.is_idle_and_open());
            drop(a);
            assert!(!b.is_idle_and_open());
            assert!(b.receive::<u32>().await.expect("closed").is_none());
        });
    }

    #[test]
    fn peers_that_both_talk_do_not_wait_for_each_other() {
        runtime().block_on(async {
            let (a, b) = UnixStream::pair().expect("pair");
            let (mut a, mut b) = (Connection::new(a), Connection::new(b));
            let many = 2_000u32;
            for n in 0..many {
                a.queue(&(n, "x".repeat(1_000))).expect("queue");
                b.queue(&(n, "y".repeat(1_000))).expect("queue");
            }
            async fn all(connection: &mut Connection, many: u32) {
                for n in 0..many {
                    let message: (u32, String) =
                        connection.receive_while_flushing().await.expect("receive").expect("open");
                    assert_eq!(message.0, n);
                }
                connection.flush().await.expect("flush");
            }
            tokio::join!(all(&mut a, many), all(&mut b, many));
        });
    }

    #[test]
    fn a_large_body_crosses_a_small_socket_buffer() {
        runtime().block_on(async {
            let (a, b) = UnixStream::pair().expect("pair");
            let (mut a, mut b) = (Connection::new(a), Connection::new(b));
            let body = vec![b'm'; 3 << 20];
            a.queue_raw(Kind::Data, &body);
            let (sent, received) = tokio::join!(a.flush(), async {
                let frame = b.receive_frame().await.expect("frame").expect("open");
                (frame.kind, frame.payload.len())
            });
            sent.expect("flush");
            assert_eq!(received, (Kind::Data, 3 << 20));
        });
    }
}
