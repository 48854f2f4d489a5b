//! Names and addresses for the daemons in their jails: the hosts file and the DNS.
//!
//! The only program that speaks DNS. Its clients name the kind of answer they want; what travels on the wire, in which
//! order servers are asked and how long answers are kept is decided here.

pub mod dns;
pub mod hosts;
mod service;
mod system_file;

pub use service::ResolverService;
