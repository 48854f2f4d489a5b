//! The scheduler's objects, and how recipients come to and leave them.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::rc::Rc;

use super::arena::Id;
use super::timer::Timer;
use super::window::Window;
use super::{Action, Assignment, DeliveryId, Moment, Scheduler, TransportId, TransportSettings};

/// Connections to one transport that may wait for an agent to take them at a time.
const MOST_CONNECTING: usize = 2;
/// Size classes; all that is larger is in the last.
pub(super) const SIZE_CLASSES: usize = 8;

/// A transport and its destinations.
#[derive(Debug)]
pub(super) struct Transport {
    pub(super) name: Rc<str>,
    pub(super) settings: TransportSettings,
    /// At rest until then, and why.
    pub(super) throttled: Option<(Moment, Rc<dsn::Dsn>)>,
    /// Inside its rate delay.
    pub(super) delayed: bool,
    /// Deliveries that connected agents have room for; below zero while a delivery is on its way to an agent that has
    /// just left.
    pub(super) room: i64,
    /// Connections on the way.
    pub(super) connecting: usize,
    /// Deliveries on the way.
    pub(super) busy: u32,
    /// Agents that died in a row.
    pub(super) crashes: u32,
    /// Recipients in memory.
    pub(super) held: usize,
    pub(super) destinations: HashMap<Rc<[u8]>, Id<Destination>>,
    /// Destinations that may have a delivery: (sequence of the oldest waiting message, when last served, which).
    pub(super) ready: BTreeSet<(u64, u64, Id<Destination>)>,
    /// Small messages that were let in front, latest last.
    pub(super) in_front: Vec<Id<Job>>,
    /// What waits by size class (the logarithm of its deliveries), oldest first; what is in front is not among it.
    pub(super) sizes: [BTreeSet<(u64, Id<Job>)>; SIZE_CLASSES],
}

/// One destination of a transport.
#[derive(Debug)]
pub(super) struct Destination {
    pub(super) transport: TransportId,
    pub(super) key: Rc<[u8]>,
    /// Tells this use of the place from others, for timers.
    pub(super) generation: u64,
    pub(super) window: Window,
    /// Deliveries on the way.
    pub(super) busy: u32,
    /// Dead until then, and why.
    pub(super) dead: Option<(Moment, Rc<dsn::Dsn>)>,
    /// Inside its rate delay.
    pub(super) delayed: bool,
    /// What waits, by sequence of the message.
    pub(super) waiting: BTreeMap<u64, Id<Peer>>,
    /// When it was last served, in deliveries.
    pub(super) served: u64,
    /// Its present key in the transport's ready set.
    pub(super) ready: Option<(u64, u64)>,
    /// No clogging warning before then.
    pub(super) quiet_until: Moment,
}

/// A message in the active queue.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) sequence: u64,
    pub(super) entered: Moment,
    /// Each recipient is a delivery of its own.
    pub(super) single: bool,
    /// Recipients still in the file.
    pub(super) unread: usize,
    /// A read was asked for.
    pub(super) reading: bool,
    pub(super) last_read: Moment,
    pub(super) refill_timer: bool,
    /// Recipients in memory: waiting or on the way.
    pub(super) held: usize,
    pub(super) in_flight: usize,
    pub(super) jobs: Vec<(TransportId, Id<Job>)>,
}

/// A message's part at one transport.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) message: Id<Message>,
    pub(super) transport: TransportId,
    pub(super) peers: Vec<Id<Peer>>,
    /// Recipients of one delivery.
    pub(super) batch: usize,
    /// Deliveries that its waiting recipients take.
    pub(super) deliveries: usize,
    /// Deliveries already sent.
    pub(super) sent: usize,
    /// Slots that smaller messages have used.
    pub(super) slots_used: usize,
    /// Was let in front of a larger message.
    pub(super) in_front: bool,
    /// Its class in the transport's sizes.
    pub(super) class: Option<usize>,
}

/// A job's waiting recipients at one destination.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) job: Id<Job>,
    pub(super) destination: Id<Destination>,
    pub(super) recipients: VecDeque<u32>,
    /// Agents that died with some of them.
    pub(super) crashes: u8,
    /// Where it is among the peers of its job.
    pub(super) place: usize,
}

/// A delivery on the way.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) transport: TransportId,
    pub(super) destination: Id<Destination>,
    pub(super) message: Id<Message>,
    pub(super) recipients: Vec<u32>,
    pub(super) crashes: u8,
}

