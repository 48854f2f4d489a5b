//! Job services: one client at a time.

use std::os::unix::net::UnixStream;

use ipc::blocking::Connection;
use ipc::master::{Load, ToMaster, ToWorker};

use super::contract::Daemon;
use crate::{Account, Callers, JobService, StartError, Startup};

/// Answers one request with its letters in reverse.
pub(super) struct Reverse;

impl JobService for Reverse {
    const PROGRAM: &'static str = "reverse";
    const ACCOUNT: Account = Account::Root;
    const CALLERS: Callers = Callers::OWNER;

    fn prepare(_start: &Startup) -> Result<Reverse, StartError> {
        Ok(Reverse)
    }

    fn serve(&mut self, connection: UnixStream) {
        let mut connection = Connection::new(connection);
        while let Ok(Some(request)) = connection.receive::<String>() {
            if request == "panic" {
                panic!("as asked");
            }
            if connection.send(&request.chars().rev().collect::<String>()).is_err() {
                return;
            }
        }
    }
}

#[test]
fn one_job_after_the_other() {
    let daemon = Daemon::start("reverse", &["-o", "max_use=3"], "");
    daemon.welcome(1);
    assert_eq!(daemon.hear(), Some(ToMaster::Ready));
    assert_eq!(daemon.ask("abc"), "cba");
    assert_eq!(daemon.hear(), Some(ToMaster::Load(Load::Full)));
    assert_eq!(daemon.hear(), Some(ToMaster::Load(Load::Idle)));
    assert_eq!(daemon.ask("abc"), "cba");
    assert_eq!(daemon.ask("abc"), "cba");
    let heard: Vec<_> = std::iter::from_fn(|| daemon.hear()).collect();
    assert_eq!(heard.last(), Some(&ToMaster::Draining));
    assert_eq!(daemon.end().0, Some(0));
}

#[test]
fn a_job_service_drains_after_its_job() {
    let daemon = Daemon::start("reverse", &[], "");
    daemon.welcome(1);
    assert_eq!(daemon.hear(), Some(ToMaster::Ready));
    let mut client = daemon.connect();
    client.send("abc").expect("send");
    assert_eq!(client.expect::<String>().expect("answer"), "cba");
    daemon.say(&ToWorker::Drain);
    // What has begun is finished.
    client.send("def").expect("send");
    assert_eq!(client.expect::<String>().expect("answer"), "fed");
    drop(client);
    let heard: Vec<_> = std::iter::from_fn(|| daemon.hear()).collect();
    assert_eq!(heard.last(), Some(&ToMaster::Draining));
    assert_eq!(daemon.end().0, Some(0));
}

#[test]
fn a_panic_in_a_job_ends_the_process() {
    let daemon = Daemon::start("reverse", &[], "");
    daemon.welcome(1);
    assert_eq!(daemon.hear(), Some(ToMaster::Ready));
    let mut client = daemon.connect();
    client.send("panic").expect("send");
    assert!(client.receive::<String>().expect("closed").is_none());
    assert_eq!(daemon.end().0, Some(1));
}

#[test]
fn a_program_that_needs_root_says_so() {
    if !sys::privileges::is_root() {
        return;
    }
    let daemon = Daemon::start("reverse", &["-u"], "");
    daemon.welcome(1);
    let (code, text) = daemon.end();
    assert_eq!(code, Some(1));
    assert!(text.contains("needs the rights of root"), "{text}");
    // Said before the service even began.
    let daemon = Daemon::start("reverse", &[], "");
    daemon.say(&ToWorker::Drain);
    let (code, text) = daemon.end();
    assert_eq!(code, Some(1));
    assert!(text.contains("unexpected first message"), "{text}");
}
