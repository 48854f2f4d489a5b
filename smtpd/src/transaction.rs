//! Messages on their way to cleanup, over connections that stay open for the next message.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use ipc::cleanup::{Action, Begin, FromCleanup, Recipient, Refusal, Sender, ToCleanup};
use ipc::{Connection, Kind};
use queue::QueueId;

use crate::postdrop::Postdrop;

/// Idle connections that are kept.
const MOST_IDLE: usize = 32;

/// Connections to cleanup.
#[derive(Debug)]
pub(crate) struct Pool {
    path: PathBuf,
    timeout: Duration,
    idle: RefCell<Vec<Connection>>,
    /// Where messages go instead of to cleanup.
    postdrop: Option<Rc<Postdrop>>,
}

/// A message that is being handed to cleanup. Dropping it anywhere before its end drops the message.
#[derive(Debug)]
pub(crate) struct Transaction {
    connection: Connection,
    timeout: Duration,
    /// Its queue id.
    pub(crate) queue_id: QueueId,
    content: bool,
    /// The content is too large: what follows is not sent any more.
    oversize: bool,
    /// Something could not be said to cleanup: the message would not be what the client or a decision wanted.
    broken: bool,
}

impl Pool {
    pub(crate) fn new(path: PathBuf, timeout: Duration) -> Pool {
        Pool { path, timeout, idle: RefCell::default(), postdrop: None }
    }

    /// For a server that runs with the rights of an ordinary user.
    pub(crate) fn of_postdrop(postdrop: Postdrop, timeout: Duration) -> Pool {
        Pool { postdrop: Some(Rc::new(postdrop)), ..Pool::new(PathBuf::from("postdrop"), timeout) }
    }

    async fn connection(&self) -> Result<Connection, ipc::Error> {
        loop {
            let idle = self.idle.borrow_mut().pop();
            match idle {
                Some(connection) if connection.is_idle_and_open() => return Ok(connection),
                Some(_) => {}
                None => match &self.postdrop {
                    Some(postdrop) => return Ok(postdrop.connect()?),
                    None => return Ok(Connection::connect(&self.path).await?),
                },
            }
        }
    }

    fn put_back(&self, connection: Connection) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < MOST_IDLE {
            idle.push(connection);
        }
    }

    /// Opens a queue file and states the sender.
    pub(crate) async fn open(&self, begin: Begin, sender: Sender) -> Result<Transaction, Refusal> {
        let opened = tokio::time::timeout(self.timeout, self.try_open(begin, sender)).await;
        match opened {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => {
                log::warning!("{}: {error}", self.path.display());
                Err(Refusal::Write)
            }
            Err(_) => {
                log::warning!("{}: timeout", self.path.display());
                Err(Refusal::Write)
            }
        }
    }

    async fn try_open(&self, begin: Begin, sender: Sender) -> Result<Result<Transaction, Refusal>, ipc::Error> {
        let mut connection = self.connection().await?;
        connection.send(&ToCleanup::Begin(Box::new(begin))).await?;
        match connection.expect::<FromCleanup>().await? {
            FromCleanup::Opened(queue_id) => {
                connection.queue(&ToCleanup::Sender(sender))?;
                let timeout = self.timeout;
                Ok(Ok(Transaction { connection, timeout, queue_id, content: false, oversize: false, broken: false }))
            }
            FromCleanup::Unavailable(refusal) | FromCleanup::Refused(refusal) => {
                self.put_back(connection);
                Ok(Err(refusal))
            }
            FromCleanup::Queued => Err(ipc::Error::Protocol("queued before it began")),
        }
    }

    /// Ends a message that is complete: its refusal, or nothing when it is on disk.
    pub(crate) async fn finish(&self, transaction: Transaction) -> Result<(), Refusal> {
        if transaction.oversize || transaction.broken {
            let refusal = if transaction.broken { Refusal::Protocol } else { Refusal::Size };
            self.abort(transaction).await;
            return Err(refusal);
        }
        let Transaction { mut connection, timeout, .. } = transaction;
        let answer = async {
            connection.send(&ToCleanup::End).await?;
            connection.expect::<FromCleanup>().await
        };
        match tokio::time::timeout(timeout, answer).await {
            Ok(Ok(FromCleanup::Queued)) => {
                self.put_back(connection);
                Ok(())
            }
            Ok(Ok(FromCleanup::Refused(refusal))) => {
                self.put_back(connection);
                Err(refusal)
            }
            Ok(Ok(_)) => {
                log::warning!("{}: unexpected answer", self.path.display());
                Err(Refusal::Protocol)
            }
            Ok(Err(error)) => {
                log::warning!("{}: {error}", self.path.display());
                Err(Refusal::Write)
            }
            Err(_) => {
                log::warning!("{}: timeout", self.path.display());
                Err(Refusal::Write)
            }
        }
    }

    /// Forgets a message.
    pub(crate) async fn abort(&self, transaction: Transaction) {
        let Transaction { mut connection, timeout, .. } = transaction;
        if let Ok(Ok(())) = tokio::time::timeout(timeout, connection.send(&ToCleanup::Abort)).await {
            self.put_back(connection);
        }
    }
}