impl Transport {
    pub(super) fn new(name: Rc<str>, settings: TransportSettings) -> Transport {
        Transport {
            name,
            settings,
            throttled: None,
            delayed: false,
            room: 0,
            connecting: 0,
            busy: 0,
            crashes: 0,
            held: 0,
            destinations: HashMap::new(),
            ready: BTreeSet::new(),
            in_front: Vec::new(),
            sizes: std::array::from_fn(|_| BTreeSet::new()),
        }
    }

    /// What makes a destination: the nexthop, and the address where each recipient is a delivery of its own.
    pub(super) fn destination_key<'a>(&self, assignment: &Assignment<'a>) -> Cow<'a, [u8]> {
        let nexthop = assignment.nexthop.as_bytes();
        if self.settings.recipients_per_delivery == 1 {
            let mut key = assignment.address.to_ascii_lowercase();
            key.push(0);
            key.extend_from_slice(nexthop);
            Cow::Owned(key)
        } else if nexthop.iter().any(u8::is_ascii_uppercase) {
            Cow::Owned(nexthop.to_ascii_lowercase())
        } else {
            Cow::Borrowed(nexthop)
        }
    }
}

impl Destination {
    /// For people.
    fn nexthop(&self) -> Rc<str> {
        let nexthop = self.key.rsplit(|byte| *byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(nexthop).into()
    }
}

impl Message {
    pub(super) fn new(sequence: u64, now: Moment, unread: usize, single: bool) -> Message {
        Message {
            sequence,
            entered: now,
            single,
            unread,
            reading: false,
            last_read: now,
            refill_timer: false,
            held: 0,
            in_flight: 0,
            jobs: Vec::new(),
        }
    }
}

impl Scheduler {
    /// Puts a recipient to its destination; or says why it has to wait for another day.
    pub(super) fn place(
        &mut self,
        now: Moment,
        message: Id<Message>,
        sequence: u64,
        assignment: &Assignment<'_>,
    ) -> Result<(TransportId, Id<Destination>), Rc<dsn::Dsn>> {
        let number = assignment.transport;
        let transport = &self.transports[number.0 as usize];
        if let Some((_, why)) = &transport.throttled {
            return Err(why.clone());
        }
        let key = transport.destination_key(assignment);
        let destination = match transport.destinations.get(&*key) {
            Some(id) => *id,
            None => self.add_destination(number, &key),
        };
        if let Some((_, why)) = &self.destinations[destination].dead {
            return Err(why.clone());
        }
        let peer = match self.destinations[destination].waiting.get(&sequence) {
            Some(peer) => *peer,
            None => {
                self.warn_if_clogged(now, destination);
                self.add_peer(message, sequence, number, destination)
            }
        };
        self.transports[number.0 as usize].held += 1;
        self.held += 1;
        self.messages[message].held += 1;
        let peer = &mut self.peers[peer];
        let grows = peer.recipients.len().is_multiple_of(self.jobs[peer.job].batch);
        peer.recipients.push_back(assignment.recipient);
        if grows {
            let job = peer.job;
            self.jobs[job].deliveries += 1;
            self.reclass(job);
        }
        Ok((number, destination))
    }

    fn add_destination(&mut self, transport: TransportId, key: &[u8]) -> Id<Destination> {
        self.sequence += 1;
        let record = &mut self.transports[transport.0 as usize];
        let key: Rc<[u8]> = key.into();
        let id = self.destinations.insert(Destination {
            transport,
            key: key.clone(),
            generation: self.sequence,
            window: Window::new(&record.settings),
            busy: 0,
            dead: None,
            delayed: false,
            waiting: BTreeMap::new(),
            served: 0,
            ready: None,
            quiet_until: Moment::ZERO,
        });
        record.destinations.insert(key, id);
        id
    }

    fn add_peer(
        &mut self,
        message: Id<Message>,
        sequence: u64,
        transport: TransportId,
        destination: Id<Destination>,
    ) -> Id<Peer> {
        let known = self.messages[message].jobs.iter().find(|(have, _)| *have == transport).map(|(_, job)| *job);
        let job = known.unwrap_or_else(|| {
            let single = self.messages[message].single;
            let batch = if single { 1 } else { self.transports[transport.0 as usize].settings.batch() };
            let job = self.jobs.insert(Job {
                message,
                transport,
                peers: Vec::new(),
                batch,
                deliveries: 0,
                sent: 0,
                slots_used: 0,
                in_front: false,
                class: None,
            });
            self.messages[message].jobs.push((transport, job));
            job
        });
        let place = self.jobs[job].peers.len();
        let peer = self.peers.insert(Peer { job, destination, recipients: VecDeque::new(), crashes: 0, place });
        self.jobs[job].peers.push(peer);
        self.destinations[destination].waiting.insert(sequence, peer);
        peer
    }

