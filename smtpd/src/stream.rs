//! The client's connection: over TCP, TCP under TLS, or standard input and output.

use std::cell::RefCell;
use std::io;

use tokio::net::{TcpStream, UnixStream};

/// How much is read at a time.
const CHUNK: usize = 64 << 10;

thread_local! {
    /// One buffer for all sessions of the process: it is only in use between a read and what is made of it at once.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; CHUNK]);
}

/// A connection.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<tls::TlsStream>),
    /// Between the connection in the clear and the one under TLS, and after a handshake that failed.
    Closed,
}

impl Stream {
    /// Waits for input and hands it to `take`; `None` at the end of input.
    pub(crate) async fn read<R>(&mut self, take: impl FnOnce(&[u8]) -> R) -> io::Result<Option<R>> {
        loop {
            match self {
                Stream::Tcp(stream) => stream.readable().await?,
                Stream::Unix(stream) => stream.readable().await?,
                Stream::Tls(stream) => return stream.read(take).await,
                Stream::Closed => return Ok(None),
            }
            let outcome = BUFFER.with_borrow_mut(|buffer| match self {
                Stream::Tcp(stream) => stream.try_read(buffer),
                Stream::Unix(stream) => stream.try_read(buffer),
                Stream::Tls(_) | Stream::Closed => Ok(0),
            });
            match outcome {
                Ok(0) => return Ok(None),
                Ok(count) => return Ok(Some(BUFFER.with_borrow(|buffer| take(&buffer[..count])))),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Says farewell where the connection has one.
    pub(crate) fn close(&mut self) {
        if let Stream::Tls(stream) = self {
            stream.close();
        }
    }

    /// Writes everything.
    pub(crate) async fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        if let Stream::Tls(stream) = self {
            return stream.write_all(bytes).await;
        }
        while !bytes.is_empty() {
            let outcome = match self {
                Stream::Tcp(stream) => stream.try_write(bytes),
                Stream::Unix(stream) => stream.try_write(bytes),
                Stream::Tls(_) | Stream::Closed => Err(io::ErrorKind::NotConnected.into()),
            };
            match outcome {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => match self {
                    Stream::Tcp(stream) => stream.writable().await?,
                    Stream::Unix(stream) => stream.writable().await?,
                    Stream::Tls(_) | Stream::Closed => return Err(error),
                },
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
