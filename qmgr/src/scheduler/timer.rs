//! The scheduler's alarm clock.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::arena::Id;
use super::state::{Destination, Message};
use super::{Moment, TransportId};

/// What a timer is for. A timer whose reason has gone is ignored when it runs out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// A transport's rest or rate delay is over.
    Transport(TransportId),
    /// A destination's rest or rate delay is over; with the destination's number of uses.
    Destination(Id<Destination>, u64),
    /// A message's recipient_refill_delay is over; with the message's sequence number.
    Refill(Id<Message>, u64),
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(Moment, Timer)>>,
}

impl Timers {
    pub(super) fn set(&mut self, at: Moment, timer: Timer) {
        self.heap.push(Reverse((at, timer)));
    }

    pub(super) fn next(&self) -> Option<Moment> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    pub(super) fn take_due(&mut self, now: Moment) -> Option<Timer> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse((_, timer))| timer)
    }
}
