//! Delivery status: enhanced status codes (RFC 3463), outcomes per recipient, and what senders asked to be told (RFC 3461).

pub mod notice;
mod notify;
mod outcome;
mod status;

pub use notify::{Notify, Return};
pub use outcome::{Action, Delivery, Dsn};
pub use status::{Class, ParseStatusError, Status};
