//! The queue manager: takes messages from `incoming` and `deferred`, decides who is delivered when, and records what
//! became of every recipient.

pub mod scheduler;
