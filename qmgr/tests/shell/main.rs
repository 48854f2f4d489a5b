//! The whole queue manager, in a temporary spool, among fake peers.

mod crash;
mod disk;
mod world;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::rc::Rc;

use queue::Directory;
use server::testing;
use world::{Scene, Seen, World, announce, peers, seconds, until};

fn logged(lines: &[String], text: &str) -> bool {
    lines.iter().any(|line| line.contains(text))
}

#[test]
fn an_announced_message_is_delivered_and_removed() {
    testing::run(async {
        let Scene { world, seen, qmgr } = Scene::start("").await;
        let id =
            world.message(Directory::Incoming, "s@x.example", &["ok1@a.example", "ok2@a.example", "ok3@b.example"]);
        let _cleanup = announce(&qmgr, &[&id]).await;
        until(|| world.place(&id).is_none()).await;
        {
            let requests = seen.requests.borrow();
            assert_eq!(requests.len(), 2);
            assert_eq!(requests[0].nexthop, "a.example");
            assert_eq!(requests[0].recipients.len(), 2);
            assert_eq!(requests[0].queue_id, id);
            assert_eq!(requests[0].sender, "s@x.example");
            assert_eq!(requests[0].attribute("rewrite_context").expect("attribute"), "local");
            assert_eq!(requests[1].nexthop, "b.example");
        }
        qmgr.finish().await;
        let lines = log::capture();
        assert!(logged(&lines, &format!("{id}: from=<s@x.example>, size=23, nrcpt=3 (queue active)")), "{lines:?}");
        assert!(logged(&lines, &format!("{id}: removed")), "{lines:?}");
        assert!(seen.notices.borrow().is_empty());
    });
}

#[test]
fn every_outcome_has_its_consequence() {
    testing::run(async {
        let Scene { world, seen, qmgr } = Scene::start("").await;
        let recipients = [
            "ok@a.example",
            "bounce@a.example",
            "defer@a.example",
            "x@reject.example",
            "x@later.example",
            "success@b.example SUCCESS",
        ];
        let id = world.message(Directory::Incoming, "s@x.example", &recipients);
        let _cleanup = announce(&qmgr, &[&id]).await;
        until(|| world.place(&id) == Some(Directory::Deferred)).await;
        assert_eq!(world.undone(&id), ["defer@a.example", "x@later.example"]);
        let path = world.spool.path(Directory::Deferred, &id);
        let mtime = fs::metadata(path).expect("stat").mtime();
        assert!((mtime - seconds() - 300).abs() < 10, "minimal_backoff_time from now");
        let mut notices = seen.notices.borrow().clone();
        notices.sort_unstable();
        assert_eq!(notices.len(), 2, "{notices:?}");
        assert_eq!(notices[0].0, "bounce Failure");
        let mut failed = notices[0].2.clone();
        failed.sort_unstable();
        assert_eq!(failed[0], ("bounce@a.example".to_owned(), "5.1.1 unknown user".to_owned()));
        assert_eq!(failed[1], ("x@reject.example".to_owned(), "5.1.2 no such place".to_owned()));
        assert_eq!(notices[1].0, "trace Success");
        let text = "2.0.0 delivery via mx.example[192.0.2.1]:25: 250 ok".to_owned();
        assert_eq!(notices[1].2, [("success@b.example".to_owned(), text)]);
        let mut waiting = world.log(Directory::Defer, &id);
        waiting.sort_unstable();
        assert_eq!(waiting[0], ("defer@a.example".to_owned(), "4.2.2 mailbox full".to_owned()));
        assert_eq!(waiting[1], ("x@later.example".to_owned(), "4.3.5 the table is broken".to_owned()));
        qmgr.finish().await;
        let lines = log::capture();
        assert!(logged(&lines, "to=<x@reject.example>, relay=none"), "{lines:?}");
        assert!(logged(&lines, "dsn=5.1.2, status=bounced (no such place)"), "{lines:?}");
        assert!(logged(&lines, "dsn=4.3.5, status=deferred (the table is broken)"), "{lines:?}");
    });
}

#[test]
fn without_rewrite_mail_waits() {
    testing::run(async {
        let world = World::new("qmgr_ipc_timeout = 1s\n");
        let qmgr = world.qmgr().await;
        let id = world.message(Directory::Incoming, "s@x.example", &["ok@a.example"]);
        let _cleanup = announce(&qmgr, &[&id]).await;
        until(|| world.place(&id) == Some(Directory::Deferred)).await;
        assert_eq!(world.log(Directory::Defer, &id)[0].1, "4.3.0 address resolver failure");
        qmgr.finish().await;
    });
}

