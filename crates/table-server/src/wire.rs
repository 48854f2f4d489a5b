//! A byte stream to a server, with bounds on what it may say.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream, lookup_host};

use crate::hosts::Host;

/// Room for one read.
const ROOM: usize = 8 << 10;

/// Whatever bytes go over.
pub trait ByteStream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> ByteStream for S {}

/// A connection with a buffer of what has arrived.
pub struct Wire {
    stream: Box<dyn ByteStream>,
    input: Vec<u8>,
    start: usize,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wire").field("input", &(self.input.len() - self.start)).finish_non_exhaustive()
    }
}

impl Wire {
    /// Connects, trying the addresses of a name in their order.
    ///
    /// # Errors
    /// The last address's error; time is up.
    pub async fn connect(host: &Host, limit: Duration) -> io::Result<Wire> {
        let connecting = async {
            match host {
                Host::Unix(path) => Ok(Wire::new(UnixStream::connect(path).await?)),
                Host::Inet(name, port) => {
                    let addresses: Vec<SocketAddr> = lookup_host((name.as_str(), *port)).await?.collect();
                    let mut last = io::Error::new(io::ErrorKind::NotFound, "no address");
                    for address in addresses {
                        match TcpStream::connect(address).await {
                            Ok(stream) => {
                                // Requests are written whole. Not worth a word if it fails.
                                let _ = stream.set_nodelay(true);
                                return Ok(Wire::new(stream));
                            }
                            Err(error) => last = error,
                        }
                    }
                    Err(last)
                }
            }
        };
        match tokio::time::timeout(limit, connecting).await {
            Ok(connected) => connected,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Over a stream.
    #[must_use]
    pub fn new(stream: impl ByteStream + 'static) -> Wire {
        Wire { stream: Box::new(stream), input: Vec::new(), start: 0 }
    }

    /// The stream itself, to put encryption around it. What was read ahead would be text that nobody vouches for.
    ///
    /// # Errors
    /// The server has said something that nobody asked for.
    pub fn into_stream(self) -> io::Result<Box<dyn ByteStream>> {
        if self.start == self.input.len() { Ok(self.stream) } else { Err(invalid("data before the handshake")) }
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// Those of the stream.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// The next `count` bytes; the caller has checked that `count` is reasonable.
    ///
    /// # Errors
    /// Those of the stream; its end.
    pub async fn read(&mut self, count: usize) -> io::Result<&[u8]> {
        while self.input.len() - self.start < count {
            self.fill().await?;
        }
        let from = self.start;
        self.start += count;
        Ok(&self.input[from..from + count])
    }

    /// The next line without its end (`\n` or `\r\n`), of at most `longest` bytes.
    ///
    /// # Errors
    /// Those of the stream; its end; a longer line.
    pub async fn read_line(&mut self, longest: usize) -> io::Result<&[u8]> {
        let mut searched = 0;
        loop {
            let have = &self.input[self.start..];
            if let Some(at) = have[searched..].iter().position(|byte| *byte == b'\n') {
                let (from, length) = (self.start, searched + at);
                if length > longest {
                    return Err(invalid("line too long"));
                }
                self.start += length + 1;
                let line = &self.input[from..from + length];
                return Ok(line.strip_suffix(b"\r").unwrap_or(line));
            }
            searched = have.len();
            if searched > longest {
                return Err(invalid("line too long"));
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> io::Result<()> {
        if self.start > 0 && (self.start == self.input.len() || self.start > ROOM) {
            self.input.drain(..self.start);
            self.start = 0;
        }
        if self.input.is_empty() && self.input.capacity() > 16 * ROOM {
            self.input.shrink_to(ROOM);
        }
        self.input.reserve(ROOM);
        if self.stream.read_buf(&mut self.input).await? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server has closed the connection"));
        }
        Ok(())
    }
}

/// The server does not keep to the protocol.
pub(crate) fn invalid(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_and_blocks_arrive_in_any_pieces_and_within_bounds() {
        let (ours, mut theirs) = tokio::io::duplex(3);
        let mut wire = Wire::new(ours);
        let server = async move {
            theirs.write_all(b"first\r\nblock-second\nxxxxxxxxxxxxxxxxxxxx").await.expect("write");
            theirs
        };
        let client = async {
            assert_eq!(wire.read_line(10).await.expect("line"), b"first");
            assert_eq!(wire.read(6).await.expect("block"), b"block-");
            assert_eq!(wire.read_line(10).await.expect("line"), b"second");
            assert!(wire.read_line(10).await.is_err());
            wire.read(20).await.expect("the rest");
            wire
        };
        let (theirs, mut wire) = tokio::join!(server, client);
        drop(theirs);
        assert!(wire.read(100).await.is_err());
    }
}
