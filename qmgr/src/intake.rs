//! How messages come into the active queue: announced by cleanup, found in `incoming` and `deferred`, or asked for.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use queue::{Directory, QueueId, state};

use crate::disk::{self, NotTaken, Taken};
use crate::engine::State;
use crate::message::Message;
use crate::scan::{Candidate, Scanner};
use crate::scheduler::Moment;
use crate::service::{Qmgr, epoch, epoch_seconds};

/// Messages that were announced and wait; what is more is found by a scan.
const MOST_ANNOUNCED: usize = 10_000;
/// So many of them waiting is "behind".
const BEHIND: usize = 500;
/// Messages that are opened elsewhere at a time.
const MOST_OPENING: usize = 8;
/// Messages that are taken in one turn of the loop.
const PER_TURN: usize = 50;
/// First pause before a message is tried again that an agent of an earlier queue manager still has; it doubles.
const BUSY_PAUSE: Duration = Duration::from_secs(1);
/// Longest such pause.
const LONGEST_BUSY_PAUSE: Duration = Duration::from_secs(60);

/// What waits to be taken.
pub(crate) struct Intake {
    announced: VecDeque<Candidate>,
    /// Announcements were dropped.
    overflowed: bool,
    incoming: Scanner,
    deferred: Scanner,
    /// Which of the two is next.
    deferred_next: bool,
    /// Messages that are being opened.
    opening: HashMap<QueueId, ()>,
    /// Messages that others still have.
    busy: HashMap<QueueId, Busy>,
    next_run: Option<Moment>,
    running: bool,
}

/// A message that an agent of an earlier queue manager still has.
struct Busy {
    again: Moment,
    pause: Duration,
    /// It is among the announced.
    queued: bool,
}

/// How a message is taken.
struct Choice {
    candidate: Candidate,
    fresh: bool,
}

impl Intake {
    pub(crate) fn new() -> Intake {
        Intake {
            announced: VecDeque::new(),
            overflowed: false,
            incoming: Scanner::new(Directory::Incoming),
            deferred: Scanner::new(Directory::Deferred),
            deferred_next: false,
            opening: HashMap::new(),
            busy: HashMap::new(),
            next_run: None,
            running: false,
        }
    }

    /// When the next queue run or retry is due.
    pub(crate) fn next_moment(&self) -> Option<Moment> {
        self.busy.values().filter(|busy| !busy.queued).map(|busy| busy.again).chain(self.next_run).min()
    }

    /// True when no message is on its way in.
    pub(crate) fn is_idle(&self) -> bool {
        self.opening.is_empty()
    }

    fn announce(&mut self, candidate: Candidate) {
        if self.announced.len() < MOST_ANNOUNCED {
            self.announced.push_back(candidate);
        } else {
            self.overflowed = true;
        }
    }

    /// What is taken next. New mail and deferred mail take turns.
    fn choose(&mut self) -> Option<Choice> {
        let mut empty = 0;
        while empty < 2 {
            self.deferred_next = !self.deferred_next;
            let candidate = if self.deferred_next {
                self.deferred.next()
            } else if let Some(candidate) = self.announced.pop_front() {
                let fresh = candidate.directory == Directory::Incoming && !self.busy.contains_key(&candidate.id);
                return Some(Choice { candidate, fresh });
            } else {
                self.incoming.next()
            };
            match candidate {
                // It has its own time.
                Some(candidate) if self.busy.contains_key(&candidate.id) => empty = 0,
                Some(candidate) => return Some(Choice { candidate, fresh: false }),
                None => empty += 1,
            }
        }
        None
    }

    /// Messages of which the pause is over come again.
    fn retry_busy(&mut self, now: Moment) {
        for (id, busy) in &mut self.busy {
            if !busy.queued && busy.again <= now {
                busy.queued = true;
                self.announced.push_back(Candidate { id: id.clone(), directory: Directory::Incoming, flush: false });
            }
        }
    }

    /// Somebody else has the message; true the first time.
    fn is_busy_again(&mut self, id: QueueId, now: Moment) -> bool {
        let before = self.busy.get(&id).map(|busy| busy.pause);
        let pause = before.map_or(BUSY_PAUSE, |pause| (pause * 2).min(LONGEST_BUSY_PAUSE));
        self.busy.insert(id, Busy { again: now + pause, pause, queued: false });
        before.is_none()
    }
}

impl Qmgr {
    /// The active queue is empty: messages may come.
    pub(crate) fn begin_intake(&self) {
        let mut state = self.state.borrow_mut();
        state.intake.running = true;
        state.intake.incoming.request(false, false);
        state.intake.next_run = Some(self.now());
    }

    /// A message is ready, or wanted now.
    pub(crate) fn announce(&self, id: QueueId, directory: Directory) {
        let flush = directory == Directory::Deferred;
        self.state.borrow_mut().intake.announce(Candidate { id, directory, flush });
        self.wake.notify_one();
    }

    /// Triggers: wake up, scan, flush.
    pub(crate) fn wake_up(&self, characters: &[u8]) {
        let has = |character: u8| characters.contains(&character);
        let mut state = self.state.borrow_mut();
        let (all, flush) = (has(b'A'), has(b'F'));
        if flush {
            let now = self.now();
            state.scheduler.revive_all(now);
        }
        if has(b'D') {
            state.intake.deferred.request(all, flush);
        }
        if has(b'I') || has(b'W') || (flush && !has(b'D')) {
            state.intake.incoming.request(all, flush);
        }
        drop(state);
        self.wake.notify_one();
    }

