//! Following a log file.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use crate::PATIENCE;

/// A log file, read as it grows.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    file: Option<File>,
    text: String,
    watch: Inotify,
}

impl Log {
    /// Follows the file at `path`, which need not be there yet; its directory must.
    #[must_use]
    pub fn follow(path: &Path) -> Log {
        let watch = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).expect("inotify");
        let directory = path.parent().expect("a log file is in a directory");
        let events = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO;
        watch.add_watch(directory, events).expect("watch");
        Log { path: path.to_owned(), file: None, text: String::new(), watch }
    }

    /// Everything so far.
    pub fn text(&mut self) -> &str {
        self.read();
        &self.text
    }

    /// The lines so far that contain `part`.
    pub fn lines_with(&mut self, part: &str) -> Vec<String> {
        self.text().lines().filter(|line| line.contains(part)).map(str::to_owned).collect()
    }

    /// Waits for a line that contains all of `parts`, and returns it.
    ///
    /// # Panics
    /// When it does not come in time; with the whole log in the message.
    pub fn wait_for(&mut self, parts: &[&str]) -> String {
        self.wait_until(&format!("a line with {parts:?}"), |text| {
            text.lines().find(|line| parts.iter().all(|part| line.contains(part))).map(str::to_owned)
        })
    }

    /// Waits until `count` lines contain `part`.
    ///
    /// # Panics
    /// When they do not come in time.
    pub fn wait_for_count(&mut self, part: &str, count: usize) {
        self.wait_until(&format!("{count} lines with {part:?}"), |text| {
            (text.lines().filter(|line| line.contains(part)).count() >= count).then_some(())
        });
    }

    /// Waits until `found` finds something in the log.
    ///
    /// # Panics
    /// When that does not happen in time.
    pub fn wait_until<T>(&mut self, what: &str, found: impl Fn(&str) -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            self.read();
            if let Some(result) = found(&self.text) {
                return result;
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no {what} within {PATIENCE:?} in {}:\n{}", self.path.display(), self.text);
            let mut fds = [PollFd::new(self.watch.as_fd(), PollFlags::POLLIN)];
            let milliseconds = u16::try_from(left.as_millis()).unwrap_or(u16::MAX);
            let _ = poll(&mut fds, PollTimeout::from(milliseconds));
            let _ = self.watch.read_events();
        }
    }

    /// Waits until it has grown, or for `most`.
    pub fn wait_for_more(&mut self, most: std::time::Duration) {
        let mut fds = [PollFd::new(self.watch.as_fd(), PollFlags::POLLIN)];
        let _ = poll(&mut fds, PollTimeout::from(u16::try_from(most.as_millis()).unwrap_or(u16::MAX)));
        let _ = self.watch.read_events();
        self.read();
    }

    fn read(&mut self) {
        if self.file.is_none() {
            self.file = File::open(&self.path).ok();
        }
        if let Some(file) = &mut self.file {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).expect("read the log");
            self.text.push_str(&String::from_utf8_lossy(&bytes));
        }
    }
}
