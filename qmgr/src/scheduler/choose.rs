//! Which waiting delivery gets the room that an agent has.
//!
//! A large message that is being delivered earns a slot for every `slot_cost` of its deliveries. When a smaller message
//! waits behind it and the slots cover its deliveries, it is let in front and the slots are used up. So a large message
//! is slowed down by at most one in `slot_cost`, while a small one waits for about as long as itself is large.
//!
//! Candidates come from three places, each looked at shortly: the next messages of the destination that would be served,
//! the oldest messages of the other destinations that are ready, and the oldest messages of each size. Of those that
//! have something to send at once, the one that has waited longest for its size is let in front.

use std::ops::Bound;

use super::arena::Id;
use super::state::{Destination, Job, Peer};
use super::{Moment, Scheduler, TransportId};

/// How many of the next messages of the same destination are considered.
const NEXT_IN_LINE: usize = 4;
/// How many other destinations are considered.
const NEXT_DESTINATIONS: usize = 8;
/// How many messages of each size are considered.
const OLDEST_OF_A_SIZE: usize = 4;
/// At how many of its destinations a candidate is looked for.
const DESTINATIONS_OF_A_CANDIDATE: usize = 32;
/// How many messages may be in front at a time. Each is smaller than the one it stepped in front of.
const MOST_IN_FRONT: usize = 64;

impl Scheduler {
    /// The destination and what waits there.
    pub(super) fn choose(&mut self, now: Moment, transport: TransportId) -> Option<(Id<Destination>, Id<Peer>)> {
        let (destination, peer) = self.in_front(transport).or_else(|| self.oldest(transport))?;
        Some(self.smaller(now, transport, destination, peer).unwrap_or((destination, peer)))
    }

    /// What a message that was let in front can send now.
    fn in_front(&self, transport: TransportId) -> Option<(Id<Destination>, Id<Peer>)> {
        let jobs = &self.transports[transport.0 as usize].in_front;
        jobs.iter().rev().find_map(|job| self.ready_part(*job, usize::MAX))
    }

    /// The least recently served ready destination of a job, of the first `most`.
    fn ready_part(&self, job: Id<Job>, most: usize) -> Option<(Id<Destination>, Id<Peer>)> {
        let ready = self.jobs[job].peers.iter().take(most).filter_map(|peer| {
            let id = self.peers[*peer].destination;
            let destination = &self.destinations[id];
            destination.ready.map(|_| (destination.served, id, *peer))
        });
        ready.min_by_key(|(served, _, _)| *served).map(|(_, destination, peer)| (destination, peer))
    }

    /// What the oldest message with a ready destination can send now.
    fn oldest(&self, transport: TransportId) -> Option<(Id<Destination>, Id<Peer>)> {
        let (sequence, _, id) = self.transports[transport.0 as usize].ready.first()?;
        let peer = self.destinations[*id].waiting.get(sequence)?;
        Some((*id, *peer))
    }

    /// A smaller message that may be sent before `peer`; it is then in front.
    fn smaller(
        &mut self,
        now: Moment,
        transport: TransportId,
        destination: Id<Destination>,
        peer: Id<Peer>,
    ) -> Option<(Id<Destination>, Id<Peer>)> {
        let record = &self.transports[transport.0 as usize];
        let settings = &record.settings;
        if settings.slot_cost == 0 || record.in_front.len() >= MOST_IN_FRONT {
            return None;
        }
        // A cost of one would let small messages take over entirely.
        let cost = settings.slot_cost.max(2) as usize;
        let large = self.peers[peer].job;
        let job = &self.jobs[large];
        let sequence = self.messages[job.message].sequence;
        if (job.sent + self.size_of(large)) / cost < (settings.minimum_slots as usize).max(1) {
            return None;
        }
        let earned = (job.sent / cost) as i64 - job.slots_used as i64;
        let loan = i64::from(settings.slot_loan);
        let discount = i64::from(settings.slot_discount.min(100));
        let affordable = |size: usize| (size as i64) * (100 - discount) <= (earned + loan) * 100;
        // Not more than one slot's worth of debt beyond what the settings lend.
        if !affordable(1) {
            return None;
        }
        let later = (Bound::Excluded(sequence), Bound::Unbounded);
        let behind = self.destinations[destination].waiting.range(later).take(NEXT_IN_LINE);
        let behind = behind.map(|(_, candidate)| (destination, *candidate));
        let others = record.ready.range((sequence + 1, 0, Id::MIN)..).take(NEXT_DESTINATIONS);
        let others = others.filter_map(|(first, _, id)| Some((*id, *self.destinations[*id].waiting.get(first)?)));
        let sizes = record.sizes.iter().enumerate().take_while(|(class, _)| affordable(1 << class));
        let oldest = sizes.flat_map(|(_, jobs)| jobs.iter().take(OLDEST_OF_A_SIZE));
        let oldest = oldest.filter_map(|(_, job)| self.ready_part(*job, DESTINATIONS_OF_A_CANDIDATE));
        let remaining = self.size_of(large);
        let (_, size, place, candidate) = behind
            .chain(others)
            .chain(oldest)
            .filter_map(|(place, candidate)| {
                let job = self.peers[candidate].job;
                let size = self.size_of(job);
                if job == large || self.jobs[job].in_front || size >= remaining || !affordable(size) {
                    return None;
                }
                let waited = now.saturating_sub(self.messages[self.jobs[job].message].entered);
                let score = (waited.as_micros() as f64 + 1.0) / size.max(1) as f64;
                Some((score, size, place, candidate))
            })
            .max_by(|left, right| left.0.total_cmp(&right.0))?;
        let job = self.peers[candidate].job;
        self.jobs[large].slots_used += size;
        self.jobs[job].in_front = true;
        self.reclass(job);
        self.transports[transport.0 as usize].in_front.push(job);
        Some((place, candidate))
    }

    /// Deliveries that a job still needs, with what is still unread of its message.
    fn size_of(&self, id: Id<Job>) -> usize {
        let job = &self.jobs[id];
        job.deliveries + self.messages[job.message].unread.div_ceil(job.batch)
    }
}
