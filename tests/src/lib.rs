//! Throw-away instances of a mail system, and the clients and servers that tests talk to them with.
//!
//! [`Suite`] is a set of programs: ours from the build, or a Postfix unpacked from its package. [`Instance`] is a private
//! configuration, spool and log on top of it, on free loopback ports. Nothing waits by the clock: [`Log`] follows the log
//! file by notification, sockets block.

pub mod client;
pub mod dialogue;
pub mod instance;
pub mod log;
pub mod machine;
pub mod ports;
pub mod servers;
pub mod sink;
pub mod suite;
pub mod tls;

pub use client::SmtpClient;
pub use instance::Instance;
pub use log::Log;
pub use machine::Machine;
pub use servers::Server;
pub use sink::Sink;
pub use suite::Suite;

/// How long anything in a test may take before the test fails.
pub const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// For tests that only root can run: what they are about does not exist for others.
///
/// # Panics
/// When it is not root who runs the test, so that nobody takes a test that did not look for one that passed.
pub fn need_root() {
    assert!(nix::unistd::geteuid().is_root(), "this test must be run by root, as .ci/run does");
}
