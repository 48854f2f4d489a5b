//! postscreen → smtpd (services of type `pass`): a client that another daemon has accepted. Each [`Handoff`] carries
//! the client's descriptor; a connection carries any number of them and has no answers.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// A client, with its descriptor. The addresses may differ from those of the socket where a proxy stands in front.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handoff {
    /// The client's address and port.
    pub peer: SocketAddr,
    /// The address and port that it connected to.
    pub local: SocketAddr,
}
