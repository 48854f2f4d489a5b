//! What became of recipients: log lines of our own, the bounce, defer and trace logs, and the marks in the queue file.
//!
//! A failure, or a success that is to be reported, is on disk before its recipient is marked. A plain success is marked
//! when the message has other recipients to wait for; otherwise its file is simply removed. A deferral needs no mark.

use std::rc::Rc;
use std::time::SystemTime;

use bstr::BString;
use dsn::{Action, Class, Delivery, Dsn};
use log::lines::{Status, StatusLine};
use queue::{Directory, log_file};

use crate::disk;
use crate::message::{Recipient, entry};
use crate::scheduler::MessageId;
use crate::service::Qmgr;

impl Qmgr {
    /// An agent has reported a recipient, and logged it.
    pub(crate) fn outcome(
        self: &Rc<Self>,
        number: MessageId,
        index: u32,
        delivery: Delivery,
        relay: &[u8],
        notices_passed_on: bool,
    ) {
        let mut state = self.state.borrow_mut();
        state.touched.push(number);
        let Some(message) = state.messages.get_mut(&number) else { return };
        let Some(recipient) = message.recipients.get_mut(index as usize).and_then(Option::take) else { return };
        let probe = message.is_probe();
        let log = match delivery {
            Delivery::Sent { action, dsn } => {
                let confirm = self.settings.confirm_delay_cleared;
                let report = message.reports_success(recipient.notify, notices_passed_on, confirm);
                let reason = BString::from([b"delivery via ", relay, b": ", &dsn.reason].concat());
                report.then(|| (Directory::Trace, entry(&recipient, action, &Dsn { reason, ..dsn })))
            }
            Delivery::Bounced(dsn) | Delivery::Deferred(dsn) if probe => {
                (!message.is_server_probe()).then(|| (Directory::Trace, entry(&recipient, Action::Undeliverable, &dsn)))
            }
            Delivery::Bounced(dsn) => Some((Directory::Bounce, entry(&recipient, Action::Failed, &dsn))),
            Delivery::Deferred(dsn) => {
                message.deferral(&recipient, &dsn);
                return;
            }
        };
        match log {
            Some(log) => {
                message.entries.push(log);
                drop(state);
                self.write_entries(number);
            }
            None => message.done(&recipient),
        }
    }

    /// These recipients wait, without a try.
    pub(crate) fn defer(self: &Rc<Self>, number: MessageId, indexes: &[u32], why: &Dsn) {
        for index in indexes {
            self.untried(number, *index, Delivery::Deferred(why.clone()));
        }
        self.write_entries(number);
    }

    /// This recipient is returned, without a try.
    pub(crate) fn reject(self: &Rc<Self>, number: MessageId, index: u32, why: Dsn) {
        self.untried(number, index, Delivery::Bounced(why));
        self.write_entries(number);
    }

    /// An outcome of our own, as default_delivery_status_filter and soft_bounce have it: logged and noted.
    fn untried(&self, number: MessageId, index: u32, delivery: Delivery) {
        let Some(recipient) = self.take_recipient(number, index) else { return };
        let mut status = None;
        let delivery = match self.delivery.filter.apply(delivery) {
            Delivery::Bounced(why) if self.delivery.soft_bounce && !self.is_probe(number) => {
                status = Some(Status::SoftBounce);
                Delivery::Deferred(Dsn { status: why.status.with_class(Class::Transient), ..why })
            }
            other => other,
        };
        let permanent = matches!(delivery, Delivery::Bounced(_));
        let why = delivery.dsn();
        let own = if permanent { Status::Bounced } else { Status::Deferred };
        self.log_own(number, &recipient, why, status.unwrap_or(own));
        let mut state = self.state.borrow_mut();
        let Some(message) = state.messages.get_mut(&number) else { return };
        if message.is_server_probe() {
            message.done(&recipient);
        } else if message.is_probe() {
            message.entries.push((Directory::Trace, entry(&recipient, Action::Undeliverable, why)));
        } else if permanent {
            message.entries.push((Directory::Bounce, entry(&recipient, Action::Failed, why)));
        } else {
            message.deferral(&recipient, why);
        }
    }

    fn is_probe(&self, number: MessageId) -> bool {
        self.state.borrow().messages.get(&number).is_some_and(crate::message::Message::is_probe)
    }

    /// A notice to the address that notices come from.
    pub(crate) fn discard(&self, number: MessageId, index: u32) {
        let Some(recipient) = self.take_recipient(number, index) else { return };
        let mut state = self.state.borrow_mut();
        state.touched.push(number);
        if let Some(message) = state.messages.get_mut(&number) {
            log::warning!("{}: undeliverable postmaster notification discarded", message.id);
            message.done(&recipient);
        }
    }

