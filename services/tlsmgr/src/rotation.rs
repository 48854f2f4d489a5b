//! The keys of session tickets.

use std::time::{Duration, Instant};

use aws_lc_rs::rand;
use ipc::tlsmgr::{TicketKey, TicketKeys};

/// RFC 8446 4.6.1: no ticket lives longer.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// Two keys: the one that seals, and the one before it, which opens what it has sealed for as long as that is good.
#[derive(Debug)]
pub(crate) struct Rotation {
    keys: TicketKeys,
    lifetime: Duration,
    since: Instant,
}

fn fresh() -> Option<TicketKey> {
    let (mut name, mut secret) = ([0; 16], [0; 32]);
    rand::fill(&mut name).and_then(|()| rand::fill(&mut secret)).ok()?;
    Some(TicketKey { name, secret })
}

impl Rotation {
    /// Keys for tickets that are good for `lifetime` (`smtpd_tls_session_cache_timeout`); none when that is zero.
    pub(crate) fn new(lifetime: Duration, now: Instant) -> Rotation {
        let lifetime = lifetime.min(LONGEST);
        let first = if lifetime.is_zero() { None } else { fresh() };
        let keys = TicketKeys {
            keys: first.into_iter().collect(),
            lifetime: u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX),
        };
        Rotation { keys, lifetime, since: now }
    }

    pub(crate) fn keys(&self) -> &TicketKeys {
        &self.keys
    }

    /// When the next key is due; `None`: never.
    pub(crate) fn due(&self) -> Option<Instant> {
        (!self.lifetime.is_zero()).then(|| self.since + self.lifetime)
    }

    /// Makes a new key when it is due; true when it was.
    pub(crate) fn rotate(&mut self, now: Instant) -> bool {
        if self.due().is_none_or(|due| now < due) {
            return false;
        }
        self.since = now;
        // Without random numbers the old key goes on.
        if let Some(key) = fresh() {
            self.keys.keys.insert(0, key);
            self.keys.keys.truncate(2);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_seals_for_a_lifetime_and_opens_for_another() {
        let (start, hour) = (Instant::now(), Duration::from_secs(3600));
        let mut rotation = Rotation::new(hour, start);
        let first = rotation.keys().keys[0].clone();
        assert!(!rotation.rotate(start + hour / 2));
        assert!(rotation.rotate(start + hour));
        let second = rotation.keys().keys[0].clone();
        assert_ne!(first, second);
        assert_eq!(rotation.keys().keys, [second.clone(), first]);
        assert!(!rotation.rotate(start + hour));
        assert!(rotation.rotate(start + 2 * hour));
        assert_eq!(rotation.keys().keys[1], second);
        assert_eq!(rotation.keys().keys.len(), 2);
    }

    #[test]
    fn no_lifetime_no_keys() {
        let mut rotation = Rotation::new(Duration::ZERO, Instant::now());
        assert!(rotation.keys().keys.is_empty() && rotation.due().is_none() && !rotation.rotate(Instant::now()));
        assert_eq!(Rotation::new(100 * LONGEST, Instant::now()).keys().lifetime, 604_800);
    }
}
