//! Who is delivered when: the scheduler, without input or output.
//!
//! Events come in as method calls with the present [`Moment`], [`Action`]s are taken out with [`Scheduler::next_action`].
//! The caller owns messages, recipients and agents and names them by number; this core owns the order.
//!
//! ```text
//! transport ── destinations (nexthop; with a recipient limit of 1 the address too): window, dead or alive, delay
//!     │              └── waiting: one peer (message × destination) per message, oldest message first
//!     └── ready: the destinations that may have a delivery now, by their oldest message
//! message ── jobs (message × transport): how much there is to do, slots earned for smaller messages
//! ```
//!
//! What is sent next is decided only when an agent has room for it, so that a late decision is a good one:
//! 1. a smaller message that was let in front (the latest first);
//! 2. else the oldest message with a destination that is ready, its least recently served destination first;
//! 3. but when that message is large and has earned slots enough, a smaller one that waits is let in front of it
//!    ([`choose`]).
//!
//! Both steps cost the logarithm of the number of destinations, not the length of any queue. Nothing here grows beyond
//! qmgr_message_active_limit messages and qmgr_message_recipient_limit recipients (and the minimum of each message).

mod arena;
mod budget;
mod choose;
mod feedback;
mod health;
mod settings;
mod state;
mod timer;
mod window;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use arena::{Arena, Id};
pub use feedback::{Feedback, InvalidFeedback};
pub use settings::{Limits, TransportSettings};
use state::{Delivery, Destination, Job, Message, Peer, Transport};
use timer::{Timer, Timers};

/// Monotonic time since any fixed moment.
pub type Moment = Duration;

/// The scheduler's number of a transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TransportId(u32);

/// The scheduler's number of a message. It is not given again while anybody could remember it: the caller may be busy with
/// a message for long after [`Action::Done`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId {
    index: u32,
    sequence: u64,
}

/// The scheduler's number of a delivery on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeliveryId(u32);

/// What the caller should do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Open one more connection to this transport; answer with [`Scheduler::connected`] or
    /// [`Scheduler::connect_failed`].
    Connect(TransportId),
    /// Send this delivery to an agent; answer with [`Scheduler::finished`] or [`Scheduler::crashed`].
    Deliver {
        /// Its number.
        delivery: DeliveryId,
        /// To which transport.
        transport: TransportId,
        /// Of which message.
        message: MessageId,
        /// Which recipients, by the caller's numbers.
        recipients: Vec<u32>,
    },
    /// These recipients are not tried now: the transport or the destination is out of order. They are no longer the
    /// scheduler's.
    Defer {
        /// Of which message.
        message: MessageId,
        /// Which recipients.
        recipients: Vec<u32>,
        /// Why.
        why: Rc<dsn::Dsn>,
    },
    /// Read at most so many more recipients of this message and answer with [`Scheduler::read`].
    Read {
        /// Which message.
        message: MessageId,
        /// How many.
        count: usize,
    },
    /// Every recipient of this message has left the scheduler and none is unread; so has the message.
    Done(MessageId),
    /// One destination holds an unreasonable share of the active queue.
    Clogged {
        /// The transport's name.
        transport: Rc<str>,
        /// The destination.
        destination: Rc<str>,
        /// Messages in the active queue that wait for it.
        share: usize,
        /// Messages in the active queue.
        total: usize,
    },
}

/// A recipient and where it goes.
#[derive(Clone, Copy, Debug)]
pub struct Assignment<'a> {
    /// The caller's number of the recipient.
    pub recipient: u32,
    /// The transport.
    pub transport: TransportId,
    /// The next-hop destination.
    pub nexthop: &'a str,
    /// The address, for transports whose recipient limit is 1: there, the address is the destination.
    pub address: &'a [u8],
}

/// See the module.
#[derive(Debug)]
pub struct Scheduler {
    limits: Limits,
    transports: Vec<Transport>,
    transport_names: HashMap<Rc<str>, TransportId>,
    destinations: Arena<Destination>,
    messages: Arena<Message>,
    jobs: Arena<Job>,
    peers: Arena<Peer>,
    deliveries: Arena<Delivery>,
    /// Recipients in memory, of all messages.
    held: usize,
    /// Messages with unread recipients that wait for room.
    hungry: BTreeSet<(u64, Id<Message>)>,
    sequence: u64,
    served: u64,
    timers: Timers,
    actions: VecDeque<Action>,
}

impl Scheduler {
    /// An empty scheduler.
    #[must_use]
    pub fn new(limits: Limits) -> Scheduler {
        Scheduler {
            limits,
            transports: Vec::new(),
            transport_names: HashMap::new(),
            destinations: Arena::new(),
            messages: Arena::new(),
            jobs: Arena::new(),
            peers: Arena::new(),
            deliveries: Arena::new(),
            held: 0,
            hungry: BTreeSet::new(),
            sequence: 0,
            served: 0,
            timers: Timers::default(),
            actions: VecDeque::new(),
        }
    }

