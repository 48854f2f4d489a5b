//! Where recipients go: they are read in batches, resolved by rewrite, and put to their destinations.

use std::rc::Rc;

use bstr::{BString, ByteSlice};
use dsn::{Dsn, Status};
use ipc::rewrite::{Class, Resolved, Route};

use crate::disk;
use crate::message::Recipient;
use crate::scheduler::{Assignment, MessageId, TransportId};
use crate::service::Qmgr;

/// What is to become of a recipient.
enum Decision {
    /// It goes to a transport.
    Assign(TransportId, Rc<str>, BString),
    /// It waits.
    Defer(Dsn),
    /// It is returned.
    Reject(Dsn),
    /// A notice about a notice that could not be delivered: nobody wants it.
    Discard,
}

impl Qmgr {
    /// Reads more recipients of a message.
    pub(crate) fn read(self: &Rc<Self>, number: MessageId, count: usize) {
        let mut state = self.state.borrow_mut();
        let Some(message) = state.messages.get_mut(&number) else { return };
        if !message.read.is_empty() {
            let count = count.min(message.read.len());
            let batch = message.read.drain(..count).collect();
            drop(state);
            self.resolve(number, batch);
            return;
        }
        let Some(position) = message.next.filter(|_| !state_is_redirected(message)) else {
            let now = self.now();
            state.scheduler.read(now, number, &[], 0);
            drop(state);
            self.wake.notify_one();
            return;
        };
        let id = message.id.clone();
        drop(state);
        let this = self.clone();
        self.worker().spawn(async move {
            let (spool, name) = (this.spool.clone(), id.clone());
            let batch = this.worker().run_blocking(move || disk::read_more(&spool, &name, position, count)).await;
            let recipients = {
                let mut state = this.state.borrow_mut();
                let Some(message) = state.messages.get_mut(&number) else { return };
                match batch {
                    Some(Ok(batch)) => {
                        message.next = batch.next;
                        let seen = batch.recipients.len() + usize::try_from(batch.done).unwrap_or(0);
                        let least = usize::from(batch.next.is_some());
                        message.promised = message.promised.saturating_sub(seen).max(least);
                        if batch.next.is_none() {
                            message.promised = 0;
                        }
                        batch.recipients
                    }
                    other => {
                        // What was not read stays where it is, for another day.
                        message.next = None;
                        message.promised = 0;
                        message.deferred += 1;
                        message.untold = true;
                        if let Some(Err(error)) = other {
                            log::warning!("{id}: {error}");
                            message.corrupt |= error.is_malformed();
                        }
                        Vec::new()
                    }
                }
            };
            this.resolve(number, recipients);
            this.wake.notify_one();
        });
    }

    /// Finds out where these recipients go.
    fn resolve(self: &Rc<Self>, number: MessageId, batch: Vec<queue::message::Recipient>) {
        let mut state = self.state.borrow_mut();
        let Some(message) = state.messages.get_mut(&number) else { return };
        let envelope = message.envelope.clone();
        let first = message.recipients.len();
        let redirect = envelope.redirect.as_ref().filter(|_| first == 0);
        if envelope.redirect.is_some() {
            message.read.clear();
            message.next = None;
            message.promised = 0;
        }
        match redirect {
            Some(address) if !batch.is_empty() => {
                message.recipients.push(Some(Recipient { address: address.clone(), ..Recipient::default() }));
            }
            _ if envelope.redirect.is_some() => {}
            _ => message.recipients.extend(batch.into_iter().map(|recipient| {
                Some(Recipient {
                    offset: Some(recipient.offset),
                    address: recipient.address,
                    original: recipient.original,
                    dsn_original: recipient.dsn_original,
                    notify: recipient.notify,
                    nexthop: "".into(),
                })
            })),
        }
        let addresses: Vec<BString> =
            message.recipients[first..].iter().flatten().map(|recipient| recipient.address.clone()).collect();
        let probe = message.is_probe();
        let known = if addresses.is_empty() || message.forced {
            let reason = "4.7.0 Message is administratively expired";
            Some(vec![Resolved::Defer(reason.to_owned()); addresses.len()])
        } else if let Some(filter) = envelope.filter.as_ref().filter(|_| !probe) {
            Some(addresses.iter().map(|address| self.filtered(filter, address)).collect())
        } else {
            self.rewrite.known(&envelope.sender, &addresses)
        };
        drop(state);
        if let Some(known) = known {
            self.resolved(number, first, Some(known));
            return;
        }
        let this = self.clone();
        self.worker().spawn(async move {
            let resolved = this.rewrite.resolve(&envelope.sender, addresses, probe).await;
            this.resolved(number, first, resolved);
            this.wake.notify_one();
        });
    }

