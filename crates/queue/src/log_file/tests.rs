use std::fs;
use std::os::unix::fs::MetadataExt;

use proptest::prelude::*;

use super::*;
use crate::Layout;

fn spool() -> (tempfile::TempDir, Spool) {
    let root = tempfile::tempdir().expect("directory");
    for name in ["bounce", "defer", "trace"] {
        fs::create_dir(root.path().join(name)).expect("mkdir");
    }
    let spool = Spool::at(root.path(), Layout::default());
    (root, spool)
}

fn entry() -> Entry {
    Entry {
        recipient: "a@x.test".into(),
        original_recipient: Some("b@x.test".into()),
        offset: Some(257),
        dsn_original: Some("rfc822;b@x.test".into()),
        notify: Notify::FAILURE,
        status: Status::transient(4, 1),
        action: Action::Delayed,
        diagnostic: Some(("smtp".into(), "450 no".into())),
        remote_mta: Some(("dns".into(), "mx.x.test".into())),
        reason: "host mx.x.test said: 450 no".into(),
    }
}

#[test]
fn known_text() {
    let mut out = Vec::new();
    format(&mut out, &entry(), true);
    let text = "\n<a@x.test>: host mx.x.test said: 450 no\nrecipient=a@x.test\noriginal_recipient=b@x.test\n\
        offset=257\ndsn_orig_rcpt=rfc822;b@x.test\nnotify_flags=4\nstatus=4.4.1\naction=delayed\ndiag_type=smtp\n\
        diag_text=450 no\nmta_type=dns\nmta_mname=mx.x.test\nreason=host mx.x.test said: 450 no\n\n";
    assert_eq!(String::from_utf8(out).expect("text"), text);
    let mut out = Vec::new();
    let small = Entry { recipient: "".into(), reason: "a\nb\tc\u{e9}".into(), ..Entry::unknown(Directory::Bounce) };
    format(&mut out, &small, true);
    let text = "\n<>: a?b?cé\nrecipient=<>\nstatus=5.0.0\naction=failed\nreason=a?b?cé\n\n";
    assert_eq!(String::from_utf8(out).expect("text"), text);
}

#[test]
fn append_read_remove() {
    let (_root, spool) = spool();
    let id: QueueId = "6FE759B8904".parse().expect("id");
    assert!(read(&spool, Directory::Defer, &id).expect("read").is_none());
    let second = Entry { recipient: "<>".into(), ..Entry::unknown(Directory::Defer) };
    for old_form in [true, false] {
        let how = Append { old_form, ..Append::default() };
        append(&spool, Directory::Defer, &id, &[entry(), second.clone()], &how).expect("append");
    }
    let path = spool.path(Directory::Defer, &id);
    assert!(path.ends_with("defer/6/6FE759B8904"));
    assert_eq!(fs::metadata(&path).expect("stat").mode() & 0o777, 0o600);
    let entries: Vec<Entry> =
        read(&spool, Directory::Defer, &id).expect("read").expect("log").collect::<io::Result<_>>().expect("entries");
    assert_eq!(entries, [entry(), second.clone(), entry(), second]);
    assert!(remove(&spool, Directory::Defer, &id).expect("remove"));
    assert!(!remove(&spool, Directory::Defer, &id).expect("remove"));
}

#[test]
fn a_locked_log_is_left_alone() {
    let (_root, spool) = spool();
    let id: QueueId = "A1".parse().expect("id");
    let path = spool.path(Directory::Bounce, &id);
    let file = File::create(path).expect("create");
    assert!(lock::exclusive_nonblocking(&file).expect("lock"));
    let how = Append { attempts: 2, delay: Duration::from_millis(1), ..Append::default() };
    let error = append(&spool, Directory::Bounce, &id, &[entry()], &how).expect_err("locked");
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    assert_eq!(file.metadata().expect("stat").len(), 0);
}

#[test]
fn old_and_broken_logs() {
    let read = |text: &[u8]| -> Vec<Entry> {
        Reader::new(text, Directory::Defer).collect::<io::Result<_>>().expect("entries")
    };
    let old = read(b"<a@x>: no\n<b@x>: also no\n\n\n<>: what\n");
    assert_eq!(old.len(), 2, "lines without empty ones between are one entry");
    assert_eq!((old[0].recipient.as_slice(), old[0].reason.as_slice()), (&b"b@x"[..], &b"also no"[..]));
    assert_eq!(old[1].recipient, "<>");
    assert_eq!(old[1].status, Status::transient(0, 0));
    assert!(read(b"\n\n\n").is_empty());
    assert!(read(b"garbage\n%%%\n=x\n").is_empty());
    let half = read(b"recipient=a@x\nstatus=9.9\noffset=-3\ndiag_type=smtp\nreason=cut sho");
    assert_eq!(half[0].reason, "cut sho");
    assert_eq!((half[0].offset, half[0].diagnostic.as_ref()), (None, None));
    assert_eq!(half[0].status, Status::transient(0, 0));
    let long = [b"recipient=a@x\nreason=", &vec![b'x'; 200_000][..], b"\n\nrecipient=b@x\n"].concat();
    let long = read(&long);
    assert_eq!(long.len(), 2);
    assert!(long[0].reason.len() < 70_000);
    assert_eq!(long[1].recipient, "b@x");
}

proptest! {
    #[test]
    fn any_bytes_are_taken_calmly(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        for entry in Reader::new(&bytes[..], Directory::Bounce) {
            entry.expect("no error from memory");
        }
    }

    #[test]
    fn whatever_is_written_is_one_entry(reason in prop::collection::vec(any::<u8>(), 0..100),
                                        address in prop::collection::vec(any::<u8>(), 1..100), old_form in any::<bool>()) {
        let mut out = Vec::new();
        format(&mut out, &Entry { recipient: address.into(), reason: reason.into(), ..entry() }, old_form);
        let entries: Vec<Entry> =
            Reader::new(&out[..], Directory::Bounce).collect::<io::Result<_>>().expect("entries");
        prop_assert_eq!(entries.len(), 1);
        prop_assert_eq!(&entries[0].diagnostic, &entry().diagnostic);
    }
}
