//! pickup: gives what `postdrop` left in `maildrop` to cleanup.
//!
//! * [`Service`] scans the directory when it is woken;
//! * `submission` checks one file: owner, mode, records;
//! * `transfer` streams it to cleanup.

mod service;
mod settings;
mod submission;
mod transfer;

pub use service::Service;
pub use settings::Settings;
