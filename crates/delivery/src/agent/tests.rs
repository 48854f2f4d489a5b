//! An agent whose deliveries last until the test lets them go.

use std::os::fd::OwnedFd;

use config::Config;
use dsn::{Action, Delivery, Dsn, Status};
use ipc::delivery::{Recipient, Request};
use server::testing::{self, Harness};
use tokio::sync::Semaphore;

use super::*;

struct Patient {
    releases: Semaphore,
}

impl Agent for Patient {
    const PROGRAM: &'static str = "smtp";
    const ACCOUNT: Account = Account::MailOut;

    fn prepare(_: &Startup) -> Result<Self, StartError> {
        Ok(Patient { releases: Semaphore::new(0) })
    }

    async fn deliver(self: Rc<Self>, mut job: Job) {
        self.releases.acquire().await.expect("open").forget();
        let dsn = Dsn::new(Status::success(0, 0), "250 ok");
        job.report_rest(b"x", &Delivery::Sent { action: Action::Relayed, dsn });
        job.finish(None);
    }
}

fn request(id: u64) -> ToAgent {
    ToAgent::Deliver(Box::new(Request {
        id,
        directory: queue::Directory::Active,
        queue_id: "ABC".parse().expect("id"),
        content_offset: 0,
        content_length: 0,
        nexthop: "x".into(),
        encoding: String::new(),
        send_options: 0,
        sender: "s@x".into(),
        envelope_id: None,
        ret: None,
        arrival: (1, 0),
        active: (2, 0),
        attributes: Vec::new(),
        trace_flags: 0,
        recipients: vec![Recipient { address: "r@x".into(), ..Recipient::default() }],
    }))
}

async fn harness(sessions: u32) -> Harness<Service<Patient>> {
    let mut start = Startup::for_tests(Config::from_text("").expect("configuration"), "smtp");
    start.sessions = sessions;
    Harness::start(&start).await.expect("start")
}

async fn greeted(harness: &Harness<Service<Patient>>) -> (Connection, u32) {
    let mut qmgr = Connection::new(harness.connect().expect("connect"));
    match qmgr.expect().await.expect("hello") {
        FromAgent::Hello { capacity } => (qmgr, capacity),
        other => panic!("{other:?}"),
    }
}

async fn deliver(qmgr: &mut Connection, id: u64) {
    let file = OwnedFd::from(std::fs::File::open("/dev/null").expect("open"));
    qmgr.queue_with_descriptor(&request(id), file).expect("queue");
    qmgr.flush().await.expect("flush");
}

async fn finished(qmgr: &mut Connection) {
    while !matches!(qmgr.expect().await.expect("answer"), FromAgent::Finished { .. }) {}
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
            deliver(&mut qmgr, id).await;
        }
        let release = || harness.service().agent.releases.add_permits(1);
        release();
        finished(&mut qmgr).await;
        assert_eq!(harness.worker().sessions(), 10);
        harness.worker().start_draining();
        assert_eq!(qmgr.expect::<FromAgent>().await.expect("draining"), FromAgent::Draining);
        assert_eq!(harness.worker().sessions(), 2);
        release();
        finished(&mut qmgr).await;
        release();
        finished(&mut qmgr).await;
        assert_eq!(harness.worker().sessions(), 1);
        drop(qmgr);
        harness.finish().await;
    });
}

#[test]
fn wake_ups_are_nothing_to_complain_about() {
    testing::run(async {
        log::capture();
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
        assert_eq!(log::capture(), ["warning: problem talking to the queue manager: unexpected Data frame"]);
    });
}
