//! How often the postmaster hears about trouble of ours (`notify_classes`).
//!
//! A full disk refuses every client, and a notice per session would be the next message for that disk. One says it; the
//! next one after a while says how many sessions had the same trouble meanwhile.

use std::cell::Cell;
use std::time::{Duration, Instant};

use smtp_proto::server::Problems;

/// Time between two notices about trouble of ours, in one process.
const PAUSE: Duration = Duration::from_secs(600);
/// Trouble that is the same for all clients.
const OURS: Problems = Problems::RESOURCE.and(Problems::SOFTWARE).and(Problems::DATA);

/// When the last notice about trouble of ours went out.
#[derive(Debug, Default)]
pub(crate) struct NoticeGate {
    last: Cell<Option<Instant>>,
    left_out: Cell<u64>,
}

impl NoticeGate {
    /// Whether a session with these problems is worth a notice now; with the number of sessions since the last one that
    /// got none. What a client did (policy, protocol) always is: who wants to hear of that, wants to hear of each.
    pub(crate) fn admit(&self, problems: Problems, now: Instant) -> Option<u64> {
        if !OURS.includes(problems) {
            return Some(0);
        }
        if self.last.get().is_some_and(|last| now.saturating_duration_since(last) < PAUSE) {
            self.left_out.set(self.left_out.get() + 1);
            return None;
        }
        self.last.set(Some(now));
        Some(self.left_out.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_once_in_a_while() {
        let gate = NoticeGate::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(gate.admit(Problems::RESOURCE, at(0)), Some(0));
        for second in 1..100 {
            assert_eq!(gate.admit(Problems::RESOURCE, at(second)), None);
        }
        assert_eq!(gate.admit(Problems::SOFTWARE | Problems::RESOURCE, at(100)), None);
        assert_eq!(gate.admit(Problems::POLICY, at(101)), Some(0), "a client's doing");
        assert_eq!(gate.admit(Problems::POLICY | Problems::RESOURCE, at(102)), Some(0));
        assert_eq!(gate.admit(Problems::RESOURCE, at(601)), Some(100));
        assert_eq!(gate.admit(Problems::RESOURCE, at(1300)), Some(0));
    }
}
