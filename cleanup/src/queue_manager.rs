//! Telling the queue manager which message is ready.

use std::cell::Cell;
use std::path::PathBuf;
use std::rc::Rc;

use ipc::Connection;
use ipc::qmgr::{FromQmgr, ToQmgr};
use queue::QueueId;
use tokio::sync::mpsc;

/// Ids that wait for a connection; beyond that the queue manager's scan has to find them.
const WAITING: usize = 10_000;

/// A kept connection to `public/qmgr`, made when it is first needed and made again when it breaks.
///
/// A message that cannot be told about is found by the queue manager's next scan of `incoming`.
#[derive(Clone, Debug)]
pub struct QueueManager {
    ready: mpsc::Sender<QueueId>,
    behind: Rc<Cell<bool>>,
}

/// The other end of a [`QueueManager`]: the task that talks.
#[derive(Debug)]
pub struct Talker {
    path: PathBuf,
    ready: mpsc::Receiver<QueueId>,
    behind: Rc<Cell<bool>>,
}

impl QueueManager {
    /// The two halves.
    #[must_use]
    pub fn new(path: PathBuf) -> (QueueManager, Talker) {
        let (sender, receiver) = mpsc::channel(WAITING);
        let behind = Rc::new(Cell::new(false));
        (QueueManager { ready: sender, behind: Rc::clone(&behind) }, Talker { path, ready: receiver, behind })
    }

    /// A message is complete in `incoming`.
    pub fn ready(&self, id: QueueId) {
        // Full or closed: the scan finds it.
        let _ = self.ready.try_send(id);
    }

    /// New mail comes in faster than it is taken up (`in_flow_delay`).
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.behind.get()
    }
}

/// What woke the talker.
enum Event {
    Ready(Option<QueueId>),
    Said(Option<FromQmgr>),
}

impl Talker {
    /// Talks until the last [`QueueManager`] is gone.
    pub async fn run(mut self) {
        let mut connection: Option<Connection> = None;
        loop {
            let event = match connection.as_mut() {
                None => Event::Ready(self.ready.recv().await),
                Some(open) => tokio::select! {
                    id = self.ready.recv() => Event::Ready(id),
                    said = open.receive::<FromQmgr>() => Event::Said(said.unwrap_or_default()),
                },
            };
            match event {
                Event::Ready(None) => return,
                Event::Ready(Some(id)) => connection = self.tell(connection.take(), id).await,
                Event::Said(Some(FromQmgr::Behind(behind))) => self.behind.set(behind),
                Event::Said(None) => {
                    self.behind.set(false);
                    connection = None;
                }
            }
        }
    }

    /// Sends this id and all that wait; once more over a new connection when the kept one turns out to be dead.
    async fn tell(&mut self, kept: Option<Connection>, id: QueueId) -> Option<Connection> {
        let mut batch = vec![id];
        while batch.len() < 100 {
            let Ok(more) = self.ready.try_recv() else { break };
            batch.push(more);
        }
        if let Some(mut connection) = kept
            && send(&mut connection, &batch).await.is_ok()
        {
            return Some(connection);
        }
        self.behind.set(false);
        // Not there: nothing is lost, its scan at start finds the message.
        let mut connection = Connection::connect(&self.path).await.ok()?;
        send(&mut connection, &batch).await.ok()?;
        Some(connection)
    }
}

async fn send(connection: &mut Connection, batch: &[QueueId]) -> Result<(), ipc::Error> {
    for id in batch {
        connection.queue(&ToQmgr::Ready(id.clone()))?;
    }
    connection.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> QueueId {
        text.parse().expect("an id")
    }

    #[test]
    fn tells_again_over_a_new_connection_and_learns_who_is_behind() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, async {
            let directory = tempfile::tempdir().expect("directory");
            let path = directory.path().join("qmgr");
            let (manager, talker) = QueueManager::new(path.clone());
            tokio::task::spawn_local(talker.run());
            // Nobody there: forgotten.
            manager.ready(id("A"));
            tokio::task::yield_now().await;
            let listener = tokio::net::UnixListener::bind(&path).expect("bind");
            manager.ready(id("B"));
            let mut first = Connection::new(listener.accept().await.expect("accept").0);
            let mut heard: ToQmgr = first.expect().await.expect("message");
            if heard == ToQmgr::Ready(id("A")) {
                heard = first.expect().await.expect("message");
            }
            assert_eq!(heard, ToQmgr::Ready(id("B")));
            first.send(&FromQmgr::Behind(true)).await.expect("send");
            while !manager.is_behind() {
                tokio::task::yield_now().await;
            }
            drop(first);
            while manager.is_behind() {
                tokio::task::yield_now().await;
            }
            manager.ready(id("C"));
            let mut second = Connection::new(listener.accept().await.expect("accept").0);
            assert_eq!(second.expect::<ToQmgr>().await.expect("message"), ToQmgr::Ready(id("C")));
        });
    }
}
