//! A process whose event loop is stuck ends, and master starts another.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What the thread needs of stack.
const STACK: usize = 64 << 10;

/// Watches the event loop from a thread of its own, which nearly always sleeps.
#[derive(Debug)]
pub(crate) struct Watchdog {
    beats: Arc<AtomicU64>,
    timeout: Duration,
}

impl Watchdog {
    /// Starts watching: unless [`Watchdog::beat`] is called at least every `timeout`, the process ends.
    pub(crate) fn start(timeout: Duration) -> Watchdog {
        Watchdog::start_with(timeout, || {
            log::try_print_and_finish(log::Severity::Fatal, format_args!("watchdog timeout"));
            std::process::abort();
        })
    }

    pub(crate) fn start_with(timeout: Duration, end: impl FnOnce() + Send + 'static) -> Watchdog {
        let timeout = timeout.max(Duration::from_millis(10));
        let beats = Arc::new(AtomicU64::new(0));
        let watched = Arc::downgrade(&beats);
        let started = std::thread::Builder::new().name("watchdog".to_owned()).stack_size(STACK).spawn(move || {
            let (mut seen, mut since) = (0, Instant::now());
            loop {
                std::thread::sleep(timeout.saturating_sub(since.elapsed()).max(timeout / 100));
                let Some(beats) = watched.upgrade() else { return };
                let now = beats.load(Ordering::Relaxed);
                if now != seen {
                    (seen, since) = (now, Instant::now());
                } else if since.elapsed() >= timeout {
                    return end();
                }
            }
        });
        if let Err(error) = started {
            log::warning!("no watchdog: {}", sys::reason(&error));
        }
        Watchdog { beats, timeout }
    }

    /// The event loop turns.
    pub(crate) fn beat(&self) {
        self.beats.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn silence_is_the_end() {
        let (tell, heard) = mpsc::channel();
        let watchdog = Watchdog::start_with(Duration::from_millis(50), move || tell.send(Instant::now()).unwrap_or(()));
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(200) {
            watchdog.beat();
            assert!(heard.recv_timeout(Duration::from_millis(5)).is_err(), "bitten although it turns");
        }
        let last = Instant::now();
        let bitten = heard.recv_timeout(Duration::from_secs(10)).expect("bites");
        assert!(bitten.duration_since(last) >= Duration::from_millis(30));
    }
}
