//! Names and addresses for the daemons in their jails: the hosts file and the DNS.

pub mod dns;
pub mod hosts;
