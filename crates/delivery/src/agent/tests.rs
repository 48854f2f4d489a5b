//! An agent whose deliveries last until the test lets them go.

use std::sync::{Mutex, MutexGuard, PoisonError};

use config::Config;
use dsn::{Action, Delivery, Dsn, Status};
use ipc::delivery::Request;
use server::testing::{self, Harness};
use tokio::sync::Notify;

use super::*;

/// The log is the whole process's: tests that look at it take turns.
static LOG: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    // A test that failed has nothing to do with the next one.
    let guard = LOG.lock().unwrap_or_else(PoisonError::into_inner);
    log::capture();
    guard
}

struct Fake {
    release: Notify,
}

impl Agent for Fake {
    const PROGRAM: &'static str = "discard";
    const ACCOUNT: Account = Account::MailOwner;

    fn prepare(_start: &Startup) -> Result<Fake, StartError> {
        Ok(Fake { release: Notify::new() })
    }

    async fn deliver(self: Rc<Self>, mut job: Job) {
        match job.request.nexthop.as_str() {
            "wait" => self.release.notified().await,
            "panic" => panic!("as asked"),
            _ => {}
        }
        let dsn = Dsn::new(Status::success(0, 0), "delivered");
        job.report(0, b"none", Delivery::Sent { action: Action::Delivered, dsn });
        job.finish(None);
    }
}

fn request(id: u64, nexthop: &str) -> ToAgent {
    let plain = crate::blocking::tests::request(1);
    ToAgent::Deliver(Box::new(Request { id, nexthop: nexthop.into(), ..plain }))
}

async fn ask(qmgr: &mut Connection, id: u64, nexthop: &str) {
    let file = std::fs::File::open("/dev/null").expect("open").into();
    qmgr.queue_with_descriptor(&request(id, nexthop), file).expect("queue");
    qmgr.flush().await.expect("flush");
}

/// The next answers, as (request, word).
async fn answers(qmgr: &mut Connection, count: usize) -> Vec<(u64, &'static str)> {
    let mut answers = Vec::new();
    for _ in 0..count {
        answers.push(match qmgr.expect::<FromAgent>().await.expect("answer") {
            FromAgent::Outcome { request, delivery, .. } => (request, delivery.word()),
            FromAgent::Finished { request, .. } => (request, "finished"),
            FromAgent::Draining => (0, "draining"),
            other => panic!("{other:?}"),
        });
    }
    answers
}

#[test]
fn deliveries_side_by_side_and_a_clean_end() {
    let _alone = alone();
    testing::run(async {
        let startup = Startup::for_tests(Config::from_text("").expect("configuration"), "discard");
        let harness: Harness<Service<Fake>> = Harness::start(&startup).await.expect("start");
        let mut qmgr = Connection::new(harness.connect().expect("connect"));
        assert_eq!(qmgr.expect::<FromAgent>().await.expect("hello"), FromAgent::Hello { capacity: CAPACITY });
        ask(&mut qmgr, 1, "wait").await;
        ask(&mut qmgr, 2, "go").await;
        assert_eq!(answers(&mut qmgr, 2).await, [(2, "sent"), (2, "finished")], "the first does not hold up others");
        // What an agent does not report, for whatever reason, is tried again.
        ask(&mut qmgr, 3, "panic").await;
        let mut after = answers(&mut qmgr, 3).await;
        after.sort_unstable();
        assert_eq!(after, [(0, "draining"), (3, "deferred"), (3, "finished")]);
        let agent = harness.service().agent.clone();
        let end = harness.finish();
        let rest = async {
            ask(&mut qmgr, 4, "go").await;
            assert_eq!(answers(&mut qmgr, 2).await, [(4, "sent"), (4, "finished")], "requests that cross are served");
            agent.release.notify_one();
            assert_eq!(answers(&mut qmgr, 2).await, [(1, "sent"), (1, "finished")]);
            drop(qmgr);
        };
        tokio::join!(end, rest);
    });
}

async fn harness(sessions: u32) -> Harness<Service<Fake>> {
    let mut start = Startup::for_tests(Config::from_text("").expect("configuration"), "discard");
    start.sessions = sessions;
    Harness::start(&start).await.expect("start")
}

async fn greeted(harness: &Harness<Service<Fake>>) -> (Connection, u32) {
    let mut qmgr = Connection::new(harness.connect().expect("connect"));
    match qmgr.expect().await.expect("hello") {
        FromAgent::Hello { capacity } => (qmgr, capacity),
        other => panic!("{other:?}"),
    }
}

#[test]
fn deliveries_count_as_clients_of_the_service() {
    testing::run(async {
        // (share that master gave, capacities of the connections until no place is left)
        let cases: &[(u32, &[u32])] =
            &[(1, &[1]), (10, &[10]), (100, &[100]), (150, &[100, 50]), (0, &[100, 100, 100])];
        for (share, wanted) in cases {
            let harness = harness(*share).await;
            let mut open = Vec::new();
            for wanted in *wanted {
                let (qmgr, capacity) = greeted(&harness).await;
                assert_eq!(capacity, *wanted, "share {share}");
                open.push(qmgr);
            }
            let all: u32 = wanted.iter().sum();
            assert_eq!(harness.worker().sessions(), all, "share {share}");
            // With a share, that is all: the next connection is for another worker.
            assert_eq!(harness.worker().session_limit() == all, *share != 0);
            drop(open);
            harness.finish().await;
        }
    });
}

#[test]
fn a_draining_agent_keeps_places_for_what_it_still_does_only() {
    testing::run(async {
        let harness = harness(10).await;
        let (mut qmgr, _) = greeted(&harness).await;
        for id in 1..=3 {
            ask(&mut qmgr, id, "wait").await;
        }
        let release = || harness.service().agent.release.notify_one();
        release();
        answers(&mut qmgr, 2).await;
        assert_eq!(harness.worker().sessions(), 10);
        harness.worker().start_draining();
        assert_eq!(qmgr.expect::<FromAgent>().await.expect("draining"), FromAgent::Draining);
        assert_eq!(harness.worker().sessions(), 2);
        release();
        answers(&mut qmgr, 2).await;
        release();
        answers(&mut qmgr, 2).await;
        assert_eq!(harness.worker().sessions(), 1);
        drop(qmgr);
        harness.finish().await;
    });
}

#[test]
fn wake_ups_are_nothing_to_complain_about() {
    let _alone = alone();
    testing::run(async {
        let harness = harness(0).await;
        for speak in [&b"\x02\0\0\0\x02W"[..], b"W", b""] {
            use tokio::io::AsyncWriteExt;
            let mut visitor = harness.connect().expect("connect");
            visitor.write_all(speak).await.expect("write");
        }
        // A process that sends something else is worth a line.
        let mut stranger = Connection::new(harness.connect().expect("connect"));
        stranger.queue_raw(ipc::Kind::Data, b"?");
        stranger.flush().await.expect("flush");
        while stranger.receive_frame().await.is_ok_and(|frame| frame.is_some()) {}
        harness.finish().await;
        let mut complaints = log::capture();
        complaints.retain(|line| line.contains("queue manager"));
        assert_eq!(complaints, ["warning: problem talking to the queue manager: unexpected Data frame"]);
    });
}