#[test]
fn a_transport_that_is_not_there() {
    testing::run(async {
        let Scene { world, qmgr, .. } = Scene::start("").await;
        let id = world.message(Directory::Incoming, "s@x.example", &["x@nowhere.example", "ok@a.example"]);
        let _cleanup = announce(&qmgr, &[&id]).await;
        until(|| world.place(&id) == Some(Directory::Deferred)).await;
        assert_eq!(world.undone(&id), ["x@nowhere.example"]);
        assert_eq!(world.log(Directory::Defer, &id)[0].1, "4.3.0 mail transport unavailable");
        qmgr.finish().await;
        let lines = log::capture();
        assert!(logged(&lines, "warning: connect to transport private/nowhere: "), "{lines:?}");
    });
}

#[test]
fn an_agent_that_dies_costs_a_retry() {
    testing::run(async {
        let Scene { world, seen, qmgr } = Scene::start("").await;
        let id =
            world.message(Directory::Incoming, "s@x.example", &["ok@a.example", "once@a.example", "ok2@a.example"]);
        let _cleanup = announce(&qmgr, &[&id]).await;
        until(|| world.place(&id).is_none()).await;
        let mut delivered = seen.delivered.borrow().clone();
        delivered.sort_unstable();
        assert_eq!(delivered, ["ok2@a.example", "ok@a.example", "once@a.example"], "what was reported is not repeated");
        // One that always dies is put off.
        let id = world.message(Directory::Incoming, "s@x.example", &["die@a.example"]);
        let _cleanup = announce(&qmgr, &[&id]).await;
        until(|| world.place(&id) == Some(Directory::Deferred)).await;
        assert_eq!(world.log(Directory::Defer, &id)[0].1, "4.3.0 unknown mail transport error");
        qmgr.finish().await;
        let lines = log::capture();
        assert!(logged(&lines, "warning: transport smtp failure -- see a previous warning"), "{lines:?}");
    });
}

#[test]
fn a_dead_destination_is_left_alone() {
    testing::run(async {
        let Scene { world, seen, qmgr } = Scene::start("initial_destination_concurrency = 1\n").await;
        let ids: Vec<_> = (0..5)
            .map(|n| world.message(Directory::Incoming, "s@x.example", &[&*format!("dead{n}@a.example")]))
            .collect();
        let other = world.message(Directory::Incoming, "s@x.example", &["ok@b.example"]);
        let mut all: Vec<_> = ids.iter().collect();
        all.push(&other);
        let _cleanup = announce(&qmgr, &all).await;
        until(|| ids.iter().all(|id| world.place(id) == Some(Directory::Deferred))).await;
        until(|| world.place(&other).is_none()).await;
        assert_eq!(seen.tries.borrow().keys().filter(|address| address.starts_with("dead")).count(), 1);
        let late = world.message(Directory::Incoming, "s@x.example", &["ok@a.example"]);
        let _cleanup = announce(&qmgr, &[&late]).await;
        until(|| world.place(&late) == Some(Directory::Deferred)).await;
        let reason = "4.4.1 delivery temporarily suspended: connect to site: Connection timed out";
        assert_eq!(world.log(Directory::Defer, &late)[0].1, reason);
        // A flush tries it again.
        world.set_time(Directory::Deferred, &late, 1_000);
        let mut flush = ipc::Connection::new(qmgr.connect().expect("connect"));
        flush.send(&ipc::qmgr::ToQmgr::Retry(late.clone())).await.expect("send");
        until(|| world.place(&late).is_none()).await;
        qmgr.finish().await;
    });
}

