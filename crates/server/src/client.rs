//! Who a session is with.

use std::net::SocketAddr;

use tokio::net::{TcpStream, UnixStream};

use crate::peers::Peer;

/// One client.
#[derive(Debug)]
pub enum Client {
    /// Over the network, by an `inet` listener or handed on by postscreen. Small writes leave at once (TCP_NODELAY).
    Inet {
        /// The connection.
        stream: TcpStream,
        /// The client's address and port.
        peer: SocketAddr,
        /// The address and port that it connected to.
        local: SocketAddr,
    },
    /// Over a Unix-domain socket; the peer has been checked against [`crate::SessionService::CALLERS`].
    Unix {
        /// The connection.
        stream: UnixStream,
        /// The process at the other end.
        peer: Peer,
    },
    /// `-S`: the invoking user, on standard input and output.
    StandAlone {
        /// Leads to standard input and output.
        stream: UnixStream,
    },
}

impl Client {
    /// The client as a connection between daemons; `None` for a client from the network.
    #[must_use]
    pub fn into_connection(self) -> Option<ipc::Connection> {
        match self {
            Client::Unix { stream, .. } | Client::StandAlone { stream } => Some(ipc::Connection::new(stream)),
            Client::Inet { .. } => None,
        }
    }
}
