//! How many recipients are in memory, and which message may read more of them.
//!
//! Every message may have `qmgr_message_recipient_minimum` recipients in memory. Beyond that it shares
//! `qmgr_message_recipient_limit` with all messages and `<transport>_recipient_limit` with those of the same transport:
//! at most half of what is free at a time, so that one giant leaves room for others. Small messages may use
//! `<transport>_extra_recipient_limit` on top. A message whose recipients come in parts reads on when there is room for
//! `recipient_refill_limit`, or after `recipient_refill_delay`.

use super::arena::Id;
use super::state::Message;
use super::timer::Timer;
use super::{Action, Moment, Scheduler, TransportSettings};

/// Most recipients of one read.
const MOST_AT_ONCE: usize = 1_000;
/// Messages that are looked at when recipients have left.
const HUNGRY_AT_A_TIME: usize = 4;

impl Scheduler {
    /// Asks for more recipients of a message, if it has some and there is room.
    pub(super) fn consider_reading(&mut self, now: Moment, id: Id<Message>) {
        let Some(message) = self.messages.get(id) else { return };
        let key = (message.sequence, id);
        if message.unread == 0 || message.reading {
            self.hungry.remove(&key);
            return;
        }
        let allowance = self.allowance(message).min(message.unread).min(MOST_AT_ONCE);
        let (limit, delay) = self.refill(message);
        let due = message.last_read + delay;
        let fresh = message.jobs.is_empty();
        if allowance > 0 && (fresh || allowance >= limit.min(message.unread) || now >= due) {
            self.hungry.remove(&key);
            self.messages[id].reading = true;
            let message = self.message_id(id);
            self.actions.push_back(Action::Read { message, count: allowance });
            return;
        }
        self.hungry.insert(key);
        let message = &mut self.messages[id];
        if allowance > 0 && !message.refill_timer {
            message.refill_timer = true;
            self.timers.set(due, Timer::Refill(id, key.0));
        }
    }

    /// Recipients have left: this message, or others that wait, may read on.
    pub(super) fn feed(&mut self, now: Moment, id: Id<Message>) {
        self.consider_reading(now, id);
        if self.hungry.is_empty() {
            return;
        }
        let others: Vec<Id<Message>> = self.hungry.iter().take(HUNGRY_AT_A_TIME).map(|(_, other)| *other).collect();
        for other in others {
            self.consider_reading(now, other);
        }
    }

    /// The smallest refill limit and delay of the transports that the message uses.
    fn refill(&self, message: &Message) -> (usize, Moment) {
        let settings = message.jobs.iter().map(|(transport, _)| &self.transports[transport.0 as usize].settings);
        settings.fold((usize::MAX, Moment::MAX / 4), |(limit, delay), have: &TransportSettings| {
            (limit.min(have.refill_limit.max(1)), delay.min(have.refill_delay))
        })
    }

    /// How many more recipients a message may have in memory.
    fn allowance(&self, message: &Message) -> usize {
        let minimum = self.limits.message_recipient_minimum.saturating_sub(message.held);
        let free = self.limits.message_recipients.saturating_sub(self.held).div_ceil(2);
        let whole = message.held + message.unread;
        let room = message.jobs.iter().fold(free, |room, (transport, _)| {
            let transport = &self.transports[transport.0 as usize];
            let settings = &transport.settings;
            let extra = if whole <= settings.extra_recipients { settings.extra_recipients } else { 0 };
            room.min((settings.recipients + extra).saturating_sub(transport.held))
        });
        minimum.max(room)
    }
}
