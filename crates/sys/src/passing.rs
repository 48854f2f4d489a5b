//! Sending and receiving bytes together with open descriptors over a Unix-domain socket (`SCM_RIGHTS`).

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};

/// Most descriptors that one call sends or receives; what a peer sends beyond them the kernel closes.
pub const MAX_DESCRIPTORS: usize = 4;

/// Sends as much of `bytes` as the socket takes; `descriptors` travel with the first byte.
///
/// # Errors
/// The error of `sendmsg(2)`; `WouldBlock` on a full non-blocking socket, in which case nothing was sent.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let raw: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
    loop {
        match sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(bytes)], control, MsgFlags::MSG_NOSIGNAL, None) {
            Ok(sent) => return Ok(sent),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Receives bytes into `buffer` and appends the descriptors that came along to `descriptors`; 0 is end of file.
///
/// # Errors
/// The error of `recvmsg(2)`; `WouldBlock` when nothing is there on a non-blocking socket.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8], descriptors: &mut Vec<OwnedFd>) -> io::Result<usize> {
    let mut control = nix::cmsg_space!([RawFd; MAX_DESCRIPTORS]);
    loop {
        let mut slices = [IoSliceMut::new(buffer)];
        match recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut control), MsgFlags::MSG_CMSG_CLOEXEC) {
            Ok(message) => {
                if let Ok(messages) = message.cmsgs() {
                    for item in messages {
                        if let ControlMessageOwned::ScmRights(received) = item {
                            for fd in received {
                                // SAFETY: the kernel has just installed this descriptor for us and nobody else knows it.
                                descriptors.push(unsafe { OwnedFd::from_raw_fd(fd) });
                            }
                        }
                    }
                }
                return Ok(message.bytes);
            }
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_descriptor_travels_with_its_bytes() {
        let (left, right) = UnixStream::pair().expect("socket pair");
        let (mut inner, passed) = UnixStream::pair().expect("socket pair");
        assert_eq!(send(left.as_fd(), b"hello", &[passed.as_fd()]).expect("send"), 5);
        drop(passed);
        let mut buffer = [0u8; 16];
        let mut received = Vec::new();
        assert_eq!(receive(right.as_fd(), &mut buffer, &mut received).expect("receive"), 5);
        assert_eq!(received.len(), 1);
        let mut other = UnixStream::from(received.remove(0));
        other.write_all(b"x").expect("write");
        let mut byte = [0u8; 1];
        inner.read_exact(&mut byte).expect("read");
        assert_eq!(&byte, b"x");
    }

    #[test]
    fn end_of_file_is_zero() {
        let (left, right) = UnixStream::pair().expect("socket pair");
        drop(left);
        let mut received = Vec::new();
        assert_eq!(receive(right.as_fd(), &mut [0u8; 4], &mut received).expect("receive"), 0);
    }
}
