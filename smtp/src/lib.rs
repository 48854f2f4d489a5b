//! The SMTP and LMTP client: delivers messages to other systems.
//!
//! [`agent`] is the program; [`deliver`] one delivery request; [`destination`] and [`targets`] find whom to talk to;
//! [`session`] is a connection, [`transaction`] the conversation about one message, without I/O; [`pool`] keeps
//! connections for the next message; [`time_limit`] says how long the network may take; [`trouble`] turns what went wrong into status and reason.

pub mod agent;
pub mod content;
pub mod deliver;
pub mod destination;
pub mod pool;
pub mod random;
pub mod session;
pub mod settings;
pub mod targets;
pub mod time_limit;
pub mod transaction;
pub mod trouble;