    fn take_recipient(&self, number: MessageId, index: u32) -> Option<Recipient> {
        let mut state = self.state.borrow_mut();
        state.messages.get_mut(&number)?.recipients.get_mut(index as usize)?.take()
    }

    /// The status line of a recipient that no agent has seen.
    fn log_own(&self, number: MessageId, recipient: &Recipient, why: &Dsn, status: Status) {
        let state = self.state.borrow();
        let Some(message) = state.messages.get(&number) else { return };
        let now = SystemTime::now();
        let probe = message.is_probe();
        log::lines::status_line(&StatusLine {
            queue_id: message.id.as_str(),
            recipient: &self.delivery.shown(&recipient.address),
            original: &self.delivery.shown(&recipient.original),
            relay: b"none",
            connection_uses: 1,
            delays: delivery::Timing::new(message.envelope.arrival, message.active, now).delays(now),
            decimals: self.delivery.decimals,
            tls: None,
            dsn: &why.status,
            status: if probe { Status::Undeliverable } else { status },
            reason: &why.reason,
        });
    }

    /// Writes what waits for the logs of a message, if nobody is at it.
    pub(crate) fn write_entries(self: &Rc<Self>, number: MessageId) {
        {
            let mut state = self.state.borrow_mut();
            let Some(message) = state.messages.get_mut(&number) else { return };
            if message.writing || message.entries.is_empty() {
                return;
            }
            message.writing = true;
        }
        let this = self.clone();
        self.worker().spawn(async move {
            while this.write_some(number).await {}
            this.settled(number);
            this.wake.notify_one();
        });
    }

    /// Writes the entries that are there; those that come meanwhile share the next flush. False when there are none.
    async fn write_some(&self, number: MessageId) -> bool {
        let (id, entries) = {
            let mut state = self.state.borrow_mut();
            let Some(message) = state.messages.get_mut(&number) else { return false };
            if message.entries.is_empty() {
                message.writing = false;
                return false;
            }
            (message.id.clone(), std::mem::take(&mut message.entries))
        };
        let (spool, form, name) = (self.spool.clone(), self.form, id.clone());
        let has = |directory| entries.iter().any(|(have, _)| *have == directory);
        let (bounced, traced) = (has(Directory::Bounce), has(Directory::Trace));
        // Who has got the mail is done, whether its sender can be told or not.
        let got_it =
            |entry: &log_file::Entry| matches!(entry.action, Action::Delivered | Action::Relayed | Action::Expanded);
        let done: Vec<u64> = entries.iter().filter(|(_, e)| got_it(e)).filter_map(|(_, e)| e.offset).collect();
        let count = entries.iter().filter(|(_, entry)| !got_it(entry)).count();
        let written = self.worker().run_blocking(move || disk::write_logs(&spool, &name, form, &entries)).await;
        let mut state = self.state.borrow_mut();
        let Some(message) = state.messages.get_mut(&number) else { return false };
        match written {
            Some(Ok(unmarked)) => {
                message.bounced |= bounced;
                message.traced |= traced;
                message.unmarked.extend(unmarked);
            }
            other => {
                // Without a mark they are tried again, which is better than a failure that nobody hears of.
                if let Some(Err(error)) = other {
                    log::warning!("{id}: write log: {}", sys::reason(&error));
                }
                message.unmarked.extend(done);
                message.deferred += count;
                message.untold |= count > 0;
            }
        }
        true
    }

    /// Marks recipients that are done, of messages that have others to wait for.
    pub(crate) fn mark_touched(&self) {
        let mut touched = std::mem::take(&mut self.state.borrow_mut().touched);
        touched.sort_unstable();
        touched.dedup();
        for number in touched {
            let (id, offsets) = {
                let mut state = self.state.borrow_mut();
                let Some(message) = state.messages.get_mut(&number) else { continue };
                if message.scheduled || message.unmarked.is_empty() {
                    continue;
                }
                (message.id.clone(), std::mem::take(&mut message.unmarked))
            };
            if let Err(error) = disk::mark(&self.spool, &id, &offsets) {
                // The end of the message's turn insists.
                let mut state = self.state.borrow_mut();
                let Some(message) = state.messages.get_mut(&number) else { continue };
                message.unmarked.extend(offsets);
                if !std::mem::replace(&mut message.mark_failed, true) {
                    log::warning!("{id}: mark recipients: {}", sys::reason(&error));
                }
            }
        }
    }
}
