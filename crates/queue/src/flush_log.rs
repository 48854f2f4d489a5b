//! Which deferred messages wait for which site: `flush/<site>`, one queue id a line.
//!
//! A log is appended to when a message is deferred, and emptied when delivery to its site is asked for. It may name
//! messages that are long gone.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use crate::{Directory, QueueId, Spool, lock, state};

/// Most ids that one request takes out of a log.
pub const MOST_IDS: usize = 10_000;

/// The name of a site's log: letters and digits in lower case, everything else as `_`. `site` is a domain in its ASCII
/// (A-label) form, or an address in brackets.
#[must_use]
pub fn name(site: &str) -> Option<QueueId> {
    let name: String = site
        .bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte.to_ascii_lowercase()) } else { '_' })
        .collect();
    name.parse().ok()
}

/// Appends a message to the log of a site. Blocks for the lock.
///
/// # Errors
/// The error of `open(2)` or `write(2)`; `WouldBlock` when the lock was not free in time.
pub fn append(spool: &Spool, log: &QueueId, id: &QueueId, attempts: u32, delay: Duration) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(state::NEW);
    let mut file = spool.open_creating(&options, &spool.path(Directory::Flush, log))?;
    take(&file, attempts, delay)?;
    file.write_all(format!("{id}\n").as_bytes())
}

/// Takes up to [`MOST_IDS`] different ids out of the log of a site, in order; what lies beyond stays for the next
/// request. An absent log has none. Blocks for the lock.
///
/// `each` is called with the log locked, and before it is emptied, so that a crash loses nothing.
///
/// # Errors
/// The error of `open(2)`, `read(2)` or `ftruncate(2)`, or of `each`; `WouldBlock` when the lock was not free in time.
pub fn drain(
    spool: &Spool,
    log: &QueueId,
    attempts: u32,
    delay: Duration,
    each: &mut dyn FnMut(&[QueueId]) -> io::Result<()>,
) -> io::Result<usize> {
    let path = spool.path(Directory::Flush, log);
    let mut file = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    take(&file, attempts, delay)?;
    let (ids, rest) = read(&file)?;
    each(&ids)?;
    // What is left over is short of one more run; it is rewritten at the front.
    file.set_len(0)?;
    if !rest.is_empty() {
        io::Seek::rewind(&mut file)?;
        file.write_all(&rest)?;
    }
    Ok(ids.len())
}

/// Ids up to the bound, and the rest of the file as text when there is more.
fn read(file: &File) -> io::Result<(Vec<QueueId>, Vec<u8>)> {
    let mut input = BufReader::new(file);
    let mut seen = HashSet::new();
    let mut ids = Vec::new();
    let mut line = String::new();
    while ids.len() < MOST_IDS {
        line.clear();
        match input.by_ref().take(512).read_line(&mut line) {
            Ok(0) => return Ok((ids, Vec::new())),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::InvalidData => continue,
            Err(error) => return Err(error),
        }
        // Lines that are no ids come from a full disk or a crash.
        if let Ok(id) = line.trim_end().parse::<QueueId>()
            && seen.insert(id.clone())
        {
            ids.push(id);
        }
    }
    let mut rest = Vec::new();
    input.take(LONGEST_REST).read_to_end(&mut rest)?;
    Ok((ids, rest))
}

/// A log beyond this many bytes loses its end: those messages wait for their ordinary retry time.
const LONGEST_REST: u64 = 16 << 20;

fn take(file: &File, attempts: u32, delay: Duration) -> io::Result<()> {
    if lock::exclusive(file, attempts, delay)? {
        Ok(())
    } else {
        Err(io::Error::new(io::ErrorKind::WouldBlock, "the log is locked"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Layout;
    use std::fs;

    #[test]
    fn names() {
        let cases = [("Example.COM", "example_com"), ("[192.0.2.1]", "_192_0_2_1_"), ("a-b.c", "a_b_c")];
        for (site, log) in cases {
            assert_eq!(name(site).expect("a name").as_str(), log);
        }
        assert_eq!(name(""), None);
        assert_eq!(name(&"x".repeat(300)), None);
    }

    #[test]
    fn ids_come_out_once() {
        let root = tempfile::tempdir().expect("directory");
        fs::create_dir(root.path().join("flush")).expect("mkdir");
        let spool = Spool::at(root.path(), Layout { hashed: vec![Directory::Flush], ..Layout::default() });
        let log = name("example.com").expect("a name");
        let drain_all = || {
            let mut all = Vec::new();
            drain(&spool, &log, 1, Duration::ZERO, &mut |ids| {
                all.extend_from_slice(ids);
                Ok(())
            })
            .map(|count| (count, all.len()))
        };
        assert_eq!(drain_all().expect("absent"), (0, 0));
        for n in 0..MOST_IDS + 5 {
            let id: QueueId = format!("{n:X}").parse().expect("id");
            for _ in 0..2 {
                append(&spool, &log, &id, 1, Duration::ZERO).expect("append");
            }
        }
        assert_eq!(drain_all().expect("first"), (MOST_IDS, MOST_IDS));
        let (count, _) = drain_all().expect("second");
        assert!((5..=6).contains(&count), "{count}");
        assert_eq!(drain_all().expect("empty"), (0, 0));
        fs::write(spool.path(Directory::Flush, &log), b"\xff\xff\nA1\n/../x\nB2").expect("write");
        assert_eq!(drain_all().expect("garbage"), (2, 2));
    }

    #[test]
    fn a_failure_keeps_the_log() {
        let root = tempfile::tempdir().expect("directory");
        fs::create_dir(root.path().join("flush")).expect("mkdir");
        let spool = Spool::at(root.path(), Layout::default());
        let log = name("example.com").expect("a name");
        append(&spool, &log, &"A1".parse().expect("id"), 1, Duration::ZERO).expect("append");
        let failed = drain(&spool, &log, 1, Duration::ZERO, &mut |_| Err(io::Error::other("no")));
        assert!(failed.is_err());
        assert_eq!(drain(&spool, &log, 1, Duration::ZERO, &mut |_| Ok(())).expect("again"), 1);
    }
}
