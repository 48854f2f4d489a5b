//! Between master and the programs it starts.
//!
//! # Start-up contract
//!
//! Master starts `command` (from `daemon_directory`, under its own name as `argv[0]`) with these arguments, in this
//! order: `-n service`, `-t type` (`inet` `unix` `unix-dgram` `fifo` `pass`), `-u` (run without privilege), `-c` (chroot),
//! `-s N` (listeners), `-v` as often as verbose, then the arguments of the `master.cf` entry. `MAIL_CONFIG` names the
//! configuration directory. Master gives each child its own process but not its own session; environment as
//! `import_environment` has it; working directory does not matter.
//!
//! | descriptor | what |
//! | --- | --- |
//! | 0 1 2 | `/dev/null`; 1 stays master's standard output for postlogd and in `start-fg` |
//! | [`CONTROL_FD`] | a connected `SOCK_SEQPACKET` pair to master; one postcard message per packet |
//! | [`FIRST_LISTENER_FD`] and up | the listening sockets, non-blocking, shared with the other workers of the service; a `fifo` is open for reading and writing |
//!
//! The first packet from master is [`ToWorker::Start`]. End of file on the control socket means that master is gone:
//! the worker drains and exits.
//!
//! # A worker's life
//!
//! It counts as [`Load::Idle`] after [`ToMaster::Ready`], accepts by itself whenever it has room (master only watches a
//! listener while no worker has), and takes descriptors beyond its listeners from nobody. After [`ToMaster::Draining`] it
//! accepts no more; clients stay in the listener's queue for others. Idle workers (`max_idle`, `max_use`, a changed
//! table) drain and exit by themselves.
//!
//! A worker that exits with 0 has done its work; any other end is a failure and counts for throttling when no
//! [`ToMaster::Ready`] came before. Status 1 is an orderly refusal, whose reason is in the log; a stuck event loop ends by
//! `SIGABRT`, a stuck job by `SIGALRM`.
//!
//! # Directories
//!
//! Service accounts other than `mail_owner` have `mail_owner`'s group as a supplementary one (and mail in has
//! `setgid_group`): `private/` must let that group search (0710), `public/` stays `setgid_group`'s (2710). Sockets in both are
//! open to everybody who may search; workers check who called (`SO_PEERCRED`).

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The control socket.
pub const CONTROL_FD: i32 = 3;
/// The first listening socket.
pub const FIRST_LISTENER_FD: i32 = 4;

/// From master to a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToWorker {
    /// Sent once, at once.
    Start {
        /// Clients that this worker may serve at a time (0: as many as `service_session_limit` says).
        sessions: u32,
        /// True while the service is under stress (`stress=yes` for the configuration).
        stress: bool,
        /// The service's process limit is one: the worker is alone.
        solitary: bool,
        /// Counts master's reloads, for the log.
        generation: u32,
        /// A periodic service: the worker is woken this often by master (`wakeup`), for information.
        wakeup: Option<Duration>,
    },
    /// Another share of the clients (see `Start::sessions`).
    Sessions(u32),
    /// Stop accepting, finish what is open, then exit.
    Drain,
    /// Wake-up: the same as a `W` trigger at the service's socket. Session services only.
    Wakeup,
    /// The answer to [`ToMaster::SyslogPlease`], with a connected descriptor; without one when there is no syslog.
    Syslog,
}

/// From a worker to master.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToMaster {
    /// Configuration read, tables open, privileges gone: serving from now on.
    Ready,
    /// How busy the worker is; sent when it changes, but "idle" only after a pause, so that light traffic costs nothing.
    Load(Load),
    /// The worker no longer accepts (drain, `max_use`, a changed table): it may be replaced at once.
    Draining,
    /// The syslog daemon was restarted while this worker is in its jail; answered by `ToWorker::Syslog`.
    SyslogPlease,
    /// Still alive: the watchdog's proof, at most every few seconds while anything runs.
    Alive,
    /// How many clients a draining worker still serves; sent after [`ToMaster::Draining`] and whenever it falls, so that
    /// master can give the rest of its share (`ToWorker::Start::sessions`) to its successor. Until the first of these
    /// the whole share counts as in use. A service whose `maxproc` bounds nothing (share 0) need not send it.
    Serving(u32),
}

/// How busy a worker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Load {
    /// No session.
    Idle,
    /// Some sessions, and room for more.
    Some,
    /// No room for more sessions.
    Full,
}

/// Appends the one packet that carries `message` to `packet`.
///
/// # Errors
/// [`crate::Error::Malformed`] when it cannot be serialized.
pub fn encode<T: Serialize>(message: &T, packet: &mut Vec<u8>) -> Result<(), crate::Error> {
    let taken = std::mem::take(packet);
    *packet = postcard::to_extend(message, taken)?;
    Ok(())
}

/// The message of a packet; `None` when it is none.
#[must_use]
pub fn decode<T: serde::de::DeserializeOwned>(packet: &[u8]) -> Option<T> {
    match postcard::take_from_bytes(packet) {
        Ok((message, [])) => Some(message),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_hold_one_message_each() {
        let mut packet = Vec::new();
        encode(&ToMaster::Serving(4711), &mut packet).expect("encode");
        assert_eq!(decode::<ToMaster>(&packet), Some(ToMaster::Serving(4711)));
        packet.push(0);
        assert_eq!(decode::<ToMaster>(&packet), None);
        assert_eq!(decode::<ToMaster>(&[0xff; 40]), None);
        assert_eq!(decode::<ToMaster>(b""), None);
    }
}
