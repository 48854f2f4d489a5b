//! The scheduler against a simulated world: agents, destinations and time are numbers here. What must always hold is
//! checked at every step.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::rc::Rc;
use std::time::Duration;

use dsn::{Dsn, Status};
use posthouse_qmgr::scheduler::{
    Action, Assignment, DeliveryId, Limits, MessageId, Moment, Scheduler, TransportId, TransportSettings,
};

/// A small generator of numbers that look random (xorshift64*).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 16) % limit
    }
}

/// What the simulated world is like.
#[derive(Clone)]
struct World {
    messages: usize,
    destinations: u32,
    /// Recipients of a message, by its number.
    recipients: fn(usize, &mut Random) -> usize,
    /// Connections to agents, and deliveries that each takes.
    agents: (usize, u32),
    /// One in so many destinations does not work.
    dead: u32,
    /// One in so many deliveries kills its agent; 0 is none.
    crash: u64,
    limits: Limits,
    transport: TransportSettings,
}

struct Live {
    number: usize,
    recipients: usize,
    read: usize,
    entered: Moment,
    outcomes: Vec<bool>,
    left: usize,
}

struct Flight {
    message: MessageId,
    recipients: Vec<u32>,
    destination: u32,
    agent: usize,
}

#[derive(Default)]
struct Report {
    delivered: usize,
    deferred: usize,
    deliveries: usize,
    crashes: usize,
    most_busy: u32,
    most_held: usize,
    end: Moment,
    /// Time in the active queue of messages, by number.
    stay: HashMap<usize, Moment>,
}

struct Simulation {
    world: World,
    scheduler: Scheduler,
    transport: TransportId,
    random: Random,
    now: Moment,
    live: HashMap<MessageId, Live>,
    flights: HashMap<DeliveryId, Flight>,
    /// (when, delivery), and the connections that come up.
    events: BinaryHeap<Reverse<(Moment, u64, Event)>>,
    sequence: u64,
    busy: Vec<u32>,
    last_start: Vec<Option<Moment>>,
    last_end: Vec<Option<Moment>>,
    names: Vec<String>,
    /// Free places of each connection; None: not connected.
    agents: Vec<Option<u32>>,
    /// Connections that no agent has taken.
    waiting: usize,
    entered: usize,
    keep_stay: bool,
    report: Report,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Connected,
    Over(DeliveryId),
}

impl Simulation {
    fn new(world: World, seed: u64) -> Simulation {
        let mut scheduler = Scheduler::new(world.limits.clone());
        let transport = scheduler.declare_transport("smtp", world.transport.clone());
        let destinations = world.destinations as usize;
        Simulation {
            scheduler,
            transport,
            random: Random(seed),
            now: Duration::ZERO,
            live: HashMap::new(),
            flights: HashMap::new(),
            events: BinaryHeap::new(),
            sequence: 0,
            busy: vec![0; destinations],
            last_start: vec![None; destinations],
            last_end: vec![None; destinations],
            names: (0..destinations).map(|n| format!("site{n}.example")).collect(),
            agents: vec![None; world.agents.0],
            waiting: 0,
            entered: 0,
            keep_stay: world.messages <= 100_000,
            report: Report::default(),
            world,
        }
    }

    fn at(&mut self, when: Moment, event: Event) {
        self.sequence += 1;
        self.events.push(Reverse((when, self.sequence, event)));
    }

    fn fill(&mut self) {
        while self.entered < self.world.messages && self.scheduler.has_room() {
            let recipients = (self.world.recipients)(self.entered, &mut self.random);
            let id = self.scheduler.add_message(self.now, recipients, false);
            let live = Live {
                number: self.entered,
                recipients,
                read: 0,
                entered: self.now,
                outcomes: vec![false; recipients],
                left: recipients,
            };
            assert!(self.live.insert(id, live).is_none(), "a number is used again only after Done");
            self.entered += 1;
            self.act();
        }
    }

