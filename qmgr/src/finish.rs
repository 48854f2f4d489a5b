//! The end of a message's turn in the active queue: notices are sent, and it is removed or put off.

use std::rc::Rc;
use std::time::{Duration, SystemTime};

use ipc::bounce::{Notice, Request};
use log::lines::Expired;
use queue::message::Envelope;
use queue::{Directory, QueueId};

use crate::disk;
use crate::scheduler::MessageId;
use crate::service::{Qmgr, epoch_seconds};

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
            simple.then(|| message.id.clone())
        };
        match simple {
            Some(id) => {
                // Every recipient has its mail: nothing to mark in a file that goes.
                self.remove(&id);
                self.forget(number);
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

    fn remove(&self, id: &QueueId) {
        match disk::remove(&self.spool, id) {
            Ok(()) => log::lines::removed(id.as_str()),
            Err(error) => log::warning!("{id}: remove: {error}"),
        }
    }

    async fn finish(&self, number: MessageId) {
        let Some((rest, corrupt)) = self.write_down(number).await else { return };
        if corrupt {
            let (spool, id) = (self.spool.clone(), rest.id.clone());
            let saved = self.worker().run_blocking(move || disk::save_corrupt(&spool, &id)).await;
            if let Some(Err(error)) = saved {
                log::warning!("{}: {error}", rest.id);
            }
            return;
        }
        let stays = self.send_notices(&rest).await;
        if stays { self.put_off(&rest).await } else { self.remove(&rest.id) }
    }

    /// Marks and deferrals go to disk. What fails here is tried again another day.
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
        let written = self.worker().run_blocking(move || {
            let marked = disk::mark(&spool, &id, &unmarked);
            marked.and(disk::write_deferrals(&spool, &id, form, &deferrals))
        });
        if let Some(Err(error)) = written.await {
            log::warning!("{}: {error}", rest.id);
            rest.untold = true;
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
                warn(&rest.id, marked);
            }
        }
        if waiting && let Some(warning) = rest.envelope.warning.filter(|warning| warning.time > 0) {
            let due = epoch_seconds() >= warning.time && !rest.envelope.sender.is_empty();
            if due && self.notify(&self.settings.defer_service, Notice::Delay, rest).await {
                let (spool, id) = (self.spool.clone(), rest.id.clone());
                let marked = self.worker().run_blocking(move || disk::mark_warned(&spool, &id, warning.offset)).await;
                warn(&rest.id, marked);
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
        let moved = self.worker().run_blocking(move || disk::put_off(&spool, &id, until)).await;
        warn(&rest.id, moved);
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

fn warn(id: &QueueId, result: Option<std::io::Result<()>>) {
    if let Some(Err(error)) = result {
        log::warning!("{id}: {error}");
    }
}
