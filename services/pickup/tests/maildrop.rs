//! What pickup does with files in `maildrop`.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use bstr::BString;
use config::Config;
use ipc::cleanup::{FromCleanup, Recipient, Refusal, ToCleanup};
use ipc::{Connection, Kind};
use posthouse_pickup::{Service, Settings};
use queue::record::{RecordType as R, put};
use queue::{Layout, QueueId, Spool};
use server::Startup;
use server::testing::{Harness, run};
use tempfile::TempDir;
use tokio::net::UnixListener;

struct House {
    root: TempDir,
    harness: Harness<Service>,
    cleanup: UnixListener,
}

impl House {
    async fn start() -> House {
        log::capture();
        let root = tempfile::tempdir().expect("directory");
        for directory in ["maildrop", "corrupt", "public"] {
            fs::create_dir(root.path().join(directory)).expect("mkdir");
        }
        let cleanup = UnixListener::bind(root.path().join("public/cleanup")).expect("bind");
        let config = Config::from_text("myhostname = mx.example.test\nproxy_read_maps =\ncontent_filter = f:n\n")
            .expect("configuration");
        let spool = Spool::at(root.path(), Layout::default());
        let service = Service::new(Settings::load(&config).expect("settings"), spool, root.path());
        let harness = Harness::with(service, &Startup::for_tests(config, "pickup")).await;
        let _ = std::panic::take_hook();
        House { root, harness, cleanup }
    }

    fn drop_file(&self, name: &str, bytes: &[u8], mode: u32) {
        let path = self.root.path().join("maildrop").join(name);
        fs::write(&path, bytes).expect("write");
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("chmod");
    }

