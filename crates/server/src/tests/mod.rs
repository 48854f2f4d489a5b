//! Tests of the skeleton with small services of its own.

mod contract;
mod jobs;
mod sessions;

use std::cell::RefCell;
use std::rc::Rc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{Account, Callers, Client, SessionService, StartError, Startup, Worker};

/// Answers what it is asked, one request per frame (or per byte, over the network).
pub(super) struct Echo {
    pub(super) woken: RefCell<Vec<Vec<u8>>>,
    pub(super) changed: std::cell::Cell<bool>,
}

impl SessionService for Echo {
    const PROGRAM: &'static str = "echo";
    const ACCOUNT: Account = Account::MailIn;
    const CALLERS: Callers = Callers::ALL;

    fn prepare(start: &Startup) -> Result<Echo, StartError> {
        if start.arguments.iter().any(|word| word == "broken") {
            return Err(StartError::service("told to fail"));
        }
        let changed = start.arguments.iter().any(|word| word == "changed");
        Ok(Echo { woken: RefCell::default(), changed: std::cell::Cell::new(changed) })
    }

    async fn session(self: Rc<Self>, client: Client, worker: Worker) {
        match client {
            Client::Inet { mut stream, .. } => {
                let mut byte = [0u8; 1];
                while matches!(stream.read(&mut byte).await, Ok(1)) {
                    match &byte {
                        b"p" => panic!("as asked"),
                        b"t" => crate::forget_client(),
                        _ => {}
                    }
                    if stream.write_all(&byte).await.is_err() {
                        return;
                    }
                }
            }
            other => {
                let Some(mut connection) = other.into_connection() else { return };
                loop {
                    let request = tokio::select! {
                        request = connection.receive::<String>() => request,
                        () = worker.draining() => return,
                    };
                    let Ok(Some(request)) = request else { return };
                    let reply = match request.as_str() {
                        "who" => who(),
                        "panic" => panic!("as asked"),
                        "stuck" => {
                            std::thread::park();
                            request
                        }
                        _ => request,
                    };
                    if connection.send(&reply).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    async fn trigger(self: Rc<Self>, characters: Vec<u8>, _worker: Worker) {
        self.woken.borrow_mut().push(characters);
    }

    fn reload_needed(&self) -> bool {
        self.changed.get()
    }

    fn last_reply(&self) -> Option<Vec<u8>> {
        Some(b"421 4.3.0 sorry\r\n".to_vec())
    }
}

/// User, group, groups and what the working and root directories hold.
fn who() -> String {
    let groups = nix::unistd::getgroups().unwrap_or_default();
    let mut groups: Vec<u32> = groups.into_iter().map(nix::unistd::Gid::as_raw).collect();
    groups.sort_unstable();
    format!(
        "uid={} gid={} groups={groups:?} jail={} here={}",
        nix::unistd::geteuid(),
        nix::unistd::getegid(),
        std::path::Path::new("/marker").exists(),
        std::path::Path::new("marker").exists(),
    )
}
