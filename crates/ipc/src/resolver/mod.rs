//! smtp, smtpd → resolver (`private/resolver`): names and addresses. The hosts file and DNS stay on the other side, so
//! that nothing has to be copied into a jail. Requests carry a number and may be answered in any order.

mod client;

pub use client::Client;

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// The asker's number, repeated in the answer.
    pub id: u32,
    /// What to look up.
    pub query: Query,
}

/// What to look up.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Query {
    /// Mail exchangers of a domain.
    Mx(String),
    /// IPv4 and IPv6 addresses of a host, as the switches say.
    Addresses {
        /// Host name.
        name: String,
        /// Ask for A.
        ipv4: bool,
        /// Ask for AAAA.
        ipv6: bool,
        /// The hosts file counts (`native` in smtp_host_lookup); always before DNS.
        hosts_file: bool,
        /// DNS counts.
        dns: bool,
    },
    /// Name of an address: hosts file, then DNS.
    Name(IpAddr),
    /// Text records.
    Txt(String),
    /// Name servers of a domain.
    Ns(String),
    /// Service records of `_service._proto.domain`.
    Srv(String),
}

/// The answer to a [`Question`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The question's number.
    pub id: u32,
    /// What was found.
    pub outcome: Result<Found, Failure>,
}

/// What was found; never empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Found {
    /// Preference and host; a single `.` host is a null MX (RFC 7505).
    Mx(Vec<(u16, String)>),
    /// Addresses, in the order received.
    Addresses(Vec<IpAddr>),
    /// Host names of an address.
    Names(Vec<String>),
    /// Text records.
    Txt(Vec<Vec<u8>>),
    /// Name servers.
    Ns(Vec<String>),
    /// Priority, weight, port, host.
    Srv(Vec<(u16, u16, u16, String)>),
    /// With the remaining time to live and whether DNSSEC vouches for it, for callers that keep answers.
    WithTtl(Box<Found>, Duration, bool),
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Failure {
    /// The name does not exist (NXDOMAIN): permanent.
    NotFound,
    /// The name exists, without data of this type: permanent.
    NoData,
    /// Servers did not answer, or failed: transient. The text is for the log.
    TryAgain(String),
    /// The name cannot be looked up (too long, empty label, ...): permanent.
    Invalid,
}
