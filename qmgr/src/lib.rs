//! The queue manager: takes messages from `incoming` and `deferred`, decides who is delivered when, and records what
//! became of every recipient.
//!
//! [`scheduler`] decides, without input or output. Around it, everything runs on one event loop:
//!
//! | module | what |
//! | --- | --- |
//! | [`Qmgr`] | the service: who calls, start, end |
//! | `engine` | the loop: takes messages, carries out what the scheduler says |
//! | `scan`, `disk` | the queue directories and files; what a crash leaves at each step |
//! | `route`, `resolve` | where recipients go, by asking rewrite |
//! | `agents` | connections to delivery agents, and requests to them |
//! | `outcome` | what became of recipients: log lines, logs, marks |
//! | `finish` | the end of a message's turn: notices, removal, or another day |
//! | `notices` | the ways to bounce and flush |

mod agents;
mod disk;
mod engine;
mod finish;
mod intake;
mod message;
mod notices;
mod outcome;
mod resolve;
mod route;
mod scan;
pub mod scheduler;
mod service;
mod settings;
mod verp;

pub use service::Qmgr;
pub use settings::Settings;