    /// The destination of a recipient: large messages go everywhere, small ones to a few popular places and the rest.
    fn destination(&self, message: usize, recipient: usize) -> u32 {
        let mut hash =
            Random((message as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (recipient as u64 / 3 + 1) << 20);
        let popular = hash.below(10) < 3;
        let range = if popular { 20.min(self.world.destinations) } else { self.world.destinations };
        hash.below(u64::from(range)) as u32
    }

    fn is_dead(&self, destination: u32) -> bool {
        self.world.dead > 0 && destination % self.world.dead == self.world.dead - 1
    }

    fn act(&mut self) {
        while let Some(action) = self.scheduler.next_action() {
            match action {
                Action::Connect(_) => {
                    self.waiting += 1;
                    assert!(self.waiting <= 2, "connections that wait to be taken are few");
                    self.at(self.now + Duration::from_millis(1), Event::Connected);
                }
                Action::Read { message, count } => self.read(message, count),
                Action::Deliver { delivery, transport, message, recipients } => {
                    assert_eq!(transport, self.transport);
                    self.deliver(delivery, message, recipients);
                }
                Action::Defer { message, recipients, why } => {
                    assert_eq!(why.status.class, dsn::Class::Transient);
                    self.report.deferred += recipients.len();
                    self.outcome(message, &recipients);
                }
                Action::Done(message) => {
                    let live = self.live.remove(&message).expect("Done comes once");
                    assert_eq!(live.left, 0, "no recipient is lost");
                    assert!(live.outcomes.iter().all(|done| *done));
                    if self.keep_stay {
                        self.report.stay.insert(live.number, self.now - live.entered);
                    }
                }
                Action::Clogged { share, total, .. } => assert!(share <= total + 1),
            }
        }
        let limits = &self.world.limits;
        let most = limits.message_recipients + limits.message_active * limits.message_recipient_minimum;
        assert!(self.scheduler.recipient_count() <= most);
        assert!(self.scheduler.message_count() <= limits.message_active);
        self.report.most_held = self.report.most_held.max(self.scheduler.recipient_count());
    }

    fn read(&mut self, message: MessageId, count: usize) {
        let live = self.live.get(&message).expect("reads are for messages in the queue");
        let (number, from) = (live.number, live.read);
        let to = (from + count).min(live.recipients);
        let destinations: Vec<u32> = (from..to).map(|n| self.destination(number, n)).collect();
        let assignments: Vec<Assignment<'_>> = (from..to)
            .map(|n| Assignment {
                recipient: n as u32,
                transport: self.transport,
                nexthop: &self.names[destinations[n - from] as usize],
                address: b"",
            })
            .collect();
        let unread = live.recipients - to;
        self.scheduler.read(self.now, message, &assignments, unread);
        self.live.get_mut(&message).expect("seen above").read = to;
    }

    fn deliver(&mut self, delivery: DeliveryId, message: MessageId, recipients: Vec<u32>) {
        let live = &self.live[&message];
        let destination = self.destination(live.number, recipients[0] as usize);
        for recipient in &recipients {
            assert_eq!(self.destination(live.number, *recipient as usize), destination, "one destination a delivery");
        }
        let settings = &self.world.transport;
        let limit = settings.recipients_per_delivery;
        assert!(!recipients.is_empty() && (limit == 0 || recipients.len() <= limit));
        let place = destination as usize;
        self.busy[place] += 1;
        let most = if settings.destination_rate_delay.is_zero() { settings.concurrency_limit } else { 1 };
        assert!(most == 0 || self.busy[place] <= most, "concurrency limit exceeded");
        if let Some(end) = self.last_end[place].filter(|_| !settings.destination_rate_delay.is_zero()) {
            assert!(self.now >= end + settings.destination_rate_delay, "rate delay not honoured");
        }
        self.last_start[place] = Some(self.now);
        self.report.most_busy = self.report.most_busy.max(self.busy[place]);
        let agent = self.agents.iter().position(|free| free.is_some_and(|free| free > 0)).expect("an agent has room");
        self.agents[agent] = self.agents[agent].map(|free| free - 1);
        self.report.deliveries += 1;
        let took = Duration::from_micros(1_000 + u64::from(destination % 97) * 500 + self.random.below(1_000));
        self.flights.insert(delivery, Flight { message, recipients, destination, agent });
        self.at(self.now + took, Event::Over(delivery));
    }

    fn outcome(&mut self, message: MessageId, recipients: &[u32]) {
        let live = self.live.get_mut(&message).expect("outcomes are for messages in the queue");
        for recipient in recipients {
            assert!(!live.outcomes[*recipient as usize], "one outcome a recipient");
            live.outcomes[*recipient as usize] = true;
        }
        live.left -= recipients.len();
    }

    fn over(&mut self, delivery: DeliveryId) {
        // A crash may have ended it.
        let Some(flight) = self.flights.remove(&delivery) else { return };
        if self.world.crash > 0 && self.random.below(self.world.crash) == 0 {
            self.flights.insert(delivery, flight);
            self.crash(delivery);
            return;
        }
        self.leave(&flight);
        self.agents[flight.agent] = self.agents[flight.agent].map(|free| free + 1);
        let failure = self.is_dead(flight.destination);
        let dsn = failure.then(|| Dsn::new(Status::transient(4, 1), "connect to site: Connection timed out"));
        if failure {
            self.report.deferred += flight.recipients.len();
        } else {
            self.report.delivered += flight.recipients.len();
        }
        self.outcome(flight.message, &flight.recipients);
        self.scheduler.finished(self.now, delivery, dsn.as_ref());
    }

    fn leave(&mut self, flight: &Flight) {
        self.busy[flight.destination as usize] -= 1;
        self.last_end[flight.destination as usize] = Some(self.now);
    }

    /// The agent with this delivery dies, and with it all others that it has.
    fn crash(&mut self, delivery: DeliveryId) {
        self.report.crashes += 1;
        let agent = self.flights[&delivery].agent;
        let why = Rc::new(Dsn::new(Status::transient(3, 0), "unknown mail transport error"));
        let mut lost: Vec<DeliveryId> =
            self.flights.iter().filter(|(_, flight)| flight.agent == agent).map(|(id, _)| *id).collect();
        lost.sort_unstable();
        let free = self.agents[agent].take().expect("it was connected");
        if self.waiting > 0 {
            self.at(self.now + Duration::from_millis(1), Event::Connected);
        }
        self.scheduler.disconnected(self.now, self.transport, free);
        self.scheduler.agent_died(self.now, self.transport, &why);
        for delivery in lost {
            let flight = self.flights.remove(&delivery).expect("listed");
            self.leave(&flight);
            let reported = flight.recipients.len() / 2;
            self.report.delivered += reported;
            self.outcome(flight.message, &flight.recipients[..reported]);
            self.scheduler.crashed(self.now, delivery, flight.recipients[reported..].to_vec(), &why);
        }
    }

    fn run(mut self) -> Report {
        loop {
            self.fill();
            self.act();
            if self.live.is_empty() && self.entered == self.world.messages {
                break;
            }
            let event = self.events.peek().map(|Reverse((at, _, _))| *at);
            let tick = self.scheduler.next_tick();
            let next = [event, tick].into_iter().flatten().min().expect("something happens until all is done");
            assert!(next >= self.now || tick == Some(next), "time goes on");
            self.now = self.now.max(next);
            if tick.is_some_and(|tick| tick <= self.now) {
                self.scheduler.tick(self.now);
            } else if let Some(Reverse((_, _, event))) = self.events.pop() {
                match event {
                    Event::Connected => {
                        // Without a free agent, the connection waits in the backlog.
                        let place = self.agents.iter().position(Option::is_none);
                        if let Some(place) = place.filter(|_| self.waiting > 0) {
                            self.waiting -= 1;
                            self.agents[place] = Some(self.world.agents.1);
                            self.scheduler.connected(self.now, self.transport, self.world.agents.1);
                        }
                    }
                    Event::Over(delivery) => self.over(delivery),
                }
            }
        }
        assert_eq!(self.scheduler.recipient_count(), 0);
        assert_eq!(self.scheduler.message_count(), 0);
        self.report.end = self.now;
        self.report
    }
}

fn mixed(_: usize, random: &mut Random) -> usize {
    match random.below(1_000) {
        0..=899 => 1,
        900..=989 => 2 + random.below(8) as usize,
        990..=998 => 20 + random.below(80) as usize,
        _ => 300 + random.below(700) as usize,
    }
}

fn world(messages: usize, destinations: u32) -> World {
    World {
        messages,
        destinations,
        recipients: mixed,
        agents: (10, 100),
        dead: 50,
        crash: 0,
        limits: Limits::default(),
        transport: TransportSettings::default(),
    }
}

fn total(world: &World, seed: u64) -> (usize, Report) {
    let report = Simulation::new(world.clone(), seed).run();
    (report.delivered + report.deferred, report)
}

#[test]
fn twenty_thousand_messages_and_a_thousand_destinations() {
    let (recipients, report) = total(&world(20_000, 1_000), 1);
    assert!(recipients > 20_000);
    assert!(report.deferred > 0 && report.delivered > report.deferred * 5);
    assert_eq!(report.most_busy, 20, "popular destinations reach the limit");
}

#[test]
fn a_million_messages_and_ten_thousand_destinations() {
    let (recipients, report) = total(&world(1_000_000, 10_000), 2);
    assert!(recipients > 1_500_000, "{recipients}");
    assert!(report.delivered > report.deferred);
}

#[test]
fn agents_that_die_lose_nothing() {
    let mut world = world(20_000, 500);
    world.crash = 300;
    let (_, report) = total(&world, 3);
    assert!(report.crashes > 30);
    assert!(report.delivered > 0);
}

#[test]
fn a_small_memory_is_enough() {
    let mut world = world(3_000, 200);
    world.limits.message_active = 50;
    world.limits.message_recipients = 100;
    world.recipients = |number, random| if number % 100 == 0 { 2_000 } else { 1 + random.below(3) as usize };
    let (_, report) = total(&world, 4);
    assert!(report.most_held <= 100 + 50 * 10);
}

#[test]
fn a_rate_delay_is_kept() {
    let mut world = world(300, 10);
    world.dead = 0;
    world.transport.destination_rate_delay = Duration::from_secs(1);
    let (_, report) = total(&world, 5);
    assert_eq!(report.most_busy, 1);
    assert!(report.end >= Duration::from_secs(20));
}

#[test]
fn a_transport_rate_delay_is_kept() {
    let mut world = world(100, 10);
    world.dead = 0;
    world.recipients = |_, _| 1;
    world.transport.transport_rate_delay = Duration::from_secs(2);
    let (_, report) = total(&world, 6);
    assert!(report.end >= Duration::from_secs(2 * 99), "{:?}", report.end);
}

#[test]
fn small_messages_do_not_wait_for_a_large_one() {
    let mut world = world(400, 2_000);
    world.dead = 0;
    world.agents = (1, 20);
    world.limits.message_recipients = 50_000;
    world.transport.recipients_per_delivery = 1;
    world.recipients = |number, _| if number == 0 { 20_000 } else { 1 };
    let (_, report) = total(&world, 7);
    let large = report.stay[&0];
    let mut small: Vec<Moment> = (1..400).map(|number| report.stay[&number]).collect();
    small.sort_unstable();
    assert!(small[small.len() / 2] < large / 8, "median {:?} of {large:?}", small[small.len() / 2]);
    assert!(small[small.len() - 1] < large / 2, "longest {:?} of {large:?}", small[small.len() - 1]);
    // And they cost the large one no more than its slots.
    world.messages = 1;
    let (_, alone) = total(&world, 7);
    assert!(large < alone.end * 5 / 4, "{large:?} against {:?} alone", alone.end);

    world.messages = 400;
    world.transport.slot_cost = 0;
    let (_, without) = total(&world, 7);
    assert!(without.stay[&399] > without.stay[&0] / 2, "without preemption they wait");
}

#[test]
fn a_delivery_that_finds_no_agent_waits_for_the_next() {
    let mut scheduler = Scheduler::new(Limits::default());
    let transport = scheduler.declare_transport("smtp", TransportSettings::default());
    let now = Duration::from_secs(1);
    let message = scheduler.add_message(now, 1, false);
    assert_eq!(scheduler.next_action(), Some(Action::Read { message, count: 1 }));
    let assignment = Assignment { recipient: 0, transport, nexthop: "a.example", address: b"x@a.example" };
    scheduler.read(now, message, &[assignment], 0);
    assert_eq!(scheduler.next_action(), Some(Action::Connect(transport)));
    scheduler.connected(now, transport, 1);
    // The connection closes before the caller comes to send.
    scheduler.disconnected(now, transport, 1);
    let Some(Action::Deliver { delivery, .. }) = scheduler.next_action() else { panic!("a delivery") };
    scheduler.unsent(now, delivery);
    assert_eq!(scheduler.next_action(), Some(Action::Connect(transport)));
    assert_eq!(scheduler.next_action(), None);
    scheduler.connected(now, transport, 1);
    let Some(Action::Deliver { delivery, recipients, .. }) = scheduler.next_action() else { panic!("a delivery") };
    assert_eq!(recipients, [0]);
    scheduler.finished(now, delivery, None);
    assert_eq!(scheduler.next_action(), Some(Action::Done(message)));
    assert_eq!(scheduler.next_action(), None);
    assert_eq!((scheduler.message_count(), scheduler.recipient_count()), (0, 0));
}

#[test]
fn a_destination_that_takes_too_much_is_warned_about_once() {
    let limits = Limits { message_active: 100, ..Limits::default() };
    let mut scheduler = Scheduler::new(limits);
    let transport = scheduler.declare_transport("smtp", TransportSettings::default());
    let mut warnings = 0;
    for n in 0..60 {
        let now = Duration::from_secs(n);
        let message = scheduler.add_message(now, 1, false);
        scheduler.read(now, message, &[Assignment { recipient: 0, transport, nexthop: "A.example", address: b"" }], 0);
        while let Some(action) = scheduler.next_action() {
            if let Action::Clogged { destination, share, .. } = action {
                assert_eq!((&*destination, share), ("a.example", 21));
                warnings += 1;
            }
        }
    }
    assert_eq!(warnings, 1);
}
