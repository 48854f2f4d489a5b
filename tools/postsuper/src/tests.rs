use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::{Duration, UNIX_EPOCH};

use super::*;

const NOW: i64 = 2_000_000_000;

fn clock() -> i64 {
    NOW
}

struct House {
    root: tempfile::TempDir,
    spool: Spool,
}

impl House {
    fn new(layout: Layout) -> House {
        let root = tempfile::tempdir().expect("directory");
        for directory in Directory::ALL {
            fs::create_dir(root.path().join(directory.name())).expect("mkdir");
        }
        let spool = Spool::at(root.path(), layout);
        House { root, spool }
    }

    fn message(&self, directory: Directory) -> QueueId {
        let mut new = self.spool.create(Directory::Incoming).expect("create");
        new.rename(&self.spool, directory).expect("rename");
        new.ready().expect("ready")
    }

    fn log(&self, directory: Directory, id: &QueueId) {
        let entry = queue::log_file::Entry::unknown(directory);
        let how = queue::log_file::Append::default();
        queue::log_file::append(&self.spool, directory, id, &[entry], &how).expect("log");
    }

    /// A file by its path, of any mode and age.
    fn file(&self, path: &str, mode: u32, age: i64) -> u64 {
        let path = self.root.path().join(path);
        fs::create_dir_all(path.parent().expect("parent")).expect("mkdir");
        let file = File::create(&path).expect("create");
        file.set_permissions(Permissions::from_mode(mode)).expect("chmod");
        file.set_modified(UNIX_EPOCH + Duration::from_secs(u64::try_from(NOW - age).expect("time"))).expect("utime");
        file.metadata().expect("stat").ino()
    }

    fn files(&self) -> Vec<String> {
        let mut all: Vec<String> = Directory::ALL
            .into_iter()
            .flat_map(|directory| self.spool.scan_all(directory))
            .map(|entry| {
                let path = entry.expect("scan").path;
                path.strip_prefix(self.root.path()).expect("below").to_str().expect("text").to_owned()
            })
            .collect();
        all.sort();
        all
    }

    fn has(&self, directory: Directory, id: &QueueId) -> bool {
        self.spool.path(directory, id).exists()
    }

    fn run(&self, words: &[&str], input: &str) -> Vec<String> {
        log::capture();
        let words = words.iter().map(std::ffi::OsString::from);
        let request = Request::parse(Getopt::new(words, request::LETTERS)).expect("command line");
        work(&request, &self.spool, clock, &mut input.as_bytes()).expect("work");
        log::capture()
    }
}

#[test]
fn one_message_through_all_actions() {
    let house = House::new(Layout::default());
    let id = house.message(Directory::Deferred);
    let other = house.message(Directory::Deferred);
    house.log(Directory::Defer, &id);
    let text = id.as_str();
    let said = |what: &str, summary: &str| vec![format!("{text}: {what}"), summary.to_owned()];
    assert_eq!(house.run(&["-h", text], ""), said("placed on hold", "Placed on hold: 1 message"));
    assert!(house.has(Directory::Hold, &id));
    assert_eq!(house.run(&["-h", text], ""), ["Placed on hold: 0 messages"]);
    assert_eq!(house.run(&["-e", text], ""), said("expired", "Force-expired: 1 message"));
    assert_eq!(house.run(&["-e", text], ""), ["Force-expired: 0 messages"]);
    assert_eq!(
        house.run(&["-f", text], ""),
        [
            format!("{text}: released from hold"),
            "Force-expired: 0 messages".into(),
            "Released from hold: 1 message".into()
        ]
    );
    assert!(house.has(Directory::Deferred, &id));
    assert_eq!(house.run(&["-H", text], ""), ["Released from hold: 0 messages"]);
    assert_eq!(house.run(&["-r", text], ""), said("requeued", "Requeued: 1 message"));
    assert!(house.has(Directory::Maildrop, &id) && house.has(Directory::Defer, &id));
    assert_eq!(house.run(&["-d", text], ""), ["Deleted: 0 messages"], "maildrop must be named");
    assert_eq!(house.run(&["-d", text, "maildrop"], ""), said("removed", "Deleted: 1 message"));
    assert!(!house.has(Directory::Defer, &id));
    assert!(house.has(Directory::Deferred, &other));
}

