//! showq: lists the queue for postqueue.

use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ipc::frame;
use ipc::showq::Listed;
use queue::Spool;
use queue::listing::Listing;
use server::{Account, Callers, Client, SessionService, StartError, Startup, Worker};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

/// Bytes of listing that are made before they are sent: all that a client costs in memory.
const BATCH: usize = 64 << 10;

/// The service.
pub struct Showq {
    spool: Spool,
    empty_address: String,
    timeout: Duration,
}

impl SessionService for Showq {
    const PROGRAM: &'static str = "showq";
    const ACCOUNT: Account = Account::MailOwner;
    const CALLERS: Callers = Callers::ALL;
    // It speaks first.
    const TRIGGERS: bool = false;

    fn prepare(start: &Startup) -> Result<Showq, StartError> {
        Ok(Showq {
            spool: Spool::open(&start.config)?,
            empty_address: start.config.string("empty_address_recipient")?,
            timeout: start.config.time("ipc_timeout")?,
        })
    }

    async fn session(self: Rc<Self>, client: Client, worker: Worker) {
        match client {
            Client::Unix { stream, .. } | Client::StandAlone { stream } => self.list(stream, &worker).await,
            Client::Inet { .. } => {}
        }
    }
}

impl Showq {
    /// Reading happens on the thread pool, a batch at a time; while a client does not read, no thread waits for it.
    async fn list(&self, mut stream: UnixStream, worker: &Worker) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs() as i64);
        let mut listing = Listing::new(self.spool.clone(), &self.empty_address, now);
        let mut bytes = Vec::with_capacity(BATCH + (BATCH >> 2));
        loop {
            let mut step = Step { listing, bytes, problems: Vec::new(), ended: false };
            let Some(done) = worker
                .run_blocking(move || {
                    step.run();
                    step
                })
                .await
            else {
                return;
            };
            for problem in &done.problems {
                log::warning!("{problem}");
            }
            match tokio::time::timeout(self.timeout, stream.write_all(&done.bytes)).await {
                Ok(Ok(())) => {}
                // A pager that was left early is nobody's problem.
                Ok(Err(_)) => return,
                Err(_) => {
                    log::warning!("timeout while sending the queue listing");
                    return;
                }
            }
            if done.ended {
                return;
            }
            (listing, bytes) = (done.listing, done.bytes);
        }
    }
}

struct Step {
    listing: Listing,
    bytes: Vec<u8>,
    problems: Vec<String>,
    ended: bool,
}

impl Step {
    fn run(&mut self) {
        self.bytes.clear();
        let problems = &mut self.problems;
        while self.bytes.len() < BATCH {
            let item = match self.listing.next_entry(&mut |problem| problems.push(problem)) {
                Ok(Some(entry)) => Listed::Entry(Box::new(entry)),
                Ok(None) => Listed::End,
                Err(error) => {
                    // Without its last word the client knows that the listing is not whole.
                    problems.push(format!("queue scan: {}", sys::reason(&error)));
                    self.ended = true;
                    return;
                }
            };
            if let Err(error) = frame::put_message(&mut self.bytes, &item) {
                problems.push(format!("queue listing: {error}"));
            }
            if item == Listed::End {
                self.ended = true;
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests;
