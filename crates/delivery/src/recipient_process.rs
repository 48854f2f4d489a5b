//! A child process that has irrevocably become a recipient, and does what only the recipient may do.

use std::io::{self, PipeReader, Read, Write};

use nix::sys::wait::{WaitStatus, waitpid};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sys::privileges::{self, Identity};

/// Largest answer of a child, bytes.
const LARGEST_ANSWER: u64 = 1 << 20;
/// Exit status of a child that could not become the recipient.
const NOT_BECOME: i32 = 71;

/// The work was not done, or it is unknown what was done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The child could not be made.
    #[error("fork: {}", sys::reason(.0))]
    Fork(#[source] io::Error),
    /// Deliveries for this account need privileges that this installation does not have.
    #[error("cannot become {0}: not started with the rights of root")]
    NotRoot(String),
    /// The child could not become the recipient.
    #[error("cannot become {0}")]
    Become(String),
    /// The child ended without an answer.
    #[error("delivery process ended with {0:?}")]
    Ended(WaitStatus),
    /// The answer makes no sense.
    #[error("delivery process: {0}")]
    Answer(#[from] ipc::Error),
}

/// Runs `work` in a child process as `identity`, and returns its result.
///
/// As root the child drops every privilege first. Without root only the present user can be served.
///
/// # Errors
/// See [`Error`]; whether `work` had an effect is unknown with [`Error::Ended`].
pub fn run<T: Serialize + DeserializeOwned>(identity: &Identity, work: impl FnOnce() -> T) -> Result<T, Error> {
    if privileges::is_root() {
        return in_child(Some(identity), work);
    }
    if identity.uid != nix::unistd::geteuid() {
        return Err(Error::NotRoot(identity.name.clone()));
    }
    in_child(None, work)
}

/// Runs `work` in a child process that keeps the rights of root: only for root's own mailbox file.
///
/// # Errors
/// See [`run`].
pub fn run_as_root<T: Serialize + DeserializeOwned>(work: impl FnOnce() -> T) -> Result<T, Error> {
    in_child(None, work)
}

fn in_child<T: Serialize + DeserializeOwned>(
    become_first: Option<&Identity>,
    work: impl FnOnce() -> T,
) -> Result<T, Error> {
    log::flush();
    let (reader, mut writer) = io::pipe().map_err(Error::Fork)?;
    let child = sys::fork::fork(|| {
        log::after_fork();
        if let Some(identity) = become_first
            && let Err(error) = privileges::drop_privileges(identity, None)
        {
            log::warning!("{error}");
            log::finish();
            return NOT_BECOME;
        }
        let mut answer = Vec::new();
        let sent = ipc::frame::put_message(&mut answer, &work()).is_ok() && writer.write_all(&answer).is_ok();
        log::finish();
        i32::from(!sent)
    })
    .map_err(Error::Fork)?;
    drop(writer);
    let answer = read_answer(reader);
    let status = loop {
        match waitpid(child, None) {
            Ok(status) => break status,
            Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(Error::Fork(error.into())),
        }
    };
    match status {
        WaitStatus::Exited(_, 0) => {
            let payload = answer.get(ipc::frame::HEADER..).ok_or(ipc::Error::Truncated)?;
            Ok(ipc::Frame { kind: ipc::Kind::Message, payload }.message()?)
        }
        WaitStatus::Exited(_, NOT_BECOME) => {
            Err(Error::Become(become_first.map_or_else(String::new, |identity| identity.name.clone())))
        }
        other => Err(Error::Ended(other)),
    }
}

fn read_answer(reader: PipeReader) -> Vec<u8> {
    let mut answer = Vec::new();
    // A child that dies leaves less than an answer, which its status tells about.
    let _ = reader.take(LARGEST_ANSWER).read_to_end(&mut answer);
    answer
}
