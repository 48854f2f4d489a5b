//! Many datagrams in one system call, for log lines.

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, BorrowedFd};

/// Most datagrams that one call sends.
pub const BATCH: usize = 64;

/// Sends `datagrams` over a connected socket without waiting; returns how many went out (the first ones, at least one).
/// No more than [`BATCH`] go in one call.
///
/// # Errors
/// The error of the first one, when not even that could be sent.
pub fn send(socket: BorrowedFd<'_>, datagrams: &[&[u8]]) -> io::Result<usize> {
    let count = datagrams.len().min(BATCH);
    if count == 0 {
        return Ok(0);
    }
    let mut slices: [IoSlice<'_>; BATCH] = [IoSlice::new(&[]); BATCH];
    for (slice, datagram) in slices.iter_mut().zip(datagrams) {
        *slice = IoSlice::new(datagram);
    }
    // SAFETY: all-zero is a valid mmsghdr: no address, no buffers, no control data.
    let mut headers: [libc::mmsghdr; BATCH] = unsafe { std::mem::zeroed() };
    for (header, slice) in headers.iter_mut().zip(&mut slices).take(count) {
        // An IoSlice is an iovec by its documentation.
        header.msg_hdr.msg_iov = std::ptr::from_mut(slice).cast();
        header.msg_hdr.msg_iovlen = 1;
    }
    loop {
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: `count` headers are initialized and point to slices that outlive the call; sendmmsg only reads the data.
        let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), count as u32, flags as _) };
        if sent >= 0 {
            return Ok(sent as usize);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixDatagram;

    #[test]
    fn each_line_is_a_datagram() {
        let (left, right) = UnixDatagram::pair().expect("pair");
        assert_eq!(send(left.as_fd(), &[b"one", b"two", b""]).expect("send"), 3);
        let mut buffer = [0u8; 8];
        assert_eq!(right.recv(&mut buffer).expect("recv"), 3);
        assert_eq!(&buffer[..3], b"one");
        assert_eq!(right.recv(&mut buffer).expect("recv"), 3);
        assert_eq!(&buffer[..3], b"two");
        assert_eq!(send(left.as_fd(), &[]).expect("nothing"), 0);
    }

    #[test]
    fn a_full_queue_takes_the_first_ones() {
        let (left, right) = UnixDatagram::pair().expect("pair");
        let line = vec![b'x'; 4096];
        let lines = vec![line.as_slice(); BATCH];
        let mut sent = 0;
        let error = loop {
            match send(left.as_fd(), &lines) {
                Ok(n) => sent += n,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert!(sent > 0);
        drop(right);
        assert!(send(left.as_fd(), &lines).is_err());
    }
}
