//! A last reply to a client whose session is about to end by a panic.

use std::io;
use std::net::SocketAddr;
use std::os::fd::RawFd;

use nix::sys::socket::{MsgFlags, SockaddrStorage, getpeername, send};

/// Sends `reply`, without waiting, over the socket `number` if that is still the connection with `peer`.
///
/// A panic hook has no access to the stream, which the panicking session owns; the number may be closed or in use for
/// something else by now, which is why the peer is compared.
///
/// # Errors
/// `NotConnected` when the descriptor is another one by now; else the error of `send(2)`.
pub fn send_if_peer(number: RawFd, peer: SocketAddr, reply: &[u8]) -> io::Result<()> {
    let connected: SockaddrStorage = getpeername(number)?;
    let same = match peer {
        SocketAddr::V4(v4) => connected.as_sockaddr_in().is_some_and(|a| a.ip() == *v4.ip() && a.port() == v4.port()),
        SocketAddr::V6(v6) => connected.as_sockaddr_in6().is_some_and(|a| a.ip() == *v6.ip() && a.port() == v6.port()),
    };
    if !same {
        return Err(io::Error::from(io::ErrorKind::NotConnected));
    }
    send(number, reply, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL)?;
    Ok(())
}