#[test]
fn deferred_mail_comes_when_its_time_has() {
    testing::run(async {
        let world = World::new("");
        let seen = Rc::new(Seen::default());
        let due = world.message(Directory::Deferred, "s@x.example", &["ok1@a.example"]);
        world.set_time(Directory::Deferred, &due, -5);
        let later = world.message(Directory::Deferred, "s@x.example", &["ok2@a.example"]);
        world.set_time(Directory::Deferred, &later, 1_000);
        let wanted = world.message(Directory::Deferred, "s@x.example", &["ok3@a.example"]);
        world.set_time(Directory::Deferred, &wanted, 1_000);
        let unfinished = world.message(Directory::Incoming, "s@x.example", &["ok4@a.example"]);
        let path = world.spool.path(Directory::Incoming, &unfinished);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("chmod");
        let stranded = world.message(Directory::Active, "s@x.example", &["ok5@a.example"]);
        peers(&world, &seen);
        let qmgr = world.qmgr().await;
        until(|| world.place(&due).is_none() && world.place(&stranded).is_none()).await;
        assert_eq!(world.place(&later), Some(Directory::Deferred));
        let mut flush = ipc::Connection::new(qmgr.connect().expect("connect"));
        flush.send(&ipc::qmgr::ToQmgr::Retry(wanted.clone())).await.expect("send");
        until(|| world.place(&wanted).is_none()).await;
        assert_eq!(world.place(&later), Some(Directory::Deferred));
        qmgr.wake(b"AD");
        until(|| world.place(&later).is_none()).await;
        assert_eq!(world.place(&unfinished), Some(Directory::Incoming), "0600 is nobody's");
        qmgr.finish().await;
    });
}

#[test]
fn old_mail_is_not_given_up_when_nobody_can_be_told_why() {
    testing::run(async {
        let Scene { world, seen, qmgr } = Scene::start("maximal_queue_lifetime = 1h\n").await;
        let old = world.message_with(Directory::Incoming, "s@x.example", &["defer@a.example"], |writer| {
            writer.attribute("create_time", (seconds() - 4_000).to_string().as_bytes()).expect("write");
        });
        // Where the defer log would be, nothing can be written.
        fs::create_dir_all(world.spool.path(Directory::Defer, &old)).expect("mkdir");
        let _cleanup = announce(&qmgr, &[&old]).await;
        until(|| world.place(&old) == Some(Directory::Deferred)).await;
        assert!(seen.notices.borrow().is_empty());
        qmgr.finish().await;
    });
}

#[test]
fn old_mail_is_returned_and_delays_are_told() {
    testing::run(async {
        let Scene { world, seen, qmgr } = Scene::start("maximal_queue_lifetime = 1h\n").await;
        let old = world.message_with(Directory::Incoming, "s@x.example", &["defer@a.example"], |writer| {
            writer.attribute("create_time", (seconds() - 4_000).to_string().as_bytes()).expect("write");
        });
        let slow = world.message_with(Directory::Incoming, "s@x.example", &["defer@a.example"], |writer| {
            writer.warning_time(seconds() - 10).expect("write");
        });
        let forced = world.message(Directory::Incoming, "s@x.example", &["ok@a.example"]);
        let path = world.spool.path(Directory::Incoming, &forced);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o710)).expect("chmod");
        let _cleanup = announce(&qmgr, &[&old, &slow, &forced]).await;
        until(|| world.place(&old).is_none() && world.place(&forced).is_none()).await;
        until(|| world.place(&slow) == Some(Directory::Deferred)).await;
        {
            let mut notices = seen.notices.borrow_mut();
            notices.sort_unstable_by_key(|(kind, id, _)| (kind.clone(), *id == forced));
            let kinds: Vec<(&str, &str)> =
                notices.iter().map(|(kind, _, entries)| (kind.as_str(), entries[0].1.as_str())).collect();
            assert_eq!(
                kinds,
                [
                    ("defer Delay", "4.2.2 mailbox full"),
                    ("defer Failure", "4.2.2 mailbox full"),
                    ("defer Failure", "4.7.0 Message is administratively expired")
                ]
            );
        }
        // Told once only.
        seen.notices.borrow_mut().clear();
        let mut flush = ipc::Connection::new(qmgr.connect().expect("connect"));
        flush.send(&ipc::qmgr::ToQmgr::Retry(slow.clone())).await.expect("send");
        until(|| seen.tries.borrow()["defer@a.example"] == 3).await;
        until(|| world.place(&slow) == Some(Directory::Deferred)).await;
        assert!(seen.notices.borrow().is_empty());
        assert_eq!(world.log(Directory::Defer, &slow).len(), 1, "the old log went when the message was taken");
        qmgr.finish().await;
        let lines = log::capture();
        assert!(logged(&lines, &format!("{old}: from=<s@x.example>, status=expired, returned to sender")), "{lines:?}");
        assert!(logged(&lines, &format!("{forced}: from=<s@x.example>, status=force-expired, returned to sender")));
    });
}

