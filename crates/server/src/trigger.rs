//! Wake-ups: characters that tell a service to look after its work.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use ipc::frame::HEADER;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::UnixStream;

use crate::service::SessionService;
use crate::worker::{TaskGuard, Worker};

/// Most characters of one wake-up.
const LIMIT: usize = 100;
/// How long the rest of a wake-up may take to arrive.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a new client of a draining worker has to begin.
const GRACE: Duration = Duration::from_secs(1);
/// The kind byte of a trigger frame, behind the length.
const TRIGGER: u8 = 2;

/// What a client of a Unix-domain socket begins with.
pub(crate) enum First {
    /// An ordinary frame; it is still there to be read.
    Frame,
    /// A wake-up.
    Trigger(Vec<u8>),
    /// Nothing: closed, or not understood.
    Nothing,
}

/// Waits for the client's first bytes, for as long as it takes unless the worker drains. A client that was accepted just
/// before that still gets the time to speak.
pub(crate) async fn first(stream: &UnixStream, worker: &Worker) -> First {
    let mut header = [0u8; HEADER];
    let peeked = tokio::select! {
        peeked = peek(stream, &mut header) => peeked,
        () = async { worker.draining().await; tokio::time::sleep(GRACE).await } => return First::Nothing,
    };
    match peeked {
        Ok(HEADER..) if header[HEADER - 1] == TRIGGER => {
            tokio::time::timeout(PATIENCE, read_frame(stream)).await.unwrap_or(First::Nothing)
        }
        Ok(HEADER..) => First::Frame,
        Ok(1..) => tokio::time::timeout(PATIENCE, read_raw(stream)).await.unwrap_or(First::Nothing),
        _ => First::Nothing,
    }
}

async fn peek(stream: &UnixStream, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        let peeked = stream.try_io(Interest::READABLE, || {
            Ok(recv(stream.as_raw_fd(), buffer, MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT)?)
        });
        match peeked {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => stream.readable().await?,
            Err(error) if error.raw_os_error() == Some(Errno::EINTR as i32) => {}
            other => return other,
        }
    }
}

async fn read_frame(stream: &UnixStream) -> First {
    let mut bytes = Vec::new();
    let wanted = |bytes: &[u8]| {
        let length = bytes.first_chunk().map(|four| u32::from_le_bytes(*four) as usize);
        length.map_or(HEADER, |length| length.saturating_add(HEADER - 1))
    };
    loop {
        let end = wanted(&bytes);
        if bytes.len() >= end {
            break;
        }
        if end > HEADER + LIMIT || !matches!(read_some(stream, &mut bytes, end).await, Ok(1..)) {
            return First::Nothing;
        }
    }
    First::Trigger(bytes.split_off(HEADER))
}

/// Fewer bytes than a frame has, then the end: characters written as they are, which is how scripts and other programs
/// wake the reference's daemons.
async fn read_raw(stream: &UnixStream) -> First {
    let mut bytes = Vec::new();
    loop {
        match read_some(stream, &mut bytes, HEADER).await {
            Ok(0) if !bytes.is_empty() => return First::Trigger(bytes),
            Ok(1..) if bytes.len() < HEADER => {}
            _ => return First::Nothing,
        }
    }
}

async fn read_some(stream: &UnixStream, bytes: &mut Vec<u8>, up_to: usize) -> io::Result<usize> {
    let mut buffer = [0u8; HEADER + LIMIT];
    let room = up_to.saturating_sub(bytes.len()).min(buffer.len());
    loop {
        match stream.try_read(&mut buffer[..room]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => stream.readable().await?,
            Err(error) => return Err(error),
            Ok(count) => {
                bytes.extend_from_slice(&buffer[..count]);
                return Ok(count);
            }
        }
    }
}

/// Wake-ups that come through a named pipe.
pub(crate) async fn serve_fifo<S: SessionService>(service: &Rc<S>, worker: &Worker, fifo: &AsyncFd<OwnedFd>) {
    while !worker.is_draining() {
        let ready = tokio::select! {
            ready = fifo.readable() => ready,
            () = worker.draining() => return,
        };
        let Ok(mut ready) = ready else { return };
        let mut buffer = [0u8; LIMIT];
        let read = ready.try_io(|fifo| Ok(nix::unistd::read(fifo.get_ref(), &mut buffer)?));
        match read {
            Err(_would_block) => {}
            Ok(Ok(1..)) if worker.drain_if_reload_needed() => return,
            Ok(Ok(count)) if count > 0 => wake(service, worker, buffer[..count].to_vec()),
            // No writer at the moment; master keeps one open, so this is the end.
            Ok(Ok(_)) => return,
            Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(Err(error)) => {
                log::warning!("read wake-up: {}", sys::reason(&error));
                return;
            }
        }
    }
}

/// Calls the service in a task of its own.
pub(crate) fn wake<S: SessionService>(service: &Rc<S>, worker: &Worker, characters: Vec<u8>) {
    let guard = TaskGuard::new(worker.clone());
    let (service, worker) = (Rc::clone(service), worker.clone());
    tokio::task::spawn_local(async move {
        let _guard = guard;
        service.trigger(characters, worker).await;
    });
}
