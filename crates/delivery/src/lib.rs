//! What every delivery agent shares: requests from qmgr, outcomes and their log lines, and the two kinds of program.
//!
//! An [`Agent`] delivers many messages at a time, each as an async task (smtp, error, discard); [`run`] is its `main`.
//! A [`BlockingAgent`] delivers one after the other in a plain process, so that it may change identity and fork (local,
//! virtual, pipe); [`run_blocking`] is its `main`.
//!
//! Both get a job with the request, the content of the message (read through the descriptor that qmgr passed) and
//! `report`, which logs the status line of a recipient and tells qmgr, and `finish`. A recipient that a job did not
//! report when it is dropped is deferred; one that the process did not report when it died is tried again by qmgr.

mod agent;
mod blocking;
mod filter;
mod job;
pub mod mailbox;
mod pass_on;
pub mod recipient_process;
mod report;
mod settings;
mod timing;

pub use agent::{Agent, run};
pub use blocking::{BlockingAgent, BlockingJob, run_blocking};
pub use filter::{StatusFilter, split_status};
pub use job::Job;
pub use pass_on::{Answer, Passed, pass_on};
pub use report::Report;
pub use settings::{AddressFormat, Settings};
pub use timing::Timing;

/// The content of a queue file, read with `pread` through the descriptor of the request.
pub type Content = queue::message::Content<std::rc::Rc<std::os::fd::OwnedFd>>;