#[test]
fn malformed_files_are_put_aside() {
    testing::run(async {
        let Scene { world, qmgr, .. } = Scene::start("").await;
        let torn = world.message(Directory::Incoming, "s@x.example", &["ok@a.example"]);
        world.spool.open_write(Directory::Incoming, &torn).expect("open").set_len(130).expect("truncate");
        let reported = world.message(Directory::Incoming, "s@x.example", &["corrupt@a.example"]);
        let good = world.message(Directory::Incoming, "s@x.example", &["ok@a.example"]);
        let _cleanup = announce(&qmgr, &[&torn, &reported, &good]).await;
        until(|| world.place(&good).is_none()).await;
        until(|| world.place(&torn) == Some(Directory::Corrupt)).await;
        until(|| world.place(&reported) == Some(Directory::Corrupt)).await;
        qmgr.finish().await;
        let lines = log::capture();
        let line = format!("warning: saving corrupt file \"{torn}\" from queue \"active\" to queue \"corrupt\"");
        assert!(logged(&lines, &line), "{lines:?}");
    });
}

#[test]
fn a_large_message_is_read_in_parts() {
    testing::run(async {
        let Scene { world, seen, qmgr } =
            Scene::start("qmgr_message_recipient_limit = 200\ndefault_recipient_refill_limit = 20\n").await;
        let recipients: Vec<String> = (0..1_500).map(|n| format!("ok{n}@site{}.example", n % 7)).collect();
        let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
        let id = world.message(Directory::Incoming, "s@x.example", &recipients);
        let _cleanup = announce(&qmgr, &[&id]).await;
        until(|| world.place(&id).is_none()).await;
        let mut delivered = seen.delivered.borrow().clone();
        delivered.sort_unstable();
        delivered.dedup();
        assert_eq!(delivered.len(), 1_500);
        assert!(seen.requests.borrow().iter().all(|request| request.recipients.len() <= 50));
        qmgr.finish().await;
    });
}

#[test]
fn an_ending_queue_manager_waits_for_what_is_on_the_way() {
    testing::run(async {
        let Scene { world, seen, qmgr } = Scene::start("").await;
        let hanging = world.message(Directory::Incoming, "s@x.example", &["hang@a.example"]);
        let _cleanup = announce(&qmgr, &[&hanging]).await;
        until(|| seen.tries.borrow().len() == 1).await;
        let end = qmgr.finish();
        let release = async {
            tokio::task::yield_now().await;
            assert_eq!(world.place(&hanging), Some(Directory::Active));
            seen.release.notify_one();
        };
        tokio::join!(end, release);
        assert_eq!(world.place(&hanging), None);
        assert_eq!(seen.delivered.borrow().len(), 1);
    });
}

#[test]
fn a_queue_manager_that_starts_early_waits_for_the_other_ones_agents() {
    testing::run(async {
        log::capture();
        let world = World::new("");
        let seen = Rc::new(Seen::default());
        peers(&world, &seen);
        let first = world.qmgr().await;
        let hanging = world.message(Directory::Incoming, "s@x.example", &["hang@a.example"]);
        let _cleanup = announce(&first, &[&hanging]).await;
        until(|| seen.tries.borrow().len() == 1).await;
        let second = world.qmgr().await;
        let rest = async {
            until(|| log::capture().iter().any(|line| line.contains("skipped, still being delivered"))).await;
            seen.release.notify_one();
            until(|| world.place(&hanging).is_none()).await;
        };
        tokio::join!(first.finish(), rest);
        second.finish().await;
        assert_eq!(seen.delivered.borrow().len(), 1, "once");
    });
}

#[test]
fn verp_gives_each_recipient_a_sender_of_its_own() {
    testing::run(async {
        let Scene { world, seen, qmgr } = Scene::start("").await;
        let id =
            world.message_with(Directory::Incoming, "list@x.example", &["ok1@a.example", "ok2@a.example"], |writer| {
                writer.verp(*b"+=").expect("write");
            });
        let _cleanup = announce(&qmgr, &[&id]).await;
        until(|| world.place(&id).is_none()).await;
        let mut senders: Vec<String> =
            seen.requests.borrow().iter().map(|request| request.sender.to_string()).collect();
        senders.sort_unstable();
        assert_eq!(senders, ["list+ok1=a.example@x.example", "list+ok2=a.example@x.example"]);
        qmgr.finish().await;
    });
}

