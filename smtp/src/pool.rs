//! Idle sessions that the next delivery to the same destination takes over, instead of a new connection.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::session::Session;
use crate::settings::Settings;

/// Idle sessions of one process; further ones are closed at once.
const MOST_IDLE: usize = 200;
/// Deliveries to one destination that follow each other faster than this make a connection worth keeping.
const ON_DEMAND_WINDOW: Duration = Duration::from_secs(1);

/// The idle sessions of this process, by next hop.
#[derive(Clone, Debug, Default)]
pub struct Pool {
    inner: Rc<RefCell<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    idle: HashMap<Box<str>, Vec<Idle>>,
    idle_count: usize,
    demand: HashMap<Box<str>, Demand>,
}

#[derive(Debug)]
struct Idle {
    session: Session,
    until: Instant,
}

#[derive(Debug)]
struct Demand {
    under_way: usize,
    last: Option<Instant>,
}

/// A delivery to a destination is under way, until this is dropped.
#[derive(Debug)]
pub struct UnderWay {
    pool: Pool,
    nexthop: Box<str>,
    wanted_before: bool,
}

impl Pool {
    /// Notes that a delivery to `nexthop` begins.
    #[must_use]
    pub fn begin(&self, nexthop: &str) -> UnderWay {
        let now = Instant::now();
        let mut inner = self.inner.borrow_mut();
        let demand = inner.demand.entry(nexthop.into()).or_insert(Demand { under_way: 0, last: None });
        demand.under_way += 1;
        let recent = demand.last.is_some_and(|last| now.duration_since(last) < ON_DEMAND_WINDOW);
        UnderWay { pool: self.clone(), nexthop: nexthop.into(), wanted_before: recent || demand.under_way > 1 }
    }

    /// An idle session to `nexthop` that still works and may be used again.
    #[must_use]
    pub fn take(&self, nexthop: &str, settings: &Settings) -> Option<Session> {
        loop {
            let session = {
                let mut inner = self.inner.borrow_mut();
                let list = inner.idle.get_mut(nexthop)?;
                let idle = list.pop();
                if list.is_empty() {
                    inner.idle.remove(nexthop);
                }
                let idle = idle?;
                inner.idle_count -= 1;
                idle.session
            };
            if session.since.elapsed() < settings.reuse_time_limit && session.is_idle_and_open() {
                return Some(session);
            }
        }
    }

    /// Keeps a session for `smtp_connection_cache_time_limit`, or gives it back when it is not worth it.
    ///
    /// # Errors
    /// The session, for its good-bye.
    #[expect(clippy::result_large_err, reason = "the session goes back to whom it came from")]
    pub fn keep(&self, nexthop: &str, session: Session, settings: &Rc<Settings>) -> Result<(), Session> {
        let worn_out = settings.reuse_count_limit.is_some_and(|limit| session.uses >= limit)
            || session.since.elapsed() >= settings.reuse_time_limit;
        let mut inner = self.inner.borrow_mut();
        if worn_out || inner.idle_count >= MOST_IDLE {
            return Err(session);
        }
        let until = Instant::now() + settings.cache_time_limit;
        inner.idle.entry(nexthop.into()).or_default().push(Idle { session, until });
        inner.idle_count += 1;
        drop(inner);
        let pool = self.clone();
        let settings = Rc::clone(settings);
        tokio::task::spawn_local(async move {
            tokio::time::sleep_until(until.into()).await;
            for mut session in pool.expired(Instant::now()) {
                session.quit(&settings).await;
            }
        });
        Ok(())
    }

    fn expired(&self, now: Instant) -> Vec<Session> {
        let mut inner = self.inner.borrow_mut();
        let mut expired = Vec::new();
        inner.idle.retain(|_, list| {
            let mut index = 0;
            while index < list.len() {
                if list[index].until <= now {
                    expired.push(list.swap_remove(index).session);
                } else {
                    index += 1;
                }
            }
            !list.is_empty()
        });
        inner.idle_count -= expired.len();
        expired
    }

    /// Takes all idle sessions out, for their good-bye when the process ends.
    #[must_use]
    pub fn drain(&self) -> Vec<Session> {
        let mut inner = self.inner.borrow_mut();
        inner.idle_count = 0;
        inner.idle.drain().flat_map(|(_, list)| list).map(|idle| idle.session).collect()
    }
}

impl UnderWay {
    /// True when the connection of this delivery is worth keeping: others wait for the destination, or follow fast, or
    /// the administrator said so.
    #[must_use]
    pub fn is_worth_keeping(&self, settings: &Settings) -> bool {
        if settings.cache_destinations.iter().any(|destination| destination.eq_ignore_ascii_case(&self.nexthop)) {
            return true;
        }
        let others = self.pool.inner.borrow().demand.get(&self.nexthop).is_some_and(|demand| demand.under_way > 1);
        settings.cache_on_demand && (self.wanted_before || others)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        const TIDY_ABOVE: usize = 1000;
        let now = Instant::now();
        let mut inner = self.pool.inner.borrow_mut();
        if let Some(demand) = inner.demand.get_mut(&self.nexthop) {
            demand.under_way -= 1;
            demand.last = Some(now);
        }
        if inner.demand.len() > TIDY_ABOVE {
            inner.demand.retain(|_, demand| {
                demand.under_way > 0 || demand.last.is_some_and(|last| now.duration_since(last) < ON_DEMAND_WINDOW)
            });
        }
    }
}
