//! What our daemons say to each other: framed typed messages over Unix-domain sockets, with descriptors passed along.
//!
//! [`frame`] has the wire form, [`Connection`] the asynchronous and [`blocking::Connection`] the blocking end of a
//! socket. Each protocol has a module with its messages and who speaks them; nothing else in the project may know them.
//! These protocols are ours, may change with every release, and never leave the machine.

pub mod blocking;
pub mod bounce;
pub mod cleanup;
mod connection;
pub mod delivery;
pub mod flush;
pub mod frame;
pub mod master;
pub mod pass;
pub mod qmgr;
pub mod resolver;
pub mod rewrite;
pub mod showq;
pub mod table;
pub mod tlsmgr;

pub use connection::Connection;
pub use frame::{Error, Frame, Kind};