    /// Takes an empty peer away from its job and destination.
    fn remove_peer(&mut self, id: Id<Peer>) {
        let Some(peer) = self.peers.remove(id) else { return };
        let job = &mut self.jobs[peer.job];
        job.peers.swap_remove(peer.place);
        if let Some(moved) = job.peers.get(peer.place) {
            self.peers[*moved].place = peer.place;
        }
        if job.peers.is_empty() && job.in_front {
            job.in_front = false;
            self.transports[job.transport.0 as usize].in_front.retain(|have| *have != peer.job);
        }
        let sequence = self.messages[self.jobs[peer.job].message].sequence;
        self.destinations[peer.destination].waiting.remove(&sequence);
    }

    /// Brings the transport's size classes up to date with a job.
    pub(super) fn reclass(&mut self, id: Id<Job>) {
        let job = &mut self.jobs[id];
        let class =
            (job.deliveries > 0 && !job.in_front).then(|| (job.deliveries.ilog2() as usize).min(SIZE_CLASSES - 1));
        if class == job.class {
            return;
        }
        let sequence = self.messages[job.message].sequence;
        let sizes = &mut self.transports[job.transport.0 as usize].sizes;
        if let Some(before) = job.class {
            sizes[before].remove(&(sequence, id));
        }
        if let Some(class) = class {
            sizes[class].insert((sequence, id));
        }
        job.class = class;
    }

    /// Recipients that were left by a dead agent, or never reached one, go back to the head of their destination.
    pub(super) fn put_back(&mut self, done: &Delivery, unreported: Vec<u32>, crashes: u8) {
        if let Some((_, why)) = self.destinations[done.destination].dead.clone() {
            self.release_from(done.transport, done.message, unreported.len());
            let message = self.message_id(done.message);
            self.actions.push_back(Action::Defer { message, recipients: unreported, why });
            return;
        }
        let sequence = self.messages[done.message].sequence;
        let peer = match self.destinations[done.destination].waiting.get(&sequence) {
            Some(peer) => *peer,
            None => self.add_peer(done.message, sequence, done.transport, done.destination),
        };
        let peer = &mut self.peers[peer];
        peer.crashes = peer.crashes.max(crashes);
        let batch = self.jobs[peer.job].batch;
        let before = peer.recipients.len().div_ceil(batch);
        for recipient in unreported.into_iter().rev() {
            peer.recipients.push_front(recipient);
        }
        let job = peer.job;
        self.jobs[job].deliveries += peer.recipients.len().div_ceil(batch) - before;
        self.reclass(job);
        self.refresh(done.destination);
    }

    /// Brings the transport's ready set up to date with a destination.
    pub(super) fn refresh(&mut self, id: Id<Destination>) {
        let destination = &mut self.destinations[id];
        let may = destination.dead.is_none() && !destination.delayed && destination.busy < destination.window.size();
        let first = destination.waiting.keys().next().copied();
        let key = first.filter(|_| may).map(|sequence| (sequence, destination.served));
        if key == destination.ready {
            return;
        }
        let ready = &mut self.transports[destination.transport.0 as usize].ready;
        if let Some((sequence, served)) = destination.ready {
            ready.remove(&(sequence, served, id));
        }
        if let Some((sequence, served)) = key {
            ready.insert((sequence, served, id));
        }
        destination.ready = key;
    }

    /// Brings the ready sets up to date and sends what may be sent.
    pub(super) fn settle(&mut self, now: Moment, touched: &mut Vec<(TransportId, Id<Destination>)>) {
        touched.sort_unstable();
        for (_, destination) in touched.iter() {
            self.refresh(*destination);
        }
        touched.dedup_by_key(|(transport, _)| *transport);
        for (transport, _) in touched.drain(..) {
            self.pump(now, transport);
        }
    }