    fn files(&self, directory: &str) -> Vec<String> {
        let listing = fs::read_dir(self.root.path().join(directory)).expect("directory");
        let mut names: Vec<String> =
            listing.map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// Waits until everything that was woken has ended.
    async fn settle(self) -> TempDir {
        self.harness.finish().await;
        self.root
    }
}

/// A transaction as cleanup sees it; it ends with `answer`.
async fn hear(connection: &mut Connection, answer: &FromCleanup) -> (Vec<ToCleanup>, BString) {
    let (mut heard, mut content) = (Vec::new(), BString::default());
    loop {
        let frame = connection.receive_frame().await.expect("frame").expect("open");
        if frame.kind == Kind::Data {
            content.extend_from_slice(frame.payload);
            continue;
        }
        let message: ToCleanup = frame.message().expect("message");
        let end = message == ToCleanup::End;
        if matches!(message, ToCleanup::Begin(_)) {
            let id: QueueId = "NEWID".parse().expect("id");
            connection.send(&FromCleanup::Opened(id)).await.expect("send");
        }
        heard.push(message);
        if end {
            connection.send(answer).await.expect("send");
            return (heard, content);
        }
    }
}

fn file(records: &[(R, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (kind, text) in records {
        put(&mut bytes, *kind, text.as_bytes());
    }
    bytes
}

fn submission() -> Vec<u8> {
    file(&[
        (R::Time, "1795224036 101003"),
        (R::Attribute, "envelope_id=abc"),
        (R::Attribute, "ret_flags=1"),
        (R::Attribute, "rewrite_context=local"),
        (R::FullName, "root"),
        (R::Sender, "a"),
        (R::Verp, "+="),
        (R::Attribute, "notify_flags=10"),
        (R::Recipient, "u@v"),
        (R::Message, ""),
        (R::Text, "A: b"),
        (R::Text, ""),
        (R::Continued, "body"),
        (R::Extracted, ""),
        (R::Attribute, "notify_flags=10"),
        (R::Recipient, "q"),
        (R::End, ""),
    ])
}

#[test]
fn a_pickup_waits_for_one_that_ends() {
    run(async {
        let house = House::start().await;
        house.drop_file("AAA", &submission(), 0o744);
        let earlier = fs::File::open(house.root.path().join("maildrop")).expect("open");
        assert!(queue::lock::exclusive_nonblocking(&earlier).expect("lock"));
        house.harness.wake(b"W");
        // The earlier one takes the file meanwhile, and another comes.
        fs::remove_file(house.root.path().join("maildrop/AAA")).expect("remove");
        house.drop_file("BBB", &file(&[(R::Time, "1795224036 101003"), (R::Sender, "b"), (R::End, "")]), 0o744);
        drop(earlier);
        let root = house.settle().await;
        assert_eq!(fs::read_dir(root.path().join("maildrop")).expect("directory").count(), 0);
        assert_eq!(fs::read_dir(root.path().join("corrupt")).expect("directory").count(), 1, "BBB, which is not whole");
    });
}

#[test]
fn a_submission_goes_to_cleanup_and_away() {
    run(async {
        let house = House::start().await;
        house.drop_file("AAA", &submission(), 0o744);
        house.drop_file("BBB", b"half", 0o600);
        house.harness.wake(b"W");
        let mut cleanup = Connection::new(house.cleanup.accept().await.expect("accept").0);
        let (heard, content) = hear(&mut cleanup, &FromCleanup::Queued).await;
        assert_eq!(content, "A: b\n\nbody");
        let ToCleanup::Begin(begin) = &heard[0] else { panic!("{:?}", heard[0]) };
        assert_eq!(
            (begin.arrival, begin.verp, begin.rewrite_local),
            (Some((1_795_224_036, 101_003)), Some(*b"+="), true)
        );
        assert_eq!(begin.content_filter.as_deref(), Some("f:n"));
        assert!(begin.options.bounce && begin.options.address_mapping && begin.log_ident.is_none());
        let ToCleanup::Sender(sender) = &heard[1] else { panic!("{:?}", heard[1]) };
        assert_eq!(
            (sender.address.as_slice(), sender.envelope_id.as_ref().map(|id| &id[..])),
            (&b"a"[..], Some(&b"abc"[..]))
        );
        assert!(matches!(&heard[2], ToCleanup::Recipient(Recipient { address, .. }) if address == "u@v"));
        assert_eq!(heard[3], ToCleanup::Content);
        assert!(
            matches!(&heard[4], ToCleanup::Recipient(Recipient { address, notify, .. }) if address == "q" && notify.bits() == 10)
        );
        drop(cleanup);
        let uid = nix::unistd::geteuid();
        let root = house.settle().await;
        assert_eq!(fs::read_dir(root.path().join("maildrop")).expect("directory").count(), 1);
        assert!(log::capture().contains(&format!("NEWID: uid={uid} from=<a>")));
    });
}

#[test]
fn bad_files_are_put_aside() {
    run(async {
        let house = House::start().await;
        let start = [(R::Time, "1 0"), (R::Sender, "a"), (R::Recipient, "u@v")];
        let with = |more: &[(R, &str)]| file(&[&start[..], more].concat());
        let end = [(R::Message, ""), (R::Extracted, ""), (R::End, "")];
        let cases: [(&str, Vec<u8>); 7] = [
            ("NOTHING", Vec::new()),
            ("NOEND", with(&[(R::Message, "")])),
            ("DONE", with(&[&[(R::Done, "x")][..], &end].concat())),
            ("POINTER", with(&[&[(R::Pointer, "              0")][..], &end].concat())),
            ("ATTRIBUTE", with(&[&[(R::Attribute, "sasl_username=root")][..], &end].concat())),
            ("TWICE", with(&[&[(R::Sender, "b")][..], &end].concat())),
            ("REDIRECT", with(&[(R::Message, ""), (R::Extracted, ""), (R::Redirect, "x@y"), (R::End, "")])),
        ];
        for (name, bytes) in &cases {
            house.drop_file(name, bytes, 0o744);
        }
        house.harness.wake(b"W");
        let root = house.settle().await;
        assert_eq!(fs::read_dir(root.path().join("maildrop")).expect("directory").count(), 0);
        assert_eq!(fs::read_dir(root.path().join("corrupt")).expect("directory").count(), cases.len());
        let lines = log::capture().join("\n");
        assert!(
            lines.contains("unexpected attribute sasl_username") && lines.contains("unexpected record type 'D'"),
            "{lines}"
        );
    });
}

#[test]
fn requeued_mail_keeps_what_it_was() {
    run(async {
        let house = House::start().await;
        let bytes = file(&[
            (
                R::Size,
                "             10              20               1               0              10               0",
            ),
            (R::Time, "1000 0"),
            (R::Attribute, "create_time=1000"),
            (R::Attribute, "log_client_name=c"),
            (R::Attribute, "trace_flags=1024"),
            (R::Sender, "a@x"),
            (R::Original, "before@x"),
            (R::Recipient, "r@x"),
            (R::Done, "done@x"),
            (R::Message, ""),
            (R::Text, "A: b"),
            (R::Extracted, ""),
            (R::Attribute, "message_id=<x>"),
            (R::End, ""),
        ]);
        house.drop_file("OLDID", &bytes, 0o700);
        house.harness.wake(b"W");
        let mut cleanup = Connection::new(house.cleanup.accept().await.expect("accept").0);
        let (heard, _) = hear(&mut cleanup, &FromCleanup::Queued).await;
        let ToCleanup::Begin(begin) = &heard[0] else { panic!("{:?}", heard[0]) };
        assert_eq!((begin.log_ident.as_deref(), begin.trace_flags), (Some("OLDID"), 0));
        assert_eq!(heard[1], ToCleanup::Attribute("log_client_name".to_owned(), "c".into()));
        assert!(
            matches!(&heard[3], ToCleanup::Recipient(Recipient { address, before_rewriting: Some(before), .. }) if address == "r@x" && before == "before@x")
        );
        assert_eq!(heard.len(), 6, "{heard:?}");
        drop(cleanup);
        house.settle().await;
        assert!(log::capture().iter().any(|line| line.ends_with("orig_id=OLDID")));
    });
}

#[test]
fn what_cleanup_refuses_stays_or_is_put_aside() {
    run(async {
        for (refusal, stays) in [(Refusal::NoSpace, true), (Refusal::Lookup, true), (Refusal::NoRecipients, false)] {
            let house = House::start().await;
            house.drop_file("AAA", &submission(), 0o744);
            house.harness.wake(b"W");
            let mut cleanup = Connection::new(house.cleanup.accept().await.expect("accept").0);
            hear(&mut cleanup, &FromCleanup::Refused(refusal)).await;
            // The scan ends with the connection.
            assert!(cleanup.receive::<ToCleanup>().await.expect("closed").is_none());
            assert_eq!(house.files("maildrop").len(), usize::from(stays));
            assert_eq!(house.files("corrupt").len(), usize::from(!stays));
        }
    });
}