#[test]
fn ids_from_standard_input() {
    let house = House::new(Layout::default());
    let ids: Vec<QueueId> = (0..3).map(|_| house.message(Directory::Deferred)).collect();
    let input = format!("{}\n../x\nNOSUCH\n{}", ids[0], ids[1]);
    let expected = [
        format!("{}: removed", ids[0]),
        "warning: invalid mail queue id: ../x".into(),
        format!("{}: removed", ids[1]),
        "Deleted: 2 messages".into(),
    ];
    assert_eq!(house.run(&["-d", "-"], &input), expected);
    assert_eq!(house.files().len(), 1);
}

#[test]
fn all_messages() {
    let house = House::new(Layout { hashed: vec![Directory::Deferred, Directory::Hold], depth: 2, long_ids: true });
    for directory in [Directory::Deferred, Directory::Active, Directory::Incoming, Directory::Maildrop] {
        let id = house.message(directory);
        house.log(Directory::Defer, &id);
    }
    let being_written = house.spool.create(Directory::Incoming).expect("create");
    assert_eq!(house.run(&["-h", "ALL", "active", "deferred"], ""), ["Placed on hold: 2 messages"]);
    assert_eq!(house.run(&["-h", "ALL"], ""), ["Placed on hold: 1 message"]);
    assert_eq!(house.run(&["-e", "ALL", "hold"], ""), ["Force-expired: 3 messages"]);
    assert_eq!(house.run(&["-H", "ALL"], ""), ["Released from hold: 3 messages"]);
    assert_eq!(house.run(&["-r", "ALL"], ""), ["Requeued: 3 messages"]);
    assert_eq!(house.run(&["-d", "ALL"], ""), ["Deleted: 4 messages"]);
    let left = house.files();
    assert_eq!(left, [format!("incoming/{}", being_written.id())], "a file that is being written is left alone");
}

#[test]
fn stale_files_are_purged() {
    let house = House::new(Layout::default());
    let old = 8 * 86_400;
    house.file("incoming/123.456", 0o600, old);
    house.file("incoming/124.456", 0o600, 1);
    house.file("incoming/125.456", 0o600, 86_400);
    house.file("hold/AAAAA1", 0o600, old);
    house.file("hold/AAAAA2", 0o600, old - 2 * 86_400);
    house.file("deferred/A/AAAAA3", 0o700, old);
    house.file("defer/A/AAAAA4", 0o600, old);
    assert_eq!(
        house.run(&["-p"], ""),
        ["warning: bogus file name: ".to_owned() + house.root.path().join("incoming/125.456").to_str().expect("text")]
    );
    let expected = ["defer/A/AAAAA4", "deferred/A/AAAAA3", "hold/AAAAA2", "incoming/124.456", "incoming/125.456"];
    assert_eq!(house.files(), expected);
}

#[test]
fn names_are_made_to_match_inodes() {
    let house = House::new(Layout::default());
    let inode = house.file("deferred/A/AAAAAFFFF", 0o700, 5);
    house.file("defer/A/AAAAAFFFF", 0o600, 5);
    let good = house.message(Directory::Deferred);
    house.file("deferred/x/notanid", 0o700, 5);
    let lines = house.run(&["-s"], "");
    let renamed = QueueId::short(0xAAAAA, inode);
    assert!(house.has(Directory::Deferred, &renamed) && house.has(Directory::Defer, &renamed));
    assert!(house.has(Directory::Deferred, &good));
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert_eq!(
        lines[1..],
        ["Renamed to match inode number: 1 message", "warning: QUEUE FILE NAMES WERE CHANGED TO MATCH INODE NUMBERS"]
    );
    assert_eq!(house.run(&["-s"], "").len(), 1, "the second run has nothing to do");
}

