//! The end of a message's turn in the active queue: notices are sent, and it is removed or put off.

use std::rc::Rc;
use std::time::{Duration, SystemTime};

use ipc::bounce::{Notice, Request};
use log::lines::Expired;
use queue::message::Envelope;
use queue::{Directory, QueueId};

use tokio::time::sleep;

use crate::disk;
use crate::scheduler::MessageId;
use crate::service::{Qmgr, epoch_seconds};

/// First pause before a step that failed is taken again; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// What is left of a message when its recipients have had their turn.
struct Rest {
    id: QueueId,
    envelope: Rc<Envelope>,
    bounced: bool,
    traced: bool,
    /// Recipients wait for another try.
    waiting: bool,
    forced: bool,
    /// A notice could not name all of them.
    untold: bool,
    sites: Vec<String>,
}

impl Qmgr {
    /// The scheduler has nothing of this message any more.
    pub(crate) fn scheduled(self: &Rc<Self>, number: MessageId) {
        if let Some(message) = self.state.borrow_mut().messages.get_mut(&number) {
            message.scheduled = true;
        }
        self.settled(number);
    }

    /// Takes the last steps, once the scheduler has nothing of the message and its logs are written.
    pub(crate) fn settled(self: &Rc<Self>, number: MessageId) {
        let simple = {
            let mut state = self.state.borrow_mut();
            let Some(message) = state.messages.get_mut(&number) else { return };
            if !message.scheduled || message.writing || message.finishing {
                return;
            }
            if !message.entries.is_empty() {
                drop(state);
                self.write_entries(number);
                return;
            }
            message.finishing = true;
            let logs = message.bounced || message.traced;
            let simple = !logs && message.deferred == 0 && !message.corrupt;
            simple.then(|| (message.id.clone(), std::mem::take(&mut message.unmarked)))
        };
        match simple {
            Some((id, unmarked)) => {
                // Every recipient has its mail: nothing to mark in a file that goes.
                match disk::remove(&self.spool, &id) {
                    Ok(()) => {
                        log::lines::removed(id.as_str());
                        self.forget(number);
                    }
                    Err(error) => {
                        warn(&id, "remove", &error);
                        let this = self.clone();
                        self.worker().spawn(async move {
                            this.mark_and_remove(&id, unmarked).await;
                            this.forget(number);
                        });
                    }
                }
            }
            None => {
                let this = self.clone();
                self.worker().spawn(async move {
                    this.finish(number).await;
                    this.forget(number);
                });
            }
        }
    }

    /// A file that does not go must not be delivered again, by whichever queue manager finds it.
    async fn mark_and_remove(&self, id: &QueueId, unmarked: Vec<u64>) {
        let (spool, name) = (self.spool.clone(), id.clone());
        self.insist(id, "mark recipients", move || disk::mark(&spool, &name, &unmarked)).await;
        self.remove(id).await;
    }

    async fn remove(&self, id: &QueueId) {
        let (spool, name) = (self.spool.clone(), id.clone());
        if self.insist(id, "remove", move || disk::remove(&spool, &name)).await {
            log::lines::removed(id.as_str());
        }
    }

