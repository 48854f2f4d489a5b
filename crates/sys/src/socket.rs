//! Accepting connections, non-blocking and with the peer's address in one call.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Accepts one connection. The new descriptor is close-on-exec and, when `nonblocking`, non-blocking; the address is
/// the peer's for an internet connection.
///
/// # Errors
/// The error of `accept4(2)`; `WouldBlock` when nobody waits.
pub fn accept(listener: BorrowedFd<'_>, nonblocking: bool) -> io::Result<(OwnedFd, Option<SocketAddr>)> {
    let flags = libc::SOCK_CLOEXEC | if nonblocking { libc::SOCK_NONBLOCK } else { 0 };
    // SAFETY: all-zero is a valid sockaddr_storage.
    let mut address: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    loop {
        let mut length = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        // SAFETY: the pointers are to live values, and `length` says how large the first is.
        let fd = unsafe { libc::accept4(listener.as_raw_fd(), (&raw mut address).cast(), &raw mut length, flags) };
        if fd >= 0 {
            // SAFETY: the kernel has just made this descriptor for us.
            return Ok((unsafe { OwnedFd::from_raw_fd(fd) }, internet_address(&address)));
        }
        let error = io::Error::last_os_error();
        // A client that gave up before it was accepted is not our trouble.
        if !matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted) {
            return Err(error);
        }
    }
}

fn internet_address(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match i32::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that the storage, which is large and aligned enough for any, holds this type.
            let v4 = unsafe { &*std::ptr::from_ref(storage).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Some(SocketAddr::V4(SocketAddrV4::new(ip, u16::from_be(v4.sin_port))))
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let v6 = unsafe { &*std::ptr::from_ref(storage).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            Some(SocketAddr::V6(SocketAddrV6::new(ip, u16::from_be(v6.sin6_port), v6.sin6_flowinfo, v6.sin6_scope_id)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

    #[test]
    fn the_peer_is_who_connected() {
        for at in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(at) else { continue };
            listener.set_nonblocking(true).expect("nonblocking");
            assert_eq!(accept(listener.as_fd(), true).expect_err("nobody").kind(), io::ErrorKind::WouldBlock);
            let client = TcpStream::connect(listener.local_addr().expect("address")).expect("connect");
            let (fd, peer) = accept(listener.as_fd(), true).expect("accept");
            let stream = TcpStream::from(fd);
            assert_eq!(peer, Some(client.local_addr().expect("address")));
            assert_eq!(stream.peer_addr().ok(), peer);
        }
    }
}
