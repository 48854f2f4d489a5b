//! Free loopback ports.

use std::fs::File;
use std::net::TcpListener;
use std::sync::Mutex;

use nix::fcntl::{Flock, FlockArg};

/// What this test process has taken; given back when it ends.
static TAKEN: Mutex<Vec<Flock<File>>> = Mutex::new(Vec::new());

/// A free TCP port on 127.0.0.1 that no other test process gets while this one lives: a lock on a file stands for each.
/// Ports below the ephemeral range are taken, so that no outgoing connection can sit on one.
#[must_use]
pub fn free() -> u16 {
    let directory = std::env::temp_dir().join(format!("posthouse-ports-{}", nix::unistd::geteuid()));
    std::fs::create_dir_all(&directory).expect("a directory for the locks");
    let mut taken = TAKEN.lock().expect("no test panics while it takes a port");
    let start = std::process::id() % 22_000;
    for offset in 0..22_000 {
        let port = u16::try_from(10_000 + (start + offset) % 22_000).expect("below 32000");
        let file = File::create(directory.join(port.to_string())).expect("a lock file");
        let Ok(lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else { continue };
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            taken.push(lock);
            return port;
        }
    }
    panic!("no free port between 10000 and 32000");
}
