//! A worker without a master, for tests of a daemon within the test's own process.

use std::future::Future;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::task::{JoinHandle, LocalSet};

use crate::accept;
use crate::error::StartError;
use crate::panics;
use crate::peers::Peer;
use crate::service::{self, SessionService};
use crate::startup::Startup;
use crate::trigger;
use crate::worker::{Bounds, Minding, Worker, mind};

/// A running service; must be used within [`run`].
pub struct Harness<S> {
    service: Rc<S>,
    worker: Worker,
    minder: JoinHandle<()>,
}

/// Runs `scenario` on the event loop that daemons have.
///
/// # Panics
/// When the scenario takes longer than a minute.
pub fn run<R>(scenario: impl Future<Output = R>) -> R {
    let runtime = service::runtime().expect("an event loop");
    let local = LocalSet::new();
    local.block_on(&runtime, async {
        tokio::time::timeout(Duration::from_secs(60), scenario).await.expect("the scenario ends in time")
    })
}

impl<S: SessionService> Harness<S> {
    /// Prepares and starts the service, as master would; see [`Startup::for_tests`].
    ///
    /// # Errors
    /// What [`SessionService::prepare`] says.
    pub async fn start(startup: &Startup) -> Result<Harness<S>, StartError> {
        let service = S::prepare(startup)?;
        Ok(Harness::with(service, startup).await)
    }

    /// Starts a service that was made by other means.
    pub async fn with(service: S, startup: &Startup) -> Harness<S> {
        panics::install(service.last_reply());
        let own_limit = if startup.sessions == 0 { 1000 } else { startup.sessions };
        let bounds = Bounds { own_limit, max_served: 0 };
        let worker = Worker::new(None, startup.peers.clone(), bounds, startup.sessions);
        let service = Rc::new(service);
        service::attach(&service, &worker);
        Rc::clone(&service).started(worker.clone()).await;
        let minding = Minding { max_idle: None, drain_limit: Duration::from_secs(30), beat: Duration::from_secs(30) };
        let minded = worker.clone();
        let minder = tokio::task::spawn_local(async move { mind(&minded, minding, || ()).await });
        Harness { service, worker, minder }
    }

    /// A client on a Unix-domain socket: this process itself.
    ///
    /// # Errors
    /// The error of `socketpair(2)`.
    pub fn connect(&self) -> io::Result<UnixStream> {
        let (client, server) = UnixStream::pair()?;
        let peer = Peer::of(&server)?;
        accept::start_unix(&self.service, &self.worker, server, peer);
        Ok(client)
    }

    /// A client from the network, over a loopback port.
    ///
    /// # Errors
    /// Those of the sockets.
    pub async fn connect_inet(&self) -> io::Result<TcpStream> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (server, peer) = accepted?;
        accept::start_inet(&self.service, &self.worker, server, peer, peer, address);
        client
    }

    /// Wakes the service, as master does.
    pub fn wake(&self, characters: &[u8]) {
        trigger::wake(&self.service, &self.worker, characters.to_vec());
    }

    /// The service itself.
    #[must_use]
    pub fn service(&self) -> &Rc<S> {
        &self.service
    }

    /// Its worker: sessions, draining.
    #[must_use]
    pub fn worker(&self) -> &Worker {
        &self.worker
    }

    /// Drains the worker and waits until all sessions have ended.
    pub async fn finish(self) {
        self.worker.start_draining();
        // The minder does not panic; an error would mean that the loop is being torn down.
        let _ = self.minder.await;
    }
}
