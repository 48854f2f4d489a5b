//! From a listening socket to sessions.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use ipc::pass::Handoff;
use tokio::io::unix::AsyncFd;
use tokio::net::{TcpStream, UnixStream};

use crate::arguments::Kind;
use crate::client::Client;
use crate::panics::{CurrentClient, on_behalf_of};
use crate::peers::{self, Callers, Peer};
use crate::service::SessionService;
use crate::trigger::{self, First};
use crate::worker::{SessionGuard, Worker};

/// Pause after an accept that failed for want of descriptors or memory.
const PAUSE: Duration = Duration::from_secs(1);

/// Serves the clients of `listener` from now on, in tasks of the worker.
pub(crate) fn start<S: SessionService>(
    service: &Rc<S>,
    worker: &Worker,
    listener: OwnedFd,
    kind: Kind,
) -> io::Result<()> {
    let listener = sys::readiness::watch(listener)?;
    let (service, worker) = (Rc::clone(service), worker.clone());
    worker.clone().spawn_background(async move {
        if kind == Kind::Fifo {
            trigger::serve_fifo(&service, &worker, &listener).await;
        } else {
            accept_loop(&service, &worker, &listener, kind).await;
        }
    });
    Ok(())
}

async fn accept_loop<S: SessionService>(service: &Rc<S>, worker: &Worker, listener: &AsyncFd<OwnedFd>, kind: Kind) {
    while worker.wait_for_room().await {
        let ready = tokio::select! {
            ready = listener.readable() => ready,
            () = worker.draining() => return,
        };
        let Ok(mut ready) = ready else { return };
        // The client stays in the queue for the worker that comes after us.
        if worker.drain_if_reload_needed() {
            return;
        }
        match sys::socket::accept(listener.get_ref().as_fd(), true) {
            Ok((socket, peer)) => {
                if let Err(error) = welcome(service, worker, socket, peer, kind) {
                    log::warning!("accept connection: {}", sys::reason(&error));
                }
                // The new session gets its turn, and other workers their chance of the next client.
                tokio::task::yield_now().await;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
            Err(error) => {
                log::warning!("accept connection: {}", sys::reason(&error));
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

fn welcome<S: SessionService>(
    service: &Rc<S>,
    worker: &Worker,
    socket: OwnedFd,
    peer: Option<SocketAddr>,
    kind: Kind,
) -> io::Result<()> {
    match peer {
        Some(peer) => {
            let stream = TcpStream::from_std(socket.into())?;
            // A client that is gone already shows itself at the first read.
            let Ok(local) = stream.local_addr() else { return Ok(()) };
            start_inet(service, worker, stream, peer, peer, local);
        }
        None => {
            let stream = UnixStream::from_std(socket.into())?;
            let peer = Peer::of(&stream)?;
            let callers = if kind == Kind::Pass { Callers::DAEMONS } else { S::CALLERS };
            if !peers::check(worker.peers(), peer, callers) {
                log::warning!("connection by uid {} gid {} pid {} refused", peer.uid, peer.gid, peer.pid);
                return Ok(());
            }
            if kind == Kind::Pass {
                start_pass(service, worker, stream);
            } else {
                start_unix(service, worker, stream, peer);
            }
        }
    }
    Ok(())
}

/// Starts the session of a client from the network: `connected` is at the other end of the socket, `peer` behind it.
pub(crate) fn start_inet<S: SessionService>(
    service: &Rc<S>,
    worker: &Worker,
    stream: TcpStream,
    connected: SocketAddr,
    peer: SocketAddr,
    local: SocketAddr,
) {
    // Replies are written whole; waiting for more only costs the client time. Not worth a word if it fails.
    let _ = stream.set_nodelay(true);
    let mut current = Some(CurrentClient { descriptor: stream.as_raw_fd(), peer: connected });
    let client = Client::Inet { stream, peer, local };
    let guard = SessionGuard::new(worker.clone());
    let (service, worker) = (Rc::clone(service), worker.clone());
    tokio::task::spawn_local(async move {
        let _guard = guard;
        let mut session = pin!(service.session(client, worker));
        std::future::poll_fn(|context| on_behalf_of(&mut current, || session.as_mut().poll(context))).await;
    });
}

/// Starts the session of another process of this machine, or takes its wake-up.
pub(crate) fn start_unix<S: SessionService>(service: &Rc<S>, worker: &Worker, stream: UnixStream, peer: Peer) {
    let guard = SessionGuard::new(worker.clone());
    let (service, worker) = (Rc::clone(service), worker.clone());
    tokio::task::spawn_local(async move {
        let _guard = guard;
        if S::TRIGGERS {
            match trigger::first(&stream, &worker).await {
                First::Frame => {}
                First::Trigger(characters) => return service.trigger(characters, worker).await,
                First::Nothing => return,
            }
        }
        service.session(Client::Unix { stream, peer }, worker).await;
    });
}

/// Takes clients that another daemon accepted, until it closes or the worker drains.
fn start_pass<S: SessionService>(service: &Rc<S>, worker: &Worker, stream: UnixStream) {
    let (service, worker) = (Rc::clone(service), worker.clone());
    worker.clone().spawn_background(async move {
        let mut connection = ipc::Connection::new(stream);
        while worker.wait_for_room().await {
            let handoff = tokio::select! {
                handoff = connection.receive::<Handoff>() => handoff,
                () = worker.draining() => return,
            };
            let client = match handoff {
                Ok(None) => return,
                Ok(Some(handoff)) => connection.take_descriptor().map(|socket| (handoff, socket)),
                Err(error) => Err(error),
            };
            let outcome = match client {
                Ok((Handoff { peer, local }, socket)) => adopt(socket)
                    .map(|(stream, connected)| start_inet(&service, &worker, stream, connected, peer, local)),
                Err(error) => Err(io::Error::other(error)),
            };
            if let Err(error) = outcome {
                log::warning!("client passed by another daemon: {error}");
                return;
            }
        }
    });
}

fn adopt(socket: OwnedFd) -> io::Result<(TcpStream, SocketAddr)> {
    let stream = std::net::TcpStream::from(socket);
    stream.set_nonblocking(true)?;
    let connected = stream.peer_addr()?;
    Ok((TcpStream::from_std(stream)?, connected))
}
