//! The skeleton of every daemon: start-up contract with master, jail, sessions, drain, reload, idle exit, limits.
//!
//! A **session service** ([`SessionService`], [`run`]) serves many clients per process, each an async task of one
//! thread. A **job service** ([`JobService`], [`run_jobs`]) is blocking and single-threaded, one client at a time, for
//! programs that fork or become somebody else. A **datagram service** ([`DatagramService`], [`run_datagrams`]) takes
//! datagrams, many per turn (postlogd).
//!
//! `ipc::master` has the contract with master. A daemon's life: [`SessionService::prepare`] with the rights of root, the
//! jail, [`SessionService::started`], sessions, then one of: `max_idle` without a session, `max_use` clients, a changed
//! table, a panic, an order of master, master's end. It always ends the same way: no new clients, the open sessions
//! finish, exit.

mod accept;
mod account;
mod arguments;
mod client;
mod control;
mod control_loop;
mod datagram;
mod error;
mod job;
mod panics;
pub mod peers;
mod sandbox;
mod service;
mod stand_alone;
mod startup;
pub mod testing;
#[cfg(test)]
mod tests;
mod trigger;
mod watchdog;
mod worker;

use std::process::ExitCode;

pub use account::Account;
pub use arguments::Kind;
pub use client::Client;
pub use datagram::{DatagramService, run_datagrams};
pub use error::StartError;
pub use job::{JobService, run_jobs};
pub use panics::forget_client;
pub use peers::{Callers, Peer, Peers};
pub use service::{SessionService, run};
pub use startup::Startup;
pub use worker::{Places, Worker};

/// Logs why a daemon does not start.
fn refuse(error: &StartError) -> ExitCode {
    log::fatal!("{error}");
    if matches!(error, StartError::ByHand | StartError::Usage(_)) {
        use std::io::Write;
        let program = std::env::args().next().unwrap_or_default();
        let program = program.rsplit('/').next().unwrap_or_default().to_owned();
        // Somebody sits there; master's children have /dev/null here.
        let _ = writeln!(std::io::stderr(), "{program}: fatal: {error}");
    }
    ExitCode::FAILURE
}