/// Two messages whose right names are each other's wrong ones.
#[test]
fn names_that_are_taken() {
    let house = House::new(Layout { hashed: Vec::new(), ..Layout::default() });
    let one = house.file("hold/one", 0o700, 5);
    let two = house.file("hold/two", 0o700, 5);
    let (first, second) = (QueueId::short(7, one), QueueId::short(7, two));
    fs::rename(house.root.path().join("hold/one"), house.spool.path(Directory::Hold, &second)).expect("rename");
    fs::rename(house.root.path().join("hold/two"), house.spool.path(Directory::Hold, &first)).expect("rename");
    fs::write(house.spool.path(Directory::Bounce, &second), b"of the first").expect("write");
    house.run(&["-s"], "");
    let inode = |id: &QueueId| fs::metadata(house.spool.path(Directory::Hold, id)).expect("stat").ino();
    assert_eq!((inode(&first), inode(&second)), (one, two));
    assert_eq!(fs::read(house.spool.path(Directory::Bounce, &first)).expect("read"), b"of the first");
    assert_eq!(house.files().len(), 3);
}

/// The state that a kill between two renames leaves, at each of them: the next run finishes the work.
#[test]
fn killed_in_the_middle_of_renaming() {
    for steps in 0..4 {
        let house = House::new(Layout::default());
        let inode = house.file("deferred/A/AAAAAFFFF", 0o700, 5);
        house.file("defer/A/AAAAAFFFF", 0o600, 5);
        let new = QueueId::short(0xAAAAA, inode);
        let path = |directory: &str, name: &str| house.root.path().join(directory).join("A").join(name);
        let fixed = format!("{new}#FIX");
        let moves = [
            ("defer", "AAAAAFFFF", fixed.as_str()),
            ("deferred", "AAAAAFFFF", &fixed),
            ("defer", &fixed, new.as_str()),
        ];
        for (directory, from, to) in &moves[..steps] {
            fs::rename(path(directory, from), path(directory, to)).expect("rename");
        }
        house.run(&["-s"], "");
        assert_eq!(house.files(), [format!("defer/A/{new}"), format!("deferred/A/{new}")], "after {steps} steps");
    }
}

#[test]
fn hashing_and_long_names_change() {
    let flat = Layout { hashed: Vec::new(), depth: 1, long_ids: true };
    let house = House::new(flat.clone());
    let id = house.message(Directory::Deferred);
    house.log(Directory::Defer, &id);
    let deep = Layout { hashed: vec![Directory::Deferred, Directory::Defer], depth: 3, long_ids: true };
    let house = House { spool: Spool::at(house.root.path(), deep), root: house.root };
    assert!(house.run(&["-s"], "").is_empty());
    assert!(house.has(Directory::Deferred, &id) && house.has(Directory::Defer, &id));
    assert_eq!(house.files()[0].matches('/').count(), 4);
    let house = House { spool: Spool::at(house.root.path(), flat.clone()), root: house.root };
    house.run(&["-S"], "");
    assert_eq!(house.files(), [format!("defer/{id}"), format!("deferred/{id}")]);
    let left = fs::read_dir(house.root.path().join("deferred")).expect("read").count();
    assert_eq!(left, 1, "empty subdirectories are gone");
    let short = Layout { long_ids: false, ..flat };
    let house = House { spool: Spool::at(house.root.path(), short), root: house.root };
    house.run(&[], "");
    let id = id.to_short(id.inode().expect("inode")).expect("short");
    assert_eq!(house.files(), [format!("defer/{id}"), format!("deferred/{id}")]);
}

#[test]
fn what_is_no_file_is_left_alone() {
    let house = House::new(Layout::default());
    std::os::unix::fs::symlink("/etc/passwd", house.root.path().join("hold/AAAAA1")).expect("symlink");
    fs::create_dir(house.root.path().join("hold/AAAAA2")).expect("mkdir");
    assert_eq!(house.run(&["-d", "AAAAA1", "-d", "AAAAA2"], ""), ["Deleted: 0 messages"]);
    assert_eq!(house.run(&["-d", "ALL"], ""), ["Deleted: 0 messages"]);
    house.run(&[], "");
    assert_eq!(house.files(), ["hold/AAAAA1"]);
}