#[test]
fn filters_redirections_and_deferred_transports() {
    testing::run(async {
        let Scene { world, seen, qmgr } = Scene::start("defer_transports = nowhere\n").await;
        let filtered = world.message_with(Directory::Incoming, "s@x.example", &["ok@a.example"], |writer| {
            writer.filter(b"smtp:[127.0.0.1]:10025").expect("write");
        });
        let redirected =
            world.message_with(Directory::Incoming, "s@x.example", &["ok1@a.example", "ok2@b.example"], |writer| {
                writer.redirect(b"ok3@c.example").expect("write");
            });
        let waiting = world.message(Directory::Incoming, "s@x.example", &["x@nowhere.example"]);
        let double = world.message(Directory::Incoming, "", &["double-bounce@here.example"]);
        let _cleanup = announce(&qmgr, &[&filtered, &redirected, &waiting, &double]).await;
        until(|| world.place(&filtered).is_none() && world.place(&redirected).is_none()).await;
        until(|| world.place(&waiting) == Some(Directory::Deferred) && world.place(&double).is_none()).await;
        assert_eq!(world.log(Directory::Defer, &waiting)[0].1, "4.3.2 deferred transport");
        {
            let requests = seen.requests.borrow();
            assert_eq!(requests.len(), 2);
            assert!(requests.iter().any(|request| request.nexthop == "[127.0.0.1]:10025"));
            assert!(requests.iter().any(|request| request.recipients[0].address == "ok3@c.example"));
        }
        qmgr.finish().await;
    });
}

#[test]
fn many_deferrals_of_one_message() {
    testing::run(async {
        let Scene { world, seen, qmgr } = Scene::start("").await;
        let recipients: Vec<String> = (0..1_200).map(|n| format!("defer{n}@a.example")).collect();
        let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
        let id = world.message(Directory::Incoming, "s@x.example", &recipients);
        let _cleanup = announce(&qmgr, &[&id]).await;
        until(|| world.place(&id) == Some(Directory::Deferred)).await;
        assert_eq!(world.log(Directory::Defer, &id).len(), 1_200);
        assert_eq!(world.undone(&id).len(), 1_200);
        // Deleted by postsuper while an agent has it.
        let gone = world.message(Directory::Incoming, "s@x.example", &["hang@b.example", "defer@c.example"]);
        let _cleanup = announce(&qmgr, &[&gone]).await;
        until(|| seen.tries.borrow().contains_key("hang@b.example")).await;
        world.spool.remove(Directory::Active, &gone).expect("remove");
        seen.release.notify_one();
        until(|| qmgr.service().active_messages() == 0).await;
        assert!(world.log(Directory::Defer, &gone).is_empty());
        qmgr.finish().await;
    });
}

#[test]
fn garbage_on_the_socket_stops_nobody() {
    testing::run(async {
        let Scene { world, qmgr, .. } = Scene::start("").await;
        for garbage in [&b"\xff\xff\xff\xff\x00garbage"[..], b"GET / HTTP/1.0\r\n\r\n", b"\x05\0\0\0\0abcd", b"\0"] {
            let stream = qmgr.connect().expect("connect");
            stream.writable().await.expect("writable");
            stream.try_write(garbage).expect("write");
        }
        let missing = "NOSUCHID".parse().expect("id");
        let id = world.message(Directory::Incoming, "s@x.example", &["ok@a.example"]);
        let _cleanup = announce(&qmgr, &[&missing, &id]).await;
        until(|| world.place(&id).is_none()).await;
        qmgr.finish().await;
    });
}

#[test]
fn many_messages_share_one_connection() {
    testing::run(async {
        let Scene { world, seen, qmgr } = Scene::start("").await;
        let ids: Vec<_> = (0..300)
            .map(|n| world.message(Directory::Incoming, "s@x.example", &[&*format!("ok{n}@site{}.example", n % 20)]))
            .collect();
        let _cleanup = announce(&qmgr, &ids.iter().collect::<Vec<_>>()).await;
        until(|| ids.iter().all(|id| world.place(id).is_none())).await;
        assert_eq!(seen.delivered.borrow().len(), 300);
        assert!(seen.connections.get() <= 40, "{}", seen.connections.get());
        qmgr.finish().await;
    });
}
