//! Destinations and transports that do not work, and when they are tried again.

use std::rc::Rc;

use bstr::BString;

use super::arena::Id;
use super::state::Destination;
use super::timer::Timer;
use super::{Moment, Scheduler, TransportId};

/// What recipients are told that were not even tried.
const SUSPENDED: &[u8] = b"delivery temporarily suspended: ";

/// The reason of a failure, as it stands for those who wait behind it.
fn suspended(dsn: &dsn::Dsn) -> Rc<dsn::Dsn> {
    let reason = dsn.reason.as_slice();
    let reason = reason.strip_prefix(SUSPENDED).unwrap_or(reason);
    Rc::new(dsn::Dsn::new(dsn.status.with_class(dsn::Class::Transient), BString::from([SUSPENDED, reason].concat())))
}

impl Scheduler {
    /// A delivery found its destination working.
    pub(super) fn destination_works(&mut self, now: Moment, transport: TransportId, id: Id<Destination>) {
        let settings = &self.transports[transport.0 as usize].settings;
        let destination = &mut self.destinations[id];
        if destination.dead.is_some() {
            self.revive_destination(now, id);
        } else {
            destination.window.good(destination.busy, settings);
        }
    }

    /// A delivery found its destination not working.
    pub(super) fn destination_fails(
        &mut self,
        now: Moment,
        transport: TransportId,
        id: Id<Destination>,
        dsn: &dsn::Dsn,
    ) {
        let settings = &self.transports[transport.0 as usize].settings;
        let destination = &mut self.destinations[id];
        if destination.dead.is_some() || !destination.window.bad(settings) {
            return;
        }
        let until = now + self.limits.minimal_backoff;
        let why = suspended(dsn);
        destination.dead = Some((until, why.clone()));
        self.timers.set(until, Timer::Destination(id, destination.generation));
        self.drain(id, &why);
    }

    /// A delivery has left its destination: the rate delay begins, or the destination is forgotten.
    pub(super) fn leave_destination(&mut self, now: Moment, transport: TransportId, id: Id<Destination>) {
        let delay = self.transports[transport.0 as usize].settings.destination_rate_delay;
        let destination = &mut self.destinations[id];
        destination.busy -= 1;
        if !delay.is_zero() && destination.dead.is_none() {
            destination.delayed = true;
            self.timers.set(now + delay, Timer::Destination(id, destination.generation));
        }
        self.refresh(id);
        self.forget_if_idle(id);
    }

    /// A destination without work, delay or failure need not be remembered; nor must the dead be too many.
    fn forget_if_idle(&mut self, id: Id<Destination>) {
        let many = self.destinations.len() > self.limits.message_recipients.saturating_mul(2);
        let destination = &self.destinations[id];
        let idle = destination.waiting.is_empty() && destination.busy == 0 && !destination.delayed;
        if idle && (destination.dead.is_none() || many) {
            let transport = destination.transport;
            if let Some(gone) = self.destinations.remove(id) {
                self.transports[transport.0 as usize].destinations.remove(&gone.key);
            }
        }
    }

    pub(super) fn destination_timer(&mut self, now: Moment, id: Id<Destination>, generation: u64) {
        if self.destinations.get(id).is_none_or(|destination| destination.generation != generation) {
            return;
        }
        let transport = self.destinations[id].transport;
        match &self.destinations[id].dead {
            Some((until, _)) if *until <= now => self.revive_destination(now, id),
            Some(_) => {}
            None => {
                self.destinations[id].delayed = false;
                self.refresh(id);
            }
        }
        self.forget_if_idle(id);
        self.pump(now, transport);
    }

    /// A dead destination is tried again.
    pub(super) fn revive_destination(&mut self, now: Moment, id: Id<Destination>) {
        let transport = self.destinations[id].transport;
        let settings = &self.transports[transport.0 as usize].settings;
        let destination = &mut self.destinations[id];
        if destination.dead.take().is_some() {
            // The delivery at hand leaves the destination right after; it is not to count.
            destination.window.revive(destination.busy, settings);
            destination.delayed = false;
            self.refresh(id);
            self.pump(now, transport);
        }
    }

    /// A transport does not work: what waits for it is deferred, and so is what comes until it has rested.
    pub(super) fn throttle(&mut self, now: Moment, id: TransportId, why: &Rc<dsn::Dsn>) {
        let transport = &mut self.transports[id.0 as usize];
        if transport.throttled.is_some() {
            return;
        }
        let until = now + self.limits.transport_retry;
        transport.throttled = Some((until, why.clone()));
        self.timers.set(until, Timer::Transport(id));
        let destinations: Vec<Id<Destination>> = transport.destinations.values().copied().collect();
        for destination in destinations {
            self.drain(destination, why);
            self.forget_if_idle(destination);
        }
    }

    pub(super) fn transport_timer(&mut self, now: Moment, id: TransportId) {
        let transport = &mut self.transports[id.0 as usize];
        match &transport.throttled {
            Some((until, _)) if *until <= now => self.revive_transport(now, id),
            Some(_) => {}
            None => {
                transport.delayed = false;
                self.pump(now, id);
            }
        }
    }

    /// A broken transport is tried again.
    pub(super) fn revive_transport(&mut self, now: Moment, id: TransportId) {
        let transport = &mut self.transports[id.0 as usize];
        if transport.throttled.take().is_some() {
            transport.crashes = 0;
            transport.delayed = false;
            self.pump(now, id);
        }
    }
}