impl Transaction {
    /// Adds to the envelope. A value that does not fit a frame is no reason to lose the connection, but the message
    /// without it is not the one that was to be: it is refused at its end.
    fn add(&mut self, message: &ToCleanup) {
        if let Err(error) = self.connection.queue(message) {
            log::warning!("{}: message refused: {error}", self.queue_id);
            self.broken = true;
        }
    }

    /// Adds a recipient, who may be refused by itself: false when it cannot be said to cleanup.
    pub(crate) fn recipient(&mut self, recipient: Recipient) -> bool {
        match self.connection.queue(&ToCleanup::Recipient(recipient)) {
            Ok(()) => true,
            Err(error) => {
                log::warning!("{}: recipient refused: {error}", self.queue_id);
                false
            }
        }
    }

    pub(crate) fn bcc(&mut self, address: &[u8]) {
        self.add(&ToCleanup::Bcc(address.into()));
    }

    pub(crate) fn header(&mut self, line: &[u8]) {
        self.add(&ToCleanup::Header(line.into()));
    }

    pub(crate) fn action(&mut self, action: Action) {
        self.add(&ToCleanup::Action(action));
    }

    /// Puts content into the outbox.
    pub(crate) fn content(&mut self, lines: &[u8]) {
        if !self.content {
            self.content = true;
            self.add(&ToCleanup::Content);
        }
        if !self.oversize {
            for chunk in lines.chunks(ipc::frame::DATA_CHUNK) {
                self.connection.queue_raw(Kind::Data, chunk);
            }
        }
    }

    /// The content is longer than any message may be; the rest is not sent.
    pub(crate) fn stop_oversize(&mut self) {
        if !self.oversize {
            self.oversize = true;
            log::warning!("{}: queue file size limit exceeded", self.queue_id);
        }
    }

    /// Sends what waits. An error shows when the message ends.
    pub(crate) async fn flush(&mut self) -> Result<(), ipc::Error> {
        match tokio::time::timeout(self.timeout, self.connection.flush()).await {
            Ok(outcome) => outcome,
            Err(_) => Err(ipc::Error::Timeout),
        }
    }

    /// Bytes that wait to be sent.
    pub(crate) fn queued(&self) -> usize {
        self.connection.queued()
    }
}

/// The reply to a message that cleanup does not take.
pub(crate) fn refusal_reply(refusal: &Refusal) -> Vec<u8> {
    let fixed: &[u8] = match refusal {
        Refusal::Write | Refusal::Lookup => b"451 4.3.0 Error: queue file write error",
        Refusal::NoSpace => b"452 4.3.1 Insufficient system storage",
        Refusal::Size => b"552 5.3.4 Error: message file too big",
        Refusal::Hops => b"554 5.4.0 Error: too many hops",
        Refusal::NoRecipients => b"550 5.1.0 Error: no recipients specified",
        Refusal::Protocol => b"451 4.3.0 Error: internal protocol error",
        Refusal::Content(text) if text.trim_ascii().is_empty() => b"550 5.7.1 Error: message content rejected",
        Refusal::Content(text) => {
            let whole =
                text.get(..3).is_some_and(|code| code.iter().all(u8::is_ascii_digit)) && text.get(3) == Some(&b' ');
            return if whole { text.to_vec() } else { content_reply(text) };
        }
    };
    fixed.to_vec()
}

/// A text of header_checks or body_checks, which may begin with an enhanced status code.
fn content_reply(text: &[u8]) -> Vec<u8> {
    let (status, text) = dsn::Status::split_from(text).unwrap_or((dsn::Status::permanent(7, 1), text));
    let code = if status.class == dsn::Class::Transient { "450" } else { "550" };
    [format!("{code} {status} ").as_bytes(), text].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_to_refusals() {
        for (refusal, reply) in [
            (Refusal::Size, "552 5.3.4 Error: message file too big"),
            (Refusal::Content("".into()), "550 5.7.1 Error: message content rejected"),
            (Refusal::Content("no thanks".into()), "550 5.7.1 no thanks"),
            (Refusal::Content("4.7.1 later".into()), "450 4.7.1 later"),
            (Refusal::Content("554 5.7.1 spam".into()), "554 5.7.1 spam"),
        ] {
            assert_eq!(String::from_utf8_lossy(&refusal_reply(&refusal)), reply);
        }
    }
}
