//! Connections to delivery agents, and the requests on them.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use dsn::{Dsn, Status};
use ipc::Connection;
use ipc::delivery::{FromAgent, Request, ToAgent};
use queue::{Directory, QueueId};
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::disk;
use crate::engine::State;
use crate::scheduler::{DeliveryId, MessageId, Moment, TransportId};
use crate::service::Qmgr;
use crate::verp;

/// Pause before a socket is tried again of which the backlog is full, or that closed without a word.
const PAUSE: Duration = Duration::from_millis(200);
/// How often in a row a connection may end without a word before the transport counts as broken.
const SILENT_ENDS: u32 = 3;

/// A delivery on the way.
pub(crate) struct Flight {
    pub(crate) transport: TransportId,
    pub(crate) message: MessageId,
    pub(crate) recipients: Vec<u32>,
}

/// The connections to one transport.
#[derive(Default)]
pub(crate) struct Pool {
    agents: Vec<Agent>,
}

/// One connection.
struct Agent {
    number: u64,
    /// Deliveries that it can take at once.
    capacity: u32,
    /// Requests without answer.
    requests: HashMap<u64, DeliveryId>,
    outbox: Rc<Outbox>,
    /// No more requests.
    draining: bool,
    born: Moment,
    idle_since: Moment,
}

/// What a connection's task has to send.
#[derive(Default)]
struct Outbox {
    requests: RefCell<Vec<(Request, OwnedFd)>>,
    close: Cell<bool>,
    filled: Notify,
}

impl Agent {
    fn room(&self) -> u32 {
        if self.draining { 0 } else { self.capacity.saturating_sub(self.requests.len() as u32) }
    }
}

impl Pool {
    pub(crate) fn is_empty(&self) -> bool {
        self.agents.is_empty()
    }

    fn agent(&mut self, number: u64) -> Option<&mut Agent> {
        self.agents.iter_mut().find(|agent| agent.number == number)
    }

    /// Closes idle connections; returns the room that is lost.
    pub(crate) fn close_idle(&mut self, now: Moment, idle: Duration, lifetime: Duration) -> u32 {
        let mut room = 0;
        self.agents.retain(|agent| {
            let old = agent.capacity == 1 && now >= agent.born + lifetime;
            let keep = !agent.requests.is_empty() || (now < agent.idle_since + idle && !agent.draining && !old);
            if !keep {
                room += agent.room();
                agent.outbox.close.set(true);
                agent.outbox.filled.notify_one();
            }
            keep
        });
        room
    }
}

impl Qmgr {
    /// Opens one more connection.
    pub(crate) fn connect(self: &Rc<Self>, transport: TransportId) {
        let this = self.clone();
        self.worker().spawn_background(async move {
            let name = this.state.borrow().scheduler.transport_name(transport).clone();
            match this.open(&name).await {
                Ok((connection, capacity)) => this.converse(connection, transport, capacity).await,
                Err(error) => {
                    log::warning!("connect to transport private/{name}: {error}");
                    let why = Dsn::new(Status::transient(3, 0), "mail transport unavailable");
                    let now = this.now();
                    this.state.borrow_mut().scheduler.connect_failed(now, transport, why);
                    this.wake.notify_one();
                }
            }
        });
    }