    /// What to do next.
    pub fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Scheduler::tick`] is due.
    #[must_use]
    pub fn next_tick(&self) -> Option<Moment> {
        self.timers.next()
    }

    /// True while another message may be taken into the active queue.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.messages.len() < self.limits.message_active && self.held < self.limits.message_recipients
    }

    /// Messages in the active queue.
    #[must_use]
    pub fn message_count(&self) -> usize {
        self.messages.len()
    }

    /// Recipients in memory.
    #[must_use]
    pub fn recipient_count(&self) -> usize {
        self.held
    }

    /// The transport of a name, if it was declared.
    #[must_use]
    pub fn transport(&self, name: &str) -> Option<TransportId> {
        self.transport_names.get(name).copied()
    }

    /// Declares a transport.
    pub fn declare_transport(&mut self, name: &str, settings: TransportSettings) -> TransportId {
        if let Some(known) = self.transport(name) {
            return known;
        }
        let id = TransportId(u32::try_from(self.transports.len()).expect("transports are few"));
        let name: Rc<str> = name.into();
        self.transports.push(Transport::new(name.clone(), settings));
        self.transport_names.insert(name, id);
        id
    }

    /// The name of a transport.
    #[must_use]
    pub fn transport_name(&self, transport: TransportId) -> &Rc<str> {
        &self.transports[transport.0 as usize].name
    }

    /// A message enters with `unread` recipients in its file; the first [`Action::Read`] for it follows. With `single`
    /// each recipient gets a delivery of its own (VERP).
    pub fn add_message(&mut self, now: Moment, unread: usize, single: bool) -> MessageId {
        self.sequence += 1;
        let message = self.messages.insert(Message::new(self.sequence, now, unread, single));
        let id = self.message_id(message);
        self.consider_reading(now, message);
        self.consider_done(message);
        id
    }

    fn message_id(&self, id: Id<Message>) -> MessageId {
        MessageId { index: id.number(), sequence: self.messages[id].sequence }
    }

    /// The answer to [`Action::Read`]: these recipients are routed, and `unread` are still in the file. What was read
    /// but needs no delivery is simply not among them.
    pub fn read(&mut self, now: Moment, message: MessageId, recipients: &[Assignment<'_>], unread: usize) {
        let (id, sequence) = (Id::from_number(message.index), message.sequence);
        if self.messages.get(id).is_none_or(|record| record.sequence != sequence) {
            return;
        }
        let mut deferred: Vec<(Rc<dsn::Dsn>, Vec<u32>)> = Vec::new();
        let mut touched: Vec<(TransportId, Id<Destination>)> = Vec::new();
        for assignment in recipients {
            match self.place(now, id, sequence, assignment) {
                Ok(place) => {
                    if touched.last() != Some(&place) && !touched.contains(&place) {
                        touched.push(place);
                        if touched.len() > 64 {
                            self.settle(now, &mut touched);
                        }
                    }
                }
                Err(why) => match deferred.iter_mut().find(|(have, _)| Rc::ptr_eq(have, &why)) {
                    Some((_, list)) => list.push(assignment.recipient),
                    None => deferred.push((why, vec![assignment.recipient])),
                },
            }
        }
        for (why, recipients) in deferred {
            self.actions.push_back(Action::Defer { message, recipients, why });
        }
        self.messages[id].unread = unread;
        self.messages[id].reading = false;
        self.messages[id].last_read = now;
        self.settle(now, &mut touched);
        self.consider_reading(now, id);
        self.consider_done(id);
    }

    /// A connection to an agent is there, with room for `capacity` deliveries.
    pub fn connected(&mut self, now: Moment, transport: TransportId, capacity: u32) {
        let record = &mut self.transports[transport.0 as usize];
        record.connecting = record.connecting.saturating_sub(1);
        record.room += i64::from(capacity);
        self.pump(now, transport);
    }

    /// A connection could not be made.
    pub fn connect_failed(&mut self, now: Moment, transport: TransportId, why: dsn::Dsn) {
        let record = &mut self.transports[transport.0 as usize];
        record.connecting = record.connecting.saturating_sub(1);
        self.throttle(now, transport, &Rc::new(why));
    }

    /// A connection closed that had room for `room` deliveries; the deliveries on it are reported one by one.
    pub fn disconnected(&mut self, now: Moment, transport: TransportId, room: u32) {
        let record = &mut self.transports[transport.0 as usize];
        record.room -= i64::from(room);
        self.pump(now, transport);
    }

    /// A delivery is over: every recipient has its outcome and the agent has room again. `destination` says why the
    /// destination itself did not work, if so.
    pub fn finished(&mut self, now: Moment, delivery: DeliveryId, destination: Option<&dsn::Dsn>) {
        let Some(done) = self.deliveries.remove(Id::from_number(delivery.0)) else { return };
        let transport = &mut self.transports[done.transport.0 as usize];
        transport.busy -= 1;
        transport.room += 1;
        transport.crashes = 0;
        self.release_from(done.transport, done.message, done.recipients.len());
        self.messages[done.message].in_flight -= done.recipients.len();
        match destination {
            None => self.destination_works(now, done.transport, done.destination),
            Some(dsn) => self.destination_fails(now, done.transport, done.destination, dsn),
        }
        self.leave_destination(now, done.transport, done.destination);
        self.pump(now, done.transport);
        self.feed(now, done.message);
        self.consider_done(done.message);
    }

    /// The caller found no agent for a delivery, because a connection has just closed: it waits again.
    pub fn unsent(&mut self, now: Moment, delivery: DeliveryId) {
        let Some(mut done) = self.deliveries.remove(Id::from_number(delivery.0)) else { return };
        let transport = &mut self.transports[done.transport.0 as usize];
        transport.busy -= 1;
        transport.room += 1;
        self.messages[done.message].in_flight -= done.recipients.len();
        let recipients = std::mem::take(&mut done.recipients);
        match transport.throttled.clone() {
            None => self.put_back(&done, recipients, done.crashes),
            Some((_, why)) => {
                self.release_from(done.transport, done.message, recipients.len());
                let message = self.message_id(done.message);
                self.actions.push_back(Action::Defer { message, recipients, why });
            }
        }
        self.leave_destination(now, done.transport, done.destination);
        self.pump(now, done.transport);
        self.consider_done(done.message);
    }

    /// The agent died with a delivery; `unreported` are its recipients without outcome. They are tried once more at
    /// once, unless this is the second time, or the transport fails again and again.
    pub fn crashed(&mut self, now: Moment, delivery: DeliveryId, unreported: Vec<u32>, why: &Rc<dsn::Dsn>) {
        let Some(done) = self.deliveries.remove(Id::from_number(delivery.0)) else { return };
        let transport = &mut self.transports[done.transport.0 as usize];
        transport.busy -= 1;
        let again = done.crashes == 0 && transport.throttled.is_none();
        let reported = done.recipients.len().saturating_sub(unreported.len());
        self.release_from(done.transport, done.message, reported);
        self.messages[done.message].in_flight -= done.recipients.len();
        if unreported.is_empty() {
            // Nothing is left of it but the end of the agent.
        } else if again {
            self.put_back(&done, unreported, done.crashes + 1);
        } else {
            self.release_from(done.transport, done.message, unreported.len());
            let message = self.message_id(done.message);
            self.actions.push_back(Action::Defer { message, recipients: unreported, why: why.clone() });
        }
        self.leave_destination(now, done.transport, done.destination);
        self.pump(now, done.transport);
        self.feed(now, done.message);
        self.consider_done(done.message);
    }

    /// An agent died with deliveries; to be said once per connection, before [`Scheduler::crashed`] for each of them.
    /// The second time in a row, with nothing finished in between, the transport rests.
    pub fn agent_died(&mut self, now: Moment, transport: TransportId, why: &Rc<dsn::Dsn>) {
        let record = &mut self.transports[transport.0 as usize];
        record.crashes += 1;
        if record.crashes >= 2 {
            self.throttle(now, transport, why);
        }
    }

    /// Timers run out.
    pub fn tick(&mut self, now: Moment) {
        while let Some(timer) = self.timers.take_due(now) {
            match timer {
                Timer::Transport(transport) => self.transport_timer(now, transport),
                Timer::Destination(id, generation) => self.destination_timer(now, id, generation),
                Timer::Refill(id, sequence) => {
                    if self.messages.get(id).is_some_and(|message| message.sequence == sequence) {
                        self.messages[id].refill_timer = false;
                        self.consider_reading(now, id);
                    }
                }
            }
        }
    }

    /// Trigger `F`: whatever is dead is tried again.
    pub fn revive_all(&mut self, now: Moment) {
        for number in 0..self.transports.len() {
            self.revive_transport(now, TransportId(number as u32));
        }
        let ids: Vec<Id<Destination>> = self.destinations.ids().collect();
        for id in ids {
            self.revive_destination(now, id);
        }
    }

    /// One transport and one destination of it are tried again (a message that asks for a flush before delivery).
    pub fn revive(&mut self, now: Moment, assignment: &Assignment<'_>) {
        self.revive_transport(now, assignment.transport);
        let transport = &self.transports[assignment.transport.0 as usize];
        let key = transport.destination_key(assignment);
        if let Some(id) = transport.destinations.get(&*key).copied() {
            self.revive_destination(now, id);
        }
    }
}