    /// Takes a step on disk until it succeeds; the first failure is logged. The message stays ours meanwhile: nobody takes
    /// it into the active queue again. False when this process ended before.
    async fn insist(
        &self,
        id: &QueueId,
        what: &str,
        step: impl Fn() -> std::io::Result<()> + Clone + Send + 'static,
    ) -> bool {
        let mut pause = FIRST_PAUSE;
        let mut last = false;
        loop {
            match self.worker().run_blocking(step.clone()).await {
                Some(Ok(())) => return true,
                Some(Err(error)) if pause == FIRST_PAUSE => warn(id, what, &error),
                Some(Err(_)) => {}
                None => return false,
            }
            if last {
                return false;
            }
            tokio::select! {
                () = sleep(pause) => {}
                // Once more, and then the next queue manager finds it.
                () = self.worker().draining() => last = true,
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn finish(&self, number: MessageId) {
        let Some((rest, corrupt)) = self.write_down(number).await else { return };
        if corrupt {
            log::lines::saving_corrupt(rest.id.as_str(), Directory::Active.name());
            let (spool, id) = (self.spool.clone(), rest.id.clone());
            self.insist(&rest.id, "move to corrupt", move || disk::save_corrupt(&spool, &id)).await;
        } else if self.send_notices(&rest).await {
            self.put_off(&rest).await;
        } else {
            self.remove(&rest.id).await;
        }
    }

    /// Marks and deferrals go to disk. Who has got the mail must be marked before anything else happens to the message;
    /// why others wait is written down another day if it cannot be now.
    async fn write_down(&self, number: MessageId) -> Option<(Rest, bool)> {
        let (mut rest, corrupt, unmarked, deferrals) = {
            let mut state = self.state.borrow_mut();
            let message = state.messages.get_mut(&number)?;
            let rest = Rest {
                id: message.id.clone(),
                envelope: message.envelope.clone(),
                bounced: message.bounced,
                traced: message.traced,
                waiting: message.deferred > 0,
                forced: message.forced,
                untold: message.untold,
                sites: std::mem::take(&mut message.sites),
            };
            let unmarked = std::mem::take(&mut message.unmarked);
            (rest, message.corrupt, unmarked, std::mem::take(&mut message.deferrals))
        };
        let (spool, id, form) = (self.spool.clone(), rest.id.clone(), self.form);
        let written = self
            .worker()
            .run_blocking(move || {
                let marked = disk::mark(&spool, &id, &unmarked);
                let written = disk::write_deferrals(&spool, &id, form, &deferrals);
                (marked.map_err(|error| (error, unmarked)), written)
            })
            .await;
        if let Some((marked, written)) = written {
            if let Err(error) = written {
                warn(&rest.id, "write defer log", &error);
                rest.untold = true;
            }
            if let Err((error, unmarked)) = marked {
                warn(&rest.id, "mark recipients", &error);
                let (spool, id) = (self.spool.clone(), rest.id.clone());
                self.insist(&rest.id, "mark recipients", move || disk::mark(&spool, &id, &unmarked)).await;
            }
        }
        Some((rest, corrupt))
    }

    /// Sends what is owed; true when the message stays in the queue.
    async fn send_notices(&self, rest: &Rest) -> bool {
        let mut stays = false;
        let mut waiting = rest.waiting;
        if rest.bounced {
            stays |= !self.notify(&self.settings.bounce_service, Notice::Failure, rest).await;
        }
        if waiting && let Some(why) = self.expired(rest) {
            log::lines::queue_expired(rest.id.as_str(), &self.delivery.shown(&rest.envelope.sender), why);
            waiting = !self.notify(&self.settings.defer_service, Notice::Failure, rest).await;
        }
        stays |= waiting;
        if rest.traced {
            let sent = self.notify(&self.settings.trace_service, Notice::Success, rest).await;
            stays |= !sent;
            if let Some(offset) = rest.envelope.trace_offset.filter(|_| sent && stays) {
                let (spool, id) = (self.spool.clone(), rest.id.clone());
                let marked = self.worker().run_blocking(move || disk::mark_traced(&spool, &id, offset)).await;
                warn_of(&rest.id, marked);
            }
        }
        if waiting && let Some(warning) = rest.envelope.warning.filter(|warning| warning.time > 0) {
            let due = epoch_seconds() >= warning.time && !rest.envelope.sender.is_empty();
            if due && self.notify(&self.settings.defer_service, Notice::Delay, rest).await {
                let (spool, id) = (self.spool.clone(), rest.id.clone());
                let marked = self.worker().run_blocking(move || disk::mark_warned(&spool, &id, warning.offset)).await;
                warn_of(&rest.id, marked);
            }
        }
        stays
    }

    async fn notify(&self, service: &str, notice: Notice, rest: &Rest) -> bool {
        let envelope = &rest.envelope;
        let request = Request {
            notice,
            directory: Directory::Active,
            queue_id: rest.id.clone(),
            sender: envelope.sender.clone(),
            envelope_id: envelope.envelope_id.clone(),
            ret: envelope.ret,
            encoding: envelope.encoding.clone(),
            send_options: envelope.size.send_options,
            verp: envelope.verp.filter(|_| !self.settings.disable_verp_bounces),
        };
        self.notices.send(service, &request).await
    }

    /// Why the message is given up, if it is.
    fn expired(&self, rest: &Rest) -> Option<Expired> {
        if rest.untold {
            return None;
        }
        let lifetime =
            if rest.envelope.sender.is_empty() { self.settings.notice_lifetime } else { self.settings.lifetime };
        let age = age(&rest.envelope);
        if rest.forced {
            Some(Expired::Forced)
        } else if age >= lifetime {
            Some(Expired::Lifetime)
        } else {
            None
        }
    }

    async fn put_off(&self, rest: &Rest) {
        let pause = age(&rest.envelope)
            .clamp(self.settings.minimal_backoff, self.settings.maximal_backoff.max(self.settings.minimal_backoff));
        let until = SystemTime::now() + pause;
        let (spool, id) = (self.spool.clone(), rest.id.clone());
        self.insist(&rest.id, "move to deferred", move || disk::put_off(&spool, &id, until)).await;
        for site in &rest.sites {
            if !self.fast_flush.is_empty() && self.fast_flush.matches(site.as_bytes()).await.unwrap_or(false) {
                self.flush.add(site.clone(), rest.id.clone());
            }
        }
    }
}

/// How long ago the message was made.
fn age(envelope: &Envelope) -> Duration {
    Duration::from_secs(u64::try_from(epoch_seconds() - envelope.created()).unwrap_or(0))
}

fn warn_of(id: &QueueId, result: Option<std::io::Result<()>>) {
    if let Some(Err(error)) = result {
        warn(id, "note in the queue file", &error);
    }
}

fn warn(id: &QueueId, what: &str, error: &std::io::Error) {
    log::warning!("{id}: {what}: {}", sys::reason(error));
}