    /// Sends what may be sent now through one transport.
    pub(super) fn pump(&mut self, now: Moment, id: TransportId) {
        loop {
            let transport = &mut self.transports[id.0 as usize];
            if transport.throttled.is_some() || transport.delayed {
                return;
            }
            if transport.room <= 0 {
                while transport.connecting < MOST_CONNECTING.min(transport.ready.len()) {
                    transport.connecting += 1;
                    self.actions.push_back(Action::Connect(id));
                }
                return;
            }
            let Some((destination, peer)) = self.choose(now, id) else { return };
            self.start(now, id, destination, peer);
        }
    }

    fn start(&mut self, now: Moment, id: TransportId, destination: Id<Destination>, peer: Id<Peer>) {
        let transport = &mut self.transports[id.0 as usize];
        transport.room -= 1;
        transport.busy += 1;
        if !transport.settings.transport_rate_delay.is_zero() {
            transport.delayed = true;
            self.timers.set(now + transport.settings.transport_rate_delay, Timer::Transport(id));
        }
        let waiting = &mut self.peers[peer];
        let batch = self.jobs[waiting.job].batch;
        let before = waiting.recipients.len().div_ceil(batch);
        let take = waiting.recipients.len().min(batch);
        let recipients: Vec<u32> = waiting.recipients.drain(..take).collect();
        let after = waiting.recipients.len().div_ceil(batch);
        let crashes = waiting.crashes;
        let emptied = waiting.recipients.is_empty();
        let number = waiting.job;
        let job = &mut self.jobs[number];
        job.deliveries -= before - after;
        job.sent += 1;
        let message = job.message;
        self.reclass(number);
        self.messages[message].in_flight += recipients.len();
        self.served += 1;
        let record = &mut self.destinations[destination];
        record.busy += 1;
        record.served = self.served;
        if emptied {
            self.remove_peer(peer);
        }
        self.refresh(destination);
        let number = self.message_id(message);
        let delivery = self.deliveries.insert(Delivery {
            transport: id,
            destination,
            message,
            recipients: recipients.clone(),
            crashes,
        });
        self.actions.push_back(Action::Deliver {
            delivery: DeliveryId(delivery.number()),
            transport: id,
            message: number,
            recipients,
        });
    }

    /// Defers everything that waits for a destination.
    pub(super) fn drain(&mut self, id: Id<Destination>, why: &Rc<dsn::Dsn>) {
        let waiting: Vec<Id<Peer>> = self.destinations[id].waiting.values().copied().collect();
        let transport = self.destinations[id].transport;
        let mut messages = Vec::with_capacity(waiting.len());
        for peer in waiting {
            let recipients: Vec<u32> = std::mem::take(&mut self.peers[peer].recipients).into();
            let job = self.peers[peer].job;
            let gone = recipients.len().div_ceil(self.jobs[job].batch);
            self.jobs[job].deliveries -= gone;
            self.reclass(job);
            let message = self.jobs[job].message;
            self.remove_peer(peer);
            self.release_from(transport, message, recipients.len());
            let number = self.message_id(message);
            self.actions.push_back(Action::Defer { message: number, recipients, why: why.clone() });
            messages.push(message);
        }
        self.refresh(id);
        for message in messages {
            self.consider_done(message);
        }
    }

    /// These recipients are no longer in memory.
    pub(super) fn release_from(&mut self, transport: TransportId, message: Id<Message>, count: usize) {
        self.transports[transport.0 as usize].held -= count;
        self.held -= count;
        self.messages[message].held -= count;
    }

    /// Lets a message go of which nothing is left.
    pub(super) fn consider_done(&mut self, id: Id<Message>) {
        let Some(message) = self.messages.get(id) else { return };
        if message.held > 0 || message.unread > 0 || message.reading {
            return;
        }
        self.hungry.remove(&(message.sequence, id));
        self.actions.push_back(Action::Done(self.message_id(id)));
        let jobs = self.messages.remove(id).map(|message| message.jobs);
        for (_, job) in jobs.into_iter().flatten() {
            self.jobs.remove(job);
        }
    }

    fn warn_if_clogged(&mut self, now: Moment, id: Id<Destination>) {
        let destination = &mut self.destinations[id];
        let share = destination.waiting.len() + destination.busy as usize + 1;
        if self.limits.clog_warning.is_zero()
            || share <= self.limits.message_active / 5
            || now < destination.quiet_until
        {
            return;
        }
        destination.quiet_until = now + self.limits.clog_warning;
        self.actions.push_back(Action::Clogged {
            transport: self.transports[destination.transport.0 as usize].name.clone(),
            destination: destination.nexthop(),
            share,
            total: self.messages.len(),
        });
    }
}
