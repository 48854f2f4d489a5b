//! An agent as the client of another: a recipient is passed on with the queue file's descriptor (mailbox_transport,
//! fallback_transport). The other agent delivers, logs the status line and answers here instead of to qmgr.

use std::io::ErrorKind;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::Duration;

use bstr::BString;
use dsn::{Delivery, Dsn, Status};
use ipc::blocking::Connection;
use ipc::delivery::{FromAgent, Request, ToAgent};

/// How often in a row a connection may end without a word (an agent that was about to end).
const SILENT_ENDS: u32 = 3;
/// Pause before the next try.
const PAUSE: Duration = Duration::from_millis(200);

/// What the other agent did with the recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passed {
    /// What became of it.
    pub delivery: Delivery,
    /// `relay=` of its log line.
    pub relay: BString,
    /// The next system was asked to send the success notices.
    pub notices_passed_on: bool,
}

/// How an attempt to pass a recipient on ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The other agent delivered or did not, and its line is in the log.
    Passed(Passed),
    /// There is no other agent, or it broke off: nothing is in the log, and the recipient is to be tried again.
    Failed(Dsn),
    /// It could not read the queue file.
    Corrupt,
}

/// Hands a request for one recipient to the agent that listens at `socket`, and waits for the outcome; each answer may
/// take `timeout` (`ipc_timeout`).
#[must_use]
pub fn pass_on(socket: &Path, request: Request, file: BorrowedFd<'_>, timeout: Duration) -> Answer {
    let queue_id = request.queue_id.clone();
    let mut connection = match open(socket, timeout) {
        Ok(connection) => connection,
        Err(error) => {
            log::warning!("connect to transport {}: {error}", socket.display());
            return Answer::Failed(Dsn::new(Status::transient(3, 0), "mail transport unavailable"));
        }
    };
    match converse(&mut connection, request, file) {
        Ok(answer) => answer,
        Err(error) => {
            log::warning!("{queue_id}: problem talking to an agent of {}: {error}", socket.display());
            Answer::Failed(Dsn::new(Status::transient(3, 0), "unknown mail transport error"))
        }
    }
}

/// Connects, and waits until an agent takes the connection.
fn open(socket: &Path, timeout: Duration) -> Result<Connection, ipc::Error> {
    let mut silent = 0;
    loop {
        let mut connection = Connection::connect(socket, Some(timeout))?;
        let closed = match connection.receive() {
            Ok(Some(FromAgent::Hello { .. })) => return Ok(connection),
            Ok(Some(_)) => return Err(ipc::Error::Protocol("no greeting")),
            Ok(None) => ipc::Error::Closed,
            Err(ipc::Error::Io(error)) if error.kind() == ErrorKind::ConnectionReset => error.into(),
            Err(error) => return Err(error),
        };
        silent += 1;
        if silent >= SILENT_ENDS {
            return Err(closed);
        }
        std::thread::sleep(PAUSE);
    }
}

fn converse(connection: &mut Connection, request: Request, file: BorrowedFd<'_>) -> Result<Answer, ipc::Error> {
    let id = request.id;
    connection.send_with_descriptor(&ToAgent::Deliver(Box::new(request)), file)?;
    let mut passed = None;
    loop {
        match connection.receive()? {
            Some(FromAgent::Outcome { request, recipient: 0, delivery, relay, notices_passed_on }) if request == id => {
                passed.get_or_insert(Passed { delivery, relay, notices_passed_on });
            }
            Some(FromAgent::Finished { request, .. }) if request == id => {
                return passed.map(Answer::Passed).ok_or(ipc::Error::Protocol("finished without an outcome"));
            }
            Some(FromAgent::Corrupt { request }) if request == id => return Ok(Answer::Corrupt),
            Some(FromAgent::Draining) => {}
            Some(_) => return Err(ipc::Error::Protocol("answer to another question")),
            // What it has said counts: it may have delivered.
            None => return passed.map(Answer::Passed).ok_or(ipc::Error::Closed),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixListener;

    use dsn::Action;

    use super::*;
    use crate::blocking::tests::request;

    fn delivered() -> FromAgent {
        FromAgent::Outcome {
            request: 7,
            recipient: 0,
            delivery: Delivery::Sent { action: Action::Delivered, dsn: Dsn::new(Status::success(0, 0), "delivered") },
            relay: "virtual".into(),
            notices_passed_on: false,
        }
    }

    /// What comes of an agent that greets (or not) and then says these things.
    fn answer_of(greets: bool, says: &[FromAgent]) -> Answer {
        let directory = tempfile::tempdir().expect("directory");
        let socket = directory.path().join("virtual");
        let listener = UnixListener::bind(&socket).expect("bind");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..if greets { 1 } else { SILENT_ENDS } {
                    let mut agent = Connection::new(listener.accept().expect("accept").0);
                    if greets {
                        agent.send(&FromAgent::Hello { capacity: 1 }).expect("greet");
                        let asked: ToAgent = agent.expect().expect("request");
                        assert_eq!(asked, ToAgent::Deliver(Box::new(request(1))));
                        agent.take_descriptor().expect("the queue file");
                        for message in says {
                            agent.send(message).expect("say");
                        }
                    }
                }
            });
            let file = File::open("/dev/null").expect("open");
            pass_on(&socket, request(1), file.as_fd(), Duration::from_secs(10))
        })
    }

    #[test]
    fn the_outcome_comes_back() {
        let finished = FromAgent::Finished { request: 7, destination: None };
        let passed = |answer| match answer {
            Answer::Passed(passed) => passed.delivery.word(),
            Answer::Failed(dsn) => {
                if dsn.is_transient() {
                    "failed"
                } else {
                    "returned"
                }
            }
            Answer::Corrupt => "corrupt",
        };
        assert_eq!(passed(answer_of(true, &[FromAgent::Draining, delivered(), finished.clone()])), "sent");
        // An agent that dies after its word.
        assert_eq!(passed(answer_of(true, &[delivered()])), "sent");
        assert_eq!(passed(answer_of(true, &[FromAgent::Corrupt { request: 7 }])), "corrupt");
        // Everything else is tried again.
        assert_eq!(passed(answer_of(true, &[finished])), "failed");
        assert_eq!(passed(answer_of(true, &[])), "failed");
        assert_eq!(passed(answer_of(false, &[])), "failed");
    }

    #[test]
    fn a_transport_that_is_not_there_is_tried_again_later() {
        let file = File::open("/dev/null").expect("open");
        let answer = pass_on(Path::new("/nonexistent/lmtp"), request(1), file.as_fd(), Duration::from_secs(1));
        assert_eq!(answer, Answer::Failed(Dsn::new(Status::transient(3, 0), "mail transport unavailable")));
    }
}