    /// Connects and waits until an agent takes the connection, for as long as that needs.
    async fn open(&self, name: &str) -> Result<(Connection, u32), ipc::Error> {
        let path = self.private.join(name);
        let mut silent = 0;
        loop {
            let mut connection = match Connection::connect(&path).await {
                Ok(connection) => connection,
                // The backlog is full.
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    sleep(PAUSE).await;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            match connection.receive().await {
                Ok(Some(FromAgent::Hello { capacity })) => return Ok((connection, capacity.max(1))),
                Ok(Some(_)) => return Err(ipc::Error::Protocol("no greeting")),
                // An agent that was about to end.
                Ok(None) if silent + 1 < SILENT_ENDS => {
                    silent += 1;
                    sleep(PAUSE).await;
                }
                Ok(None) => return Err(ipc::Error::Closed),
                Err(ipc::Error::Io(error))
                    if error.kind() == std::io::ErrorKind::ConnectionReset && silent + 1 < SILENT_ENDS =>
                {
                    silent += 1;
                    sleep(PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// One connection, from greeting to close.
    async fn converse(self: Rc<Self>, mut connection: Connection, transport: TransportId, capacity: u32) {
        let outbox = Rc::new(Outbox::default());
        let now = self.now();
        let number = {
            let mut state = self.state.borrow_mut();
            let number = state.next_number();
            let agent = Agent {
                number,
                capacity,
                requests: HashMap::new(),
                outbox: outbox.clone(),
                draining: false,
                born: now,
                idle_since: now,
            };
            state.pools.entry(transport).or_default().agents.push(agent);
            state.scheduler.connected(now, transport, capacity);
            number
        };
        self.sweep_later();
        self.wake.notify_one();
        let outcome = self.exchange(&mut connection, transport, number, &outbox).await;
        if let Err(error) = &outcome {
            log::warning!("problem talking to an agent of private/{}: {error}", self.transport_name(transport));
        }
        self.disconnected(transport, number);
    }

    async fn exchange(
        self: &Rc<Self>,
        connection: &mut Connection,
        transport: TransportId,
        number: u64,
        outbox: &Outbox,
    ) -> Result<(), ipc::Error> {
        loop {
            for (request, file) in outbox.requests.take() {
                connection.queue_with_descriptor(&ToAgent::Deliver(Box::new(request)), file)?;
            }
            if outbox.close.get() {
                return Ok(());
            }
            tokio::select! {
                biased;
                () = outbox.filled.notified() => {}
                message = connection.receive_while_flushing() => match message? {
                    Some(message) => {
                        self.agent_says(transport, number, message)?;
                        self.wake.notify_one();
                    }
                    None => return Ok(()),
                },
            }
        }
    }

    fn transport_name(&self, transport: TransportId) -> Rc<str> {
        self.state.borrow().scheduler.transport_name(transport).clone()
    }

    fn agent_says(self: &Rc<Self>, transport: TransportId, number: u64, message: FromAgent) -> Result<(), ipc::Error> {
        match message {
            FromAgent::Hello { .. } => Err(ipc::Error::Protocol("second greeting")),
            FromAgent::Outcome { request, recipient, delivery, relay, notices_passed_on } => {
                let (message, recipient) = {
                    let mut state = self.state.borrow_mut();
                    let delivery = request_of(&mut state, transport, number, request)?;
                    let flight = &state.flights[&delivery];
                    let index = usize::try_from(recipient).unwrap_or(usize::MAX);
                    let recipient = flight.recipients.get(index).copied();
                    (flight.message, recipient.ok_or(ipc::Error::Protocol("no such recipient"))?)
                };
                self.outcome(message, recipient, delivery, &relay, notices_passed_on);
                Ok(())
            }
            FromAgent::Finished { request, destination } => {
                let delivery = request_of(&mut self.state.borrow_mut(), transport, number, request)?;
                self.finished(number, request, delivery, destination.as_ref());
                Ok(())
            }
            FromAgent::Corrupt { request } => {
                let delivery = request_of(&mut self.state.borrow_mut(), transport, number, request)?;
                {
                    let mut state = self.state.borrow_mut();
                    let message = state.flights[&delivery].message;
                    if let Some(message) = state.messages.get_mut(&message) {
                        message.corrupt = true;
                    }
                }
                self.finished(number, request, delivery, None);
                Ok(())
            }
            FromAgent::Draining => {
                let now = self.now();
                let mut state = self.state.borrow_mut();
                let State { pools, scheduler, .. } = &mut *state;
                if let Some(agent) = pools.get_mut(&transport).and_then(|pool| pool.agent(number)) {
                    let room = agent.room();
                    agent.draining = true;
                    agent.outbox.close.set(agent.requests.is_empty());
                    agent.outbox.filled.notify_one();
                    scheduler.disconnected(now, transport, room);
                }
                Ok(())
            }
        }
    }

    /// A request is answered in full.
    fn finished(self: &Rc<Self>, number: u64, request: u64, delivery: DeliveryId, destination: Option<&Dsn>) {
        let now = self.now();
        let Some((transport, message, unreported)) = self.land(delivery) else { return };
        if !unreported.is_empty() {
            let corrupt = self.state.borrow().messages.get(&message).is_some_and(|message| message.corrupt);
            if !corrupt {
                let why = Dsn::new(Status::transient(3, 0), "unknown mail transport error");
                self.defer(message, &unreported, &why);
            }
        }
        let mut state = self.state.borrow_mut();
        let State { pools, scheduler, .. } = &mut *state;
        scheduler.finished(now, delivery, destination);
        let Some(agent) = pools.get_mut(&transport).and_then(|pool| pool.agent(number)) else { return };
        agent.requests.remove(&request);
        agent.idle_since = now;
        let old = agent.capacity == 1 && now >= agent.born + self.settings.connection_lifetime;
        if agent.draining {
            // The scheduler has just counted its room again.
            scheduler.disconnected(now, transport, 1);
        } else if old {
            agent.draining = true;
            scheduler.disconnected(now, transport, 1);
        }
        if agent.draining && agent.requests.is_empty() {
            agent.outbox.close.set(true);
            agent.outbox.filled.notify_one();
        }
    }

    /// A delivery has ended, well or not: its recipients without outcome.
    fn land(&self, delivery: DeliveryId) -> Option<(TransportId, MessageId, Vec<u32>)> {
        let mut state = self.state.borrow_mut();
        let flight = state.flights.remove(&delivery)?;
        state.touched.push(flight.message);
        let close = !state.may_keep_file() && !state.draining;
        let State { messages, open_files, .. } = &mut *state;
        let unreported = match messages.get_mut(&flight.message) {
            Some(message) => {
                message.in_flight -= 1;
                if close && message.in_flight == 0 && message.file.take().is_some() {
                    *open_files -= 1;
                }
                let open = |number: &u32| message.recipients.get(*number as usize).is_some_and(Option::is_some);
                flight.recipients.into_iter().filter(|number| open(number)).collect()
            }
            None => Vec::new(),
        };
        Some((flight.transport, flight.message, unreported))
    }

    /// A connection is closed, by whichever side.
    fn disconnected(self: &Rc<Self>, transport: TransportId, number: u64) {
        let now = self.now();
        let agent = {
            let mut state = self.state.borrow_mut();
            let Some(pool) = state.pools.get_mut(&transport) else { return };
            let Some(at) = pool.agents.iter().position(|agent| agent.number == number) else { return };
            let agent = pool.agents.swap_remove(at);
            state.scheduler.disconnected(now, transport, agent.room());
            agent
        };
        if !agent.requests.is_empty() {
            let name = self.transport_name(transport);
            log::warning!(
                "transport {name} failure -- see a previous warning/fatal/panic logfile record for the problem \
                 description"
            );
            let why = Rc::new(Dsn::new(Status::transient(3, 0), "unknown mail transport error"));
            self.state.borrow_mut().scheduler.agent_died(now, transport, &why);
            let mut lost: Vec<DeliveryId> = agent.requests.into_values().collect();
            lost.sort_unstable();
            for delivery in lost {
                if let Some((_, _, unreported)) = self.land(delivery) {
                    self.state.borrow_mut().scheduler.crashed(now, delivery, unreported, &why);
                }
            }
        }
        self.wake.notify_one();
    }

    /// Sends a delivery to an agent with room.
    pub(crate) fn deliver(
        self: &Rc<Self>,
        delivery: DeliveryId,
        transport: TransportId,
        number: MessageId,
        recipients: Vec<u32>,
    ) {
        let mut state = self.state.borrow_mut();
        if state.draining {
            // The next queue manager sends it.
            return;
        }
        let request_number = state.next_number();
        let Some(request) = self.request(&mut state, request_number, number, &recipients) else { return };
        let agent = state.pools.get_mut(&transport).and_then(|pool| {
            // The first with room, so that few connections are busy and agents can keep theirs open.
            pool.agents.iter_mut().find(|agent| agent.room() > 0).map(|agent| agent.number)
        });
        let Some(agent) = agent else {
            let now = self.now();
            state.scheduler.unsent(now, delivery);
            drop(state);
            self.wake.notify_one();
            return;
        };
        let file = self.file_for_agent(&mut state, number);
        let Some(message) = state.messages.get_mut(&number) else { return };
        message.in_flight += 1;
        state.flights.insert(delivery, Flight { transport, message: number, recipients });
        match file {
            Ok(file) => {
                if let Some(agent) = state.pools.get_mut(&transport).and_then(|pool| pool.agent(agent)) {
                    agent.requests.insert(request_number, delivery);
                    agent.outbox.requests.borrow_mut().push((request, file));
                    agent.outbox.filled.notify_one();
                }
            }
            Err(error) => {
                drop(state);
                self.unreadable(delivery, &request.queue_id, &error);
            }
        }
    }

    /// The file of a delivery cannot be opened: its recipients wait for another day, or have no day left because the
    /// message was deleted.
    fn unreadable(self: &Rc<Self>, delivery: DeliveryId, id: &QueueId, error: &std::io::Error) {
        let Some((_, message, unreported)) = self.land(delivery) else { return };
        if error.kind() == std::io::ErrorKind::NotFound {
            if let Some(message) = self.state.borrow_mut().messages.get_mut(&message) {
                for number in unreported {
                    message.recipients[number as usize] = None;
                }
            }
        } else {
            log::warning!("{id}: cannot open for delivery: {}", sys::reason(error));
            let why = Dsn::new(Status::transient(3, 0), "mail system error: the message cannot be opened");
            self.defer(message, &unreported, &why);
        }
        let now = self.now();
        self.state.borrow_mut().scheduler.finished(now, delivery, None);
        self.wake.notify_one();
    }

    /// The message's descriptor, for one more agent.
    fn file_for_agent(&self, state: &mut State, number: MessageId) -> std::io::Result<OwnedFd> {
        let Some(message) = state.messages.get_mut(&number) else {
            return Err(std::io::ErrorKind::NotFound.into());
        };
        if let Some(file) = &message.file {
            return file.try_clone();
        }
        let file = disk::open_for_agent(&self.spool, &message.id)?;
        let copy = file.try_clone()?;
        message.file = Some(Rc::new(file));
        state.open_files += 1;
        Ok(copy)
    }

    fn request(&self, state: &mut State, id: u64, number: MessageId, recipients: &[u32]) -> Option<Request> {
        let message = state.messages.get(&number)?;
        let envelope = &message.envelope;
        let of = |number: &u32| message.recipients.get(*number as usize).and_then(Option::as_ref);
        let first = of(recipients.first()?)?;
        let sender = match envelope.verp {
            Some(delimiters) => verp::sender(&envelope.sender, delimiters, &first.address),
            None => envelope.sender.clone(),
        };
        let recipients = recipients.iter().filter_map(of).map(|recipient| ipc::delivery::Recipient {
            address: recipient.address.clone(),
            original: recipient.original.clone(),
            dsn_original: recipient.dsn_original.clone(),
            notify: recipient.notify,
        });
        Some(Request {
            id,
            directory: Directory::Active,
            queue_id: message.id.clone(),
            content_offset: envelope.size.content_offset,
            content_length: envelope.size.content_length,
            nexthop: first.nexthop.to_string(),
            encoding: envelope.encoding.clone(),
            send_options: envelope.size.send_options,
            sender,
            envelope_id: envelope.envelope_id.clone(),
            ret: envelope.ret,
            arrival: envelope.arrival,
            active: message.active,
            attributes: envelope.attributes.clone(),
            trace_flags: envelope.trace_flags,
            recipients: recipients.collect(),
        })
    }
}

/// The delivery of a request; the agent must have it.
fn request_of(state: &mut State, transport: TransportId, number: u64, request: u64) -> Result<DeliveryId, ipc::Error> {
    let agent = state.pools.get_mut(&transport).and_then(|pool| pool.agent(number));
    let delivery = agent.and_then(|agent| agent.requests.get(&request)).copied();
    delivery.filter(|id| state.flights.contains_key(id)).ok_or(ipc::Error::Protocol("no such request"))
}
