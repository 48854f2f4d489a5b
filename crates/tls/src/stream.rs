//! A TCP connection under TLS.

use std::cell::RefCell;
use std::io::{self, BufRead, Read, Write};

use rustls::Connection;
use tokio::net::TcpStream;

/// How much is read from the network at a time.
const CHUNK: usize = 32 << 10;

thread_local! {
    /// What the network gave, and what was made of it. One for all sessions of the process: they are only in use between a
    /// read and what is made of it at once.
    static BUFFERS: RefCell<(Vec<u8>, Vec<u8>)> = RefCell::new((vec![0; CHUNK], Vec::with_capacity(CHUNK)));
}

/// A connection whose handshake is over.
#[derive(Debug)]
pub struct TlsStream {
    tcp: TcpStream,
    connection: Box<Connection>,
}

impl TlsStream {
    pub(crate) fn new(tcp: TcpStream, connection: Connection) -> TlsStream {
        TlsStream { tcp, connection: Box::new(connection) }
    }

    /// Waits for input and hands it to `take`; `None` at the end of input, be it with or without a farewell of TLS: SMTP has
    /// its own.
    ///
    /// # Errors
    /// Those of the socket; `InvalidData` when the peer does not keep to TLS.
    pub async fn read<R>(&mut self, take: impl FnOnce(&[u8]) -> R) -> io::Result<Option<R>> {
        let mut take = Some(take);
        loop {
            let outcome = BUFFERS.with_borrow_mut(|(wire, plain)| {
                plain.clear();
                // What came along with the end of the handshake.
                drain(&mut self.connection, plain)?;
                if plain.is_empty() {
                    match self.tcp.try_read(wire) {
                        Ok(0) => return Ok(Input::End),
                        Ok(count) => self.decrypt(&wire[..count], plain)?,
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Input::None),
                        Err(error) => return Err(error),
                    }
                }
                Ok(match take.take_if(|_| !plain.is_empty()) {
                    Some(take) => Input::Some(take(plain)),
                    None if self.connection.wants_read() => Input::None,
                    None => Input::End,
                })
            })?;
            if self.connection.wants_write() {
                self.flush().await?;
            }
            match outcome {
                Input::Some(result) => return Ok(Some(result)),
                Input::End => return Ok(None),
                Input::None => self.tcp.readable().await?,
            }
        }
    }

    /// Takes what the network gave; rustls takes as much at a time as its own buffers hold.
    fn decrypt(&mut self, mut wire: &[u8], plain: &mut Vec<u8>) -> io::Result<()> {
        while !wire.is_empty() {
            self.connection.read_tls(&mut wire)?;
            if let Err(error) = self.connection.process_new_packets() {
                // The alert that says why, as far as the socket takes it at once.
                let _ = send(&mut self.connection, &self.tcp);
                return Err(invalid(error));
            }
            drain(&mut self.connection, plain)?;
            if !self.connection.wants_read() {
                // The peer has said farewell; what follows is not its.
                return Ok(());
            }
        }
        Ok(())
    }

    /// Writes everything.
    ///
    /// # Errors
    /// Those of the socket.
    pub async fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let count = self.connection.writer().write(bytes)?;
            bytes = &bytes[count..];
            self.flush().await?;
        }
        Ok(())
    }

    /// Says farewell (RFC 8446 6.1), as far as the socket takes it at once.
    pub fn close(&mut self) {
        self.connection.send_close_notify();
        // Nobody waits for it.
        let _ = send(&mut self.connection, &self.tcp);
    }

    async fn flush(&mut self) -> io::Result<()> {
        flush(&mut self.connection, &self.tcp).await
    }
}

enum Input<R> {
    Some(R),
    None,
    End,
}

/// Moves decrypted input to `plain`.
fn drain(connection: &mut Connection, plain: &mut Vec<u8>) -> io::Result<()> {
    let mut reader = connection.reader();
    loop {
        let count = match reader.fill_buf() {
            Ok(chunk) => {
                plain.extend_from_slice(chunk);
                chunk.len()
            }
            // An end without farewell shows when the socket is read.
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::UnexpectedEof) => 0,
            Err(error) => return Err(error),
        };
        if count == 0 {
            return Ok(());
        }
        reader.consume(count);
    }
}

fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Writes what the connection has for its peer.
pub(crate) async fn flush(connection: &mut Connection, tcp: &TcpStream) -> io::Result<()> {
    while connection.wants_write() {
        if !send(connection, tcp)? {
            tcp.writable().await?;
        }
    }
    Ok(())
}

/// Writes as much as the socket takes; true when that was something.
fn send(connection: &mut Connection, tcp: &TcpStream) -> io::Result<bool> {
    match connection.write_tls(&mut Socket(tcp)) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

/// The socket as rustls reads and writes it.
pub(crate) struct Socket<'a>(pub(crate) &'a TcpStream);

impl Read for Socket<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

impl Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, buffers: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(buffers)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
