//! Requests of the queue manager.

use std::io;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use config::Config;
use ipc::Connection;
use ipc::bounce::{Answer, Notice, Request};
use log::lines::{NoticeTo, delay_notification, failure_notification, success_notification};
use queue::{Directory, Spool, log_file};
use server::{Account, Callers, Client, SessionService, StartError, Startup, Worker};

use crate::compose::{Addressee, Log, Original, Outgoing, is_our_own, notices};
use crate::settings::Settings;
use crate::submit::{self, submit};

/// One of the three services: which log it reads depends on its name.
#[derive(Debug)]
pub struct Bounce {
    settings: Arc<Settings>,
    spool: Spool,
    directory: Directory,
}

impl SessionService for Bounce {
    const PROGRAM: &'static str = "bounce";
    const ACCOUNT: Account = Account::MailOwner;
    // It sends any message of the queue to whom the request names, and removes logs: not for what talks to the network.
    const CALLERS: Callers = Callers::OWNER;

    fn prepare(start: &Startup) -> Result<Self, StartError> {
        Ok(Bounce {
            settings: Arc::new(Settings::load(&start.config)?),
            spool: Spool::open(&start.config)?,
            directory: directory_of(&start.config, &start.service)?,
        })
    }

    async fn session(self: Rc<Self>, client: Client, worker: Worker) {
        let Some(mut connection) = client.into_connection() else { return };
        loop {
            let request = tokio::select! {
                request = connection.receive::<Request>() => request,
                () = worker.draining() => return,
            };
            let answered = match request {
                Ok(Some(request)) => connection.send(&self.answer(request, &worker).await).await,
                Ok(None) => return,
                Err(error) => Err(error),
            };
            if let Err(error) = answered {
                log::warning!("problem talking to the queue manager: {error}");
                return;
            }
        }
    }
}

/// The log that a service reads.
fn directory_of(config: &Config, service: &str) -> Result<Directory, config::Error> {
    if service == config.string("defer_service_name")? {
        Ok(Directory::Defer)
    } else if service == config.string("trace_service_name")? {
        Ok(Directory::Trace)
    } else {
        Ok(Directory::Bounce)
    }
}

impl Bounce {
    async fn answer(&self, request: Request, worker: &Worker) -> Answer {
        let request = Arc::new(request);
        if is_our_own(&request, &self.settings) {
            log::warning!("{}: undeliverable postmaster notification discarded", request.queue_id);
        } else if !self.tell(&request, worker).await {
            return Answer::Failed;
        }
        if request.notice == Notice::Delay {
            return Answer::Done;
        }
        // Only now: a notice twice is better than none.
        let (spool, directory) = (self.spool.clone(), self.directory);
        let removed = worker.run_blocking(move || log_file::remove(&spool, directory, &request.queue_id)).await;
        match removed {
            Some(Ok(_)) => Answer::Done,
            Some(Err(error)) => {
                log::warning!("cannot remove a {} log: {}", directory.name(), sys::reason(&error));
                Answer::Done
            }
            None => Answer::Failed,
        }
    }

    /// Sends all notices that are owed, a part of the log at a time; false when that did not work.
    async fn tell(&self, request: &Arc<Request>, worker: &Worker) -> bool {
        let opened = {
            let (spool, directory, request) = (self.spool.clone(), self.directory, Arc::clone(request));
            let open =
                move || Ok((Log::open(&spool, directory, &request)?, Arc::new(Original::open(&spool, &request))));
            worker.run_blocking(open).await
        };
        let Some((mut log, original)) = self.read(request, opened) else { return false };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs().cast_signed());
        let mut connection = None;
        loop {
            let composed = {
                let (settings, request) = (Arc::clone(&self.settings), Arc::clone(request));
                let original = Arc::clone(&original);
                let compose = move || {
                    let part = log.next_part()?;
                    let outgoing = notices(&request, &part, &original, &settings, now);
                    Ok((log, outgoing, part.is_empty()))
                };
                worker.run_blocking(compose).await
            };
            let Some((rest, outgoing, last)) = self.read(request, composed) else { return false };
            if last {
                return true;
            }
            log = rest;
            if let Err(error) = self.submit_all(request, &outgoing, &original, &mut connection).await {
                log::warning!("{}: sender notification failed: {error}", request.queue_id);
                return false;
            }
        }
    }

    fn read<T>(&self, request: &Request, result: Option<io::Result<T>>) -> Option<T> {
        match result? {
            Ok(value) => Some(value),
            Err(error) => {
                let name = self.directory.name();
                log::warning!("{}: {name} log: {}", request.queue_id, sys::reason(&error));
                None
            }
        }
    }

    async fn submit_all(
        &self,
        request: &Request,
        outgoing: &[Outgoing],
        original: &Original,
        connection: &mut Option<Connection>,
    ) -> Result<(), submit::Error> {
        for notice in outgoing {
            let connection = match connection {
                Some(connection) => connection,
                None => {
                    let path = Path::new(&self.settings.cleanup);
                    connection.insert(Connection::connect(path).await.map_err(ipc::Error::Io)?)
                }
            };
            let id = submit(connection, notice, original, self.settings.ipc_timeout).await?;
            let to = match notice.addressee {
                Addressee::Sender => NoticeTo::Sender,
                Addressee::Postmaster => NoticeTo::Postmaster,
            };
            match request.notice {
                Notice::Failure => failure_notification(request.queue_id.as_str(), to, id.as_str()),
                Notice::Delay => delay_notification(request.queue_id.as_str(), to, id.as_str()),
                Notice::Success => success_notification(request.queue_id.as_str(), id.as_str()),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_talks_to_the_network_does_not_ask_for_notices() {
        let network = Callers::MAIL_IN.and(Callers::MAIL_OUT).and(Callers::SET_GID);
        assert!(!Bounce::CALLERS.meets(network));
        assert!(Bounce::CALLERS.meets(Callers::MAIL_OWNER));
    }
}
