//! Sessions within this process: isolation, limits, wake-ups, drain.

use std::time::Duration;

use config::Config;
use ipc::{Connection, Kind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::Echo;
use crate::peers::{Callers, Peers, check};
use crate::testing::{self, Harness};
use crate::{Peer, Startup, Worker};

fn startup() -> Startup {
    Startup::for_tests(Config::from_text("").expect("configuration"), "echo")
}

async fn ask(connection: &mut Connection, text: &str) -> Option<String> {
    connection.send(text).await.ok()?;
    connection.receive::<String>().await.ok()?
}

/// Waits for something that other tasks bring about.
async fn until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        tokio::task::yield_now().await;
    }
}

#[test]
fn a_panic_ends_one_session_and_the_worker_drains() {
    testing::run(async {
        log::capture();
        let echo = Harness::<Echo>::start(&startup()).await.expect("start");
        let mut other = echo.connect_inet().await.expect("connect");
        let mut victim = echo.connect_inet().await.expect("connect");
        other.write_all(b"a").await.expect("write");
        let mut byte = [0u8; 1];
        other.read_exact(&mut byte).await.expect("echo");
        victim.write_all(b"p").await.expect("write");
        let mut last = String::new();
        victim.read_to_string(&mut last).await.expect("last reply");
        assert_eq!(last, "421 4.3.0 sorry\r\n");
        until(|| echo.worker().is_draining()).await;
        // The other session goes on.
        other.write_all(b"b").await.expect("write");
        other.read_exact(&mut byte).await.expect("echo");
        assert_eq!(&byte, b"b");
        assert_eq!(echo.worker().sessions(), 1);
        drop(other);
        echo.finish().await;
        let lines = log::capture();
        assert!(lines.iter().any(|line| line.starts_with("panic: as asked (")), "{lines:?}");
    });
}

#[test]
fn a_session_in_tls_gets_no_last_reply() {
    testing::run(async {
        let echo = Harness::<Echo>::start(&startup()).await.expect("start");
        let mut victim = echo.connect_inet().await.expect("connect");
        let mut byte = [0u8; 1];
        victim.write_all(b"t").await.expect("write");
        victim.read_exact(&mut byte).await.expect("echo");
        victim.write_all(b"p").await.expect("write");
        let mut last = String::new();
        let _ = victim.read_to_string(&mut last).await;
        assert_eq!(last, "");
        echo.finish().await;
    });
}

#[test]
fn wake_ups_are_not_sessions() {
    testing::run(async {
        let echo = Harness::<Echo>::start(&startup()).await.expect("start");
        let mut framed = Connection::new(echo.connect().expect("connect"));
        framed.queue_raw(Kind::Trigger, b"FI");
        framed.flush().await.expect("flush");
        let service = echo.service().clone();
        until(|| service.woken.borrow().len() == 1).await;
        // As scripts write them: bare characters, then the end.
        let mut raw = echo.connect().expect("connect");
        raw.write_all(b"FADI").await.expect("write");
        drop(raw);
        until(|| service.woken.borrow().len() == 2).await;
        echo.wake(b"W");
        until(|| service.woken.borrow().len() == 3).await;
        assert_eq!(*service.woken.borrow(), [b"FI".to_vec(), b"FADI".to_vec(), b"W".to_vec()]);
        // A client whose first frame is a message is served as usual.
        let mut client = Connection::new(echo.connect().expect("connect"));
        assert_eq!(ask(&mut client, "hello").await.as_deref(), Some("hello"));
        echo.finish().await;
    });
}

#[test]
fn garbage_on_the_socket_ends_that_connection_only() {
    testing::run(async {
        let echo = Harness::<Echo>::start(&startup()).await.expect("start");
        let service = echo.service().clone();
        let cases: [&[u8]; 6] =
            [b"", b"\xff\xff\xff\xff\x02endless", b"\0\0\0\0\x02", b"GET / HTTP/1.0\r\n\r\n", b"\x7f\0\0\0\x02", b"\0"];
        for bytes in cases {
            let mut client = echo.connect().expect("connect");
            client.write_all(bytes).await.expect("write");
            client.shutdown().await.expect("shutdown");
            let mut rest = Vec::new();
            let _ = client.read_to_end(&mut rest).await;
            assert!(rest.is_empty(), "{bytes:?}");
        }
        until(|| echo.worker().sessions() == 0).await;
        assert!(service.woken.borrow().iter().all(|characters| characters.len() < 5));
        let mut client = Connection::new(echo.connect().expect("connect"));
        assert_eq!(ask(&mut client, "still here").await.as_deref(), Some("still here"));
        echo.finish().await;
    });
}

#[test]
fn draining_ends_idle_sessions_and_then_the_worker() {
    testing::run(async {
        let echo = Harness::<Echo>::start(&startup()).await.expect("start");
        let mut clients: Vec<Connection> = (0..10).map(|_| Connection::new(echo.connect().expect("connect"))).collect();
        for client in &mut clients {
            assert_eq!(ask(client, "x").await.as_deref(), Some("x"));
        }
        // A client that has not said anything yet does not hold the worker up either.
        let _silent: UnixStream = echo.connect().expect("connect");
        assert_eq!(echo.worker().sessions(), 11);
        echo.finish().await;
        assert!(clients[0].receive::<String>().await.expect("closed").is_none());
    });
}

#[test]
fn a_worker_waits_for_its_tasks_but_not_for_background() {
    testing::run(async {
        let echo = Harness::<Echo>::start(&startup()).await.expect("start");
        let (tell, told) = tokio::sync::oneshot::channel::<()>();
        let is_done = std::rc::Rc::new(std::cell::Cell::new(false));
        let done = std::rc::Rc::clone(&is_done);
        echo.worker().spawn(async move {
            let _ = told.await;
            done.set(true);
        });
        echo.worker().spawn_background(std::future::pending());
        let worker = echo.worker().clone();
        tokio::task::spawn_local(async move {
            worker.draining().await;
            let _ = tell.send(());
        });
        echo.finish().await;
        assert!(is_done.get());
    });
}

#[test]
fn a_changed_table_drains_long_sessions_at_their_boundary() {
    testing::run(async {
        let echo = Harness::<Echo>::start(&startup()).await.expect("start");
        assert!(!echo.worker().drain_if_reload_needed());
        echo.service().changed.set(true);
        assert!(echo.worker().drain_if_reload_needed());
        echo.finish().await;
    });
}

#[test]
fn a_background_panic_replaces_the_worker() {
    testing::run(async {
        let echo = Harness::<Echo>::start(&startup()).await.expect("start");
        echo.worker().spawn_background(async { panic!("in the background") });
        let worker = echo.worker().clone();
        tokio::time::timeout(Duration::from_secs(10), worker.draining()).await.expect("drains");
        echo.finish().await;
    });
}

#[test]
fn flushes_run_beside_the_event_loop() {
    testing::run(async {
        let worker = Worker::stand_in();
        let here = std::thread::current().id();
        let there = worker.run_blocking(|| std::thread::current().id()).await.expect("no panic");
        assert_ne!(here, there);
        assert!(worker.run_blocking(|| panic!("in a flush")).await.is_none());
    });
}

#[test]
fn strangers_are_not_among_the_peers() {
    let stranger = Peer { uid: 4_000_000, gid: 4_000_000, pid: 1 };
    let peers = Peers::load(&Config::from_text("").expect("configuration")).expect("peers");
    assert!(!check(&peers, stranger, Callers::ALL));
}
