//! A disk that says no, and what is written down when a queue manager ends in the middle.

use std::cell::RefCell;
use std::fs;

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use queue::{Directory, QueueId};
use server::testing;

use crate::world::{Scene, World, announce, until};

/// Lines logged so far.
#[derive(Default)]
struct Lines(RefCell<Vec<String>>);

impl Lines {
    fn count(&self, text: &str) -> usize {
        self.0.borrow_mut().extend(log::capture());
        self.0.borrow().iter().filter(|line| line.contains(text)).count()
    }
}

/// While this lives, the message is a directory in `active`, which can neither be written to nor removed.
struct Stuck<'a> {
    world: &'a World,
    id: &'a QueueId,
}

impl<'a> Stuck<'a> {
    fn new(world: &'a World, id: &'a QueueId) -> Stuck<'a> {
        fs::create_dir(world.root.path().join("aside")).expect("mkdir");
        let stuck = Stuck { world, id };
        stuck.exchange();
        stuck
    }

    /// At no moment is there nothing.
    fn exchange(&self) {
        let path = self.world.spool.path(Directory::Active, self.id);
        renameat2(AT_FDCWD, &path, AT_FDCWD, &self.world.root.path().join("aside"), RenameFlags::RENAME_EXCHANGE)
            .expect("exchange");
    }
}

impl Drop for Stuck<'_> {
    fn drop(&mut self) {
        self.exchange();
    }
}

#[test]
fn a_file_that_cannot_be_removed_is_tried_again_and_not_delivered_again() {
    testing::run(async {
        let lines = Lines::default();
        let Scene { world, seen, qmgr } = Scene::start("").await;
        let id = world.message(Directory::Incoming, "s@x.example", &["hang@a.example"]);
        let _cleanup = announce(&qmgr, &[&id]).await;
        until(|| seen.tries.borrow().len() == 1).await;
        let stuck = Stuck::new(&world, &id);
        seen.release.notify_one();
        until(|| lines.count(&format!("{id}: remove: Is a directory")) == 1).await;
        // Whoever announces it meanwhile changes nothing.
        let _again = announce(&qmgr, &[&id]).await;
        drop(stuck);
        until(|| world.place(&id).is_none()).await;
        qmgr.finish().await;
        assert_eq!(lines.count("remove: Is a directory"), 1, "said once");
        assert_eq!(lines.count(&format!("{id}: removed")), 1);
        assert_eq!(seen.delivered.borrow().len(), 1, "once");
    });
}

#[test]
fn marks_that_fail_are_made_before_the_message_waits() {
    testing::run(async {
        let lines = Lines::default();
        let Scene { world, seen, qmgr } = Scene::start("").await;
        let id = world.message(Directory::Incoming, "s@x.example", &["hang@a.example", "defer@a.example"]);
        let _cleanup = announce(&qmgr, &[&id]).await;
        until(|| seen.tries.borrow().len() == 1).await;
        let stuck = Stuck::new(&world, &id);
        seen.release.notify_one();
        until(|| lines.count(&format!("{id}: mark recipients: Is a directory")) > 0).await;
        drop(stuck);
        until(|| world.place(&id) == Some(Directory::Deferred)).await;
        assert_eq!(world.undone(&id), ["defer@a.example"]);
        qmgr.finish().await;
    });
}

#[test]
fn reasons_of_a_half_deferred_message_outlive_the_queue_manager() {
    testing::run(async {
        let lines = Lines::default();
        let Scene { world, seen, qmgr } = Scene::start("smtp_destination_concurrency_limit = 1\n").await;
        let hanging = world.message(Directory::Incoming, "s@x.example", &["hang@a.example"]);
        let _cleanup = announce(&qmgr, &[&hanging]).await;
        until(|| seen.tries.borrow().len() == 1).await;
        let half = world.message(Directory::Incoming, "s@x.example", &["x@later.example", "ok@a.example"]);
        let _cleanup = announce(&qmgr, &[&half]).await;
        until(|| lines.count("status=deferred (the table is broken)") == 1).await;
        let rest = async {
            until(|| world.place(&half) == Some(Directory::Incoming)).await;
            seen.release.notify_one();
        };
        tokio::join!(qmgr.finish(), rest);
        let why = ("x@later.example".to_owned(), "4.3.5 the table is broken".to_owned());
        assert_eq!(world.log(Directory::Defer, &half), [why]);
        assert_eq!(world.undone(&half), ["x@later.example", "ok@a.example"]);
    });
}

#[test]
fn the_status_filter_sees_our_own_outcomes() {
    testing::run(async {
        let lines = Lines::default();
        let Scene { world, seen, qmgr } = Scene::start(
            "default_delivery_status_filter = inline:{ { 4.3.5 the table is broken = 5.3.5 gone for good }, \
             { 5.1.2 no such place = 4.1.2 not yet } }\n",
        )
        .await;
        let id = world.message(Directory::Incoming, "s@x.example", &["x@later.example", "x@reject.example"]);
        let _cleanup = announce(&qmgr, &[&id]).await;
        until(|| world.place(&id) == Some(Directory::Deferred)).await;
        let waits = ("x@reject.example".to_owned(), "4.1.2 not yet".to_owned());
        assert_eq!(world.log(Directory::Defer, &id), [waits]);
        let returned = ("x@later.example".to_owned(), "5.3.5 gone for good".to_owned());
        assert_eq!(seen.notices.borrow()[0].2, [returned]);
        assert_eq!(lines.count("dsn=5.3.5, status=bounced (gone for good)"), 1);
        assert_eq!(lines.count("dsn=4.1.2, status=deferred (not yet)"), 1);
        qmgr.finish().await;
    });
}
