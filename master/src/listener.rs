//! Opening the sockets and pipes that services listen at.

use std::fmt;
use std::fs::OpenOptions;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::libc::{O_NOFOLLOW, O_NONBLOCK};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, UnixAddr, bind, listen, setsockopt, socket, sockopt,
};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{mkfifo, unlink};

use crate::Error;
use crate::owner::{Owner, act_as};

/// Where a service listens. Paths are relative to the queue directory, which is master's working directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// TCP.
    Inet(SocketAddr),
    /// Stream socket in the file system (`unix`, `pass`).
    Unix(PathBuf),
    /// Datagram socket in the file system.
    UnixDatagram(PathBuf),
    /// Named pipe.
    Fifo(PathBuf),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Inet(address) => write!(f, "{address}"),
            Endpoint::Unix(path) | Endpoint::UnixDatagram(path) | Endpoint::Fifo(path) => {
                write!(f, "{}", path.display())
            }
        }
    }
}

/// An open endpoint.
#[derive(Debug)]
pub(crate) struct Listener {
    /// Where.
    pub endpoint: Endpoint,
    /// Non-blocking, closed by exec.
    pub fd: OwnedFd,
}

/// Opens an endpoint; files are made as `owner`. `None` when the machine does not have this protocol at all.
///
/// # Errors
/// [`Error::Bind`] and [`Error::Listen`].
pub(crate) fn open(endpoint: &Endpoint, owner: Option<Owner>) -> Result<Option<Listener>, Error> {
    let fd = match endpoint {
        Endpoint::Inet(address) => match inet(*address) {
            Err(Errno::EAFNOSUPPORT) => return Ok(None),
            other => other.map_err(|errno| Error::Bind {
                address: address.ip().to_string(),
                port: address.port(),
                reason: sys::reason(&errno.into()),
            })?,
        },
        Endpoint::Unix(path) => act_as(owner, || unix(path, SockType::Stream))??,
        Endpoint::UnixDatagram(path) => act_as(owner, || unix(path, SockType::Datagram))??,
        Endpoint::Fifo(path) => act_as(owner, || fifo(path))??,
    };
    Ok(Some(Listener { endpoint: endpoint.clone(), fd }))
}

fn flags() -> SockFlag {
    SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC
}

fn inet(address: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if address.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let fd = socket(family, SockType::Stream, flags(), None)?;
    if address.is_ipv6() {
        setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
    }
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
    listen(&fd, Backlog::MAXCONN)?;
    Ok(fd)
}

fn unix(path: &Path, kind: SockType) -> Result<OwnedFd, Error> {
    let failed = |errno: Errno| Error::Listen { path: path.display().to_string(), reason: sys::reason(&errno.into()) };
    make_way(path)?;
    let fd = socket(AddressFamily::Unix, kind, flags(), None).map_err(failed)?;
    let address = UnixAddr::new(path).map_err(failed)?;
    // Who may come here is decided by the directory (public, private) and by the service, from the peer's identity. The
    // mode is set by the creation itself: a later change by name could be led elsewhere.
    let mask = umask(Mode::from_bits_truncate(0o111));
    let bound = bind(fd.as_raw_fd(), &address);
    umask(mask);
    bound.map_err(failed)?;
    if kind == SockType::Stream {
        listen(&fd, Backlog::MAXCONN).map_err(failed)?;
    }
    Ok(fd)
}

fn fifo(path: &Path) -> Result<OwnedFd, Error> {
    let failed = |reason: String| Error::Listen { path: path.display().to_string(), reason };
    make_way(path)?;
    let mask = umask(Mode::empty());
    let made = mkfifo(path, Mode::from_bits_truncate(0o622));
    umask(mask);
    made.map_err(|errno| failed(sys::reason(&errno.into())))?;
    // Open for writing as well, so that the last writer's close is no end of file.
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(O_NONBLOCK | O_NOFOLLOW)
        .open(path)
        .map_err(|error| failed(sys::reason(&error)))?;
    Ok(OwnedFd::from(file))
}

/// Removes the socket or pipe that an earlier master left; anything else in this place is an error.
fn make_way(path: &Path) -> Result<(), Error> {
    let failed = |reason: String| Error::Listen { path: path.display().to_string(), reason };
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(sys::reason(&error))),
        Ok(metadata) if metadata.file_type().is_socket() || metadata.file_type().is_fifo() => {
            unlink(path).map_err(|errno| failed(sys::reason(&errno.into())))
        }
        Ok(_) => Err(failed("there is a file of another type".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn sockets_are_open_to_whoever_reaches_them_and_replace_old_ones() {
        let directory = tempfile::tempdir().expect("directory");
        for kind in 0..3 {
            let path = directory.path().join(format!("service{kind}"));
            let endpoint = match kind {
                0 => Endpoint::Unix(path.clone()),
                1 => Endpoint::UnixDatagram(path.clone()),
                _ => Endpoint::Fifo(path.clone()),
            };
            let first = open(&endpoint, None).expect("open").expect("supported");
            drop(first);
            let _second = open(&endpoint, None).expect("again").expect("supported");
            let mode = std::fs::metadata(&path).expect("metadata").permissions().mode() & 0o777;
            assert_eq!(mode, if kind == 2 { 0o622 } else { 0o666 });
        }
    }

    #[test]
    fn a_file_in_the_way_is_left_alone() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("service");
        std::fs::write(&path, "precious").expect("write");
        let error = open(&Endpoint::Unix(path.clone()), None).expect_err("in the way");
        assert!(error.to_string().contains("another type"), "{error}");
        assert!(path.exists());
    }

    #[test]
    fn an_address_in_use_is_named() {
        let any = "127.0.0.1:0".parse().expect("address");
        let listener = open(&Endpoint::Inet(any), None).expect("open").expect("supported");
        let taken =
            nix::sys::socket::getsockname::<nix::sys::socket::SockaddrIn>(listener.fd.as_raw_fd()).expect("name");
        let address = SocketAddr::from((taken.ip(), taken.port()));
        let error = open(&Endpoint::Inet(address), None).expect_err("in use").to_string();
        assert_eq!(error, format!("bind 127.0.0.1 port {}: Address already in use", taken.port()));
    }
}
