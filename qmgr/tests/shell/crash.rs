//! The queue manager and its peers end at any step, as by kill -9, and others take their place: nothing is lost.

use std::rc::Rc;

use queue::Directory;
use server::testing;

use crate::world::{Seen, World, announce, peers, until};

const RECIPIENTS: [&str; 6] = [
    "ok1@a.example",
    "bounce1@a.example",
    "ok2@b.example",
    "success@b.example SUCCESS",
    "bounce2@c.example",
    "ok3@c.example",
];

/// One life until `events` things have happened among the peers; true when everything was done before.
fn life(world: &World, events: usize, announced: &mut bool, total: &Total) -> bool {
    testing::run(async {
        let seen = Rc::new(Seen::default());
        peers(world, &seen);
        let qmgr = world.qmgr().await;
        let mut kept = None;
        if !*announced {
            *announced = true;
            let ids: Vec<_> = (0..3).map(|_| world.message(Directory::Incoming, "s@x.example", &RECIPIENTS)).collect();
            kept = Some(announce(&qmgr, &ids.iter().collect::<Vec<_>>()).await);
            total.ids.borrow_mut().extend(ids);
        }
        let ids = total.ids.borrow().clone();
        let done = || ids.iter().all(|id| world.place(id).is_none());
        let stopped = tokio::select! {
            () = until(|| seen.events.get() >= events) => true,
            () = until(done) => false,
        };
        drop(kept);
        total.delivered.borrow_mut().extend(seen.delivered.borrow().iter().cloned());
        for (kind, _, entries) in seen.notices.borrow().iter() {
            total.notices.borrow_mut().extend(entries.iter().map(|(address, _)| format!("{kind} {address}")));
        }
        // What follows is the end of the event loop: no destructor of the queue manager does anything about the queue.
        !stopped
    })
}

#[derive(Default)]
struct Total {
    ids: std::cell::RefCell<Vec<queue::QueueId>>,
    delivered: std::cell::RefCell<Vec<String>>,
    notices: std::cell::RefCell<Vec<String>>,
}

#[test]
fn nothing_is_lost_at_any_step() {
    for step in 1..30 {
        let world = World::new("");
        let total = Total::default();
        let mut announced = false;
        let mut lives = 0;
        // A life that always ends at the same step would never get further.
        while !life(&world, step + lives, &mut announced, &total) {
            lives += 1;
            assert!(lives < 100, "it comes to an end");
        }
        let delivered = total.delivered.borrow();
        let notices = total.notices.borrow();
        for ok in ["ok1@a.example", "ok2@b.example", "ok3@c.example", "success@b.example"] {
            assert!(delivered.iter().filter(|address| *address == ok).count() >= 3, "step {step}: {ok} {delivered:?}");
        }
        for failed in ["bounce Failure bounce1@a.example", "bounce Failure bounce2@c.example"] {
            assert!(
                notices.iter().filter(|notice| *notice == failed).count() >= 3,
                "step {step}: {failed} {notices:?}"
            );
        }
        let success = "trace Success success@b.example";
        assert!(notices.iter().filter(|notice| *notice == success).count() >= 3, "step {step}: {notices:?}");
        assert!(delivered.len() <= 12 + lives * 12, "step {step}: duplicates only of what was on the way");
    }
}
