//! What a message is told about where it came from: the client's attributes and the Received header.

use bstr::BString;
use ipc::cleanup::{Client, Received};

use crate::client::Peer;

/// The client's attributes.
pub(crate) fn client(peer: &Peer, helo: Option<&BString>, protocol: &str) -> Client {
    Client {
        name: peer.name.clone(),
        reverse_name: peer.reverse_name.clone(),
        address: peer.address.to_string(),
        port: peer.port.to_string(),
        server_address: peer.server.ip().to_string(),
        server_port: peer.server.port().to_string(),
        helo: helo.cloned().unwrap_or_default(),
        protocol: protocol.to_owned(),
        forwarded: None,
    }
}

/// The beginning of the Received header (RFC 5321 4.4). `hidden` is `smtpd_hide_client_session`.
pub(crate) fn received(peer: &Peer, helo: Option<&BString>, protocol: &str, hidden: bool) -> Received {
    let mut from = Vec::new();
    if !hidden {
        let mut line = BString::from("from ");
        match helo {
            Some(helo) => line.extend_from_slice(helo),
            None => line.extend_from_slice(peer.name.as_bytes()),
        }
        line.extend_from_slice(format!(" ({} [{}])", peer.name, peer.literal()).as_bytes());
        from.push(line);
    }
    Received { from, protocol: Some(protocol.to_owned()), uid: None }
}