    /// Takes what there is room for.
    pub(crate) fn take_messages(self: &Rc<Self>) {
        let now = self.now();
        {
            let mut state = self.state.borrow_mut();
            let intake = &mut state.intake;
            if !intake.running {
                return;
            }
            if intake.next_run.is_some_and(|at| at <= now) {
                intake.next_run = Some(now + self.settings.queue_run_delay);
                intake.deferred.request(false, false);
            }
            intake.retry_busy(now);
            if intake.overflowed && intake.announced.is_empty() {
                intake.overflowed = false;
                intake.incoming.request(false, false);
            }
        }
        self.read_directories();
        for taken in 0.. {
            if taken >= PER_TURN {
                // Others have their turn first.
                self.wake.notify_one();
                break;
            }
            let choice = {
                let mut state = self.state.borrow_mut();
                let opening = state.intake.opening.len();
                let full = state.scheduler.message_count() + opening >= self.settings.limits.message_active;
                if full || !state.scheduler.has_room() || opening >= MOST_OPENING {
                    break;
                }
                let Some(choice) = state.intake.choose() else { break };
                let id = &choice.candidate.id;
                if state.active.contains_key(id) || state.intake.opening.contains_key(id) {
                    continue;
                }
                choice
            };
            self.take(choice);
        }
        self.read_directories();
    }

    fn take(self: &Rc<Self>, Choice { candidate, fresh }: Choice) {
        let Candidate { id, directory, flush } = candidate;
        if fresh {
            // It was written a moment ago: nothing here waits for a disk.
            let taken = disk::take(&self.spool, &id, directory, true);
            self.admit(id, flush, taken);
            return;
        }
        self.state.borrow_mut().intake.opening.insert(id.clone(), ());
        let this = self.clone();
        self.worker().spawn(async move {
            let (spool, name) = (this.spool.clone(), id.clone());
            let taken = this.worker().run_blocking(move || disk::take(&spool, &name, directory, false)).await;
            this.state.borrow_mut().intake.opening.remove(&id);
            if let Some(taken) = taken {
                this.admit(id, flush, taken);
            }
            this.wake.notify_one();
        });
    }

    /// Reads on in directories of which the last piece is used up.
    fn read_directories(self: &Rc<Self>) {
        let pieces = {
            let mut state = self.state.borrow_mut();
            let State { intake, scheduler, .. } = &mut *state;
            if !scheduler.has_room() {
                return;
            }
            [intake.incoming.piece(&self.spool), intake.deferred.piece(&self.spool)]
        };
        for (deferred, piece) in pieces.into_iter().enumerate() {
            let Some(piece) = piece else { continue };
            let this = self.clone();
            self.worker().spawn_background(async move {
                let read = this.worker().run_blocking(move || piece.read(epoch_seconds())).await;
                {
                    let mut state = this.state.borrow_mut();
                    let intake = &mut state.intake;
                    let scanner = if deferred == 1 { &mut intake.deferred } else { &mut intake.incoming };
                    scanner.put(read);
                }
                this.wake.notify_one();
            });
        }
    }

    /// A message is (or is not) in the active queue.
    fn admit(self: &Rc<Self>, id: QueueId, flush: bool, taken: Result<Taken, NotTaken>) {
        let now = self.now();
        let mut state = self.state.borrow_mut();
        let taken = match taken {
            Ok(taken) => taken,
            Err(NotTaken::Busy) => {
                if state.intake.is_busy_again(id.clone(), now) {
                    log::lines::skipped(id.as_str());
                }
                return;
            }
            Err(other) => {
                state.intake.busy.remove(&id);
                if let NotTaken::Failed(error) = other {
                    log::warning!("{id}: cannot take into the active queue: {}", sys::reason(&error));
                }
                return;
            }
        };
        state.intake.busy.remove(&id);
        let Taken { envelope, recipients, next, file, mode, logs } = taken;
        let count = envelope.size.recipients.max(recipients.len() as u64);
        log::lines::queue_active(
            id.as_str(),
            &self.delivery.shown(&envelope.sender),
            envelope.size.content_length,
            count,
        );
        let promised = match next {
            Some(_) => usize::try_from(count).unwrap_or(usize::MAX).saturating_sub(recipients.len()).max(1),
            None => 0,
        };
        let forced = state::is_forced_expire(mode);
        let keep = state.may_keep_file();
        state.open_files += usize::from(keep);
        let unread = recipients.len() + promised;
        let number = state.scheduler.add_message(now, unread, envelope.verp.is_some());
        let message = Message {
            id: id.clone(),
            envelope: Rc::new(envelope),
            active: epoch(),
            flush: flush || state::is_unthrottled(mode),
            forced,
            recipients: Vec::new(),
            read: recipients.into(),
            next,
            promised,
            file: keep.then(|| Rc::new(file)),
            in_flight: 0,
            unmarked: Vec::new(),
            mark_failed: false,
            entries: Vec::new(),
            writing: false,
            bounced: logs.bounce,
            traced: logs.trace,
            // A message that is to be returned, and has been tried: its defer log says why.
            deferred: usize::from(forced && logs.defer),
            deferrals: Vec::new(),
            untold: false,
            sites: Vec::new(),
            corrupt: false,
            scheduled: false,
            finishing: false,
        };
        state.probes += usize::from(message.is_probe());
        state.active.insert(id, number);
        state.messages.insert(number, message);
    }

    /// Tells cleanup when mail comes in faster than it is taken.
    pub(crate) fn say_if_behind(&self) {
        let waiting = self.state.borrow().intake.announced.len();
        let behind = *self.behind.borrow();
        let now = if behind { waiting > BEHIND / 2 } else { waiting > BEHIND };
        if now != behind {
            self.behind.send_replace(now);
        }
    }
}
