//! Looking through `incoming` and `deferred`, a piece at a time.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;

use queue::{Directory, QueueId, Scan, Spool, state};

/// Directory entries that are looked at in one piece.
const PIECE: usize = 500;

/// A message that may be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) id: QueueId,
    pub(crate) directory: Directory,
    /// Throttles are lifted for it, deferred transports included.
    pub(crate) flush: bool,
}

/// One of the two directories, and how far the present look through it has come.
#[derive(Debug)]
pub(crate) struct Scanner {
    directory: Directory,
    scan: Option<Scan>,
    /// A piece is being read elsewhere.
    reading: bool,
    /// Look through it (again) from the beginning.
    wanted: bool,
    /// Times do not count in the look at hand; in the next.
    ignore_times: (bool, bool),
    /// Throttles are lifted in the look at hand; in the next.
    flush: (bool, bool),
    found: VecDeque<Candidate>,
}

/// A piece to be read; carries the place in the directory there and back.
pub(crate) struct Piece {
    scan: Scan,
    spool: Spool,
    directory: Directory,
    ignore_times: bool,
    flush: bool,
}

/// A piece that was read.
pub(crate) struct Read {
    scan: Option<Scan>,
    found: Vec<Candidate>,
    error: Option<io::Error>,
}

impl Scanner {
    pub(crate) fn new(directory: Directory) -> Scanner {
        Scanner {
            directory,
            scan: None,
            reading: false,
            wanted: false,
            ignore_times: (false, false),
            flush: (false, false),
            found: VecDeque::new(),
        }
    }

    /// Asks for a look from the beginning; while one goes on, another follows.
    pub(crate) fn request(&mut self, ignore_times: bool, flush: bool) {
        self.wanted = true;
        self.ignore_times.1 |= ignore_times;
        self.flush.1 |= flush;
    }

    /// The next message found.
    pub(crate) fn next(&mut self) -> Option<Candidate> {
        self.found.pop_front()
    }

    /// The next piece to read, when the last one is used up.
    pub(crate) fn piece(&mut self, spool: &Spool) -> Option<Piece> {
        if self.reading || !self.found.is_empty() {
            return None;
        }
        let scan = match self.scan.take() {
            Some(scan) => scan,
            None if self.wanted => {
                self.wanted = false;
                self.ignore_times = (self.ignore_times.1, false);
                self.flush = (self.flush.1, false);
                spool.scan_all(self.directory)
            }
            None => return None,
        };
        self.reading = true;
        Some(Piece {
            scan,
            spool: spool.clone(),
            directory: self.directory,
            ignore_times: self.ignore_times.0,
            flush: self.flush.0,
        })
    }

    /// The piece is back; `None` when its reader died.
    pub(crate) fn put(&mut self, read: Option<Read>) {
        self.reading = false;
        let Some(read) = read else { return };
        self.scan = read.scan;
        self.found.extend(read.found);
        if let Some(error) = read.error {
            log::warning!("scan {}: {}", self.directory.name(), sys::reason(&error));
        }
    }
}

impl Piece {
    /// Reads it; blocks. `now` is seconds since the epoch.
    pub(crate) fn read(mut self, now: i64) -> Read {
        let mut found = Vec::new();
        for _ in 0..PIECE {
            match self.scan.next() {
                None => return Read { scan: None, found, error: None },
                Some(Err(error)) => return Read { scan: None, found, error: Some(error) },
                Some(Ok(entry)) => {
                    let Some(id) = entry.id else { continue };
                    if entry.path != self.spool.path(self.directory, &id) {
                        continue;
                    }
                    if let Some(flush) = self.is_due(&entry.path, now) {
                        found.push(Candidate { id, directory: self.directory, flush });
                    }
                }
            }
        }
        Read { scan: Some(self.scan), found, error: None }
    }

    /// Whether a file is to be taken now, and if so, past all throttles.
    fn is_due(&self, path: &std::path::Path, now: i64) -> Option<bool> {
        let metadata = fs::symlink_metadata(path).ok()?;
        match state::of(&metadata, now) {
            state::State::Ready | state::State::Corrupt => {}
            state::State::Foreign | state::State::Incomplete => return None,
        }
        let flush = self.flush || state::is_unthrottled(metadata.mode());
        // Clocks of file system and daemon may differ a little.
        let due = self.ignore_times || flush || state::is_forced_expire(metadata.mode()) || metadata.mtime() <= now + 1;
        due.then_some(flush)
    }
}
