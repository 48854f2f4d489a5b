//! cleanup: takes messages from smtpd, pickup, bounce and local, makes them whole, and puts them into the queue.
//!
//! * [`Service`] is the daemon; a session carries transactions one after the other (`ipc::cleanup`);
//! * `transaction` is one message: envelope, headers, body, the end;
//! * [`mapping`] changes addresses, [`checks`] looks at headers and lines;
//! * [`queue_manager`] tells the queue manager what is ready.

pub mod checks;
mod clock;
mod duplicates;
mod generated;
pub mod mapping;
pub mod queue_manager;
mod service;
mod session;
pub mod settings;
mod transaction;
mod trust;

pub use service::Service;
pub use trust::Receivers;
