//! A client of a table server for blocking programs: one question at a time.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::{Answer, Outcome, Question, Request};
use crate::Error;
use crate::blocking::Connection;

/// A connection to a table server.
#[derive(Debug)]
pub struct BlockingClient {
    connection: Connection,
    last_id: u32,
}

impl BlockingClient {
    /// Connects to the server at `path`; a question then takes at most about `timeout`.
    ///
    /// # Errors
    /// The error of `connect(2)`.
    pub fn connect(path: &Path, timeout: Duration) -> std::io::Result<BlockingClient> {
        Ok(BlockingClient { connection: Connection::connect(path, Some(timeout))?, last_id: 0 })
    }

    /// Talks to a server at the other end of `stream`.
    ///
    /// # Errors
    /// The time limit cannot be set.
    pub fn over(stream: UnixStream, timeout: Duration) -> std::io::Result<BlockingClient> {
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        Ok(BlockingClient { connection: Connection::new(stream), last_id: 0 })
    }

    /// Asks and waits. After an error the connection is of no more use.
    ///
    /// # Errors
    /// The server cannot be reached, does not answer in time or says nonsense.
    pub fn ask(&mut self, request: Request) -> Result<Outcome, Error> {
        self.last_id = self.last_id.wrapping_add(1);
        self.connection.send(&Question { id: self.last_id, request })?;
        let answer: Answer = self.connection.expect()?;
        if answer.id == self.last_id { Ok(answer.outcome) } else { Err(Error::Protocol("answer to another question")) }
    }
}