    /// The content filter in place of the recipient's own route.
    fn filtered(&self, filter: &BString, address: &BString) -> Resolved {
        let filter = filter.to_str_lossy();
        let (transport, nexthop) = filter.split_once(':').unwrap_or((&filter, ""));
        let nexthop = match (nexthop, self.settings.filter_nexthop.as_str()) {
            ("", "") => {
                address.rsplit_once_str("@").map_or_else(String::new, |(_, domain)| domain.to_str_lossy().into())
            }
            ("", default) => default.to_owned(),
            (nexthop, _) => nexthop.to_owned(),
        };
        Resolved::Route(Route {
            transport: transport.to_owned(),
            nexthop,
            recipient: address.clone(),
            class: Class::Default,
        })
    }

    /// The answers for the recipients from number `first` on; `None`: there is no answer.
    fn resolved(self: &Rc<Self>, number: MessageId, first: usize, resolved: Option<Vec<Resolved>>) {
        let now = self.now();
        let (decisions, unread) = {
            let mut state = self.state.borrow_mut();
            let Some(message) = state.messages.get(&number) else { return };
            let count = message.recipients.len() - first;
            let unread = message.read.len() + message.promised;
            let (flush, probe) = (message.flush, message.is_server_probe());
            let unanswered = || Resolved::Defer("4.3.0 address resolver failure".to_owned());
            let resolved = resolved.unwrap_or_else(|| (0..count).map(|_| unanswered()).collect());
            let too_many = probe && state.probes > self.settings.probe_limit;
            let decisions: Vec<Decision> =
                resolved.into_iter().map(|resolved| self.decide(&mut state, resolved, flush, too_many)).collect();
            (decisions, unread)
        };
        let mut rest = Vec::new();
        let mut assigned = Vec::new();
        {
            let mut state = self.state.borrow_mut();
            let Some(message) = state.messages.get_mut(&number) else { return };
            for (index, decision) in (first..).zip(decisions) {
                match decision {
                    Decision::Assign(transport, nexthop, address) => {
                        if let Some(Some(recipient)) = message.recipients.get_mut(index) {
                            recipient.address = address.clone();
                            recipient.nexthop = nexthop.clone();
                            assigned.push((index as u32, transport, nexthop, address));
                        }
                    }
                    other => rest.push((index as u32, other)),
                }
            }
        }
        for (index, decision) in rest {
            match decision {
                Decision::Defer(dsn) => self.defer(number, &[index], &dsn),
                Decision::Reject(dsn) => self.reject(number, index, dsn),
                Decision::Discard => self.discard(number, index),
                Decision::Assign(..) => {}
            }
        }
        let mut state = self.state.borrow_mut();
        let assignments: Vec<Assignment<'_>> = assigned
            .iter()
            .map(|(recipient, transport, nexthop, address)| Assignment {
                recipient: *recipient,
                transport: *transport,
                nexthop,
                address,
            })
            .collect();
        if state.messages.get(&number).is_some_and(|message| message.flush) {
            for assignment in &assignments {
                state.scheduler.revive(now, assignment);
            }
        }
        state.scheduler.read(now, number, &assignments, unread);
        drop(state);
        self.wake.notify_one();
    }

    fn decide(
        &self,
        state: &mut crate::engine::State,
        resolved: Resolved,
        flush: bool,
        too_many_probes: bool,
    ) -> Decision {
        let text = |text: &str, default: &str| {
            let (status, reason) = delivery::split_status(text, default);
            Dsn::new(status, reason)
        };
        let route = match resolved {
            Resolved::Route(route) => route,
            Resolved::Defer(reason) => return Decision::Defer(text(&reason, "4.3.0")),
            Resolved::Reject(reason) => return Decision::Reject(text(&reason, "5.1.3")),
        };
        if too_many_probes {
            let reason = "Too many address verification requests";
            return Decision::Defer(Dsn::new(Status::transient(3, 3), reason));
        }
        if self.settings.defer_transports.contains(&route.transport) && !flush {
            return Decision::Defer(Dsn::new(Status::transient(3, 2), "deferred transport"));
        }
        let (localpart, _) = address::split(&route.recipient);
        if route.class == Class::Local && localpart.eq_ignore_ascii_case(self.settings.double_bounce_sender.as_bytes())
        {
            return Decision::Discard;
        }
        if route.transport.is_empty() || route.transport.contains('/') {
            let reason = format!("unknown mail transport \"{}\"", route.transport);
            return Decision::Defer(Dsn::new(Status::transient(3, 5), reason));
        }
        let transport = match state.scheduler.transport(&route.transport) {
            Some(known) => known,
            None => {
                let settings = self.settings.transport(&route.transport);
                state.scheduler.declare_transport(&route.transport, settings)
            }
        };
        Decision::Assign(transport, route.nexthop.into(), route.recipient)
    }
}

/// A redirected message has one recipient, whatever its file says.
fn state_is_redirected(message: &crate::message::Message) -> bool {
    message.envelope.redirect.is_some() && !message.recipients.is_empty()
}
