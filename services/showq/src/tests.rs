use std::fs;
use std::os::unix::fs::PermissionsExt;

use config::Config;
use queue::record::{self, RecordType};
use queue::{Directory, Layout, QueueId};
use server::testing::{self, Harness};

use super::*;

fn showq(root: &std::path::Path) -> Showq {
    for directory in Directory::ALL {
        fs::create_dir(root.join(directory.name())).expect("mkdir");
    }
    let spool = Spool::at(root, Layout::default());
    Showq { spool, empty_address: "MAILER-DAEMON".into(), timeout: Duration::from_secs(10) }
}

fn message(spool: &Spool, number: u32, recipients: usize) {
    let mut out = Vec::new();
    record::put(&mut out, RecordType::Time, b"1700000000 0");
    record::put(&mut out, RecordType::Sender, b"s@x");
    for n in 0..recipients {
        record::put(&mut out, RecordType::Recipient, format!("r{n}@x").as_bytes());
    }
    record::put(&mut out, RecordType::Message, b"");
    record::put(&mut out, RecordType::Extracted, b"");
    record::put(&mut out, RecordType::End, b"");
    let path = spool.path(Directory::Hold, &QueueId::short(number, 7));
    fs::write(&path, out).expect("write");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).expect("chmod");
}

#[test]
fn the_whole_queue_and_a_last_word() {
    let root = tempfile::tempdir().expect("directory");
    let service = showq(root.path());
    for n in 0..3000 {
        message(&service.spool, n, 1);
    }
    message(&service.spool, 3000, 20_000);
    testing::run(async {
        let startup = Startup::for_tests(Config::from_text("").expect("configuration"), "showq");
        let harness = Harness::with(service, &startup).await;
        // Somebody who connects and never reads does not keep others waiting.
        let _silent = harness.connect().expect("connect");
        let mut client = ipc::Connection::new(harness.connect().expect("connect"));
        let (mut messages, mut recipients, mut ended) = (0, 0, false);
        while let Some(item) = client.receive::<Listed>().await.expect("listing") {
            match item {
                Listed::Entry(entry) => {
                    messages += usize::from(entry.complete);
                    recipients += entry.recipients.len();
                }
                Listed::End => ended = true,
            }
        }
        assert_eq!((messages, recipients, ended), (3001, 23_000, true));
    });
}

#[test]
fn an_empty_queue() {
    let root = tempfile::tempdir().expect("directory");
    let service = showq(root.path());
    testing::run(async {
        let startup = Startup::for_tests(Config::from_text("").expect("configuration"), "showq");
        let harness = Harness::with(service, &startup).await;
        let mut client = ipc::Connection::new(harness.connect().expect("connect"));
        assert_eq!(client.expect::<Listed>().await.expect("last word"), Listed::End);
        assert!(client.receive::<Listed>().await.expect("close").is_none());
    });
}
