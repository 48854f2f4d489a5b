//! The worker's end of the control socket to master.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use ipc::master::{ToMaster, ToWorker};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, send};

/// Larger than any packet of the contract.
const PACKET: usize = 1024;

/// One message of master, with the descriptor that may have come along.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) message: ToWorker,
    pub(crate) descriptor: Option<OwnedFd>,
}

/// The control socket, non-blocking.
#[derive(Debug)]
pub(crate) struct Control {
    socket: OwnedFd,
}

impl Control {
    pub(crate) fn new(socket: OwnedFd) -> io::Result<Control> {
        let flags = OFlag::from_bits_retain(fcntl(&socket, FcntlArg::F_GETFL)?);
        fcntl(&socket, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        Ok(Control { socket })
    }

    pub(crate) fn try_clone(&self) -> io::Result<Control> {
        Ok(Control { socket: self.socket.try_clone()? })
    }

    pub(crate) fn descriptor(&self) -> &OwnedFd {
        &self.socket
    }

    /// Tells master something. A master that does not read for a second, or has gone, is not told: the end of file on
    /// this socket is how its end is noticed.
    pub(crate) fn tell(&self, message: &ToMaster) {
        let Ok(packet) = postcard::to_allocvec(message) else { return };
        for _ in 0..2 {
            match send(self.socket.as_raw_fd(), &packet, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL) {
                Err(nix::errno::Errno::EAGAIN) => {
                    let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLOUT)];
                    let _ = poll(&mut fds, 1000u16);
                }
                Err(nix::errno::Errno::EINTR) => {}
                _ => return,
            }
        }
    }

    /// The next order; `None` when master has gone.
    ///
    /// # Errors
    /// `WouldBlock` when there is none yet; `InvalidData` for what is not in the contract.
    pub(crate) fn receive(&self) -> io::Result<Option<Order>> {
        let mut packet = [0u8; PACKET];
        let mut descriptors = Vec::new();
        let length = match sys::passing::receive(self.socket.as_fd(), &mut packet, &mut descriptors) {
            Ok(0) => return Ok(None),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            Err(error) => return Err(error),
        };
        let message = postcard::from_bytes(&packet[..length])
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        Ok(Some(Order { message, descriptor: descriptors.pop() }))
    }

    /// Waits for the next order.
    pub(crate) fn wait(&self, patience: Duration) -> io::Result<Option<Order>> {
        loop {
            match self.receive() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
                    let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
                    match poll(&mut fds, timeout) {
                        Ok(0) => return Err(io::Error::from(io::ErrorKind::TimedOut)),
                        Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                other => return other,
            }
        }
    }
}
